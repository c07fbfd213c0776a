"""Examples: what names a part of a recording, and what is no good example."""

import math
from pathlib import Path

import numpy as np
import pytest

from sed.errors import RecordingError, UsageError
from sed.events.embedding_store.store import StoreConfig, read_store_config
from sed.events.tracker import Event
from streaming.search import examples
from streaming.search.examples import check_sound, embed_examples, parse_example, same_sound
from tests.streaming.search.conftest import DIMENSION, make_store


@pytest.mark.parametrize(
    ("text", "file", "onset", "offset"),
    [
        ("clip.wav", "clip.wav", 0.0, math.inf),
        ("clip.wav:3.2-5.0", "clip.wav", 3.2, 5.0),
        ("clip.wav:3-5", "clip.wav", 3.0, 5.0),
        (r"C:\sounds\clip.wav", r"C:\sounds\clip.wav", 0.0, math.inf),
        (r"C:\sounds\clip.wav:0-1.5", r"C:\sounds\clip.wav", 0.0, 1.5),
        ("12:30:00.wav", "12:30:00.wav", 0.0, math.inf),
        ("12:30-40.wav:1-2", "12:30-40.wav", 1.0, 2.0),
        ("s3://a/b.wav:1-2", "s3://a/b.wav", 1.0, 2.0),
        ("clip.wav:-1-2", "clip.wav:-1-2", 0.0, math.inf),
        ("clip.wav:nan-2", "clip.wav:nan-2", 0.0, math.inf),
        (":1-2", ":1-2", 0.0, math.inf),
    ],
)
def test_a_range_follows_the_last_colon(text, file, onset, offset):
    assert parse_example(text) == Event(onset, offset, "", 1.0, file)


def test_a_file_with_the_name_of_a_range_is_that_file(tmp_path):
    path = tmp_path / "site:1-2"
    path.touch()
    assert parse_example(path) == Event(0.0, math.inf, "", 1.0, str(path))
    assert parse_example(f"{path}:3-4") == Event(3.0, 4.0, "", 1.0, str(path))


def test_what_follows_a_recording_is_a_range(tmp_path):
    path = tmp_path / "clip.wav"
    path.touch()
    with pytest.raises(UsageError, match=r"a range in seconds, as .*clip\.wav:3\.2-5\.0, got '5'"):
        parse_example(f"{path}:5")


def test_an_empty_range_is_refused():
    with pytest.raises(UsageError, match="a range whose end is after its start, got 5-5 s"):
        parse_example("clip.wav:5-5")


def test_the_sound_of_an_example_is_checked(sound):
    path = sound("x.wav", [0, 0.5, 0.5, 0, 0, 0])
    assert check_sound(parse_example(path)).offset == 6.0
    assert check_sound(parse_example(f"{path}:0.5-6")).offset == 6.0
    with pytest.raises(UsageError, match=r"the example 2\.000–6\.500 s is outside the recording"):
        check_sound(parse_example(f"{path}:2-6.5"))
    with pytest.raises(UsageError, match=r"which ends at 6\.000 s"):
        check_sound(parse_example(f"{path}:7-8"))
    with pytest.raises(RecordingError, match=r"the example 3\.000–5\.000 s is digital silence"):
        check_sound(parse_example(f"{path}:3-5"))
    with pytest.raises(RecordingError, match="digital silence"):
        check_sound(parse_example(sound("silent.wav", [0, 0])))
    with pytest.raises(RecordingError, match="has no channel 2"):
        check_sound(parse_example(path), channel=2)


def test_each_example_gets_its_own_vector(tmp_path, embedded):
    config = read_store_config(make_store(tmp_path / "s", {}))
    embedded |= {"b": np.full(DIMENSION, 2.0), "a": np.full(DIMENSION, 1.0)}
    clips = [Event(0.0, 1.0, "", 1.0, "b"), Event(0.0, 1.0, "", 1.0, "a")]
    assert embed_examples(clips, config)[:, 0].tolist() == [2.0, 1.0]
    with pytest.raises(UsageError, match=r"c: the example 0\.000–1\.000 s is too short"):
        embed_examples([*clips, Event(0.0, 1.0, "", 1.0, "c")], config)


def test_another_model_than_that_of_the_store_is_refused(tmp_path, embedded, monkeypatch):
    config = read_store_config(make_store(tmp_path / "s", {}))
    clip = Event(0.0, 1.0, "", 1.0, "a")
    embedded["a"] = np.ones(DIMENSION)
    other = tmp_path / "other.safetensors"
    other.touch()
    monkeypatch.setattr(examples, "model_checksum", lambda model: "0" * 12)
    with pytest.raises(UsageError, match=r"other\.safetensors: is not the model that the store"):
        embed_examples([clip], config, model=other)
    with pytest.raises(UsageError, match=r"none\.onnx: no such model\. Check the name"):
        embed_examples([clip], config, model="none.onnx")
    Path(config.model).unlink()
    with pytest.raises(UsageError, match=r"the model of the store is not there\. Give its path"):
        embed_examples([clip], config)


def test_rows_of_the_examples_are_known_by_file_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    example = Event(3.0, 6.0, "", 1.0, "a.wav")
    for file in ("a.wav", "./a.wav", str(tmp_path / "a.wav"), "link.wav"):
        assert same_sound(Event(5.0, 10.0, "", 1.0, file), [example])
        assert not same_sound(Event(6.0, 11.0, "", 1.0, file), [example])
    assert not same_sound(Event(5.0, 10.0, "", 1.0, "b.wav"), [example])


def test_a_name_of_a_model_elsewhere_is_passed_on(embedded):
    config = StoreConfig("hf:a/b", "5" * 12, "features", ("mean",), DIMENSION, "clips")
    embedded["a"] = np.ones(DIMENSION)
    assert embed_examples([Event(0.0, 1.0, "", 1.0, "a")], config).shape == (1, DIMENSION)


def test_the_default_model_of_an_older_store_is_found_by_its_checksum(embedded, monkeypatch):
    config = StoreConfig("default", "5" * 12, "features", ("mean",), DIMENSION, "clips")
    embedded["a"] = np.ones(DIMENSION)
    clip = Event(0.0, 1.0, "", 1.0, "a")
    checksums = {"everyday": "5" * 12, "general": "7" * 12, "default": "7" * 12}
    monkeypatch.setattr(examples, "model_checksum", checksums.__getitem__)
    assert embed_examples([clip], config).shape == (1, DIMENSION)
    checksums["everyday"] = "8" * 12
    with pytest.raises(UsageError, match="default: is not the model that the store was made with"):
        embed_examples([clip], config)
