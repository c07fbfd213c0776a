"""Find the classes and inputs that rules are about."""

from __future__ import annotations

from collections.abc import Sequence

from sed.errors import UsageError
from sed.events.hierarchy import choose_classes
from sed.models.spec import ModelSpec
from sed.text import near
from streaming.live.listener import Listener
from streaming.live.rules.config import RulesConfig
from streaming.live.rules.rules import Expand, Rules


def live_rules(config: RulesConfig, listener: Listener, labels: Sequence[str]) -> Rules:
    """Return rules for the classes and inputs of a listener.

    Parameters
    ----------
    config
        The rules.
    listener
        Has the inputs and the model.
    labels
        Labels that its events have.

    Raises
    ------
    UsageError
        If a class or an input of a rule does not exist.
    """
    names = [source.name for source in listener.status().sources]
    for rule in config.rules:
        for part in rule.inputs:
            if not any(part.casefold() in name.casefold() for name in names):
                raise UsageError(
                    f"rule {rule.name}: there is no input {part!r}. {near(part, names)}"
                )
    return Rules(config, expander(listener.engine.spec, labels))


def expander(spec: ModelSpec, reported: Sequence[str]) -> Expand:
    """Return what finds the labels of classes and kinds.

    Parameters
    ----------
    spec
        The model.
    reported
        Labels that events may have beside those of the model, such as kinds and ``unknown``.
    """

    def expand(names: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for name in names:
            if name in reported:
                found.add(name)
                if name not in (spec.hierarchy.names if spec.hierarchy else spec.labels):
                    continue
            numbers = choose_classes(spec.labels, spec.resolve([name]), spec.hierarchy)
            found |= {spec.labels[number] for number in numbers}
        return found

    return expand
