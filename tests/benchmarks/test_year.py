"""A simulated year, or some days of it: nothing that was reported is lost or doubled."""

import os

import pytest

from benchmarks.live.year import make_plan, year

if os.name != "posix":
    pytest.skip("kills processes as POSIX does", allow_module_level=True)


def check(found):
    names = ("lost", "doubled", "reported_twice", "wrong_times", "only_in_files")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0)
    assert found["database_is_sound"]
    # A kill comes between the database and the log of what was reported.
    assert 0 <= found["in_database"] + found["in_copies"] - found["reported"] <= found["kills"]
    assert found["clips_mb"] <= found["clips_max_mb"]


def test_a_day_with_a_kill_and_a_lost_device():
    found = year(days=1, per_day=60.0, n_kills=1, n_losses=1, has_page=False)
    check(found)
    assert (found["starts"], found["kills"], found["losses"]) == (2, 1, 1)
    assert found["reported"] > 5


@pytest.mark.slow
def test_a_month_with_damage_and_wrong_clocks():
    found = year(days=30, per_day=60.0, n_kills=14, n_losses=4, has_page=False)
    names = ("lost", "doubled", "reported_twice", "wrong_times")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0)
    assert found["clock_steps_in_database"] >= 6
    assert found["undated"] > 0
    assert found["database_is_sound"]


def test_the_plan_of_a_year():
    plan = make_plan(365, 0, 50, 20)
    assert (len(plan.kills), len(plan.losses), len(plan.corruptions)) == (50, 20, 3)
    n_set = sum(delay < 10**9 for delay in plan.wrong_starts.values())
    assert len(plan.steps) + n_set == 10
