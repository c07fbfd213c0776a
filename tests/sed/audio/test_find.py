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


def test_places_that_are_searched_anyway_are_not_searched_below_a_link(tmp_path):
    data = tmp_path / "top" / "data"
    data.mkdir(parents=True)
    for name in ("data/a.wav", "b.wav"):
        (tmp_path / "top" / name).write_bytes(b"x")
    (data / "up").symlink_to("..", target_is_directory=True)
    (data / "one.wav").symlink_to("../b.wav")
    names = sorted(recording.name for recording in found(data)[0])
    assert len(names) == 2
    assert names[0] == "a.wav"
    assert sorted(r.path for r in find_recordings([data])[0])[0] == str(data / "a.wav")
    assert len(find_recordings([data])[0]) == 2


def test_a_link_to_a_folder_is_followed_and_a_loop_is_not(archive):
    (archive / "deep" / "loop").symlink_to(archive, target_is_directory=True)
    (archive / "deep" / "er").rename(archive / ".er")
    (archive / "there").symlink_to(archive / ".er", target_is_directory=True)
    names = [r.name for r in found(archive)[0]]
    assert names == ["a.wav", "deep/a.wav", "there/b.WAV"]


def test_unreadable_and_empty_folders_are_reported(archive, monkeypatch):
    real = os.scandir

    def guarded(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    recordings, errors = found(archive, archive / ".hidden" / "..", root=str(archive))
    assert [r.name for r in recordings] == ["a.wav"]
    assert errors == [f"{archive}/deep: cannot list this folder: Permission denied."]
    (archive / "empty").mkdir()
    assert "empty: this folder holds no recordings" in found(archive / "empty")[1][0]


def test_a_recording_is_found_once_by_whatever_way_it_is_reached(archive, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "far.wav").write_text("far")
    for name in ("one", "two"):
        (archive / name).symlink_to(outside, target_is_directory=True)
    (outside / "back").symlink_to(archive, target_is_directory=True)
    (archive / "deep" / "loop").symlink_to(archive, target_is_directory=True)
    (archive / "again.wav").symlink_to(archive / "a.wav")
    stored = archive / ".store" / "blob"  # as git-annex keeps recordings
    stored.parent.mkdir()
    stored.write_text("annexed")
    (archive / "annexed.wav").symlink_to(stored)
    sources = [archive / "a.wav", archive, archive / "deep", f"{archive}/./a.wav"]
    listed, errors = find_recordings(sources)
    names = [os.path.relpath(r.path, archive) for r in listed]
    assert errors == []
    assert names == ["a.wav", "annexed.wav", "deep/a.wav", "deep/er/b.WAV", "one/far.wav"]
    one_by_one = [r.name for r in found(*sources)[0]]
    assert [name.replace("two/", "one/") for name in one_by_one] == names


def test_pipes_are_no_recordings_and_a_broken_link_is_reported_when_it_is_opened(archive):
    os.mkfifo(archive / "pipe.wav")
    (archive / "broken.wav").symlink_to(archive / "lost.wav")
    names = ["a.wav", "broken.wav", "deep/a.wav", "deep/er/b.WAV"]
    assert [r.name for r in found(archive)[0]] == names
    assert sorted(r.path for r in find_recordings([archive])[0]) == [
        str(archive / name) for name in names
    ]


def test_transport_streams_are_found_and_sources_of_programs_are_not(tmp_path):
    (tmp_path / "app.ts").write_text("export const rate = 48000;\n")
    (tmp_path / "app.mts").write_text("export {}\n")
    (tmp_path / "camera.ts").write_bytes(b"G" + bytes(187))
    (tmp_path / "camera.MTS").write_bytes(bytes(4) + b"G" + bytes(187))
    (tmp_path / "film.wmv").write_bytes(b"x")
    assert sorted(r.name for r in find_recordings([tmp_path])[0]) == [
        "camera.MTS",
        "camera.ts",
        "film.wmv",
    ]
