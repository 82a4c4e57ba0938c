"""Effects of treatments: the shop's exact ones against counting, learners and curves by hand, and silence where there is nothing."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from clickstream_conv.demo.limit import continue_session
from clickstream_conv.demo.shop import make_shop
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.demo.treatment import (
    best_effect,
    CONTROL,
    exact_policy,
    known_treatment,
    MARGIN,
    no_effect,
    simulate_experiment,
    treated_shop,
    TREATMENTS,
)
from clickstream_conv.experiments.effect_rows import (
    demo_card,
    effect_rows,
    EffectRows,
    profit,
    with_amounts,
)
from clickstream_conv.experiments.effects import effect_scores, EffectLearner, fit_arms, LEARNERS
from clickstream_conv.experiments.policies import (
    arm_scores,
    compared_policies,
    gain_in_words,
    NOBODY,
    policy_values,
    recommend,
    treat_positive,
    treat_top,
)
from clickstream_conv.experiments.profit_effects import ProfitLearner
from clickstream_conv.experiments.uplift_curves import (
    area_over_random,
    qini_curve,
    uplift_curve,
    uplift_figures,
)

LANDMARK, SESSIONS = 4, 3_000


@cache
def experiment(name="coupon", effect=True, by="visitor"):
    "A small experiment: events and exposures."
    treatment = known_treatment(name) if effect else no_effect(name)
    return simulate_experiment(SESSIONS, 3, treatment, LANDMARK, by=by)


@cache
def small_rows(effect=True):
    "Its rows."
    return effect_rows(*experiment(effect=effect), demo_card(), LANDMARK)


@pytest.mark.parametrize("name", ["coupon", "reassurance"])
def test_the_exact_effect_is_what_counting_finds(name):
    "Continuations of one session under either table, as many as it takes; four standard errors."
    events, _ = experiment()
    effects = best_effect(events, [LANDMARK], name).sort("probability_effect")
    treatment, times = TREATMENTS[name], 8_000
    for session in (effects["session_id"][0], effects["session_id"][-1]):
        prefix = events.filter((pl.col("session_id") == session) & (pl.col("step") <= LANDMARK))
        exact = best_effect(prefix, [LANDMARK], name).row(0, named=True)
        onward = treated_shop(treatment, make_shop())
        plain = continue_session(prefix, times, 1)
        treated = continue_session(prefix, times, 2, onward=onward)
        for column, effect in (
            ("converted", exact["probability_effect"]),
            ("revenue", exact["revenue_effect"]),
        ):
            one, other = treated[column].cast(float), plain[column].cast(float)
            error = ((one.var() + other.var()) / times) ** 0.5
            assert abs(one.mean() - other.mean() - effect) < 4 * error
        earned = (MARGIN - treatment.discount) * exact["revenue_treated"] - treatment.cost
        assert exact["profit_effect"] == pytest.approx(earned - MARGIN * exact["revenue"])


def test_the_same_seed_gives_the_same_experiment():
    again = simulate_experiment(SESSIONS, 3, "coupon", LANDMARK)
    assert all(one.equals(other) for one, other in zip(experiment(), again))
    other = simulate_experiment(SESSIONS, 4, "coupon", LANDMARK)
    assert not experiment()[1].equals(other[1])


def test_arms_are_drawn_by_chance_alone():
    "Alike by channel, device, length so far and exact effect; sticky by visitor where that is asked."
    events, exposures = experiment()
    assert exposures.group_by("visitor_id").agg(pl.col("arm").n_unique())["arm"].max() == 1
    events, exposures = experiment(by="session")
    effects = best_effect(events, [LANDMARK], "coupon")
    first = events.filter(pl.col("step") == 1).select("session_id", "channel", "device")
    rows = exposures.join(effects, on="session_id").join(first, on="session_id")
    treated = (rows["arm"] != CONTROL).to_numpy()
    told = [rows["profit_effect"].to_numpy(), rows["probability"].to_numpy()]
    told += [(rows["channel"] == name).to_numpy() for name in rows["channel"].unique().sort()]
    told += [(rows["device"] == name).to_numpy() for name in rows["device"].unique().sort()]
    for one in map(np.asarray, told):
        error = np.std(one) * np.sqrt(1 / treated.sum() + 1 / (~treated).sum())
        assert abs(one[treated].mean() - one[~treated].mean()) < 4 * error
    assert abs(treated.mean() - 0.5) < 4 * (0.25 / len(treated)) ** 0.5


def test_nothing_before_the_landmark_knows_the_arm():
    "The log of an experiment is the plain log up to there, and altogether in the control arm."
    events, exposures = experiment()
    plain, early = simulate(SESSIONS, 3), pl.col("step") <= LANDMARK
    assert events.filter(early).equals(plain.filter(early))
    treated = exposures.filter(pl.col("arm") != CONTROL)["session_id"].implode()
    untouched = ~pl.col("session_id").is_in(treated)
    assert events.filter(untouched).equals(plain.filter(untouched))
    assert not events.equals(plain)
    steps = events.select(
        (pl.col("step") == pl.int_range(1, pl.len() + 1).over("session_id")).all()
    )
    assert steps.item() and events.filter(pl.col("t").diff().over("session_id") <= 0).is_empty()


def test_features_do_not_see_what_came_after():
    "Rows of visitors set aside are the same when their log ends at the landmark."
    from clickstream_conv.features.sessions import learn_by_fold, rows_at_landmarks

    events, _ = experiment()
    events = events.with_columns(visitor="visitor_id", part=pl.lit("test"))
    encoder, _ = learn_by_fold(events.head(4_000), demo_card())
    cut = events.filter(pl.col("step") <= LANDMARK)
    whole, short = (
        rows_at_landmarks(encoder.transform(log), log, demo_card(), (LANDMARK,))
        for log in (events, cut)
    )
    late = ["converted", "revenue"]
    assert whole.drop(late).equals(short.drop(late)) and not whole.equals(short)


def test_no_effect_is_none_for_everybody():
    effects = best_effect(experiment()[0], [LANDMARK], no_effect("reassurance"))
    assert effects["probability_effect"].abs().max() < 1e-12
    assert effects["profit_effect"].to_numpy() == pytest.approx(-TREATMENTS["reassurance"].cost)


def test_a_constant_effect_by_hand():
    "Outcomes that differ by 1 between the arms and by nothing else."
    rows = small_rows().of_part("train")
    for name in LEARNERS:
        found = EffectLearner(name).fit(rows, 2.0 + rows.treated)
        assert found.predict(rows) == pytest.approx(1.0, abs=0.01)
        assert found.mean_ == pytest.approx(1.0, abs=0.01)


def test_an_effect_that_is_there_is_found():
    "One that a feature tells, with little noise: each learner follows it on visitors set aside."
    train, test = (small_rows().of_part(part) for part in ("train", "test"))
    rng = np.random.default_rng(0)

    def effect(rows):
        return np.where(rows.table["n_items"] >= 2, 1.0, -1.0)

    y = rng.normal(size=len(train)) + train.treated * effect(train)
    for name in LEARNERS:
        found = EffectLearner(name).fit(train, y)
        assert found.chosen_ != "constant"
        assert np.corrcoef(found.predict(test), effect(test))[0, 1] > 0.8


def test_what_is_told_of_an_arm_is_a_probability():
    "Never 0 nor 1, where nobody buys either; and as many buy in each third as are told to."
    rng = np.random.default_rng(4)
    X, treated = rng.normal(size=(12_000, 3)), rng.random(12_000) < 0.5
    true = 1 / (1 + np.exp(4 - 1.5 * X[:, 0] - 0.5 * treated))
    y = (rng.random(12_000) < true).astype(int)
    train = np.arange(12_000) < 6_000
    for arm, model in zip((~treated, treated), fit_arms(X[train], y[train], treated[train])):
        told, came = model.predict(X[~train & arm]), y[~train & arm]
        assert 0 < told.min() < 0.02 and told.max() < 1
        for third in np.array_split(np.argsort(told), 3):
            chance = (told[third] * (1 - told[third])).sum() ** 0.5
            assert abs(came[third].sum() - told[third].sum()) < 4 * chance
    none = fit_arms(X, np.zeros(12_000), treated)[0].predict(X[:5])
    assert (none > 0).all() and none.max() < 1e-4


def test_ties_are_averaged():
    "A constant score is worth exactly nothing more than random order, however the rows lie."
    rng = np.random.default_rng(1)
    y, treated = rng.normal(size=500), rng.random(500) < 0.4
    visitors, effects = np.arange(500), effect_scores(y, treated, 0.4)
    for order in (np.arange(500), np.argsort(y), np.argsort(-effects), np.argsort(treated)):
        given = y[order], treated[order]
        found = uplift_figures(np.full(500, 0.3), *given, 0.4, visitors, resamples=5)
        areas = {name: value for name, value in found.items() if name != "everyone"}
        assert set(areas.values()) == {0.0}
        tied = np.round(y)[order]
        for curve in (uplift_curve(tied, effects[order]), qini_curve(tied, *given)):
            assert len(curve) == len(np.unique(tied)) + 1
        assert area_over_random(uplift_curve(tied, effects[order])) == pytest.approx(
            area_over_random(uplift_curve(np.round(y), effects))
        )


def test_the_uplift_curve_ends_at_everyone():
    rng = np.random.default_rng(2)
    effects, score = rng.normal(size=300), rng.random(300)
    assert uplift_curve(score, effects)["gain"].iloc[-1] == pytest.approx(effects.mean())
    twice = np.repeat([0.0, 2.0], 150)
    doubled = uplift_curve(score, effects, twice)["gain"].iloc[-1]
    assert doubled == pytest.approx(effects[150:].mean())


def test_the_value_of_a_policy_by_hand():
    "A quarter is treated: outcomes of the treated count four times, those of the others 4/3."
    y, treated = np.array([8.0, 3.0, 3.0, 6.0]), np.array([True, False, False, False])
    policies = {"first": np.array([True, False, False, False]), "all": np.ones(4, bool)}
    worth = policy_values(policies, arm_scores(y, treated, 0.25), np.array(list("aabc")))
    assert worth["value"].tolist() == pytest.approx([(32 + 4 + 4 + 8) / 4, 8.0])
    assert worth["gain"].tolist() == pytest.approx([8.0, 8.0 - 4.0])
    gains = np.array([32.0, 0, 0, 0])
    by_visitor = np.array([gains[0] + gains[1] - 16, gains[2] - 8, gains[3] - 8])
    reach = 1.959964 * np.sqrt((by_visitor**2).sum()) / 4
    assert worth.loc["first", "gain_high"] - 8 == pytest.approx(reach)


def test_policies_are_judged_without_bias():
    "Estimated values lie within four standard errors of the exact ones."
    events, exposures = experiment(by="session")
    effects = best_effect(events, [LANDMARK], "coupon")
    bought = events.filter(pl.col("event") == "purchase").group_by("session_id")
    rows = exposures.join(bought.agg(pl.col("price").sum()), on="session_id", how="left")
    treated, revenue = (rows["arm"] != CONTROL).to_numpy(), rows["price"].fill_null(0).to_numpy()
    y = (MARGIN - 0.1 * treated) * revenue
    effect = effects["profit_effect"].to_numpy()
    policies = {"oracle": effect > 0, "likely": treat_top(effects["probability"].to_numpy(), 0.4)}
    worth = policy_values(policies, arm_scores(y, treated, 0.5), rows["session_id"].to_numpy())
    for name, treat in policies.items():
        row, exact = worth.loc[name], exact_policy(effects, treat)
        error = (row["gain_high"] - row["gain_low"]) / 3.92
        assert abs(row["gain"] - exact["gain"]) < 4 * error


def test_where_nothing_is_moved_nobody_is_treated():
    rows = small_rows(effect=False)
    train, test = rows.of_part("train"), rows.of_part("test")
    learner = EffectLearner().fit(train, profit(train, MARGIN, 0.1))
    policies = {"by effect": treat_positive(learner.predict(test))}
    earned = arm_scores(profit(test, MARGIN, 0.1), test.treated, 0.5, learner.expected(test))
    assert recommend(policies, earned, test).policy == NOBODY


def test_where_some_are_moved_they_are_treated_and_no_others():
    "The counterpart: those with two items or more earn 40 more by it, all others 40 less."
    rows = small_rows(effect=False)
    train, test = rows.of_part("train"), rows.of_part("test")

    def moved(part):
        return part.table["n_items"].to_numpy() >= 2

    def earned(part):
        return profit(part, MARGIN, 0.1) + 40.0 * part.treated * np.where(moved(part), 1, -1)

    learner = EffectLearner().fit(train, earned(train))
    by_effect = treat_positive(learner.predict(test))
    assert (by_effect == moved(test)).mean() > 0.95
    scores = arm_scores(earned(test), test.treated, 0.5, learner.expected(test))
    buyers = replace(test, table=test.table.assign(converted=1))
    assert recommend({"by effect": by_effect}, scores, buyers).policy == "by effect"
    against = {"against it": ~by_effect}
    assert recommend(against, scores, buyers).policy != "against it"


@pytest.mark.parametrize(
    "effects, policy",
    [
        ((2.0, 1.0, -3.5), "two"),
        ((2.0, -1.0, -3.5), "one"),
        ((1.0, 1.0, 1.0), "everyone"),
        ((3.0, 3.0, -1.0), "two"),
        ((-2.0, -1.0, -3.0), NOBODY),
        ((0.0, 0.0, 0.0), NOBODY),
    ],
)
def test_the_best_of_those_that_are_shown_to_earn_is_followed(effects, policy):
    "Three groups of 3,000; what is said has the interval that the table has."
    rng, group = np.random.default_rng(8), np.arange(9_000) % 3
    treated = rng.random(9_000) < 0.4
    y = rng.normal(size=9_000) + treated * np.array(effects)[group]
    rows = EffectRows(
        pd.DataFrame({"visitor": np.arange(9_000), "converted": 1}), treated, share=0.4
    )
    scores = arm_scores(y, treated, 0.4)
    policies = {"one": group == 0, "two": group < 2, "third": group == 2, "none": group == 3}
    said, worth = recommend(policies, scores, rows), compared_policies(policies, scores, rows)
    assert said.policy == policy
    assert worth.loc["none", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    for name, true in (("one", effects[0]), ("two", effects[0] + effects[1])):
        assert worth.loc[name, "gain_low"] < true / 3 < worth.loc[name, "gain_high"]
    gains = np.where(group < 2, scores[1] - scores[0], 0.0)
    reach = stats.norm.isf(0.025 / 4) * gains.std() / np.sqrt(9_000)
    assert worth.loc["two", "gain_high"] - gains.mean() == pytest.approx(reach)
    best = worth.drop("none")["gain"].idxmax() if policy == NOBODY else policy
    assert best in said.says and ("none of 4 policies" in said.says) == (policy == NOBODY)
    row = worth.loc[best]
    assert gain_in_words(*row[["gain", "gain_low", "gain_high"]]) in said.says
    assert ("loses" in said.says) == (round(row["gain"], 3) < 0)


def test_amounts_that_nobody_knows_are_left_out_or_refused():
    "Of 400 that bought, 4 may be without an amount; a fifth is one in a hundred too many."
    table = pd.DataFrame({"converted": [1] * 400 + [0] * 100, "revenue": [5.0] * 400 + [0.0] * 100})
    table = table.assign(part=["train", "test"] * 250, visitor=range(500))
    treated = np.arange(500) % 4 < 2
    for many, kept in ((0, 500), (4, 496), (5, None)):
        few = table.assign(revenue=table["revenue"].where(np.arange(500) >= many))
        if kept is None:
            with pytest.raises(ValueError, match="of 5 of the 400 sessions that bought"):
                with_amounts(EffectRows(few, treated, 0.5))
            continue
        known, unknown = with_amounts(EffectRows(few, treated, 0.5))
        assert (len(known), unknown) == (kept, many)
        assert known.treated.tolist() == treated[many:].tolist()
        assert known.table["visitor"].tolist() == list(range(many, 500))
    unknown = small_rows().of_part("train")
    none = replace(unknown, table=unknown.table.assign(revenue=np.nan))
    with pytest.raises(ValueError, match="nobody knows what they paid; leave them out"):
        ProfitLearner(MARGIN).fit(none)


def test_a_gain_that_rests_on_few_buyers_is_not_shown():
    "The same scores, with enough buyers in both arms and with too few of them in one."
    rng = np.random.default_rng(5)
    treated, half = rng.random(2_000) < 0.5, np.arange(2_000) < 1_000
    y = rng.normal(size=2_000) + np.where(half, 1.0, -1.0) * treated
    table = pd.DataFrame({"visitor": np.arange(2_000), "converted": 1})
    scores = arm_scores(y, treated, 0.5)
    assert recommend({"half": half}, scores, EffectRows(table, treated, 0.5)).policy == "half"
    few = table.assign(converted=(treated | (np.arange(2_000) < 12)).astype(int))
    assert recommend({"half": half}, scores, EffectRows(few, treated, 0.5)).policy == NOBODY


def test_what_cannot_be_learned_from_is_refused():
    events, exposures = experiment()
    control = exposures.filter(pl.col("arm") == CONTROL)
    with pytest.raises(ValueError, match="have one arm: without a control arm no effect"):
        effect_rows(events, control, demo_card(), LANDMARK)
    with pytest.raises(ValueError, match="buyers in the arm .* let the experiment run longer"):
        effect_rows(events, exposures.head(60), demo_card(), LANDMARK)
    with pytest.raises(ValueError, match="was exposed before its event number 6"):
        effect_rows(events, exposures, demo_card(), 6)
    at_once = exposures.with_columns(timestamp=pl.col("timestamp") - 1)
    with pytest.raises(ValueError, match="before its event number 4, or at its very moment"):
        effect_rows(events, at_once, demo_card(), LANDMARK)
    with pytest.raises(ValueError, match="no session reached landmark 900"):
        simulate_experiment(20, 0, landmark=900)
    with pytest.raises(ValueError, match="there is no treatment 'flowers'; there are: coupon"):
        simulate_experiment(20, 0, "flowers")
