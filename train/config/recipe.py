"""Read recipes: TOML files that name only what they change.

The tables of a recipe are the fields of `TrainConfig`, and ``extends`` names another recipe to
start from. An unknown key is an error.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sed.config import config_from_dict
from sed.errors import UsageError
from sed.models.backbone import ModelConfig
from sed.text import near, printable
from train.config.train import TrainConfig

RECIPES = Path(__file__).parents[1] / "recipes"

# Tables of recipes of version 1, and those that hold their keys now.
OLD_TABLES = {
    "learning": "[optim], [loss] and [checkpoint]",
    "picture": "[spectrogram]",
    "events": "[post_processing]",
    "front_end": "[log_mel]",
}


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(
    name: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    init_weights: str | None = None,
    seed: int | None = None,
) -> TrainConfig:
    """Return a recipe by name, or from a TOML file by path.

    Parameters
    ----------
    name
        Name of a recipe that ships with the package, or a path that ends in .toml.
    overrides
        Changes to it, each ``table.key=value`` with the value as in TOML; the quotes of a plain
        string may be left out: ``model.backbone=resnet34``.
    epochs, init_weights, seed
        In place of the recipe's ``optim.epochs``, ``checkpoint.init_weights`` and ``seed``; None
        keeps them.

    Raises
    ------
    UsageError
        If there is no such recipe, or a key or value of it is not possible.
    """
    try:
        values = _recipe_values(name, Path())
        changes: dict[str, Any] = {}
        for override in overrides:
            changes = _merged(changes, _parse_override(override))
        if seed is not None:
            changes["seed"] = seed
        if epochs is not None:
            changes = _merged(changes, {"optim": {"epochs": epochs}})
        if init_weights is not None:
            changes = _merged(changes, {"checkpoint": {"init_weights": init_weights}})
        values = _overridden(values, changes)
        if old := [table for table in OLD_TABLES if table in values]:
            raise ValueError(
                f"[{old[0]}] is of a recipe of version 1; its keys are in {OLD_TABLES[old[0]]} "
                "now. See sed train --show-config"
            )
        return config_from_dict(TrainConfig, values)
    except RecursionError as error:
        reason = "nested too deeply, or extends itself"
        raise UsageError(f"recipe {printable(os.fspath(name))}: {reason}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"recipe {printable(os.fspath(name))}: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    """Return the tables that ``table.key=value`` stands for."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected a setting as table.key=value, got {text!r}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        pass
    try:
        return tomllib.loads(f"{key} = {json.dumps(value.strip())}")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"cannot read the setting {text!r}: {error}") from error


def _recipe_values(name: str | os.PathLike[str], folder: Path) -> dict[str, Any]:
    """Return the tables of a recipe merged over those of the one that it extends."""
    path = folder / name
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
        if not os.path.isfile(path):
            raise UsageError(f"there is none. {near(str(name), recipe_names())}")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}") from error
    base = _recipe_values(values.pop("extends"), path.parent) if "extends" in values else {}
    return _overridden(base, values)


def _overridden(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with changes; with another backbone, without the arguments of the old one."""
    result = _merged(base, values)
    old, new = base.get("model"), values.get("model")
    if isinstance(old, dict) and isinstance(new, dict):
        backbone = old.get("backbone", ModelConfig.backbone)
        if new.get("backbone", backbone) != backbone and "backbone_args" not in new:
            result["model"].pop("backbone_args", None)
    return result


def _merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of one recipe with those of another over them."""
    result = dict(base)
    for key, value in values.items():
        is_table = isinstance(value, dict) and isinstance(base.get(key, {}), dict)
        result[key] = base.get(key, {}) | value if is_table else value
    return result
