"""Rules decide on a stream of events, and on nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sed.errors import MissingExtraError
from streaming.live.rules.config import RuleConfig, RulesConfig
from streaming.live.rules.rules import Rules
from streaming.live.rules.schedule import Location
from streaming.live.rules.state import Sound

START = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
LABELS = ("dog", "gunshot", "car")
KINDS = {"animal": {"dog"}}


def expand(names):
    return set().union(*(KINDS.get(name, {name}) for name in names))


def sound(label, start, duration=1.0, score=0.9, source="garden", zone=UTC):
    begin = START + start
    return Sound(
        label,
        source,
        start,
        begin,
        begin + duration,
        score,
        datetime.fromtimestamp(begin, UTC).astimezone(zone),
    )


def alerts(rule, sounds):
    """Return the onsets, in seconds after the start, of the events that a rule passes on."""
    rules = Rules(RulesConfig((rule,)), expand)
    found = [*rules.feed(sorted(sounds, key=lambda each: each.start)), *rules.flush()]
    return [round(alert.sound.start - START, 3) for alert in found]


def dogs(*starts, **given):
    return [sound("dog", start, **given) for start in starts]


def test_class_kind_score_duration_and_input_are_looked_at():
    sounds = [
        *dogs(0),
        sound("car", 10),
        *dogs(20, score=0.3),
        *dogs(30, duration=0.2),
        *dogs(40, source="Front door"),
    ]
    assert alerts(RuleConfig(), sounds) == [0, 10, 20, 30, 40]
    assert alerts(RuleConfig(classes=("animal",)), sounds) == [0, 20, 30, 40]
    assert alerts(RuleConfig(classes=("dog",), threshold=0.9), sounds) == [0, 30, 40]
    assert alerts(RuleConfig(min_duration_seconds=1.0), sounds) == [0, 10, 20, 40]
    assert alerts(RuleConfig(inputs=("front",)), sounds) == [40]


def test_confirmations_are_events_within_a_time():
    rule = RuleConfig(classes=("dog",), confirmations=3, within_seconds=10.0)
    assert alerts(rule, dogs(0, 4, 11, 12, 14, 40)) == [12, 14]
    each = RuleConfig(confirmations=2, within_seconds=10.0, per_class=True)
    assert alerts(each, [*dogs(0), sound("car", 2), *dogs(4)]) == [4]
    together = RuleConfig(confirmations=2, within_seconds=10.0)
    assert alerts(together, [*dogs(0), sound("car", 2), *dogs(4)]) == [2, 4]


def test_the_cool_down_begins_with_an_alert():
    rule = RuleConfig(cooldown_seconds=10.0)
    assert alerts(rule, dogs(0, 5, 9.5, 10, 15, 21)) == [0, 10, 21]
    # A clock that is set back by a day silences nothing for a day.
    rules = Rules(RulesConfig((rule,)), expand)
    assert [len(rules.end(each)) for each in dogs(100_000, 13_600, 13_605)] == [1, 1, 0]


def test_the_first_of_the_day_is_that_of_the_local_day():
    auckland = ZoneInfo("Pacific/Auckland")  # UTC+13, so that its day begins at 11:00 UTC
    rule = RuleConfig(first_of_day=True)
    hours = [3600 * h for h in (1, 5, 10.9, 11.1, 20, 35.1)]
    assert alerts(rule, dogs(*hours, zone=auckland)) == [3600, 11.1 * 3600, 35.1 * 3600]


def test_rare_are_events_with_few_before_in_so_many_days():
    day = 86_400
    rule = RuleConfig(rare_fewer_than=2, rare_days=7.0)
    assert alerts(rule, dogs(0, day, 2 * day, 7.5 * day, 20 * day)) == [0, day, 20 * day]
    # What confirms an event now does not make it frequent.
    rule = RuleConfig(rare_fewer_than=1, confirmations=2, within_seconds=60.0)
    assert alerts(rule, dogs(0, 30, day, day + 30)) == [30]


@pytest.mark.parametrize(
    ("before", "after", "passed"), [(0, 0, [20, 40]), (3, 0, [40]), (0, 3, [20]), (3, 3, [])]
)
def test_a_bark_nearby_prevents_a_gunshot(before, after, passed):
    sounds = [
        sound("dog", 9.5, 3.0), sound("gunshot", 10),  # at the same time
        sound("dog", 17), sound("gunshot", 20),  # two seconds before
        sound("gunshot", 40), sound("dog", 43),  # two seconds after
    ]  # fmt: skip
    rule = RuleConfig(
        classes=("gunshot",),
        unless=("animal",),
        unless_before_seconds=before,
        unless_after_seconds=after,
    )
    assert alerts(rule, sounds) == passed
    elsewhere = [each._replace(source="street") if each.label == "dog" else each for each in sounds]
    assert alerts(rule, elsewhere) == [10, 20, 40]


def test_at_the_onset_an_event_is_decided_before_it_ends():
    rules = Rules(RulesConfig((RuleConfig(at="onset"),)), expand)
    long = sound("dog", 0, 300.0)
    assert [alert.moment for alert in rules.start(long._replace(stop=long.start))] == [START]
    assert rules.end(long) == []


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
events = st.lists(
    st.builds(
        sound,
        st.sampled_from(LABELS),
        st.integers(0, 400_000).map(lambda n: n / 2),
        st.sampled_from([0.25, 1.0, 90.0]),
        st.sampled_from([0.3, 0.9]),
        st.sampled_from(["garden", "street"]),
        # Two days on which clocks change lie in no zone at once; the offset alone matters.
        st.sampled_from([UTC, ZoneInfo("Europe/Berlin")]),
    ),
    max_size=40,
    unique_by=lambda each: each.start,
).map(lambda sounds: sorted(sounds, key=lambda each: each.start))
settings_of_rules = st.builds(
    RuleConfig,
    classes=st.sampled_from([(), ("dog",), ("animal", "car")]),
    threshold=st.sampled_from([0.0, 0.5]),
    unless=st.sampled_from([(), ("gunshot",)]),
    confirmations=st.integers(1, 3),
    within_seconds=st.sampled_from([60.0, 50_000.0]),
    rare_fewer_than=st.integers(0, 2),
    rare_days=st.sampled_from([0.5, 1.5]),
    first_of_day=st.booleans(),
    cooldown_seconds=st.sampled_from([0.0, 300.0, 40_000.0]),
    per_class=st.booleans(),
)


@quick
@given(settings_of_rules, events)
def test_no_alert_comes_within_the_cool_down_and_each_is_of_an_event_that_fits(rule, sounds):
    rules = Rules(RulesConfig((rule,)), expand)
    found = list(rules.feed(sounds))
    moments = {}
    for alert in found:
        key = alert.sound.label if rule.per_class else ""
        assert alert.moment - moments.get(key, -1e12) >= rule.cooldown_seconds
        moments[key] = alert.moment
        assert alert.sound.score >= rule.threshold
        assert not rule.classes or alert.sound.label in expand(rule.classes)
    assert [alert.moment for alert in found] == sorted(alert.moment for alert in found)


@quick
@given(settings_of_rules, events, st.integers(0, 200_000))
def test_cut_anywhere_and_restored_the_decisions_are_the_same(rule, sounds, cut):
    config = RulesConfig((rule,))
    cut += START
    # An event that lasts at the cut is ended there by the process that ends.
    sounds = [each for each in sounds if not each.start < cut <= each.stop]
    whole = list(Rules(config, expand).feed(sounds))
    before = [each for each in sounds if each.stop < cut]
    first = Rules(config, expand)
    found = list(first.feed(before))
    second = Rules(config, expand)
    last = {}
    for alert in found:
        last[alert.rule, alert.sound.label] = alert.moment
    kept = [each for each in before if each.start >= cut - second.memory_seconds]
    second.restore(kept, [(*key, at) for key, at in last.items()])
    found += second.feed([each for each in sounds if each.start >= cut])
    assert found == whole


@quick
@given(settings_of_rules, events)
def test_rules_do_not_depend_on_each_other(rule, sounds):
    other = RuleConfig(name="other", cooldown_seconds=7.0)
    alone = list(Rules(RulesConfig((rule,)), expand).feed(sounds))
    both = list(Rules(RulesConfig((other, rule)), expand).feed(sounds))
    assert [alert for alert in both if alert.rule == rule.name] == alone


def test_adopted_by_new_rules_a_rule_goes_on_unless_it_is_another_one():
    rule = RuleConfig("a", confirmations=2, within_seconds=100.0, cooldown_seconds=600.0)
    old = Rules(RulesConfig((rule,)), expand)
    assert len(list(old.feed(dogs(0, 50, 640)))) == 1
    for changed, n_alerts in ((rule, 1), (replace(rule, within_seconds=101.0), 0)):
        new = Rules(RulesConfig((changed,)), expand)
        new.adopt(old)
        assert len(list(new.feed(dogs(660)))) == n_alerts


def test_the_alerts_that_were_sent_count_and_not_those_that_a_part_of_the_past_would_cause():
    hour = 3_600
    rule = RuleConfig("a", cooldown_seconds=2.0 * hour)
    assert alerts(rule, dogs(0, hour, 8_000)) == [0, 8_000]
    rules = Rules(RulesConfig((rule,)), expand)
    rules.restore(dogs(hour), [("a", "dog", START + 1.0)])
    assert len(list(rules.feed(dogs(8_000)))) == 1


def test_a_day_of_25_hours_has_one_first_event():
    berlin = ZoneInfo("Europe/Berlin")
    midnight = datetime(2026, 10, 25, tzinfo=berlin).timestamp() - START
    starts = [midnight + timedelta(hours=h).total_seconds() for h in (0.1, 2.5, 3.5, 24.5, 25.1)]
    found = alerts(RuleConfig(first_of_day=True), dogs(*starts, zone=berlin))
    assert found == [pytest.approx(starts[0], abs=0.01), pytest.approx(starts[4], abs=0.01)]


def test_without_astral_the_extra_is_named_before_it_listens(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rule = RuleConfig(hours=("sunset to sunrise",))
    with pytest.raises(MissingExtraError, match=r"pip install 'sed-engine\[sun\]'"):
        Rules(RulesConfig((rule,), Location(52.5, 13.4)), expand)
