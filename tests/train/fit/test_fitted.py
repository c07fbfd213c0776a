import json
from hashlib import sha256

import numpy as np
import pytest
import safetensors.numpy

from sed.errors import CheckpointError, OutputError
from sed.models.checkpoint import save_checkpoint
from train.fit.embeddings import Encoder
from train.fit.estimators import fit_arrays
from train.fit.fitted import FittedModel, encoder_sha256, load_fitted, save_fitted
from train.fit.vectors import VectorHead

PARAMS = {"n_neighbors": 2}


@pytest.fixture
def saved(tiny_checkpoint, tmp_path):
    """Return the path of a head for vectors of three numbers."""
    base = tmp_path / "base.safetensors"
    save_checkpoint(tiny_checkpoint, base)
    x = np.random.default_rng(0).standard_normal((9, 3))
    head = VectorHead("knn", fit_arrays("knn", x, x[:, 0], PARAMS))
    encoder = Encoder(str(base), pool=("mean",))
    model = FittedModel(
        encoder, encoder_sha256(str(base)), "regress", "snr", (), "knn", head, metrics={"rmse": 1.0}
    )
    return save_fitted(model, tmp_path / "snr")


def test_a_head_is_loaded_as_it_was_saved(saved):
    model = load_fitted(saved)
    assert (model.kind, model.target, model.metrics) == ("knn", "snr", {"rmse": 1.0})
    assert model.vectors.n_features == 3
    with pytest.raises(CheckpointError, match="for 3 features, and the encoder gives 4"):
        model.predict([np.zeros(4, np.float32)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"../snr.safetensors": "0"}}, "unexpected file name"),
        ({"files": {"/etc/passwd": "0"}}, "unexpected file name"),
        ({"files": {"..": "0"}}, "not found"),
        ({"files": {}}, "do not fit together"),
        ({"files": ["snr.safetensors"]}, "do not fit together"),
        ({"labels": ["x", "y"]}, "gives 1 numbers for 2 labels"),
        ({"head": "oracle"}, "unknown head"),
        ({"head": "mlp"}, "do not fit together"),
        ({"frames": {"kind": "linear", "n_classes": 1}}, "do not fit together"),
        ({"format_version": 2}, "format version 2"),
    ],
)
def test_changed_metadata_are_refused(saved, changes, message):
    metadata = json.loads(saved.read_text("utf-8"))
    saved.write_text(json.dumps(metadata | changes))
    with pytest.raises(CheckpointError, match=message):
        load_fitted(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"inverse_std": np.ones(2)},
        {"values": np.ones(4)},
        {"n_neighbors": np.zeros(0)},
        {"mean": np.array(1.0)},
        {"values": np.full(9, np.nan)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(saved, changes):
    arrays = safetensors.numpy.load_file(saved.with_suffix(".safetensors"))
    content = safetensors.numpy.save(arrays | changes)
    saved.with_suffix(".safetensors").write_bytes(content)
    metadata = json.loads(saved.read_text("utf-8"))
    metadata["files"]["snr.safetensors"] = sha256(content).hexdigest()
    saved.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match="do not fit together"):
        load_fitted(saved)


def test_a_folder_that_cannot_be_made_is_an_error_of_the_output(saved):
    with pytest.raises(OutputError, match="cannot write"):
        save_fitted(load_fitted(saved), saved / "below" / "m")


def test_the_default_encoder_of_an_older_head_is_found_by_its_checksum(saved):
    metadata = json.loads(saved.read_text("utf-8"))
    encoder = {"model": "default", "sha256": encoder_sha256("everyday")}
    saved.write_text(json.dumps(metadata | {"encoder": encoder}))
    assert load_fitted(saved).encoder.model == "everyday"
    saved.write_text(json.dumps(metadata | {"encoder": encoder | {"sha256": "0" * 64}}))
    with pytest.raises(CheckpointError, match="fitted to another encoder than default is now"):
        load_fitted(saved)
