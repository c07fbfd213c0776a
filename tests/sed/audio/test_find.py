"""Search for recordings in archives of any size."""

import os

import pytest

from sed.audio.find import common_root, find_recordings, iter_recordings


@pytest.fixture
def archive(tmp_path):
    """Return a folder with recordings in folders, and what is none of our business."""
    for name in ("a.wav", "deep/a.wav", "deep/er/b.WAV", ".hidden/x.wav", ".x.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def found(*sources, root=None):
    errors = []
    recordings = iter_recordings(sources, root or common_root(sources), errors)
    return sorted(recordings, key=lambda r: r.name), [str(error) for error in errors]


def test_one_by_one_they_are_those_of_the_list(archive):
    assert found(archive) == (find_recordings([archive])[0], [])


def test_the_name_of_a_recording_depends_on_its_own_path_only(archive):
    folder, (one, _, three) = archive / "deep", found(archive)[0]
    assert [r.name for r in found(folder)[0]] == ["a.wav", "er/b.WAV"]
    assert [r.name for r in found(folder, archive / "a.wav")[0]] == [
        "a.wav", "deep/a.wav", "deep/er/b.WAV"
    ]  # fmt: skip
    assert found(archive / "a.wav")[0] == [one]
    assert found(folder / "er" / "b.WAV", root=str(archive))[0] == [three]


def test_names_do_not_depend_on_how_a_folder_is_called(archive, monkeypatch):
    monkeypatch.chdir(archive / "deep")
    names = [r.name for r in found(archive)[0]]
    assert [r.name for r in found("..")[0]] == names
    assert [r.path for r in found("../")[0]] == [f"../{name}" for name in names]


def test_a_link_to_a_folder_is_followed_and_a_loop_is_not(archive):
    (archive / "deep" / "loop").symlink_to(archive, target_is_directory=True)
    (archive / "there").symlink_to(archive / "deep" / "er", target_is_directory=True)
    names = [r.name for r in found(archive)[0]]
    assert names == ["a.wav", "deep/a.wav", "deep/er/b.WAV", "there/b.WAV"]


def test_unreadable_and_empty_folders_are_reported(archive, monkeypatch):
    real = os.scandir

    def guarded(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    recordings, errors = found(archive, archive / ".hidden" / "..", root=str(archive))
    assert [r.name for r in recordings] == ["a.wav", "a.wav"]
    assert errors == [
        f"{archive}/deep: cannot list this folder: Permission denied.",
        f"{archive}/.hidden/../deep: cannot list this folder: Permission denied.",
    ]
    (archive / "empty").mkdir()
    assert "empty: this folder holds no recordings" in found(archive / "empty")[1][0]
