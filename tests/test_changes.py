"The demo shop changes as it is said: the truth of every change, held against what its visitors do."

from functools import lru_cache

import polars as pl
import pytest
from conftest import here

from clickstream_conv.demo.changes import (
    change_limit,
    changed_shop,
    CHANGES,
    CONCEPT,
    simulate_change,
    standing_still,
    TRACKER,
)
from clickstream_conv.demo.limit import best_prediction
from clickstream_conv.demo.shop import make_shop, microseconds
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.pipeline.source_commands import app

LANDMARKS = [1, 3]
GIVEN = dict(sessions=20_000, seed=3, start="2026-05-05", days=60, at="2026-05-06")
WHEN = {name: GIVEN[name] for name in ("start", "days", "at")}
FOLLOWED = [name for name, change in CHANGES.items() if change.kind != TRACKER]
FAULTS = [name for name, change in CHANGES.items() if change.kind == TRACKER]


@lru_cache
def changed_log(name, slow=False):
    "A log that is changed on its second day."
    return simulate_change(name, **GIVEN, slow=slow)


def errors_away(log, limit):
    "Standard errors between buyers that were promised and that came, at each landmark."
    bought = (pl.col("event") == "purchase").any().cast(pl.Float64).alias("bought")
    both = limit.join(log.group_by("session_id").agg(bought), on="session_id")
    chance = pl.col("probability")
    gap = (pl.col("bought") - chance).sum() / (chance * (1 - chance)).sum().sqrt()
    return both.group_by("landmark").agg(gap.alias("gap"))["gap"].to_list()


@pytest.mark.parametrize("name, slow", [*((name, False) for name in FOLLOWED), ("checkout", True)])
def test_the_limit_of_the_changed_shop_is_right(name, slow):
    log = changed_log(name, slow)
    found = errors_away(log, change_limit(log, LANDMARKS, name, **WHEN, slow=slow))
    assert all(abs(error) < 4 for error in found), found


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_old_limit_stays_right_but_for_concept_drift(name):
    log = changed_log(name).with_columns(pl.col("device").replace("tv", "tablet"))
    found = errors_away(log, best_prediction(log, LANDMARKS, standing_still(make_shop())))
    if CHANGES[name].kind == CONCEPT:
        assert all(error < -8 for error in found), found
    else:
        assert all(abs(error) < 4 for error in found), found


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_tracker_changes_the_log_and_not_what_visitors_do(name):
    log, steady = changed_log(name), changed_log("steady")
    bought = [frame.filter(pl.col("event") == "purchase").drop("step") for frame in (log, steady)]
    assert bought[0].drop("channel").equals(bought[1].drop("channel"))
    early = steady["t"] < microseconds(GIVEN["at"])
    assert not log.equals(steady) and early.any()
    day = pl.col("t").min().over("session_id") < microseconds(GIVEN["at"])
    assert log.filter(day).equals(steady.filter(day))


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_seed_gives_the_same_events_and_the_demos_columns(name):
    log = simulate_change(name, 400, 1, slow=True)
    assert log.equals(simulate_change(name, 400, 1, slow=True))
    assert not log.equals(simulate_change(name, 400, 2, slow=True))
    assert log.schema == simulate(10).schema
    counted = pl.int_range(1, pl.len() + 1).over("session_id")
    assert log["step"].equals(log.select(counted).to_series())


def test_a_change_leaves_the_shop_before_it_alone():
    shop, fresh = make_shop(), make_shop.__wrapped__()
    for name in CHANGES:
        changed_shop(shop, name)
    for part in ("moves", "price", "channel_share", "device_share", "returning_share"):
        assert (getattr(shop, part) == getattr(fresh, part)).all()
    assert (shop.kind_effects["all"] == fresh.kind_effects["all"]).all()


def share_of(log, **wanted):
    "The share of sessions with a value."
    [(name, value)] = wanted.items()
    return (log.unique("session_id")[name] == value).mean()


def test_what_is_seen_changes_as_it_is_said():
    "Social media doubles, prices rise by 30 %, a seventh comes by television; on the days before, nothing."
    steady, at = changed_log("steady"), microseconds(GIVEN["at"])
    began = pl.col("t").min().over("session_id")
    logs = {name: changed_log(name).filter(began >= at) for name in ("steady", "mix", "device")}
    share = {name: share_of(log, channel="social") for name, log in logs.items()}
    assert share["mix"] > 1.6 * share["steady"] and abs(share["device"] - share["steady"]) < 0.02
    mobile = {name: share_of(log, device="mobile") for name, log in logs.items()}
    returning = {name: share_of(log, returning="returning") for name, log in logs.items()}
    assert mobile["mix"] > mobile["steady"] + 0.1
    assert returning["mix"] < returning["steady"] - 0.1
    assert 0.13 < share_of(logs["device"], device="tv") < 0.17
    dear = changed_log("prices").filter(began >= at)["price"] / steady.filter(began >= at)["price"]
    assert abs(dear.mean() - 1.3) < 0.001
    for name in ("mix", "prices", "device"):
        before = [log.filter(began < at).drop("visitor_id") for log in (changed_log(name), steady)]
        assert before[0].equals(before[1])


def test_a_slow_change_begins_with_nothing_and_ends_whole():
    log = simulate_change("device", 6_000, 0, slow=True)
    day = (pl.col("t").min() - microseconds("2026-06-04")) // (10 * 24 * 3600 * 10**6)
    first = pl.col("device").first() == "tv"
    by_ten = log.group_by("session_id").agg(day.alias("ten"), first.alias("tv"))
    share = by_ten.group_by("ten").agg(pl.col("tv").mean()).sort("ten")["tv"].to_list()
    assert share[:3] == [0, 0, 0] and 0 < share[3] < share[4] < share[5] < 0.2


def test_a_run_of_the_demo_scores_a_changed_log(run, tmp_path):
    "Same columns, same times; a device that nobody has seen is said."
    words = ("fetch", "demo", "--out", "later.parquet", "--sessions", "200", "--drift", "device")
    done = here(*words, cwd=tmp_path)
    assert done.returncode == 0 and "visitors come by a device" in done.stdout
    scored = here("score", "--run", run, "--events", "later.parquet", cwd=tmp_path)
    assert scored.returncode == 0, scored.said
    assert "tv" in scored.said


@pytest.mark.parametrize(
    "words, said",
    [
        (("--drift", "flood"), "there is no change 'flood'; there are: steady, mix"),
        (("--drift", "mix", "--at", "2020-01-01"), "is no day of the log"),
        (("--drift", "mix", "--strength", "3"), "from 0, nothing, to 1"),
        (("--drift", "mix", "--start", "May"), "is not a day; write it as 2026-01-05"),
        (("--slow",), "add what changes, such as --drift checkout"),
    ],
    ids=lambda words: words if isinstance(words, str) else " ".join(words),
)
def test_what_cannot_be_written_is_refused_in_a_sentence(words, said, tmp_path):
    done = here("fetch", "demo", "--out", "shop.csv", *words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr
    assert not (tmp_path / "shop.csv").exists()


def test_the_help_names_every_change():
    "Of the command, whose words are not made from the list."
    [drift] = [
        one
        for command in app.registered_commands
        if command.name == "fetch"
        for one in command.callback.__annotations__["drift"].__metadata__
    ]
    assert all(name in drift.help for name in CHANGES)
