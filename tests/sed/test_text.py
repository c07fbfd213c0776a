"""Text for people: names, counts, times and hints."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.text import (
    clock_time,
    from_spreadsheet_cell,
    iso_time,
    lines,
    near,
    pluralize,
    printable,
    some,
    spreadsheet_cell,
    to_utf8,
    without_controls,
)


@pytest.mark.parametrize(
    ("name", "expected"), [("a b.wav", "a b.wav"), ("a\nb", r"'a\nb'"), ("", "''")]
)
def test_a_name_is_quoted_only_where_it_has_to_be(name, expected):
    assert printable(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("élan", "élan"), ("a\udcff", r"a\xff"), ("a\ud800", r"a\ud800"), ("\0", "\0")],
)
def test_text_that_utf8_cannot_encode_is_escaped(text, expected):
    assert to_utf8(text) == expected
    assert to_utf8(text).encode()


def test_long_lists_are_shortened():
    names = [f"{i}.wav" for i in range(12)]
    assert some(names, 2) == "0.wav, 1.wav and 10 more"
    assert some(names[:2], 2) == "0.wav, 1.wav"
    assert lines(names, 1) == "\n  0.wav\n  … and 11 more"


def test_an_unknown_name_gets_similar_ones_or_all():
    assert near("focl", ["focal", "bce"]) == "Did you mean focal?"
    assert near("x", ["focal", "bce"]) == "Known: focal, bce."


@pytest.mark.parametrize(
    ("n", "expected"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12_345, "12,345 files")]
)
def test_counts_have_their_noun(n, expected):
    assert pluralize(n, "file") == expected


def test_times():
    assert [clock_time(s) for s in (0, 61, 36_000)] == ["0:00:00", "0:01:01", "10:00:00"]
    time = datetime(2024, 5, 1, 5, 30, tzinfo=timezone(timedelta(hours=2)))
    assert iso_time(time) == "2024-05-01T05:30:00.000+02:00"
    assert iso_time(None) == ""


def test_what_steers_a_terminal_becomes_an_escape():
    hostile = "a\x1b]0;title\x07b\x9b2Jc\u202edcba\u2066\r\x7f\0"
    assert without_controls(hostile) == (r"a\x1b]0;title\x07b\x9b2Jc\u202edcba\u2066\r\x7f\x00")
    plain = "élan\tزن\u200cها\n\udcff 🐦"
    assert without_controls(plain) == plain


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+a",
        "-cmd",
        "@sum",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1",
        "＋1a",
        "－x",
        "＠x",
        " =1",
        "--1",
        "'=1",
        "''-5",
    ],
)
def test_a_formula_gets_an_apostrophe(text):
    assert spreadsheet_cell(text) == f"'{text}"
    assert from_spreadsheet_cell(f"'{text}") == text


@pytest.mark.parametrize(
    "text", ["-3.25", "+5", "-1e-3", "-.5", "", "wren", "a=b", "5-3", "'n' roll"]
)
def test_numbers_and_words_stay_as_they_are(text):
    assert spreadsheet_cell(text) == from_spreadsheet_cell(text) == text


@given(text=st.text("'=-+@ \t5e.a", max_size=8))
def test_a_cell_is_read_back_exactly(text):
    assert from_spreadsheet_cell(spreadsheet_cell(text)) == text
