"""Annotations of other programs, as these write them."""

import pytest

import sed
from sed.errors import TableError
from sed.events.reading.annotations import is_annotation, read_annotations
from sed.events.tracker import Event

TWO = [(0.5, 1.25, "dog"), (2.0, 3.0, 'a "b" é')]

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3.0
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "sounds 1"
        xmin = 0
        xmax = 3.0
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "dog"
        intervals [3]:
            xmin = 1.25
            xmax = 2
            text = " "
        intervals [4]:
            xmin = 2
            xmax = 3.0
            text = "a ""b"" é"
    item [2]:
        class = "TextTier"
        name = "points"
        xmin = 0
        xmax = 3.0
        points: size = 1
        points [1]:
            number = 1.5
            mark = "here"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
3
<exists>
1
"IntervalTier"
"sounds"
0
3
2
0.5
1.25
"dog"
2
3
"a ""b"" é"
"""
LAYER = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE sonic-visualiser>
<sv>
  <data>
    <model id="4" name="" sampleRate="8000" start="0" end="24000" type="sparse" dimensions="2"
     resolution="1" notifyOnAdd="true" dataset="3" subtype="region"/>
    <dataset id="3" dimensions="2">
      <point frame="4000" value="0" duration="6000" label="dog" />
      <point frame="9000" value="0" duration="0" label="instant" />
      <point frame="16000" value="1" duration="8000" label="a &quot;b&quot; é" />
    </dataset>
  </data>
  <display><layer id="5" type="regions" name="Regions" model="4"/></display>
</sv>
"""


@pytest.mark.parametrize(
    ("format", "name", "text", "encoding"),
    [
        ("textgrid", "a.TextGrid", LONG, "utf-8"),
        ("textgrid", "a.TextGrid", LONG, "utf-16"),
        ("textgrid", "a.TextGrid", SHORT, "utf-16-be"),
        ("textgrid", "a.TextGrid", SHORT.replace("\n", "\r"), "cp1252"),
        ("sonic_visualiser", "a.svl", LAYER, "utf-8"),
        ("sonic_visualiser", "a.csv",
         '0.5,0,0.75,dog\n2.000,1,1,"a ""b"" é"\n', "utf-8"),
        ("sonic_visualiser", "a.csv",
         'TIME,VALUE,DURATION,LABEL\n0.5,0,0.75,dog\n2,1,1,"a ""b"" é"\n', "utf-8"),
        ("audacity", "a.txt", '0,50\t1,25\tdog\n\\\t20,0\t90,0\n2\t3\ta "b" é\n', "cp1252"),
        ("birdnet", "a.csv",
         "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
         '0.5,1.25,Canis lupus,dog,0.9,/x/a.wav\n2.0,3.0,,"a ""b"" é",0.5,/x/a.wav\n', "utf-8"),
        ("birdnet", "a.csv",
         "filepath,start,end,scientific_name,common_name,confidence,lat\n"
         '/x/a.wav,0.5,1.25,Canis lupus,dog,0.9,1\n/x/a.wav,2,3,,"a ""b"" é",0.5,1\n', "utf-8"),
        ("kaleidoscope", "cluster.csv",
         "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n"
         'C:\\rec,site,a.wav,0,0.5,0.75,X1,dog\nC:\\rec,,a.wav,0,2,1,X1,"a ""b"" é"\n', "utf-16"),
        ("audioset", "strong.tsv",
         "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
         'b0RFKhbpFJA_30000\t0.5\t1.25\tdog\nb0RFKhbpFJA_30000\t2\t3\ta "b" é\n', "utf-8"),
        ("raven", "a.Table.1.selections.txt",
         "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tSpecies\n"
         "1\tWaveform 1\t1\t60.5\t61.25\t0.5\t\n1\tSpectrogram 1\t1\t60.5\t61.25\t0.5\tdog\n"
         '2\tSpectrogram 1\t1\t62\t63\t2\ta "b" é\n3\tSpectrogram 1\t1\t64\t65\t4\t\n', "cp1252"),
    ],
)  # fmt: skip
def test_annotations_of_others(tmp_path, format, name, text, encoding):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    events = sed.read_events(path, format)
    assert [(event.onset, event.offset, event.label) for event in events] == TWO
    assert is_annotation(path)
    of_content = read_annotations(path)  # without its name, by ending and columns
    assert [row.times() for row in of_content.rows if row.label.strip()] == [x[:2] for x in TWO]


def test_what_these_formats_have_besides_times(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Start (s),End (s),Common name,Confidence,File\n0,3,Robin,0.91,C:\\x\\a.wav\n")
    assert sed.read_events(path, "birdnet") == [Event(0, 3, "Robin", 0.91, "C:\\x\\a.wav")]
    path.write_text("INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID\nC:\\x,s,a.wav,1,2,Owl\n")
    assert sed.read_events(path, "kaleidoscope") == [Event(1, 3, "Owl", 1.0, "s\\a.wav")]
    path.write_text("INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID\n/x,s/t,a.wav,1,2,Owl\n")
    assert sed.read_events(path, "kaleidoscope") == [Event(1, 3, "Owl", 1.0, "/x/s/t/a.wav")]
    assert read_annotations(path).assumed == (
        "labels of the column AUTO ID, which a program wrote",
    )


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.svl", LAYER.replace("sonic-visualiser>", 'sv [<!ENTITY a "b">]>'),
         "is no layer of Sonic Visualiser (it declares entities). Export the layer again."),
        ("a.svl", '<!DOCTYPE sv [<!ENTITY x SYSTEM "file:///etc/hostname">]><sv>&x;</sv>',
         "it declares entities"),
        ("a.svl", "<html></html>", "it begins with 'html'"),
        ("a.svl", LAYER[:300], "is no layer of Sonic Visualiser ("),
        ("a.svl", "", "is no layer of Sonic Visualiser ("),
        ("a.TextGrid", LONG[:400], "is no whole TextGrid. Save it again, as text."),
        ("a.TextGrid", SHORT.replace('"dog"', "dog"), "is no whole TextGrid"),
        ("a.TextGrid", "ooBinaryFile\x08TextGrid", "is a binary TextGrid, not text. Save it as"),
        ("a.selections.txt", "Selection\tBegin Time (s)\n1\t0.5\n",
         "no column end_time_(s): a table of raven has begin_time_(s), end_time_(s), and one of"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_named(tmp_path, name, text, reason):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_annotations(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_bomb_of_entities_is_refused_at_once(tmp_path):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 20}">' for i in range(1, 12))
    path = tmp_path / "a.svl"
    path.write_text(f'<!DOCTYPE sv [<!ENTITY e0 "x">{entities}]><sv a="&e11;"></sv>')
    with pytest.raises(TableError, match="declares entities"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("format", "name", "text", "message"),
    [
        ("csv", "a.csv", "file,onset,offset,label\na,x,1,dog\na,0,1,dog\n",
         "1 row cannot be read as csv; correct or remove them:\n  row 2: expected a number for"),
        ("csv", "a.csv", "file,onset,label\na,0,dog\n", "has no column offset. Expected a table"),
        ("tsv", "a.tsv", "filename\tonset\toffset\na\t0\t1\n", "has no column event_label."),
        ("jsonl", "a.jsonl", "[1]\n{}\n{\n", "3 rows cannot be read as jsonl"),
        ("jsonl", "a.jsonl", '{"file": 1, "onset": 0, "offset": 1, "label": "x", "score": 1}\n',
         "row 1: expected text for label and file"),
        ("audacity", "a.txt", "0\tx\tdog\n", "row 1: expected a number for offset, got 'x'"),
        ("raven", "a.txt", "0\t1\tdog\n", r"no column begin_time_\(s\), end_time_\(s\)"),
        ("kaleidoscope", "a.csv", "IN FILE,OFFSET\na,1\n", "no column duration: a table of kal"),
    ],
)  # fmt: skip
def test_faulty_events_are_an_error_of_the_file(tmp_path, format, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TableError, match=message) as caught:
        sed.read_events(path, format)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(TableError, match=r"none: cannot be read: No such file or directory"):
        sed.read_events(tmp_path / "none", format)


def test_events_in_a_table_of_a_spreadsheet(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes("sep=;\r\nFile;Onset;Offset;Label\r\na.wav;0,5;1,5;Möwe\r\n".encode("cp1252"))
    assert sed.read_events(path, "csv") == [Event(0.5, 1.5, "Möwe", 1.0, "a.wav")]


BOXES = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tBegin File\tBegin Date"
)
BOX = "1\tSpectrogram 1\t1\t0.5\t1\t440.0\tx.wav\t2024/05/01"


@pytest.mark.parametrize(
    ("columns", "cells", "label"),
    [
        ("Species", "owl", "owl"),
        ("species code", "owl", "owl"),
        ("ANNOTATION", "owl", "owl"),
        ("Call Type", "hoot", "hoot"),
        ("SpeciesID\tOccupancy", "owl\t0.5", "owl"),
        ("Comments", "owl", "owl"),
        ("Type\tNotes", "hoot\tfar away", "hoot"),
        ("Label\tNotes", "\twind", ""),  # not labelled yet
        ("Label\tCall Type", "owl\thoot", "owl"),
        ("SpeciesID\tMood\tDelta Time (s)", "owl\tsad\t0.5", "owl"),
    ],
)
def test_the_column_of_labels_in_tables_of_raven(tmp_path, columns, cells, label):
    """People name it as they like: it is the one with text that is not Raven's own."""
    path = tmp_path / "x.Table.1.selections.txt"
    path.write_text(f"{BOXES}\t{columns}\n{BOX}\t{cells}\n")
    assert is_annotation(path)
    found = read_annotations(path)
    assert [row.label for row in found.rows] == [label]
    column = columns.split("\t")[cells.split("\t").index(label)]
    is_usual = column.lower() in ("species", "species code", "annotation", "label")
    assert (f"labels of the column {column}" in found.assumed) != is_usual


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("", "", r"no column label: a table of raven has .* and one of label, annotation"),
        (
            "Bird\tMood",
            "owl\tsad",
            r"which column has the labels, Bird or Mood\? Name it Label",
        ),
        ("Score", "0.5", r"no column label"),
    ],
)
def test_tables_of_raven_without_a_clear_column_of_labels(tmp_path, columns, cells, message):
    path = tmp_path / "x.Table.1.selections.txt"
    path.write_text(f"{BOXES}\t{columns}\n{BOX}\t{cells}\n")
    with pytest.raises(TableError, match=message):
        read_annotations(path)
    path.write_text(f"{BOXES}\t{columns}\n")  # and no selections
    assert read_annotations(path).rows == ()
