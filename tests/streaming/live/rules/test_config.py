"""Rules as a configuration file has them."""

import tomllib

import pytest

from sed.errors import UsageError
from streaming.live.rules.config import rules_from_tables


def rules(text):
    return rules_from_tables(tomllib.loads(text), "garden.toml")


def test_a_rule_is_read_and_one_name_needs_no_list():
    (rule,) = rules('[[rules]]\nclasses = "dog"\nthreshold = 1\nhours = ["22:00-06:00"]').rules
    assert (rule.name, rule.classes, rule.threshold, rule.sinks) == ("dog", ("dog",), 1, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rules]]\nclases = 1", "garden.toml: unknown key 'clases' in rule 1. Did you mean cl"),
        ('[[rules]]\nname = "a"\nthreshold = 2', "rule a: expected a threshold from 0 to 1, got 2"),
        ('[[rules]]\nthreshold = "high"', "expected rule 1.threshold as a number, got 'high'"),
        ("[[rules]]\nclasses = [1]", "rule 1: expected classes as a list of texts, got (1,)"),
        ('[[rules]]\nsinks = ["mqt"]', "unknown sink 'mqt'. Did you mean mqtt?"),
        ('[[rules]]\nhours = "sunset to 23:00"', "the rule 'all classes' needs sunrise or sunset"),
        ('[[rules]]\nhours = "late"', "rule 1: expected hours as '22:00 to 06:00'"),
        ('[[rules]]\nat = "start"', "unknown moment at = 'start'"),
        ('[[rules]]\nat = "onset"\nmin_duration_seconds = 1', 'wait for the end: use at = "event"'),
        ('[[rules]]\nsinks = "on_onset"', 'on_onset gets events only with at = "onset"'),
        ("[[rules]]\nunless_after_seconds = 3", "need unless = [...]"),
        ("[[rules]]\nconfirmations = 0", "expected confirmations of 1 or more"),
        ("[[rules]]\ncooldown_seconds = -1", "expected cooldown_seconds of 0 or more, got -1"),
        ("[[rules]]\n[[rules]]", "two rules are named 'all classes'"),
        ("rules = 3", "expected rules as tables: [[rules]]"),
        ("[location]\nlatitude = 95", "expected a latitude from -90 to 90"),
    ],
)
def test_what_cannot_work_is_refused_with_the_rule_and_the_remedy(text, message):
    with pytest.raises(UsageError) as refused:
        rules(text)
    assert message in str(refused.value)


def test_alerts_that_no_rule_names_are_not_filtered():
    assert rules('[[rules]]\nsinks = "push"').filtered_sinks == {"push"}
    assert "mqtt" in rules("[[rules]]").filtered_sinks
    assert rules("").filtered_sinks == frozenset()
