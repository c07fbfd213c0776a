import pytest

from sed.events.sites import site_name, site_names


@pytest.mark.parametrize(
    ("files", "sites"),
    [
        (["r/north/a.wav", "r/south/a.wav"], ["north", "south"]),
        (["r/north/may/a.wav", "r/north/june/a.wav", "r/pond/b.wav"], ["north", "north", "pond"]),
        (["r/a.wav", "r/north/a.wav"], ["r", "north"]),
        (["r/site/a.wav", "r/site/b.wav"], ["site", "site"]),
        (["D:\\rec\\north\\a.wav", "D:\\rec\\south\\a.wav"], ["north", "south"]),
        (["a.wav"], ["a.wav"]),
        (["garden", "r/a.wav"], ["garden", "r"]),
        ([], []),
    ],
)
def test_sites_are_folders_below_the_common_one(files, sites):
    assert site_names(files) == sites


@pytest.mark.parametrize(
    ("file", "root", "site"),
    [
        ("/r/north/may/a.wav", "/r", "north"),
        ("/r/a.wav", "/r", "r"),
        ("/elsewhere/b/a.wav", "/r", "b"),
        ("/r2/a.wav", "/r", "r2"),
        ("/north/a.wav", "/", "north"),
        ("/r/north/a.wav", "", "north"),
        ("s3://bucket/r/north/may/a.wav", "s3://bucket/r", "north"),
        ("-", "/r", ""),
    ],
)
def test_the_site_of_a_recording_is_a_folder_in_the_one_that_was_searched(file, root, site):
    assert site_name(file, root) == site


def test_relative_names_have_the_same_site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert site_name("rec/pond/a.wav", str(tmp_path / "rec")) == "pond"
