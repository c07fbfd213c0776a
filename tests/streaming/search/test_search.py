"""The search: what it returns, without duplicates, of different kinds, and between examples."""

import numpy as np
import pytest
from typer.testing import CliRunner

import sed
from sed.cli import app
from sed.errors import SedError, UsageError
from sed.events.embedding_store.store import EmbeddingStore
from sed.events.reading.events import read_events
from sed.events.writing.parquet import read_parquet_events
from streaming.search.search import SearchConfig, search
from streaming.search.selection import deduplicate, representatives
from tests.streaming.search.conftest import DIMENSION, make_store

pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def axis(i, *others):
    """Return a direction, with small parts of others."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[i] = 1.0
    for other, part in others:
        vector[other] += part
    return vector


@pytest.fixture
def store(tmp_path):
    """Return a store with four rows near axis 0, two of them copies, and four near axis 1."""
    return make_store(
        tmp_path / "store",
        {
            "dogs.wav": [axis(0, (5, 0.1)), axis(0, (6, 0.3)), axis(9), axis(0, (7, 0.5))],
            "copy.wav": [axis(0, (5, 0.1))],
            "cats.wav": [axis(1), axis(1, (5, 0.2)), axis(1, (6, 0.4)), axis(1, (0, 0.9))],
        },
    )


@pytest.fixture
def dog(sound, embedded):
    embedded["dog.wav"] = axis(0)
    return sound("dog.wav", [0.5, 0.5])


def places(events):
    return [(event.file, event.onset) for event in events]


def test_the_most_similar_rows_come_first_with_their_similarity(store, dog):
    events = search(store, dog, config=SearchConfig(top=4))
    # Equal rows come in the order of the store.
    assert places(events) == [
        ("copy.wav", 0.0),
        ("dogs.wav", 0.0),
        ("dogs.wav", 5.0),
        ("dogs.wav", 15.0),
    ]
    wanted = [1 / np.hypot(1, part) for part in (0.1, 0.1, 0.3, 0.5)]
    assert [event.score for event in events] == pytest.approx(wanted, abs=1e-3)
    assert {event.label for event in events} == {"dog"}
    assert [event.offset - event.onset for event in events] == [5.0] * 4
    everything = search(store, dog, config=SearchConfig(top=100, label="bark"))
    assert len(everything) == EmbeddingStore(store).n_rows
    assert {event.label for event in everything} == {"bark"}
    assert min(event.score for event in everything) == 0.0


def test_dot_products_know_lengths(tmp_path, dog):
    store = make_store(tmp_path / "long", {"a": [axis(0), 3 * axis(0, (1, 1.0))]})
    assert [e.onset for e in search(store, dog)] == [0.0, 5.0]
    events = search(store, dog, config=SearchConfig(metric="dot"))
    assert [(e.onset, e.score) for e in events] == [(5.0, 3.0), (0.0, 1.0)]


def test_negative_examples_push_rows_away(store, dog, sound, embedded):
    embedded["whine.wav"] = axis(0, (6, 0.3))
    whine = sound("whine.wav", [0.5])
    plain = [e.onset for e in search(store, dog, config=SearchConfig(top=4)) if e.file[0] == "d"]
    config = SearchConfig(top=4, negative_weight=0.9)
    pushed = [e.onset for e in search(store, dog, [whine], config=config) if e.file[0] == "d"]
    assert plain == [0.0, 5.0, 15.0]
    assert pushed[-1] == 5.0 or 5.0 not in pushed
    none = SearchConfig(top=4, negative_weight=0.0)
    assert search(store, dog, whine, config=none) == search(store, dog, config=SearchConfig(top=4))


def test_several_positive_examples_are_averaged_as_directions(store, dog, sound, embedded):
    embedded["loud.wav"] = 100 * axis(1)
    events = search(store, [dog, sound("loud.wav", [0.5])], config=SearchConfig(top=1))
    # The mean of both directions, not the louder one.
    assert places(events) == [("cats.wav", 15.0)]


def test_the_examples_themselves_are_left_out(tmp_path, sound, embedded):
    path = sound("dog.wav", [0.5] * 15)
    embedded["dog.wav"] = axis(0)
    store = make_store(tmp_path / "s", {path: [axis(0), axis(0), axis(1)], "b": [axis(0)]})
    events = search(store, f"{path}:1-4", config=SearchConfig(top=9))
    assert places(events) in [
        [("b", 0.0), (path, 5.0), (path, 10.0)],
        [(path, 5.0), ("b", 0.0), (path, 10.0)],
    ]
    assert places(search(store, f"{path}:4-6")) == [("b", 0.0), (path, 10.0)]


def test_duplicates_in_time_and_copies_are_dropped(store, dog):
    config = SearchConfig(top=4, dedupe_seconds=0.0)
    events = search(store, dog, config=config)
    # The first row of dogs.wav is that of copy.wav, and rows of 0–5 and 5–10 s touch.
    assert places(events) == [
        ("copy.wav", 0.0),
        ("dogs.wav", 5.0),
        ("dogs.wav", 15.0),
        ("cats.wav", 15.0),
    ]
    far = SearchConfig(top=9, dedupe_seconds=100.0, dedupe_similarity=1.0)
    assert sorted(event.file for event in search(store, dog, config=far)) == [
        *("cats.wav", "copy.wav", "dogs.wav")
    ]


def test_more_rows_are_read_until_enough_are_no_duplicates(tmp_path, dog):
    near = [axis(0, (3, 0.001 * i)) for i in range(300)]
    store = make_store(tmp_path / "many", {"a": near, "b": [axis(0, (2, 0.9))], "c": [axis(4)]})
    config = SearchConfig(top=3, dedupe_seconds=0.0, dedupe_similarity=0.95)
    assert [event.file for event in search(store, dog, config=config)][-2:] == ["b", "c"]


def test_dedupe_keeps_the_first_of_each_set():
    events = [sed.Event(t, t + 5, "", 1.0, file) for t, file in [(0, "a"), (6, "a"), (0, "b")]]
    vectors = np.eye(3, dtype=np.float32)
    options = {"similarity": 0.99, "most": 9}
    assert deduplicate(events, vectors, seconds=0.5, **options) == [0, 1, 2]
    assert deduplicate(events, vectors, seconds=1.0, **options) == [0, 2]
    assert deduplicate(events, vectors[[0, 1, 0]], seconds=0.5, **options) == [0, 1]
    assert deduplicate(events, vectors, seconds=0.5, similarity=0.99, most=2) == [0, 1]


def test_clusters_are_found_and_the_row_at_their_centre_stands_for_them():
    generator = np.random.default_rng(5)
    rows = np.concatenate(
        [
            axis(i) + 0.05 * generator.standard_normal((n, DIMENSION))
            for i, n in enumerate([50, 30, 20])
        ]
    ).astype(np.float32)
    rows[60] = axis(1)
    chosen, shares = representatives(rows, 3)
    assert [int(np.argmax(rows[i])) for i in chosen] == [0, 1, 2]
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2])
    centre = rows[50:80].mean(axis=0)
    nearest = 50 + int(np.argmax(rows[50:80] @ centre / np.linalg.norm(rows[50:80], axis=1)))
    assert abs(chosen[1] - nearest) in (0, abs(60 - nearest))
    assert len(representatives(rows[:1].repeat(9, axis=0), 3)[0]) == 1


def test_diverse_results_are_of_different_kinds(tmp_path, dog):
    kinds = [[axis(0, (k, 0.5), (9, 0.01 * i)) for i in range(20)] for k in (1, 2, 3)]
    store = make_store(tmp_path / "kinds", {"a": kinds[0], "b": kinds[1], "c": kinds[2]})
    config = SearchConfig(top=3, diverse=True, candidates=60)
    assert sorted(e.file for e in search(store, dog, config=config)) == ["a", "b", "c"]
    whole = search(store, config=SearchConfig(top=3, diverse=True))
    assert sorted(e.file for e in whole) == ["a", "b", "c"]
    assert [e.score for e in whole] == pytest.approx([1 / 3] * 3)
    assert {e.label for e in whole} == {"sample"}


def test_uncertain_rows_lie_between_the_examples(store, dog, sound, embedded):
    embedded["cat.wav"] = axis(1)
    cat = sound("cat.wav", [0.5])
    config = SearchConfig(top=1, uncertain=True, candidates=4)
    (event,) = search(store, dog, cat, config=config)
    assert places([event]) == [("cats.wav", 15.0)]  # between both axes
    assert event.score == pytest.approx(1 - 0.1 / np.hypot(1, 0.9), abs=1e-3)
    with pytest.raises(UsageError, match="give both, --like and --unlike"):
        search(store, dog, config=config)


def test_wrong_arguments_are_refused(store, dog, tmp_path):
    for options, message in (
        ({"top": 0}, "expected at least 1 result, got 0"),
        ({"metric": "l2"}, "expected the metric cosine or dot, got 'l2'"),
        ({"negative_weight": -1.0}, "a weight of at least 0, got -1"),
        ({"dedupe_seconds": -0.5}, "at least 0 s to dedupe by, got -0.5"),
        ({"dedupe_similarity": 2.0}, "above 0 and up to 1, got 2"),
        ({"candidates": 3}, "at least as many candidates as results, 50, got 3"),
    ):
        with pytest.raises(UsageError, match=message):
            SearchConfig(**options)
    with pytest.raises(UsageError, match="expected a positive example: give --like"):
        search(store)
    with pytest.raises(UsageError, match="a positive example beside 1 negative example"):
        search(store, unlike=dog)
    with pytest.raises(UsageError, match="positive and the negative examples are the same"):
        search(store, dog, dog, config=SearchConfig(negative_weight=1.0))
    with pytest.raises(SedError, match=r"is empty\. Add recordings with `sed embed`"):
        search(make_store(tmp_path / "empty", {}), dog)


def run(*arguments):
    return CliRunner().invoke(app(), ["search", *map(str, arguments)])


def test_the_command_writes_results_as_events(store, dog, tmp_path):
    done = run(store, "--like", dog, "--top", 2)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "file,onset,offset,label,score"
    assert lines[1].split(",")[1:] == ["0.000", "5.000", "dog", "0.9950"]
    wanted = search(store, dog, config=SearchConfig(top=3))
    for name in ("csv", "jsonl"):
        path = tmp_path / f"results.{name}"
        assert run(store, "--like", dog, "--top", 3, "-o", path).exit_code == 0
        assert places(read_events(path, name)) == places(wanted)
    path = tmp_path / "results.parquet"
    assert run(store, "--like", dog, "--top", 3, "-o", path).exit_code == 0
    assert places(read_parquet_events(path)) == places(wanted)
    for name in ("raven", "audacity"):
        path = tmp_path / "results.any"
        assert run(store, "--like", dog, "--top", 3, "-o", path, "--format", name).exit_code == 0
        assert [event.onset for event in read_events(path, name)] == [e.onset for e in wanted]
    done = run(store, "--like", dog, "--format", "audacity")
    assert "Audacity labels do not say in which: choose another format" in done.stderr


def test_the_command_refuses_what_makes_no_sense(store, dog, tmp_path):
    for arguments, message in (
        ((store, "--like", dog, "-o", tmp_path / "x.doc"), "the ending is of no format"),
        ((store, "--like", dog, "--format", "cvs"), "unknown format 'cvs'. Did you mean csv"),
        ((store, "--like", dog, "--dedupe-seconds", 3), "--dedupe-seconds needs --dedupe"),
        ((store, "--like", dog, "--dedupe-similarity", 1), "--dedupe-similarity needs --dedupe"),
        ((store, "--like", dog, "--index", "--exact"), "exclude each other"),
        ((store, "--like", dog, "--format", "parquet"), "parquet needs a file of its own"),
        ((store, "--like", f"{dog}:0-1", "-o", dog, "--format", "csv"), "dog.wav"),
        ((store, "--like", dog, "--top", 0), "expected at least 1 result, got 0"),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, UsageError)
        assert message in str(done.exception)
    assert isinstance(run(tmp_path, "--like", dog).exception, SedError)


def test_info_describes_a_store(store):
    done = CliRunner().invoke(app(), ["info", str(store)])
    lines = done.stdout.splitlines()
    assert lines[0] == f"{store}: a store of embeddings"
    assert lines[1].startswith("  rows      9 of 3 recordings, 0.0 MB")
    assert lines[2] == "  vectors   16 values, mean of the layer features"
    assert lines[3] == "  cut       every 5 s"
    assert lines[5] == "  index     none"


def test_a_model_embeds_the_examples_as_it_embedded_the_store(tmp_path, tiny_checkpoint, noise_wav):
    model = tmp_path / "tiny.safetensors"
    sed.save_checkpoint(tiny_checkpoint, model)
    from sed.events.embedding_store.store import StoreConfig, create_store, recording_written_whole
    from streaming.offline.job_config import model_checksum

    rows = list(sed.embed(noise_wav, model, every_seconds=1.0, engine="torch"))
    config = StoreConfig(
        str(model), model_checksum(model), "features", ("mean",), len(rows[0][1]), "every 1 s"
    )
    create_store(tmp_path / "store", config)
    with recording_written_whole(tmp_path / "store", "noise.wav", config.dimension) as writer:
        writer.write([event for event, _ in rows], np.stack([vector for _, vector in rows]))
    example = tmp_path / "copy.wav"
    example.write_bytes(noise_wav.read_bytes())
    events = sed.search(
        tmp_path / "store", f"{example}:2-3", config=SearchConfig(top=1), engine="torch"
    )
    assert places(events) == [(str(noise_wav), 2.0)]
    assert events[0].score == pytest.approx(1.0, abs=2e-3)
