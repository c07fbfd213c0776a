"""Labels of others come as lines of text or in CSV, with scientific names or without."""

import pytest

from sed.errors import SedError, UsageError
from streaming.engines.graphs.labels import read_labels, read_species_list

ROBIN, SIREN = ("Erithacus rubecula", "European Robin"), ("Siren", "Siren")


def labels_of(tmp_path, text, name="labels.txt"):
    (tmp_path / name).write_text(text, "utf-8")
    return read_labels(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "names", "species"),
    [
        (
            "labels.txt",
            "\ufeffErithacus rubecula_European Robin\r\nSiren_Siren\r\n\r\n",
            ("European Robin", "Siren"),
            (ROBIN, SIREN),
        ),
        ("labels.txt", "car_horn\ndog_bark\n", ("car_horn", "dog_bark"), ()),
        ("labels.txt", "Parus major_Great Tit\nnoise\n", ("Parus major_Great Tit", "noise"), ()),
        (
            "labels.txt",
            "Parus major_Tit\nParus minor_Tit\n",
            ("Tit (Parus major)", "Tit (Parus minor)"),
            (("Parus major", "Tit"), ("Parus minor", "Tit")),
        ),
        (
            "labels.csv",
            'index,Scientific Name,Common Name\n0,Erithacus rubecula,"European Robin"\n1,Siren,\n',
            ("European Robin", "Siren"),
            (ROBIN, ("Siren", "")),
        ),
        ("labels.csv", "inat2024\nParus major\nBufo bufo\n", ("Parus major", "Bufo bufo"), ()),
        (
            "map.csv",
            'index,mid,display_name\n0,/m/09x0r,"Speech, male"\n1,/m/0,Dog\n',
            ("Speech, male", "Dog"),
            (),
        ),
    ],
)
def test_files_of_labels(tmp_path, name, text, names, species):
    labels = labels_of(tmp_path, text, name)
    assert (labels.names, labels.species) == (names, species)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "\n", "there are no labels in it: give one a line"),
        ("l.txt", "dog\n\ncat\n", "label 2 is empty. Every class needs a label."),
        ("l.txt", "dog\ncat\ndog\n", "the labels of several classes are the same: dog"),
        ("l.csv", "a,b\n1,2\n", "none of the columns a, b is known as labels: call one label, or"),
        ("l.csv", "index,label\n1,dog\n0,cat\n", "not in the order of the outputs: sort them by "),
        ("l.csv", "", "there are no labels in it"),
    ],
)
def test_a_file_that_cannot_be_labels(tmp_path, name, text, message):
    with pytest.raises(UsageError, match=message) as raised:
        labels_of(tmp_path, text, name)
    assert str(raised.value).startswith(str(tmp_path / name))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SedError, match=r"none.txt: cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SedError, match="begins like text in UTF-16, and is none at byte 0"):
        read_labels(tmp_path / "bytes.txt")
    (tmp_path / "list.csv").write_bytes(b"PK\x03\x04")
    with pytest.raises(SedError, match=r"is an Excel or OpenDocument workbook, not text. Save it"):
        read_labels(tmp_path / "list.csv")


def test_labels_that_a_spreadsheet_saved(tmp_path, caplog):
    """Scientific and common names, with the delimiter and the encoding of Windows in Europe."""
    path = tmp_path / "birds.csv"
    path.write_bytes("Scientific Name;Common Name\r\nParus major;Mésange\r\n".encode("cp1252"))
    assert read_labels(path).species == (("Parus major", "Mésange"),)
    assert caplog.messages == [
        f"{path}: read columns separated by semicolons; text that is not UTF-8 as Windows-1252 "
        "(Mésange)"
    ]
    path.with_suffix(".txt").write_bytes("Mésange\rDog\r".encode("utf-16"))
    assert read_labels(path.with_suffix(".txt")).names == ("Mésange", "Dog")


def test_a_list_of_species(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# garden\nErithacus rubecula_European Robin\n\n Siren \n", "utf-8")
    assert read_species_list(path) == ("Erithacus rubecula_European Robin", "Siren")
    path.write_text("# nothing\n")
    with pytest.raises(UsageError, match="this list of species is empty"):
        read_species_list(path)
