"""Groups of a declared column: the figures are those of Fairlearn, equal groups are not said to differ, and a run says what it declared."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import EARLY, FEW_PICTURES, QUICK, warm

from clickstream_conv.base.runs import read_json, Run
from clickstream_conv.demo.changes import simulate_change
from clickstream_conv.judging.fairness import (
    decisions_by_group,
    FEWEST_SESSIONS,
    gaps_between,
    group_rates,
    groups_compared,
    MOST_GROUPS,
    RATES_OF_GAP,
    require_groups,
    shown_apart,
)
from clickstream_conv.judging.fairness_words import group_sentences
from clickstream_conv.monitoring.alarms import OUTCOMES, rate_of
from clickstream_conv.monitoring.groups import known_values, NEW_GROUPS, watched_groups
from clickstream_conv.monitoring.observed import read_news
from clickstream_conv.monitoring.periods import watch_reference
from clickstream_conv.monitoring.watch import watched
from clickstream_conv.monitoring.watch_tables import groups_table
from clickstream_conv.scoring.scorer import Scorer

THRESHOLD = 0.3


def world(seed, shares=(0.4, 0.3, 0.2, 0.1), sessions=2_000, lowered=0.0):
    "Decisions of visitors who come back; the scores of the last group are lowered, else all are alike."
    rng = np.random.default_rng(seed)
    visitors = sessions // 2
    visitor = rng.integers(0, visitors, sessions)
    group = rng.choice(len(shares), visitors, p=shares)[visitor]
    chance = 1 / (
        1 + np.exp(2.2 - rng.normal(0, 1, visitors)[visitor] - rng.normal(0, 1, sessions))
    )
    converted = (rng.random(sessions) < chance).astype(int)
    p = np.where(group == len(shares) - 1, chance * (1 - lowered), chance)
    names = np.array(list("abcdefgh"))[group]
    table = dict(visitor=visitor, group=names, converted=converted, highest=p, promised=p)
    return pd.DataFrame(table | dict(came=converted))


def by_hand(decided):
    "The gaps, as Fairlearn's documentation defines them, and our two."
    flagged = decided["highest"] >= THRESHOLD
    yes, group = decided["converted"] == 1, decided["group"]
    selected = flagged.groupby(group).mean()
    recall, false = (
        flagged[yes].groupby(group[yes]).mean(),
        flagged[~yes].groupby(group[~yes]).mean(),
    )
    precision = yes[flagged].groupby(group[flagged]).mean()
    sums = decided.groupby("group")[["promised", "came"]].sum()
    level = sums["promised"] / sums["came"]
    return {
        "demographic_parity_difference": selected.max() - selected.min(),
        "demographic_parity_ratio": selected.min() / selected.max(),
        "equal_opportunity_difference": recall.max() - recall.min(),
        "equalized_odds_difference": max(recall.max() - recall.min(), false.max() - false.min()),
        "precision_difference": precision.max() - precision.min(),
        "calibration_ratio": level.min() / level.max(),
    }


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_the_defined_ones(seed):
    decided = world(seed, lowered=0.3)
    gaps = gaps_between(group_rates(decided, THRESHOLD, resamples=50))
    assert {name: gaps[name] for name in RATES_OF_GAP} == pytest.approx(by_hand(decided))
    for name in RATES_OF_GAP:
        assert gaps[f"{name}_low"] <= gaps[name] <= gaps[f"{name}_high"]


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_fairlearns(seed):
    metrics = pytest.importorskip("fairlearn.metrics")
    decided = world(seed, lowered=0.3)
    rates = group_rates(decided, THRESHOLD, resamples=50)
    gaps = gaps_between(rates)
    y, said = decided["converted"], (decided["highest"] >= THRESHOLD).astype(int)
    shared = [name for name in RATES_OF_GAP if hasattr(metrics, name)]
    assert len(shared) == 4
    for name in shared:
        theirs = getattr(metrics, name)(y, said, sensitive_features=decided["group"])
        assert gaps[name] == pytest.approx(theirs)
    named = ("selection_rate", "true_positive_rate", "false_positive_rate")
    frame = metrics.MetricFrame(
        metrics={name: getattr(metrics, name) for name in named},
        y_true=y,
        y_pred=said,
        sensitive_features=decided["group"],
    )
    assert frame.by_group[list(named)].to_numpy() == pytest.approx(rates.rates[:3].T)


def test_small_groups_are_refused_by_name():
    few = [
        world(1, (1.0,), FEWEST_SESSIONS - 1).assign(
            group="few sessions", converted=[0, 1] * 14 + [1]
        ),
        world(2, (1.0,), 200).assign(group="few convert", converted=[1] * 9 + [0] * 191),
        world(3, (1.0,), 200).assign(group="few do not", converted=[0] * 9 + [1] * 191),
    ]
    found = groups_compared(pd.concat([world(0), *few]), "device", THRESHOLD, resamples=20)
    assert [row["group"] for row in found["refused"]] == [
        "few convert",
        "few do not",
        "few sessions",
    ]
    assert [row["group"] for row in found["groups"]] == list("abcd")
    text = group_sentences([found])[1].text
    assert all(
        name in text for name in ("few sessions (29 sessions, 15", "few convert (200 sessions, 9")
    )
    alone = groups_compared(pd.concat(few), "device", THRESHOLD, resamples=20)
    assert alone["gaps"] == {} and "cannot be compared" in group_sentences([alone])[0].text


def test_sessions_that_are_asked_often_count_once():
    "A question about the next event: 24 sessions are too few, though each has ten rows."
    rng = np.random.default_rng(0)
    names = [f"s{n}" for n in range(200) for _ in range(10)]
    table = pd.DataFrame(dict(session_id=names, visitor=names, device="phone"))
    table.loc[table["session_id"].isin(names[:240]), "device"] = "desk"
    table["converted"] = (rng.random(len(table)) < 0.5).astype(int)
    decided = decisions_by_group(table, rng.random(len(table)), "device", by_session=False)
    found = groups_compared(decided, "device", THRESHOLD, resamples=20)
    assert [(row["group"], row["sessions"]) for row in found["refused"]] == [("desk", 24)]
    assert [(row["group"], row["sessions"]) for row in found["groups"]] == [("phone", 176)]


def test_too_few_flags_count_in_no_gap():
    "The precision of a group of which three sessions are flagged is shown, and is no gap."
    rare = world(4, (1.0,), 400).assign(group="z")
    rare.loc[rare["highest"].sort_values().index[:-3], "highest"] = 0.0
    found = groups_compared(
        pd.concat([world(0, lowered=0.0), rare]), "device", THRESHOLD, resamples=50
    )
    row = next(row for row in found["groups"] if row["group"] == "z")
    own = pd.DataFrame(found["groups"]).query("group != 'z'")["precision"]
    assert row["flagged"] == 3 and row["precision"] == row["precision"]
    assert found["gaps"]["precision_difference"] == pytest.approx(own.max() - own.min())


@pytest.mark.parametrize("shares", [(0.25,) * 4, (0.55, 0.25, 0.1, 0.1), (0.5, 0.5)])
def test_equal_groups_are_not_said_to_differ(shares):
    "At most about one column in twenty; and the gaps drawn plainly would nearly all leave zero out."
    said, plain, worlds = 0, 0, 80
    for seed in range(worlds):
        rates = group_rates(world(100 + seed, shares), THRESHOLD, resamples=100, seed=seed)
        assert len(rates.groups) == len(shares)
        said += bool(shown_apart(gaps_between(rates, seed=seed)))
        plain += np.quantile(np.ptp(rates.drawn[:, 0], axis=1), 0.025) > 0
    assert said <= 9  # of 80 at a chance of one in twenty: once in a hundred
    assert plain > worlds / 2


def test_a_gap_that_is_there_is_found():
    found = [
        shown_apart(gaps_between(group_rates(world(seed, lowered=0.6), THRESHOLD, 100, seed)))
        for seed in range(10)
    ]
    assert all({"demographic_parity_difference", "calibration_ratio"} <= set(one) for one in found)


def test_several_columns_make_intervals_wider():
    rates = group_rates(world(0), THRESHOLD, resamples=100)
    one, four = gaps_between(rates), gaps_between(rates, comparisons=4)
    name = "demographic_parity_difference"
    assert four[f"{name}_high"] > one[f"{name}_high"] and four[name] == one[name]


def test_nobody_flagged_is_no_gap():
    gaps = gaps_between(group_rates(world(0), 1.5, resamples=20))
    assert gaps["demographic_parity_difference"] == 0 and np.isnan(gaps["demographic_parity_ratio"])
    assert np.isnan(gaps["precision_difference"])
    assert set(shown_apart(gaps)) <= {"calibration_ratio"}


def test_what_cannot_be_declared_is_refused():
    for columns, said in (
        (["planet"], "no session column 'planet'.*there are: device, channel"),
        ("device", "takes a list"),
        (["device", "device"], "each once"),
    ):
        with pytest.raises(ValueError, match=said):
            require_groups(columns, ["device", "channel"])
    many = pd.DataFrame(dict(session_id=range(50), visitor=range(50), converted=0, age=range(50)))
    with pytest.raises(ValueError, match=f"50 values.*at most {MOST_GROUPS}"):
        decisions_by_group(many, np.zeros(50), "age")


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    "A run that declared a column, up to its classification."
    place = tmp_path_factory.mktemp("declared")
    words = ("--sessions", 5000, "-p", "fair_by=['device']")
    done = warm("run", *QUICK, *FEW_PICTURES, *words, *EARLY, "--out", "run", cwd=place)
    assert done.returncode == 0, done.said
    return place / "run"


def test_the_card_says_what_was_declared(declared):
    found = read_json(Run(declared), "metrics/classification.json")["fairness"]
    assert [one["column"] for one in found] == ["device"]
    assert len(found[0]["groups"]) > 1 and found[0]["refused"]
    card = (declared / "model_card.md").read_text()
    assert "## Groups" in card and "demographic_parity_difference (share flagged)" in card
    limits = card.split("## What not to trust")[1].split("##")[0]
    assert "groups of device are compared at this threshold" in limits
    assert f"too few to be compared, of device: {found[0]['refused'][0]['group']}" in limits
    assert card.count("## Groups") == 1
    assert read_json(Run(declared), "models/manifest.json")["conversion"]["fair_by"] == ["device"]


def test_the_groups_of_a_run_are_those_of_its_decisions(declared):
    "Each test session once, and the same counts as at the threshold."
    kept = read_json(Run(declared), "metrics/classification.json")
    groups = [*kept["fairness"][0]["groups"], *kept["fairness"][0]["refused"]]
    assert sum(row["sessions"] for row in groups) == kept["at_threshold"]["test"]["decided"]
    assert (
        sum(row["converted_sessions"] for row in groups)
        == kept["at_threshold"]["test"]["converted"]
    )


def test_an_unknown_column_is_refused_before_anything_is_fitted(declared):
    done = warm(
        "run",
        *QUICK,
        *FEW_PICTURES,
        "--sessions",
        5000,
        "-p",
        "fair_by=['planet']",
        *EARLY,
        "--out",
        "run",
        cwd=declared.parent,
    )
    assert done.returncode != 0
    assert "no session column 'planet'" in done.said and "there are: channel, device" in done.said
    assert "Traceback" not in done.said


def test_a_run_that_declares_nothing_says_nothing(run):
    assert "fairness" not in read_json(Run(run), "metrics/classification.json")
    assert "## Groups" not in (run / "model_card.md").read_text()
    assert "fair_by" not in read_json(Run(run), "models/manifest.json")["conversion"]


@pytest.fixture(scope="module")
def weeks(declared, tmp_path_factory):
    "What the run's weeks are measured by, and a week of more sessions than its test part had."
    path = tmp_path_factory.mktemp("news") / "later.parquet"
    simulate_change("steady", sessions=3_000, seed=3, start="2026-05-11", days=7).write_parquet(
        path
    )
    scorer = Scorer.load(declared)
    return watch_reference(scorer), read_news(scorer, str(path))


def test_the_watch_has_groups_by_week(weeks):
    reference, news = weeks
    look = watched(reference, news, "later")
    week = next(one for one in look.figures["periods"] if one["period"] == "week")
    of_device = week["groups"][0]
    known = news.sessions["highest"].is_not_null().sum()
    assert sum(row["sessions"] for row in of_device["flagged"]) == known
    assert of_device["grown"]["news"] is False
    assert not [alarm for alarm in look.alarms if alarm.about == "groups of device"]
    assert "watch.groups" in [one.code for one in look.sentences]
    assert len(groups_table(look.figures)) == len(of_device["flagged"])


def test_the_watch_tells_of_a_gap_that_was_not_there(weeks):
    "The scores of one device are lost in the new week."
    reference, news = weeks
    of_one = pl.col("device") == "desktop"
    lost = pl.when(of_one).then(pl.col("probability") / 50).otherwise("probability")
    worse = replace(news, rows=news.rows.with_columns(probability=lost))
    look = watched(reference, worse, "later")
    told = [alarm for alarm in look.alarms if alarm.about == "groups of device"]
    assert [alarm.family for alarm in told] == [OUTCOMES]
    assert told[0].p <= rate_of(OUTCOMES, "week") / 3 and "desktop" in told[0].text
    said = next(one for one in look.sentences if one.code == "watch.groups")
    assert said.level == "caution"


def test_truth_values_are_groups_of_their_own(weeks):
    reference, news = weeks
    desktop = (pl.col("device") == "desktop").alias("device")
    tested = replace(news, rows=news.rows.with_columns(desktop))
    known = {"device": (known_values(tested, "device"), reference.groups["device"][1])}
    found = watched_groups(reference.scorer, tested, known, 0.01)
    assert [row["group"] for row in found[0]["flagged"]] == ["false", "true"]


def test_new_values_stop_no_watch(weeks):
    "Values that the test part did not have are one group, however many there are."
    reference, news = weeks
    odd = pl.format("device {}", pl.int_range(pl.len()) % 60)
    some = pl.when(pl.int_range(pl.len()) < 100).then(odd).otherwise("device")
    by_session = news.rows.group_by("session_id", maintain_order=True).agg(pl.col("device").first())
    named = by_session.with_columns(device=some)
    rows = news.rows.drop("device").join(named, on="session_id", how="left", maintain_order="left")
    found = watched_groups(reference.scorer, replace(news, rows=rows), reference.groups, 0.01)
    assert NEW_GROUPS in [row["group"] for row in found[0]["flagged"]]
