"""The tables of a review, as other commands read them."""

import csv

import pytest

from sed.events.reading.event_tables import read_event_tables
from streaming.results.review.export import export_reviews
from streaming.results.review.store import ReviewStore
from tests.streaming.results.review.reviewed import decision, write_noise
from train.data.tables import read_table


@pytest.fixture
def exported(tmp_path):
    write_noise(tmp_path / "a.wav")
    with ReviewStore(tmp_path / "reviews.sqlite") as store:
        for each in (
            decision(0),
            decision(1, "wrong"),
            decision(2, "relabelled", label="owl, tawny"),
            decision(3, onset=6.25),
            decision(4, "unsure"),
            decision(5),
            decision(5, "wrong", "Ben"),
        ):
            store.add(each)
        yield export_reviews(store)


TRUE = [("a.wav", 0.0, 1.0, "dog"), ("a.wav", 4.0, 5.0, "owl, tawny"), ("a.wav", 6.25, 7.0, "dog")]


def test_the_labels_are_what_score_and_train_read(exported, tmp_path):
    labels, _ = exported
    assert labels.read_text().splitlines()[:2] == [
        "filename\tonset\toffset\tevent_label",
        "a.wav\t0.000\t1.000\tdog",
    ]
    table = read_event_tables([labels])
    assert [(e.file, e.onset, e.offset, e.label) for e in table.events()] == TRUE
    (clip,) = read_table(labels)
    assert clip.labels == ("dog", "owl, tawny")
    assert [(e.onset, e.offset, e.label) for e in clip.events] == [row[1:] for row in TRUE]


def test_all_decisions_have_all_columns(exported):
    with open(exported[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert [row["verdict"] for row in rows] == [
        *("right", "wrong", "relabelled", "right", "unsure", "right", "wrong")
    ]
    time = rows[2].pop("reviewed_at")
    assert time.endswith("+00:00")
    assert rows[2] == {
        "file": "a.wav",
        "onset": "4.000",
        "offset": "5.000",
        "label": "dog",
        "score": "0.5000",
        "verdict": "relabelled",
        "reviewer": "Ana",
        "true_label": "owl, tawny",
        "true_onset": "4.000",
        "true_offset": "5.000",
    }
    assert (rows[3]["onset"], rows[3]["true_onset"]) == ("6.000", "6.250")
