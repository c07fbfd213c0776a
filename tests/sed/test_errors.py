"""Errors come whole out of worker processes, which send them as pickles."""

import errno
import importlib
import pickle
import re

import pytest

from tests.conftest import ROOT

# What constructors take; of others a text.
ARGUMENTS = {
    "RecordingError": ("a.wav", "is empty."),
    "DamagedRecordingError": ("a.wav", 1.25, "is cut off there."),
    "StoppedError": ("a.wav", 1.25, "is cut off there."),
    "NoSoundError": ("a.wav", "is silent."),
    "RemoteError": ("s3://a.wav", "refused", 503, 2.5),
    "OutputError": ("out", OSError(errno.ENOSPC, "No space left on device")),
    "MissingExtraError": ("reading", "av", ", or leave it"),
}


def error_classes():
    """Return module and name of each class of errors in the source."""
    lines = [
        (".".join(path.relative_to(ROOT).with_suffix("").parts), *match)
        for folder in ("sed", "streaming", "train")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in re.findall(r"^class (\w+)\((\w+)\):", path.read_text("utf-8"), re.MULTILINE)
    ]
    bases, n_before = {"SedError", "UsageError"}, 0
    while len(bases) > n_before:
        n_before = len(bases)
        bases |= {name for _, name, base in lines if base in bases}
    return [(module, name) for module, name, _ in lines if name in bases]


@pytest.mark.parametrize(("module", "name"), error_classes())
def test_an_error_survives_a_pickle(module, name):
    error = getattr(importlib.import_module(module), name)(*ARGUMENTS.get(name, ("a text",)))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert {key: repr(value) for key, value in vars(copy).items()} == {
        key: repr(value) for key, value in vars(error).items()
    }


def test_the_classes_are_found():
    names = {name for _, name in error_classes()}
    assert set(ARGUMENTS) <= names
    assert {"SedError", "UsageError", "DeviceError", "DatabaseError"} <= names
