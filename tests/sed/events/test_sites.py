import pytest

from sed.events.sites import site_names


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
