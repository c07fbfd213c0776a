"""Tables of clips as Excel, R and Windows write them: the clips are the same."""

import csv
import io
import logging
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import TableError
from train.data.clips import Clip
from train.data.tables import read_table

LETTERS = "abcxyzéüñßø ,.'\""  # no two of these are a character of UTF-8 in Windows-1252
LABELS = st.text(LETTERS, min_size=1, max_size=6).map(str.strip).filter(bool)
ROWS = st.lists(
    st.tuples(st.lists(LABELS, min_size=1, max_size=2, unique=True), st.integers(0, 999)),
    min_size=1,
    max_size=4,
)
HEADERS = (["file", "label", "start"], ["File", "Label", "Start"], [" FILE", "label ", " Start "])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with recordings whose samples are not read."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "wav").mkdir()
    for i in range(4):
        (folder / "wav" / f"{i} é.wav").touch()
    return folder


@pytest.fixture(autouse=True)
def warnings_logged(caplog):
    caplog.set_level(logging.WARNING, logger="sed")


@settings(max_examples=50, deadline=None)
@given(
    ROWS,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([".csv", ".tsv", ".txt"]),
    st.sampled_from(HEADERS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_table_gives_the_same_clips_however_it_is_saved(
    folder, rows, encoding, delimiter, end, suffix, header, has_sep_line, is_decimal_comma, quoting
):
    text = io.StringIO(newline="")
    text.write(f"sep={delimiter}{end}" * has_sep_line)
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(header)
    for i, (labels, start) in enumerate(rows):
        seconds = f"{start / 8}".replace(".", "," if is_decimal_comma else ".")
        writer.writerow(
            [f"wav\\{i} é.wav" if start % 2 else f"wav/{i} é.wav", " ; ".join(labels), seconds]
        )
    path = folder / f"table{suffix}"
    path.write_bytes(text.getvalue().encode(encoding))
    clips = read_table(path)
    assert [(clip.labels, clip.start_seconds) for clip in clips] == [
        (tuple(labels), start / 8) for labels, start in rows
    ]
    assert [clip.path for clip in clips] == [
        str(folder / "wav" / f"{i} é.wav") for i in range(len(rows))
    ]


@pytest.mark.parametrize(
    ("name", "data", "assumed"),
    [
        ("a.csv", "file;label\nwav/a.wav;dog\n", "columns separated by semicolons"),
        ("a.tsv", "file,label\nwav/a.wav,dog\n", "columns separated by commas"),
        ("a.csv", "# made by hand\n\nfile,label\nwav/a.wav,dog\n",
         "1 line before the header as comments"),
        ("a.csv", "FILE, LABEL\nwav/a.wav, dog\n",
         "columns FILE as file; labels without the spaces around them (' dog')"),
        ("a.csv", '"","file","label"\n"1","wav/a.wav","dog"\n', ""),
        ("a.csv", '"file","label"\n"1","wav/a.wav","dog"\n',
         "the first cell of each row as its number in R"),
        ("a.csv", "file,label,\nwav/a.wav,dog,\n", ""),
        ("a.csv", 'file,label,start\nwav/a.wav,dog,"0,5"\n', "decimal commas (0,5 as 0.5)"),
        ("a.csv", "file,label\nwav/A.WAV,dog\n",
         "1 file name spelled otherwise ('wav/A.WAV' is FOLDER/wav/a.wav)"),
        ("a.csv", "file,label\nC:\\rec\\wav\\a.wav,dog\n",
         "1 file name spelled otherwise ('C:\\\\rec\\\\wav\\\\a.wav' is FOLDER/wav/a.wav)"),
        ("a.csv", "file\tlabel\nwav/a.wav\tdog\n".encode("utf-16-le"),
         "text in UTF-16; columns separated by tabs"),
        ("a.csv", "file,label,licence\nwav/a.wav,dog,Königs\n".encode("cp1252"),
         "text that is not UTF-8 as Windows-1252 (Königs)"),
    ],
)  # fmt: skip
def test_what_was_assumed_is_logged_in_one_line(tmp_path, caplog, name, data, assumed):
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav/a.wav").touch()
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    for _ in range(2):  # and once, however often the table is read
        [clip] = read_table(tmp_path / name)
    assert (clip.path, clip.labels) == (str(tmp_path / "wav/a.wav"), ("dog",))
    line = f"{tmp_path / name}: read {assumed.replace('FOLDER', str(tmp_path))}"
    assert caplog.messages == ([line] if assumed else [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04rest", "is an Excel or OpenDocument workbook, not text. Save it as text: a "
                            "table as CSV."),
        (b"\xff\xfea", "begins like text in UTF-16, and is none at byte 0. Save it again, as CSV"),
        (b'file,label\n"a.wav,dog\n', "cannot be read as a table: a quote that is never closed"),
        (b"file,label\na.wav,dog,big\nb.wav,cat\n",
         "row 2 has 3 cells, and the header 2. Quote cells that hold commas."),
        (b"file,label,start\na.wav,dog,\"1,5\"\na.wav,dog,0.5\n",
         "expected a number for start, got '1,5'; the column has numbers with a decimal point too"),
        (b"file,label\nb.wav,dog\n", "row 2: b.wav: no such file in"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused_with_the_cause(tmp_path, data, reason):
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(TableError) as caught:
        read_table(tmp_path / "t.csv")
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/t.csv: ")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_files_in_another_form_of_unicode_are_found(tmp_path, form):
    other = "NFD" if form == "NFC" else "NFC"
    (tmp_path / unicodedata.normalize(form, "Rotkehlchen é.wav")).touch()
    written = unicodedata.normalize(other, "Rotkehlchen é.wav")
    (tmp_path / "t.csv").write_text(f"file,label\n{written},robin\n", "utf-8")
    [clip] = read_table(tmp_path / "t.csv")
    assert os.path.exists(clip.path)


def test_a_name_that_is_two_files_apart_from_its_case_is_not_guessed(tmp_path):
    for name in ("a.wav", "A.wav"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("file,label\na.WAV,dog\n")
    with pytest.raises(TableError, match=r"row 2: a\.WAV: no such file"):
        read_table(tmp_path / "t.csv")


def test_names_that_are_no_unicode_are_found_in_tables_in_their_bytes(tmp_path):
    """A table of Windows-1252 names a file with these bytes, or the same file after a copy."""
    names = os.fsdecode(b"caf\xe9.wav"), "thé.wav"
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_bytes("file,label\ncafé.wav,a\nthé.wav,b\n".encode("cp1252"))
    assert [clip.path for clip in read_table(tmp_path / "t.csv")] == [
        str(tmp_path / name) for name in names
    ]


def test_labels_that_are_probably_a_mistake_are_reported(tmp_path, caplog):
    rows = "".join(f"a.wav,{label}\n" for label in ("NA", "Dog", "dog", "cat"))
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text(f"file,label\n{rows}")
    assert len(read_table(tmp_path / "t.csv")) == 4
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "has clips of the class NA: is that a missing label?",
        "has classes that differ only in case or in Unicode's form: Dog and dog",
    ]


def test_a_folder_whose_name_is_no_unicode_is_a_class(tmp_path):
    folder = tmp_path / os.fsdecode(b"m\xe9sange")
    folder.mkdir()
    (folder / "a.wav").touch()
    assert read_table(tmp_path) == [
        Clip(str(folder / "a.wav"), ("mésange",), os.fsdecode(b"m\xe9sange/a.wav"))
    ]


def test_weak_labels_of_dcase_are_separated_by_commas(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "weak.tsv").write_text("filename\tevent_labels\na.wav\tdog, cat\n")
    assert read_table(tmp_path) == [Clip(str(tmp_path / "a.wav"), ("dog", "cat"), "a.wav")]


@pytest.mark.parametrize(
    "columns", ["file,label,start,duration", "filename,event_labels", "file,onset,offset,label"]
)
def test_clips_of_a_recording_are_one_source_however_it_is_spelled(tmp_path, columns):
    """Else some of them would be in the fold that is held out, and others not."""
    for site in ("SiteA", "SiteB"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "053000.wav").touch()
    (tmp_path / "link").symlink_to("SiteA")
    spellings = ("SiteA/053000.wav", "sitea\\053000.wav", "./SiteA/053000.wav",
                 "SiteB/../SiteA/053000.WAV", str(tmp_path / "SiteA" / "053000.wav"),
                 "link/053000.wav", "SiteB/053000.wav")  # fmt: skip
    row = {"file,label,start,duration": "{},dog,{},1", "filename,event_labels": "{},dog"}
    lines = [row.get(columns, "{0},{1},{1}.5,dog").format(s, i) for i, s in enumerate(spellings)]
    (tmp_path / "t.csv").write_text("\n".join([columns, *lines]))
    clips = read_table(tmp_path / "t.csv")
    assert {(clip.path, clip.group) for clip in clips} == {
        (str(tmp_path / site / "053000.wav"), f"{site}/053000.wav") for site in ("SiteA", "SiteB")
    }
    assert len(clips) == (2 if "onset" in columns else len(spellings))


def test_one_faulty_row_is_one_row(tmp_path):
    (tmp_path / "t.csv").write_text("file,label\ngone.wav,dog\n")
    with pytest.raises(TableError, match="1 faulty row of 1; correct"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("file,label,Label\na.wav,owl,owl\n", ["owl"]),
        ("file,label,Label\na.wav,,owl\n", ["owl"]),
        ("file,Label,label\na.wav,owl,\n", ["owl"]),
        ("file,label,note,Note\na.wav,owl,x,y\n", ["owl"]),
        ("file,label,Label\na.wav,owl,jay\n", "columns label and Label differ in row 2"),
        ("file,File,label\na.wav,b.wav,owl\n", "columns file and File differ in row 2"),
        ("file,label,label\na.wav,,owl\na.wav,a,b\n", "columns label and label differ in row 3"),
    ],
)  # fmt: skip
def test_two_columns_of_one_name_agree_or_are_refused(tmp_path, text, found):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    path = tmp_path / "t.csv"
    path.write_text(text)
    if isinstance(found, list):
        assert [*read_table(path)[0].labels] == found
        return
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert str(caught.value) == f"{path}: {found}. Remove one of them, or rename it."


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("file,label,fold\na.wav,x,1.0\nb.wav,y,2\na.wav,y, 3.00 \n", ["1", "2", "3"]),
        ("filename,fold,category\na.wav,1.0,x\nb.wav,10.0,y\n", ["1", "10"]),
        ("slice_file_name,fsID,fold,class\na.wav,7.0,1.0,x\nb.wav,8.0,2.0,y\n", ["1", "2"]),
        ('file,label,fold\na.wav,x,"1,0"\nb.wav,y,2\n', ["1", "2"]),
        ("file,label,fold\na.wav,x,1.5\nb.wav,y,v1.0\n", ["1.5", "v1.0"]),
    ],
)
def test_folds_that_a_program_wrote_as_numbers_with_a_point(tmp_path, text, folds):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text(text)
    assert [clip.fold for clip in read_table(tmp_path / "t.csv")] == folds


@pytest.mark.parametrize(
    "cell",
    ["#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#BEZUG!", "#WERT!",
     "#NV", "#NOM?", "#¡REF!", "#¿NOMBRE?", "#ÜBERLAUF!", "#N/D", "Err:502", " #REF! "],
)  # fmt: skip
def test_errors_of_a_spreadsheet_are_no_labels(tmp_path, caplog, cell):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    path = tmp_path / "t.csv"
    path.write_text(f"file,label\na.wav,{cell}\nb.wav,owl\n")
    with pytest.raises(TableError, match=r"1 faulty row of 2; .*\n  row 2: a\.wav: no label"):
        read_table(path)
    path.write_text(f"filename,onset,offset,event_label\na.wav,0,1,{cell}\nb.wav,0,1,owl\n")
    assert [clip.labels for clip in read_table(path)] == [("owl",)]
    note = f"read errors of a spreadsheet as empty cells ({cell.strip()})"
    assert caplog.messages[0] == f"{path}: {note}"


@pytest.mark.parametrize("label", ["#1", "#wow!", "C#", "Err", "N/A!"])
def test_labels_that_look_a_little_like_errors_of_a_spreadsheet(tmp_path, label):
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text(f"file,label\na.wav,{label}\n")
    assert read_table(tmp_path / "t.csv")[0].labels == (label,)
