"""Metadata of a model are read with sane numbers and clean text, or refused with the number."""

import json

import numpy as np
import pytest

from sed.errors import CheckpointError, SedError
from sed.models.bounds import RANGES, check_metadata
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.models.metadata import read_metadata
from sed.models.registry import SHIPPED, SHIPPED_FOLDER
from streaming.cli.info import describe

ODD = (b"9" * 400, b"[" * 2_000, b"null", b"-")
WRONG = (1e30, -1e30, 10**400, float("nan"), float("inf"), True, "7", [7, 1e30], {})


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_checkpoint):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


@pytest.fixture
def edited(saved):
    """Return what loads the tiny model with another value somewhere in its JSON."""
    json_path = saved.with_suffix(".json")
    before = json_path.read_text("utf-8")

    def edit(value, *keys, load=load_checkpoint):
        metadata = json.loads(before)
        table = metadata
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value
        json_path.write_text(json.dumps(metadata), "utf-8")
        return load(saved)

    yield edit
    json_path.write_text(before, "utf-8")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_models_of_the_package_are_far_within(name):
    metadata = json.loads((SHIPPED_FOLDER / f"{name}.json").read_text("utf-8"))
    check_metadata(metadata)
    metadata["model"]["backbone_args"] = {"output_stride": 8, "drop_rate": 0.1, "pad_type": "same"}
    metadata["log_mel"] |= {"n_fft": 4_096, "n_mels": 256, "sample_rate": 500_000}
    check_metadata(metadata)


@pytest.mark.parametrize(
    ("table", "key"),
    [(t, k) for t, keys in RANGES.items() for k in keys if t in ("log_mel", "model")]
    + [("post_processing", k) for k in RANGES["post_processing"]]
    + [("", "window_seconds")],
)
def test_each_number_is_refused_by_name_where_no_model_has_it(edited, table, key):
    for value in WRONG:
        if value == [7, 1e30] and table == "post_processing":
            value = [0.5, 1e30, 0.5]
        keys = (table, key) if table else (key,)
        with pytest.raises(CheckpointError, match=rf"tiny\.safetensors: .*{key}.* copy both files"):
            edited(value, *keys)


@pytest.mark.parametrize(
    ("value", "keys", "message"),
    [
        (64, ("model", "n_heads"), "no heads.1.classes.weight of 3 rows"),
        (60_000, ("model", "hidden"), "no hidden.weight of 60,000 rows"),
        ([f"c{n}" for n in range(50_000)], ("labels",), "no heads.0.classes.weight of 50,000 rows"),
        ({"width": 1e9}, ("model", "backbone_args"), "backbone_args.width is 1000000000.0"),
        ([{"kind": "mlp", "hidden": 60_000}], ("added_heads",), "of 2 rows"),
        ([{"kind": "knn", "n_examples": 10**12}], ("added_heads",), "added_heads.n_examples is"),
        ([{}] * 2_000, ("added_heads",), "added_heads as a list of at most 1,000"),
        ("wren", ("labels",), "labels as a list of names"),
        ([1, 2, 3], ("labels",), "labels as a list of names"),
        (600, ("window_seconds",), "window of 600 s"),
        ([], ("log_mel",), "a table for 'log_mel'"),
        (None, ("weights",), "the weights are not those that"),
    ],
)
def test_what_takes_more_memory_than_the_weights_is_refused(edited, value, keys, message):
    if keys == ("window_seconds",):
        edited(48_000, "log_mel", "sample_rate", load=lambda _: None)
        metadata = {"window_seconds": 600, "log_mel": {"sample_rate": 10_000_000}}
        with pytest.raises(ValueError, match=message):
            check_metadata(metadata)
        return
    with pytest.raises(CheckpointError, match=message):
        edited(value, *keys)


def test_text_of_others_steers_no_terminal(edited, saved):
    """In every command: the metadata are read in one place."""
    hostile = "a\x1b]0;x\x07\x9b2J\u202e"
    edited([hostile, "b\nc", "d"], "labels", load=lambda _: None)
    assert read_metadata(saved)["labels"][0] == r"a\x1b]0;x\x07\x9b2J\u202e"
    lines = describe(saved)[0].splitlines()
    assert lines[-1].endswith(r"classes: a\x1b]0;x\x07\x9b2J\u202e, 'b\nc', d")
    edited({"author": hostile, hostile: "x\ny"}, "data", load=lambda _: None)
    text, _ = describe(saved)
    assert text.replace("\n", "").isprintable()
    assert r"x\ny" in text


@pytest.mark.parametrize("n_cases", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_any_damage_of_the_json_is_an_error_of_ours(saved, n_cases, monkeypatch):
    """Numbers, keys and bytes are changed at random; the model is read, or refused."""
    json_path = saved.with_suffix(".json")
    before = json_path.read_bytes()
    generator = np.random.default_rng(0)
    n_refused = 0
    monkeypatch.setattr("sed.models.checkpoint.check_weights", lambda *_: None)
    try:
        for _ in range(n_cases):
            damaged = bytearray(before)
            for _ in range(generator.integers(1, 4)):
                place = int(generator.integers(len(damaged)))
                kind = generator.integers(4)
                if kind == 0:
                    damaged[place] = generator.integers(256)
                elif kind == 1:
                    del damaged[place : place + int(generator.integers(1, 60))]
                elif kind == 2:
                    damaged[place:place] = generator.choice(
                        [b"9" * 400, b"[" * 2_000, b"null", b"-"]
                    )
                else:
                    damaged[place:place] = damaged[place : place + 40]
            json_path.write_bytes(damaged)
            try:
                describe(saved)
                read_metadata(saved)
            except SedError:
                n_refused += 1
    finally:
        json_path.write_bytes(before)
    assert n_refused > n_cases // 2
