"""The fields of configs, and their documentation."""

import dataclasses
from dataclasses import dataclass

import pytest

from sed.config import config_from_dict, field_docs
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig


@dataclass(frozen=True)
class Small:
    """A config with comments."""

    rate: int = 1  # samples per second
    bare: float = 0.5


@pytest.mark.parametrize("kind", [LogMelConfig, ModelConfig, TrackerConfig])
def test_every_field_is_documented_where_help_shows_it(kind):
    docs = field_docs(kind)
    assert set(docs) == {field.name for field in dataclasses.fields(kind)}
    assert all(" " in text for text in docs.values())


def test_comments_document_fields_too():
    assert field_docs(Small) == {"rate": "samples per second"}


def test_values_of_another_type_are_refused():
    assert config_from_dict(Small, {"bare": 2}) == Small(bare=2)
    with pytest.raises(ValueError, match="expected rate as a whole number, got 'x'"):
        config_from_dict(Small, {"rate": "x"})
    with pytest.raises(ValueError, match=r"unknown key 'rat' in top. Did you mean rate"):
        config_from_dict(Small, {"rat": 1}, "top")
