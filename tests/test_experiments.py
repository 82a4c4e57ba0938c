"""Experiments: arms, exposures, units, differences, intervals that hold at every look, plans, reading."""

import json
import re
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from conftest import here
from scipy import stats

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.demo.treatment import no_effect, simulate_experiment, Treatment
from clickstream_conv.experiments import whom
from clickstream_conv.experiments.anytime import anytime_factor, spending_bounds
from clickstream_conv.experiments.arms import arm_of, sample_ratio, typed_shares
from clickstream_conv.experiments.balance import SEEN
from clickstream_conv.experiments.compare import arm_sample, arms_compared, EXPERIMENT_METRICS
from clickstream_conv.experiments.covariates import said_before, seen_before
from clickstream_conv.experiments.drawn import drawn_arms
from clickstream_conv.experiments.exposures import read_exposures
from clickstream_conv.experiments.kept import read_experiment
from clickstream_conv.experiments.kept_effects import load_effects, rows_to_ask
from clickstream_conv.experiments.looks import (
    look_moments,
    slices_differ,
    USUAL_UNITS,
    with_anytime,
)
from clickstream_conv.experiments.marks import log_mark
from clickstream_conv.experiments.pairs import one_treatment, pair_of
from clickstream_conv.experiments.pictures import (
    looks_table,
    metrics_of_arms,
    metrics_words,
    plot_looks,
    plot_metrics,
)
from clickstream_conv.experiments.plan import (
    comparisons,
    least_converted,
    load_plan,
    Plan,
    plan_of_arm,
    save_plan,
)
from clickstream_conv.experiments.planned import plan_experiment, plan_figures, units_planned
from clickstream_conv.experiments.read import Experiment, experiment_figures
from clickstream_conv.experiments.sizes import (
    as_if_exposed,
    days_for,
    shop_traffic,
    smallest_effect,
    Traffic,
    unit_spread,
    units_after,
    units_begun,
    units_for,
)
from clickstream_conv.experiments.stopping import (
    BROKEN,
    decided,
    guarded,
    is_sure,
    OPEN,
    planned_looks,
    ruled,
)
from clickstream_conv.experiments.told import experiment_sentences
from clickstream_conv.experiments.units import DAY, unit_outcomes, within_days, within_log
from clickstream_conv.experiments.whom import (
    judged_policies,
    Price,
    shown_at,
    whom_to_treat,
)
from clickstream_conv.monitoring.observed import session_gap
from clickstream_conv.scoring.scorer import Scorer

EVEN = {"control": 0.5, "treatment": 0.5}


def exposed(**arms) -> pl.DataFrame:
    "An experiment's log: visitor=(moment, arm)."
    rows = [dict(visitor_id=who, timestamp=t, arm=arm) for who, (t, arm) in arms.items()]
    return pl.from_dicts(rows)


def bought(*rows) -> pl.DataFrame:
    "Events: (visitor, session, moment, event, price)."
    frame = pl.DataFrame(
        rows, schema=["visitor", "session_id", "t", "event", "price"], orient="row"
    )
    step = pl.int_range(1, pl.len() + 1).over("session_id")
    return frame.with_columns(step=step, quantity=pl.lit(1, pl.Int64))


def test_an_arm_is_the_same_everywhere():
    "The rule is written down for other languages: these are its values."
    import hashlib

    place = int.from_bytes(hashlib.sha256(b"coupon:v17").digest()[:8], "big") / 2**64
    assert arm_of("v17", "coupon", {"a": place - 1e-9, "b": 1 - place + 1e-9}) == "b"
    assert arm_of("v17", "coupon", {"a": place + 1e-9, "b": 1 - place - 1e-9}) == "a"


def test_a_ramp_moves_nobody_to_another_arm():
    units = [f"u{number}" for number in range(4_000)]
    small = [arm_of(unit, "x", EVEN, 0.1) for unit in units]
    large = [arm_of(unit, "x", EVEN, 0.6) for unit in units]
    assert all(one in ("", two) for one, two in zip(small, large))
    assert 300 < sum(map(bool, small)) < 500


def test_two_experiments_divide_independently():
    units = [f"u{number}" for number in range(8_000)]
    table = pl.DataFrame(
        dict(one=[arm_of(u, "x") for u in units], two=[arm_of(u, "y") for u in units])
    )
    counts = table.group_by("one", "two").len().sort("one", "two")["len"].to_numpy().reshape(2, 2)
    assert stats.chi2_contingency(counts).pvalue > 0.001


def test_a_lost_share_of_an_arm_is_seen():
    found = sample_ratio(dict(control=50_000, treatment=48_800), EVEN)
    assert found["p"] == pytest.approx(stats.chisquare([50_000, 48_800]).pvalue)
    assert not found["sound"]


@pytest.mark.parametrize(
    "rows, says",
    [
        (dict(who=["a"], timestamp=[1], arm=["x"]), "no column visitor_id or session_id"),
        (dict(visitor_id=["a"], arm=["x"]), "no column timestamp"),
        (dict(visitor_id=["a", "b"], timestamp=[1, 2], arm=["x", "y"]), "control"),
        (dict(visitor_id=["a", "b"], timestamp=[1, 2], arm=["control"] * 2), "nothing to compare"),
    ],
)
def test_an_experiments_log_that_says_too_little(rows, says):
    with pytest.raises(ValueError, match=says):
        read_exposures(pl.from_dict(rows))


def test_what_was_randomised_is_asked_where_visitors_are_in_several_arms():
    rows = dict(visitor_id=["a", "a", "b", "c"], session_id=list("1234"), timestamp=[1, 2, 3, 4])
    log = pl.DataFrame(rows | dict(arm=["control", "treatment", "control", "treatment"]))
    with pytest.raises(ValueError, match="--by session"):
        read_exposures(log)
    assert read_exposures(log, by="session").counts == dict(control=2, treatment=2)


def test_only_what_comes_after_the_first_exposure_counts():
    events = bought(
        ("a", "s1", 5, "purchase", 10.0),
        ("a", "s1", 10, "view", None),
        ("a", "s1", 11, "purchase", 7.0),
        ("a", "s2", DAY, "purchase", 1.0),
        ("b", "s3", 20, "view", None),
    )
    arms = read_exposures(exposed(a=(10, "control"), b=(20, "treatment"), gone=(30, "control")))
    units = unit_outcomes(events, arms).sort("_unit")
    assert units["_revenue"].to_list() == [8.0, 0.0, 0.0]
    assert units["_orders"].to_list() == [2, 0, 0]
    assert units["_sessions"].to_list() == [2, 1, 0]
    early = unit_outcomes(events, arms, until=20).sort("_unit")
    assert early["_revenue"].to_list() == [7.0, 0.0]


def test_units_are_given_the_same_days():
    events = bought(
        ("a", "s", 1, "view", None),
        ("a", "t", 3 * DAY, "purchase", 5.0),
        ("b", "u", 4 * DAY, "view", None),
    )
    arms = read_exposures(exposed(a=(1, "control"), b=(4 * DAY, "treatment")))
    units = unit_outcomes(events, arms, window=2)
    assert units["_unit"].to_list() == ["a"]
    assert units["_revenue"].to_list() == [0.0]


def test_a_purchase_of_unknown_worth_is_no_purchase_for_nothing():
    events = bought(("a", "s", 5, "purchase", None), ("b", "u", 6, "purchase", 3.0))
    arms = read_exposures(exposed(a=(1, "control"), b=(1, "treatment")))
    units = unit_outcomes(events, arms).sort("_unit")
    assert units["_revenue"].to_list() == [None, 3.0]
    assert units["_conversion"].to_list() == [1, 1]
    assert arm_sample(EXPERIMENT_METRICS["revenue"], units).unknown == 1


def test_other_ids_are_refused():
    events, plan = bought(("a", "s", 5, "purchase", 1.0)), Plan("x")
    arms = read_exposures(exposed(A=(1, "control"), B=(1, "treatment")))
    with pytest.raises(ValueError, match="same ids"):
        experiment_figures(Experiment(events, arms, plan))


@pytest.fixture(scope="module")
def units() -> pl.DataFrame:
    "Units of two arms with everything that is compared."
    rng = np.random.default_rng(0)
    known = rng.beta(1, 9, 3_000)
    arm = np.where(rng.random(3_000) < 0.5, "control", "treatment")
    conversion = (rng.random(3_000) < known).astype(int)
    orders = conversion * rng.integers(1, 4, 3_000)
    revenue = orders * rng.lognormal(3, 1, 3_000)
    return pl.DataFrame(
        dict(
            _arm=arm,
            _conversion=conversion,
            _orders=orders,
            _revenue=revenue,
            _known_probability=known,
        )
    )


def test_a_difference_of_means_equals_scipys(units):
    "Welch's test with a normal limit: the same standard error, to the last digits."
    found = arms_compared(
        arm_sample(EXPERIMENT_METRICS["revenue"], units), "control", "treatment", covariate=False
    )
    one, two = (units.filter(_arm=name)["_revenue"].to_numpy() for name in ("treatment", "control"))
    theirs = stats.ttest_ind(one, two, equal_var=False)
    assert found["effect"] == pytest.approx(one.mean() - two.mean())
    assert found["effect"] / found["se"] == pytest.approx(theirs.statistic)


def test_an_adjusted_difference_equals_a_regression_of_statsmodels(units):
    "CUPED by tea-tasting beside a least-squares fit on the covariate and the arm."
    import statsmodels.api as sm

    found = arms_compared(
        arm_sample(EXPERIMENT_METRICS["conversion"], units), "control", "treatment"
    )
    arm = (units["_arm"] == "treatment").cast(pl.Float64).to_numpy()
    design = sm.add_constant(np.column_stack([arm, units["_known_probability"].to_numpy()]))
    fitted = sm.OLS(units["_conversion"].to_numpy(), design).fit(cov_type="HC1")
    assert found["effect"] == pytest.approx(fitted.params[1], abs=2e-5)
    assert found["se"] == pytest.approx(fitted.bse[1], rel=2e-3)
    assert found["narrower"] == pytest.approx(0.06, abs=0.05)


def test_a_ratio_follows_the_delta_method(units):
    found = arms_compared(
        arm_sample(EXPERIMENT_METRICS["order_value"], units), "control", "treatment"
    )
    variance, values = 0.0, []
    for name in ("control", "treatment"):
        own = units.filter(_arm=name)
        total, over = own["_revenue"].to_numpy(), own["_orders"].to_numpy()
        values.append(total.sum() / over.sum())
        variance += np.var((total - values[-1] * over) / over.mean(), ddof=1) / len(own)
    assert found["effect"] == pytest.approx(values[1] - values[0])
    assert found["se"] == pytest.approx(variance**0.5)


def test_missing_covariates_take_the_mean_and_nobody_is_lost(units):
    half = units.with_columns(
        _known_probability=pl.when(pl.int_range(pl.len()) % 2 == 0).then("_known_probability")
    )
    found = arms_compared(
        arm_sample(EXPERIMENT_METRICS["conversion"], half), "control", "treatment"
    )
    whole = arms_compared(
        arm_sample(EXPERIMENT_METRICS["conversion"], units), "control", "treatment"
    )
    assert found["units"] == whole["units"]
    assert whole["se"] < found["se"]


def test_money_is_cut_only_where_it_was_stated(units):
    whole = arms_compared(arm_sample(EXPERIMENT_METRICS["revenue"], units), "control", "treatment")
    cut = arms_compared(
        arm_sample(EXPERIMENT_METRICS["revenue"], units, 50.0), "control", "treatment"
    )
    own = units.filter(_arm="control")["_revenue"]
    assert whole["control"] == pytest.approx(own.mean())
    assert cut["control"] == pytest.approx(own.clip(upper_bound=50.0).mean())
    orders = arm_sample(EXPERIMENT_METRICS["orders"], units, 0.5)
    assert orders.units["_total"].max() == 3.0


def test_nothing_is_said_of_arms_that_do_not_differ_at_all():
    same = pl.DataFrame(dict(_arm=["control"] * 5 + ["treatment"] * 5, _conversion=[0] * 10))
    found = arms_compared(
        arm_sample(EXPERIMENT_METRICS["conversion"], same), "control", "treatment"
    )
    assert found["effect"] is None and found["p"] is None


def test_bounds_of_planned_looks_are_the_published_ones():
    "Two-sided 0.05 in the manner of O'Brien and Fleming, five equal looks (Lan and DeMets; ldbounds, gsDesign)."
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert spending_bounds([0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx(published, abs=2e-4)


def test_the_interval_at_any_time_is_the_mixture_boundary():
    "Its defining equation: the mixture of likelihood ratios is 1 / alpha on the boundary."
    n, variance = 5_000.0, (-2 * np.log(0.05) + np.log(-2 * np.log(0.05) + 1)) / 8_000
    z = float(anytime_factor(n, 8_000))
    ratio = np.exp(z**2 * n * variance / (2 * (1 + n * variance))) / np.sqrt(1 + n * variance)
    assert ratio == pytest.approx(20.0)


@pytest.mark.parametrize("looks", [[], [0.5, 0.5], [0.0, 1.0], [0.5, 1.2]])
def test_looks_that_cannot_be(looks):
    with pytest.raises(ValueError, match="rise to 1"):
        spending_bounds(looks)


def test_planned_looks_stand_where_so_many_had_had_their_days():
    "To the very unit, of all arms together: what comes later moves no look that was taken."
    ready = pl.Series([10 * n for n in range(1, 101)])
    plan = Plan("x", stopping="planned", units=100, looks=4)
    early, late = planned_looks(ready, plan, 555), planned_looks(ready, plan, 2_000)
    assert list(early) == [250, 500] and list(late) == [250, 500, 750, 1_000]
    assert early == {t: late[t] for t in early}
    assert list(late.values()) == pytest.approx(spending_bounds([0.25, 0.5, 0.75, 1.0]))
    assert planned_looks(ready, plan, 240) == {}
    assert planned_looks(ready, Plan("x", units=100), 2_000) == {}


def test_looks_end_with_the_log_and_stay_where_they_were():
    assert look_moments(0, 200 * DAY)[-1] == 200 * DAY
    days = [59, 60, 66, 67, 90, 200, 400]
    for short, long in zip(days, days[1:]):
        one, other = (look_moments(0, day * DAY + 5) for day in (short, long))
        assert set(one[:-1]) < set(other)
    assert len(look_moments(0, 400 * DAY)) < 120


def test_slices_without_a_standard_error_say_nothing():
    assert slices_differ([dict(effect=None, se=None), dict(effect=1.0, se=1.0)]) is None


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(by="cookie"), "by is 'cookie'"),
        (dict(metric="clicks"), "no metric is called 'clicks'"),
        (dict(shares=dict(control=0.5, treatment=0.4)), "add up to 0.9"),
        (dict(control="a"), "the control 'a' has no share"),
        (dict(power=1.0), "power is 1"),
        (dict(effect=0.0), "effect is 0"),
        (dict(effect=20.0), "effect is 20; it is a relative change .* above 0 and up to 10"),
        (dict(effect=float("nan")), "effect is nan"),
        (dict(ramp=[0.5, 0.1]), "ramp is"),
        (dict(stopping="never"), "stopping is 'never'"),
        (dict(units=0), "units is 0"),
    ],
)
def test_a_plan_that_cannot_be_meant(change, says):
    with pytest.raises(ValueError, match=says):
        Plan("coupon", **change)


def test_a_damaged_plan_is_named(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(ValueError, match="no such plan"):
        load_plan(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is no plan"):
        load_plan(path)
    path.write_text(json.dumps(dict(name="x", colour="red")))
    with pytest.raises(ValueError, match="'colour'"):
        load_plan(path)


def test_the_order_of_shares_changes_nobodys_arm(tmp_path):
    "An object of JSON has no order, and other languages read the plan."
    shares = dict(control=0.7, banner=0.2, text=0.1)
    turned = dict(reversed(shares.items()))
    arms = [arm_of(f"v{n}", "x", shares) for n in range(2_000)]
    assert arms == [arm_of(f"v{n}", "x", turned) for n in range(2_000)]
    assert arms[:4] == ["control", "control", "control", "control"]
    assert [sorted(arms).count(arm) for arm in shares] == pytest.approx([1_400, 400, 200], abs=80)
    path = save_plan(Plan("x", shares=shares), tmp_path / "plan.json")
    kept = path.read_bytes()
    assert load_plan(save_plan(Plan("x", shares=turned), path)) == Plan("x", shares=shares)
    twice = kept.replace(b'"banner": 0.2', b'"banner": 0.1, "banner": 0.2')
    path.write_bytes(twice)
    with pytest.raises(ValueError, match="'banner' stands in it twice"):
        load_plan(path)


def test_sizes_are_those_of_the_formula_and_of_tea_tasting():
    import tea_tasting as tt

    rng = np.random.default_rng(1)
    value = (rng.random(20_000) < 0.04).astype(float)
    metric = tt.Mean("value", use_t=False, power=0.8, alpha=0.05, ratio=1, rel_effect_size=0.1)
    theirs = metric.solve_power(pl.DataFrame(dict(value=value)), "n_obs")
    spread, effect = value.std(ddof=1), 0.1 * value.mean()
    ours = units_for(Plan("x", stopping="once"), spread, effect)
    assert ours == pytest.approx(theirs[0].n_obs, rel=1e-3)


@pytest.mark.parametrize("stopping", ["once", "planned", "anytime"])
def test_several_arms_are_planned_as_each_is_read(stopping):
    "Each comparison has its part of the error; the experiment is as long as the arm that takes longest."
    plan = Plan("x", shares=dict(control=0.5, a=0.3, b=0.2), stopping=stopping, units=10_000)
    each = [plan_of_arm(plan, arm) for arm in "ab"]
    assert [(one.alpha, one.units) for one in each] == [(0.025, 8_000), (0.025, 7_000)]
    alpha, looks = 0.05 / 2, np.arange(1, 6) / 5
    bound = {
        "once": stats.norm.isf(alpha / 2),
        "planned": spending_bounds(looks, alpha)[-1],
        "anytime": anytime_factor(7_000, 7_000, alpha),
    }[stopping]
    se = np.sqrt((1 / 0.5 + 1 / 0.2) / 10_000)
    by_hand = (bound + stats.norm.ppf(0.8)) * se
    assert smallest_effect(plan, 1.0, 10_000) == pytest.approx(by_hand, rel=1e-9)
    assert units_for(plan, 1.0, by_hand) == pytest.approx(10_000, abs=1)


def test_a_units_window_takes_its_days():
    "Of 100 a day, those of the first 18 of 28 days have had 10 days."
    traffic = Traffic(pl.DataFrame(dict(_conversion=[0] * 9 + [1])), np.full(28, 100))
    assert units_after(traffic, 28, window=10) == 1_800
    assert units_after(traffic, [5, 10, 10.5], window=10).tolist() == [0, 0, 50]
    assert days_for(traffic, 1_800) == 18 and days_for(traffic, 1_800, window=10) == 28
    assert days_for(traffic, 1_851, window=9.5) == 29


def test_a_plan_with_a_window_counts_who_has_had_it():
    events = simulate(6_000, seed=0, days=56).with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("x", effect=0.5, window=10, stopping="once")
    traffic = shop_traffic(events, plan)
    found = plan_figures(traffic, plan)
    one, two, four, _ = found["sizes"][0]["weeks"]
    assert (one["units"], one["alone"], one["come"]) == (0, None, int(traffic.by_day[:7].sum()))
    assert four["units"] == traffic.by_day[:18].sum() < four["come"] == traffic.by_day[:28].sum()
    spread = unit_spread(traffic, plan, "conversion")
    smallest = smallest_effect(plan, spread["spread"], four["units"]) / spread["value"]
    assert four["alone"] == pytest.approx(smallest)
    wanted = found["sizes"][0]
    days = int(wanted["days_alone"])
    came = [units_after(traffic, day - 10) for day in (days - 1, days)]
    assert came[0] < wanted["units_alone"] <= came[1]
    assert units_planned(traffic, found) == wanted["units_with_model"] < units_after(traffic, 80)
    small = replace(plan, effect=0.01)
    by_then = int(units_after(traffic, 80))
    assert units_planned(traffic, plan_figures(traffic, small)) == by_then
    with pytest.raises(ValueError, match="no visitor of the log was there 70 days before its end"):
        shop_traffic(events, Plan("x", window=70))


def test_an_interval_at_any_time_needs_fifty_that_convert():
    traffic = Traffic(pl.DataFrame(dict(_conversion=[0] * 9 + [1])), np.full(28, 100))
    shares = dict(control=0.8, treatment=0.2)
    assert units_begun(traffic, Plan("x", shares=shares)) == pytest.approx(50 / 0.1 / 0.2)
    once = Plan("x", shares=shares, stopping="once")
    assert units_begun(traffic, once) == pytest.approx(20 / 0.1 / 0.2)
    even = replace(once, metric="revenue", shares=dict(control=0.6, treatment=0.4))
    assert units_begun(traffic, even) == pytest.approx(50 / 0.1 / 0.4)
    uneven = replace(even, shares=shares)
    assert units_begun(traffic, uneven) == pytest.approx(100 / 0.1 / 0.2)
    nobody = Traffic(pl.DataFrame(dict(_conversion=[0] * 9)), np.full(28, 100))
    with pytest.raises(ValueError, match="nothing is concluded before 20 are expected to"):
        units_begun(nobody, once)


def test_an_effect_that_a_few_show_or_that_nobody_does_has_a_number():
    for effect in (1e-12, 1e-3, 1.0, 1e6):
        assert units_for(Plan("x"), 1.0, effect) >= 4
    with pytest.raises(ValueError, match="it must be above 0"):
        units_for(Plan("x"), 1.0, 0.0)
    events = simulate(2_000, seed=0, days=28).with_columns(visitor=pl.col("visitor_id"))
    likely = events.with_columns(
        event=pl.when(pl.col("step") > 1).then(pl.lit("purchase")).otherwise("event")
    )
    plan = Plan("x", effect=1.0)
    with pytest.raises(ValueError, match="with an effect of 1, relative, it would be 1"):
        plan_figures(shop_traffic(likely, plan), plan)


@pytest.mark.parametrize("unknown, told", [(0, True), (1, True), (2, False), (150, False)])
def test_what_a_log_does_not_tell_is_not_planned(unknown, told):
    "Of 150 buyers 1 per cent may be without an amount; who only converts is no buyer."
    frame = dict(_arm=["control"] * 300 + ["treatment"] * 300, _conversion=[1] * 600)
    frame |= dict(_orders=[1] * 150 + [0] * 450, _sessions=[1] * 600, _converted=[1] * 600)
    paid = [None] * unknown + [5.0] * (150 - unknown) + [0.0] * 450
    units = pl.DataFrame(frame | dict(_revenue=pl.Series(paid, dtype=pl.Float64)))
    traffic, plan = Traffic(units, np.full(28, 20)), Plan("x", metric="orders", stopping="once")
    found = plan_figures(traffic, plan)
    assert (not found["untold"]) == told
    assert arm_sample(EXPERIMENT_METRICS["revenue"], units).told == told
    if not told:
        assert list(found["untold"]) == ["revenue", "order_value"]
        assert f"of {unknown:,} of the 150 visitors that bought" in found["headline"][-2]
        assert "whether too much of it is lost will not be known" in found["headline"][-2]
        with pytest.raises(ValueError, match="revenue cannot be planned: of .* what they paid"):
            unit_spread(traffic, plan, "revenue")


def test_days_go_on_as_the_last_week():
    traffic = Traffic(pl.DataFrame(), np.array([100] * 7 + [10] * 7))
    assert days_for(traffic, 700) == 7
    assert days_for(traffic, 870) == 24
    assert days_for(traffic, 1e9) is None


def test_a_shop_that_cannot_measure_it_is_told():
    events = simulate(2_000, seed=0, days=28).with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("x", effect=0.01)
    said = plan_figures(shop_traffic(events, plan), plan)["headline"]
    assert said[0].startswith("this shop cannot measure that")


def test_a_guardrail_needs_to_be_shown():
    def of(low, high):
        row = dict(
            metric="revenue", relative=(low + high) / 2, relative_low=low, relative_high=high
        )
        row |= dict(units=9, units_control=9, effect=0.0, effect_low=-1.0, effect_high=1.0)
        row |= dict(se=1 / stats.norm.isf(0.025))
        once = Plan("x", stopping="once")
        return guarded([row | ruled(row, once)], once)[0]["what"]

    assert of(-0.02, 0.10) == "kept"
    assert of(-0.20, 0.10) == "not known yet"
    assert of(-0.20, -0.01) == "broken"


def test_a_guardrail_follows_the_rule_of_the_plan():
    "An interval that is twice as wide at every look together takes the relative one along."
    row = dict(metric="revenue", relative=0.1, relative_low=-0.02, relative_high=0.3)
    row |= dict(effect=1.0, effect_low=-1.0, effect_high=3.0, anytime_low=-3.0, anytime_high=5.0)
    row |= dict(units=9, units_control=9)
    found = guarded([row | ruled(row, Plan("x"))], Plan("x"))[0]
    assert (found["relative_low"], found["relative_high"]) == pytest.approx((-0.14, 0.5))
    assert found["what"] == "not known yet"
    early = row | dict(anytime_low=None, anytime_high=None)
    assert guarded([early | ruled(early, Plan("x"))], Plan("x"))[0]["relative_low"] is None


def test_a_plan_does_not_depend_on_the_name_of_its_experiment():
    events = simulate(2_000, seed=0, days=28).with_columns(visitor=pl.col("visitor_id"))
    figures = []
    for name in ("coupon", "banner"):
        plan = Plan(name)
        figures.append(plan_figures(shop_traffic(events, plan), plan)["sizes"])
    assert figures[0] == figures[1]
    bought_for = events.filter(event="purchase")
    revenue = (bought_for["price"] * bought_for["quantity"]).sum() / events["visitor"].n_unique()
    assert figures[0][1]["value"] == pytest.approx(revenue, rel=0.05)


def test_exposures_outside_of_the_log_are_counted_and_left_out():
    events = bought(("a", "s", 10, "view", None), ("b", "u", 20, "purchase", 3.0))
    arms = read_exposures(exposed(a=(10, "control"), b=(12, "x"), c=(30, "x"), d=(5, "control")))
    inside = within_log(events, arms)
    assert inside.rows["_unit"].to_list() == ["a", "b"]
    assert inside.left_out == {"exposed before the log begins": 1, "exposed after the log ends": 1}
    late = read_exposures(exposed(a=(30, "control"), b=(40, "x")))
    with pytest.raises(ValueError, match="outside of the log"):
        within_log(events, late)


def test_a_revenue_that_nobody_knows_is_not_compared():
    rng = np.random.default_rng(0)
    rows = dict(_arm=["control"] * 400 + ["x"] * 400, _conversion=[1] * 80 + [0] * 720)
    rows |= dict(_orders=rows["_conversion"])
    paid = pl.Series(rng.random(800)).set(pl.Series([True] * 10 + [False] * 790), None)
    units = pl.from_dict(rows).sample(fraction=1, shuffle=True, seed=1).with_columns(_revenue=paid)
    sample = arm_sample(EXPERIMENT_METRICS["revenue"], units)
    found = arms_compared(sample, "control", "x")
    assert not sample.told and found["control"] is None and found["effect"] is None
    assert arm_sample(EXPERIMENT_METRICS["conversion"], units).told


def test_times_with_a_gap_beside_them_are_whole_numbers():
    rows = dict(visitor_id=["a", "b", "c"], timestamp=["10.0", "", "12.0"])
    read = read_exposures(pl.from_dict(rows | dict(arm=["control", "x", "x"])))
    assert read.rows["_exposed"].to_list() == [10, 12]
    assert read.left_out == {"no time": 1}


def test_shares_are_typed():
    assert typed_shares("control=0.9, b=0.1") == dict(control=0.9, b=0.1)
    for text in ("control", "control=a,b=0.5", "=1"):
        with pytest.raises(ValueError, match="shares are written"):
            typed_shares(text)
    with pytest.raises(ValueError, match="the arm 'b' has two shares in"):
        typed_shares("control=0.5,b=0.2,b =0.5")


def test_without_a_plan_nothing_was_meant(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    few = arms.filter((pl.col("arm") == "control") | (pl.int_range(pl.len()) % 3 == 0))
    found = read_experiment(scorer, own, few, by="session", covariate=False)
    assert "not known" in next(text for text in found["headline"] if "came as were" in text)
    assert not any("guardrail" in text for text in found["headline"])


def test_arms_of_another_plan_are_named(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    other = arms.with_columns(arm=pl.col("arm").replace({"control": "A", "treatment": "B"}))
    with pytest.raises(ValueError, match="has the arms A, B; the plan has control, treatment"):
        read_experiment(scorer, own, other, Plan("x", by="session"))


def test_without_a_plan_the_interval_does_not_follow_what_came():
    "A boundary that is made anew for each number of units would be narrow at every look, and hold at none together."
    row = dict(effect=0.0, se=1.0)
    for units in (400, 50_000):
        found = with_anytime(row | dict(units=units, units_control=units), 100, Plan("x"))
        assert found["anytime_high"] == pytest.approx(float(anytime_factor(2 * units, USUAL_UNITS)))


def test_of_three_arms_each_is_planned_with_its_share_and_error():
    shares = dict(control=0.5, a=0.25, b=0.25)
    plan = Plan("x", shares=shares, stopping="planned", units=1_000, looks=2)
    who = {f"v{n}": (n, "control" if n % 2 else "ab"[n // 2 % 2]) for n in range(1_000)}
    buys = [(name, name, n, "purchase", 1.0) for n, name in enumerate(list(who)[:400])]
    events = bought(*buys, ("v0", "w", 5_000, "view", None))
    of = Experiment(events, read_exposures(exposed(**who)), plan)
    each = plan_of_arm(plan, "a")
    assert (each.units, each.alpha) == (750, 0.025)
    for arm in experiment_figures(of)["arms"]:
        looks = [(look["t"], look["bound"]) for look in arm["looks"] if look["bound"] is not None]
        assert [t for t, _ in looks] == [499, 999]
        assert [bound for _, bound in looks] == pytest.approx(spending_bounds([0.5, 1.0], 0.025))


def test_planned_looks_need_a_number_of_units():
    events = bought(("a", "s", 5, "purchase", 1.0), ("b", "u", 6, "view", None))
    arms = read_exposures(exposed(a=(5, "control"), b=(5, "treatment")))
    with pytest.raises(ValueError, match="give units in the plan"):
        experiment_figures(Experiment(events, arms, Plan("x", stopping="planned")))


def test_one_look_before_the_planned_end_decides_nothing():
    plan = Plan("x", stopping="once", units=1_000)
    row = dict(t=5, units=100, units_control=100, effect=1.0, effect_low=0.5, effect_high=1.5)
    row |= dict(se=0.5 / 1.96)
    assert decided([row], plan, ended=False)["what"] == OPEN
    assert decided([row], plan, ended=True)["what"] == "better"
    assert decided([row], replace(plan, alpha=1e-5), ended=True)["what"] == OPEN


def dealt(arm, converts, exposed_at=None, by="session", price=10.0, **columns) -> tuple:
    "Events and exposures of sessions that saw a page, were exposed an hour later and perhaps bought after a minute."
    n = len(arm)
    exposed_at = np.arange(n) * 600_000_000 if exposed_at is None else np.asarray(exposed_at)
    names = [f"s{number:05}" for number in range(n)]
    about = dict(session_id=names, visitor=[f"v{name}" for name in names], **columns)
    before = pl.DataFrame(about | dict(t=exposed_at - 3_600_000_000, step=1, event="view"))
    after = pl.DataFrame(about | dict(t=exposed_at + 60_000_000, step=2, event="purchase"))
    after = after.filter(pl.Series(np.asarray(converts, bool)))
    last = before.tail(1).with_columns(  # of somebody else, so that the log goes on to the end
        t=pl.col("t") + 7_200_000_000, session_id=pl.lit("z"), visitor=pl.lit("vz")
    )
    events = pl.concat([before, after, last]).with_columns(
        price=pl.when(pl.col("event") == "purchase").then(pl.lit(price, pl.Float64)),
        quantity=pl.lit(1, pl.Int64),
        step=pl.col("step").cast(pl.Int64),
    )
    who = "session_id" if by == "session" else "visitor_id"
    ids = about["session_id" if by == "session" else "visitor"]
    log = pl.DataFrame({who: ids, "timestamp": exposed_at, "arm": list(arm)})
    return events.sort("t"), read_exposures(log, by=by)


ENDS = re.compile(r" to [+-]")  # of an interval


def halves(n: int) -> np.ndarray:
    "Arms in turn."
    return np.where(np.arange(n) % 2 == 0, "control", "treatment")


def worded(of: Experiment) -> list:
    "An experiment in words."
    return [sentence.text for sentence in experiment_sentences(experiment_figures(of))]


def drawn_figures(of: Experiment) -> dict:
    "Figures that pictures are drawn of."
    figures = experiment_figures(of)
    return figures | dict(headline=[one.text for one in experiment_sentences(figures)])


def test_before_enough_have_converted_nothing_is_known_anywhere():
    arm = halves(200)
    events, arms = dealt(arm, np.arange(200) % 5 == 0)
    figures = drawn_figures(Experiment(events, arms, Plan("x", by="session", units=1_000)))
    guard = next(text for text in figures["headline"] if "guardrail" in text)
    assert "not known yet" in guard and not ENDS.search(guard)
    table = metrics_of_arms(figures)
    assert table[["relative_low", "relative_high"]].isna().all(axis=None)
    assert not table["sure"].any()
    assert not ENDS.search(plot_metrics(figures).alt)
    assert plot_looks(figures).alt.startswith("Treatment is not shown")
    words = metrics_words(figures).loc["conversion", "the difference, at every look"]
    assert not ENDS.search(words)


def test_what_comes_at_the_very_moment_is_an_outcome_and_nothing_that_was_known():
    events = bought(
        ("a", "s1", 5, "view", None),
        ("a", "s1", 10, "purchase", 7.0),
        ("b", "s2", 5, "view", None),
        ("b", "s2", 12, "view", None),
    )
    arms = read_exposures(exposed(a=(10, "control"), b=(10, "treatment")))
    assert unit_outcomes(events, arms).sort("_unit")["_revenue"].to_list() == [7.0, 0.0]
    assert seen_before(events, arms)["event"].to_list() == ["view", "view"]


def said_of(arms, values) -> pl.DataFrame:
    "What a model might have said of each unit."
    units = arms.rows["_unit"]
    return pl.DataFrame(
        dict(_unit=units, probability=values, revenue=None, _learned=False),
        schema_overrides=dict(revenue=pl.Float64),
    )


def test_what_was_known_before_is_not_used_where_it_knows_the_arm():
    rng = np.random.default_rng(1)
    arm, known = halves(1_000), rng.random(1_000)
    events, arms = dealt(arm, rng.random(1_000) < known / 2)
    plan = Plan("x", by="session", units=1_000)
    sound = Experiment(events, arms, plan, said=said_of(arms, known))
    figures = experiment_figures(sound)
    assert figures["balance"]["sound"]
    assert figures["arms"][0]["metrics"][0]["narrower"] > 0.05
    told = np.where(arm == "treatment", known * 1.3, known)
    figures = experiment_figures(Experiment(events, arms, plan, said=said_of(arms, told)))
    row = figures["arms"][0]["metrics"][0]
    plain = stats.ttest_ind(known[arm == "treatment"] * 1.3, known[arm != "treatment"]).pvalue
    assert figures["balance"]["p"] == pytest.approx(2 * plain, rel=0.01)
    assert row["covariate"] == "" and row["effect"] == row["plain_effect"]
    said = next(one for one in experiment_sentences(figures) if one.code == "experiment.balance")
    assert "the probability that the model says" in said.text and "not used" in said.text


def test_events_of_one_arm_alone_before_the_exposure_are_seen():
    arm = halves(400)
    events, arms = dealt(arm, np.arange(400) % 4 == 0)
    banner = events.filter(pl.col("event") == "view", pl.col("session_id").str.contains("[13579]$"))
    more = pl.concat([events, banner.with_columns(t=pl.col("t") + 5, step=pl.lit(1, pl.Int64))])
    plan = Plan("x", by="session", units=400)
    assert experiment_figures(Experiment(events, arms, plan))["balance"]["sound"]
    balance = experiment_figures(Experiment(more, arms, plan))["balance"]
    assert balance == dict(sound=False, p=0.0, what=SEEN, arm="treatment")


def test_the_end_is_judged_by_all_units_that_had_their_days():
    arm, t = halves(1_000), np.arange(1_000) * DAY // 50  # twenty days
    events, arms = dealt(arm, np.arange(1_000) % 10 < 2, t)
    plan = Plan("x", by="session", units=1_000, window=7.0, stopping="once")
    early = worded(Experiment(events, arms, plan, end=20 * DAY))
    assert early[-1].startswith("wait for the window: 1,000 of 1,000 sessions")
    assert "651 have had their 7 days" in early[-1]
    assert "read once, at its end" in early[0]
    late = Experiment(events, arms, plan, end=int(t.max()) + 7 * DAY)
    assert worded(late)[-1].startswith("stop: 1,000 of 1,000")
    more = Experiment(events, arms, Plan("x", by="session", units=1_200, window=7.0))
    assert worded(more)[-1].startswith("go on: 1,000 of 1,200")


def test_no_arm_ends_before_the_others():
    arm = np.array(["control"] * 480 + ["a"] * 280 + ["b"] * 140)
    events, arms = dealt(arm, (arm == "a") | (np.arange(900) % 9 == 0))
    plan = Plan("x", by="session", shares=dict(control=0.5, a=0.25, b=0.25), stopping="once")
    for units, what in ((1_000, OPEN), (900, "better")):
        of = Experiment(events, arms, replace(plan, units=units), stated=False)
        assert experiment_figures(of)["arms"][0]["decision"]["what"] == what


def test_a_few_wrong_times_do_not_make_a_log_longer(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    one = own.filter(pl.col("session_id") == own["session_id"][0])
    stray = one.with_columns(
        t=pl.col("t") + 700 * DAY, session_id=pl.lit("stray"), visitor=pl.lit("stray")
    )
    plan = Plan("x", by="session", window=7.0, units=3_000)
    whole = pl.concat([own, stray])
    found, wanted = (read_experiment(scorer, log, arms, plan) for log in (whole, own))
    assert found["last"] == wanted["last"] == own["t"].max()
    assert found["units"] == wanted["units"] < len(arms)
    traffic = shop_traffic(whole, plan).by_day
    assert len(traffic) == len(shop_traffic(own, plan).by_day) < 30


def test_small_arms_are_as_large_as_they_were_meant_to_be():
    "By dividing at random, beside the exact probability of as many or more, and of none."
    shares = dict(control=0.98, treatment=0.02)
    exact = stats.binom.sf(7, 200, 0.02) + stats.binom.cdf(0, 200, 0.02)
    assert sample_ratio(dict(control=192, treatment=8), shares)["p"] == pytest.approx(
        exact, abs=0.005
    )
    assert not sample_ratio(dict(control=185, treatment=15), shares)["sound"]
    assert sample_ratio(dict(control=9, treatment=0), EVEN)["p"] is None
    assert not sample_ratio(dict(control=0, treatment=12), EVEN | {})["sound"]


def test_too_few_to_tell_is_said():
    events, arms = dealt(halves(6), [1, 0, 0, 1, 0, 0])
    said = worded(Experiment(events, arms, Plan("x", by="session")))
    assert any("too few came to tell" in text for text in said)


def test_units_in_no_row_are_compared_between_the_arms():
    arm = halves(1_000)
    events, arms = dealt(arm, np.arange(1_000) % 7 == 0)
    lost = [f"s{number:05}" for number in range(1, 1_000, 8)]
    few = events.filter(~pl.col("session_id").is_in(lost))
    of = Experiment(few, arms, Plan("x", by="session"))
    found = experiment_figures(of)["absence"]
    exact = stats.fisher_exact([[0, 500], [125, 375]])[1]
    assert found == dict(sound=False, p=pytest.approx(exact), arm="treatment")
    assert any("0 of control and 125 of treatment" in text for text in worded(of))
    assert experiment_figures(Experiment(events, arms, of.plan))["absence"]["sound"]


def test_nothing_wears_off_where_the_first_had_longer_to_buy():
    rng = np.random.default_rng(0)
    arm, t = halves(2_000), np.arange(2_000) * DAY // 100
    for by, window, told in (
        ("visitor", None, False),
        ("visitor", 1.0, True),
        ("session", None, True),
    ):
        events, arms = dealt(arm, rng.random(2_000) < 0.2, t, by)
        of = Experiment(events, arms, Plan("x", by=by, window=window, units=2_000))
        by_day = experiment_figures(of)["arms"][0]["by_day"]
        assert (by_day["p"] is not None) == told and bool(by_day["days"]) == told


@pytest.mark.parametrize("slope, word", [(-1, "wears off"), (1, "grows")])
def test_which_way_an_effect_goes(slope, word):
    rng, n = np.random.default_rng(0), 6_000
    arm, t = halves(n), np.arange(n) * DAY // 600  # ten days
    share = np.arange(n) / n
    lift = 0.5 * (share if slope > 0 else 1 - share)
    events, arms = dealt(arm, rng.random(n) < 0.1 + lift * (arm == "treatment"), t)
    of = Experiment(events, arms, Plan("x", by="session", units=n))
    assert np.sign(experiment_figures(of)["arms"][0]["by_day"]["slope"]) == slope
    assert sum(f"its effect {word} with the day" in text for text in worded(of)) == 1


@pytest.mark.parametrize("stopping", ["planned", "once"])
def test_before_a_plan_allows_it_nothing_is_sure(stopping):
    "However large a difference is: pictures, tables and guardrails wait as the decision does."
    arm = halves(400)
    events, arms = dealt(arm, (arm == "control") | (np.arange(400) % 8 == 1))
    plan = Plan("x", by="session", stopping=stopping, units=2_000, looks=4)
    figures = drawn_figures(Experiment(events, arms, plan))
    own = figures["arms"][0]
    assert own["decision"]["what"] == OPEN
    assert [one["what"] for one in own["guardrails"]] == ["not known yet"]
    assert not any(is_sure(row) for row in own["metrics"])
    assert plot_metrics(figures).alt.startswith("Nothing is shown to have changed")
    assert not ENDS.search(figures["headline"][0])
    assert plot_looks(figures).alt
    assert looks_table(figures)["ruled_low"].isna().all()
    done = experiment_figures(Experiment(events, arms, replace(plan, units=400)))
    assert done["arms"][0]["decision"]["what"] == "worse"
    assert done["arms"][0]["guardrails"][0]["what"] == BROKEN
    row = done["arms"][0]["metrics"][0]
    assert is_sure(row)
    there = looks_table(done).dropna(subset="ruled_low")
    assert np.isclose(there["ruled_low"], row["ruled_effect_low"]).any()


@pytest.mark.parametrize("stopping", ["planned", "once"])
def test_a_tiny_arm_in_which_nobody_converts_is_not_worse(stopping):
    "Of ten units, at 5 per cent, none converts in 60 of 100 experiments of nothing; its variance is then 0."
    arm = np.array(["control"] * 1_000 + ["treatment"] * 10)
    shares = dict(control=0.99, treatment=0.01)
    plan = Plan("x", by="session", shares=shares, stopping=stopping, units=1_000, looks=2)
    events, arms = dealt(arm, (np.arange(1_010) % 20 == 0) & (arm == "control"))
    of = Experiment(events, arms, plan)
    figures = drawn_figures(of)
    own = figures["arms"][0]
    assert own["metrics"][0]["p"] < 1e-9
    assert own["decision"]["what"] == OPEN
    assert [one["what"] for one in own["guardrails"]] == ["not known yet"]
    assert not metrics_of_arms(figures)["sure"].any()
    assert looks_table(figures)["ruled_low"].isna().all()
    assert "before 20 conversions are expected of each arm nothing is concluded" in worded(of)[0]


@pytest.mark.parametrize("stopping", ["planned", "once", "anytime"])
def test_an_arm_that_loses_all_its_conversions_is_worse(stopping):
    "Nobody in it converts, however long one waits for some who do."
    arm = halves(1_200)
    events, arms = dealt(arm, (np.arange(1_200) % 12 < 3) & (arm == "control"))
    plan = Plan("x", by="session", stopping=stopping, units=1_200, looks=2)
    own = experiment_figures(Experiment(events, arms, plan))["arms"][0]
    assert own["decision"]["what"] == "worse"
    assert [one["what"] for one in own["guardrails"]] == [BROKEN]


def test_a_planned_decision_is_of_its_look_and_stays():
    "What comes after the look turns the difference around, and is no part of it."
    arm = halves(1_000)
    first = np.arange(1_000) < 500
    rare = np.arange(1_000) % 20 < 2
    t = np.arange(1_000) * 120_000_000
    events, arms = dealt(arm, rare | (first == (arm == "treatment")), t)
    plan = Plan("x", by="session", stopping="planned", units=1_000, looks=2)
    for end in map(int, (t[499], t[700], t[999] + DAY)):
        of = Experiment(events.filter(pl.col("t") <= end), arms, plan, end=end)
        figures = drawn_figures(of)
        own = figures["arms"][0]
        look = next(row for row in own["looks"] if row["bound"] is not None)
        assert own["decision"]["what"] == "better"
        assert own["decision"]["at"] == own["metrics"][0]["ruled_at"] == look["t"]
        row = own["metrics"][0]
        assert row["ruled_effect"] == look["effect"]
        half = spending_bounds([0.5, 1.0])[0] * look["se"]
        assert row["ruled_effect_high"] - row["ruled_effect"] == pytest.approx(half)
        table = looks_table(figures)
        there = table.dropna(subset="ruled_low")
        assert there["ruled_low"].iloc[0] == pytest.approx(look["effect"] - half)


def test_days_alone_are_those_of_the_logs_zone():
    midnight = int(datetime(2026, 6, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1e6)
    arm, day = halves(60), np.arange(60) // 12 * DAY
    plan = Plan("x", by="session")
    for offset, zone, alone in (
        (midnight, "Europe/Berlin", True),
        (midnight, "UTC", False),
        (midnight + 7_200_000_000, "UTC", True),
        (midnight + 7_200_000_000, "Europe/Berlin", False),
        (midnight + 1, "Europe/Berlin", False),
    ):
        events, arms = dealt(arm, np.arange(60) % 3 == 0, day + offset)
        of = Experiment(events, arms, plan, zone=zone)
        assert experiment_figures(of)["days_alone"] == alone
        assert any("days alone" in text for text in worded(of)) == alone


def test_amounts_that_nobody_knows_are_the_reason_that_is_given():
    arm = np.array(["control", "a", "b"] * 200)
    shares = dict.fromkeys(["control", "a", "b"], 1 / 3)
    events, arms = dealt(arm, np.arange(600) % 5 == 0)
    number = pl.col("session_id").str.slice(1).cast(pl.Int64, strict=False)
    unknown = (number % 3).is_in([0, 2])
    part = events.with_columns(price=pl.when(~unknown).then("price"))
    plan = Plan("x", by="session", shares=shares, metric="revenue", guardrails={"revenue": 0.1})
    said = worded(Experiment(part, arms, plan))
    assert (
        said[0] == "a: revenue cannot be compared: the amounts of too many who bought are not known"
    )
    guard = next(text for text in said if "is lost cannot be told" in text)
    assert "amounts of too many" in guard
    counts = [text for text in said if "nobody knows what they paid" in text]
    assert "of 40 who bought, in it and in control" in counts[0]
    assert "of 80 who bought, in it and in control" in counts[1]
    nobody = np.zeros(600, bool)
    events, arms = dealt(arm, nobody)
    of = Experiment(events, arms, plan, end=DAY)
    assert "too few sessions have a value" in worded(of)[0]


def compared(control, treatment) -> dict:
    "Revenue of two arms."
    rows = dict(_arm=["control"] * len(control) + ["treatment"] * len(treatment))
    rows |= dict(_revenue=[*control, *treatment], _conversion=1, _orders=1)
    return arms_compared(
        arm_sample(EXPERIMENT_METRICS["revenue"], pl.from_dict(rows)), "control", "treatment"
    )


def test_more_of_a_loss_is_a_loss():
    "Relative to how much the control's value is, whichever its sign."
    rng, once = np.random.default_rng(0), Plan("x", stopping="once")
    for control, treatment, relative, what in (
        (10.0, 8.0, -0.2, BROKEN),
        (-10.0, -12.0, -0.2, BROKEN),
        (-10.0, -8.0, 0.2, "kept"),
        (10.0, -2.0, -1.2, BROKEN),
        (-10.0, 2.0, 1.2, "not known yet"),
    ):
        noise = rng.normal(0, 1, 400)
        row = compared(control + noise, treatment + rng.permutation(noise))
        assert row["relative"] == pytest.approx(relative, abs=0.02)
        one_sign = control * treatment > 0
        assert (row["relative_low"] is not None) == one_sign
        if one_sign:
            assert row["relative_low"] < row["relative"] < row["relative_high"]
        found = guarded([row | ruled(row, once)], once)[0]
        assert found["what"] == what


def test_p_of_several_figures_are_adjusted_where_they_are_read():
    arm = halves(2_000)
    rng = np.random.default_rng(4)
    events, arms = dealt(arm, rng.random(2_000) < np.where(arm == "control", 0.1, 0.13))
    plan = Plan("x", by="session", stopping="once", units=2_000, guardrails={})
    plan = replace(plan, others=["orders", "revenue"])
    figures = experiment_figures(Experiment(events, arms, plan))
    deciding, *others = figures["arms"][0]["metrics"]
    assert deciding["adjusted"] == deciding["p"] < 0.05
    p = [row["p"] for row in others]
    assert [row["adjusted"] for row in others] == pytest.approx([min(2 * one, 1.0) for one in p])
    assert 0.05 / 2 < min(p) < 0.05
    low, high = min((row["ruled_effect_low"], row["ruled_effect_high"]) for row in others)
    assert low < 0 < high
    sure = [is_sure(row) for row in (deciding, *others)]
    assert sure == [True, False, False]


@pytest.mark.parametrize("moved", [True, False])
def test_slices_that_differ_are_told(moved):
    n, rng = 4_000, np.random.default_rng(2)
    arm, device = halves(n), np.where(np.arange(n) % 4 < 2, "mobile", "desktop")
    lift = 0.2 * (arm == "treatment") * ((device == "mobile") if moved else 0.5)
    events, arms = dealt(arm, rng.random(n) < 0.2 + lift, device=device)
    of = Experiment(events, arms, Plan("x", by="session", units=n), context=("device",))
    found = experiment_figures(of)["arms"][0]["slices"][0]
    effects = {row["slice"]: row["effect"] for row in found["rows"]}
    assert (effects["mobile"] - effects["desktop"] > 0.1) == moved
    assert (found["p"] < 0.001) == moved
    assert any("slices of device seem to differ" in text for text in worded(of)) == moved


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A run, and an experiment of the demo shop after it."
    folder = tmp_path_factory.mktemp("experiment")
    quick_conversion(Run(folder / "run"), sessions=2_500)
    events, arms = simulate_experiment(4_000, seed=3, by="session", start="2026-06-01", days=28)
    return Scorer.load(folder / "run"), events, arms, folder


def test_a_plan_reads_a_newer_log_whole(shop, monkeypatch):
    "What the watch looks at of a large log is a share of its sessions; a plan counts them all."
    from clickstream_conv.monitoring.observed import read_news

    scorer, events, _, folder = shop
    events.write_parquet(folder / "newer.parquet")
    plan = Plan("x", by="session", effect=0.5)
    monkeypatch.setattr(read_news, "__defaults__", (1_000,))
    looked_at = read_news(scorer, str(folder / "newer.parquet"))
    assert 0 < looked_at.share < 0.2
    _, found = plan_experiment(scorer, plan, events=str(folder / "newer.parquet"))
    last = (events["t"].max() - events.filter(step=1)["t"].min()) // DAY
    began = (events.filter(step=1)["t"] - events["t"].min()) // DAY
    assert sum(found["by_day"]) == (began < last).sum()


def test_a_plan_counts_all_events_of_a_run_that_learned_from_a_sample(shop, tmp_path):
    "A log that is read in partitions is kept whole beside the sample."
    import shutil

    run = Run(shutil.copytree(shop[3] / "run", tmp_path / "run"))
    whole, plan = pl.read_parquet(run / "events.parquet"), Plan("x", effect=0.5)
    expected = plan_experiment(Scorer.load(run.folder), plan)[1]
    place = whole["session_id"].hash(1) % 3
    (run.folder / "events").mkdir()
    for part in (0, 1, 2):
        whole.filter(place == part).write_parquet(run.folder / f"events/part-{part}.parquet")
    whole.filter(place == 0).write_parquet(run.folder / "events.parquet")
    found = plan_experiment(Scorer.load(run.folder), plan)[1]
    assert found["by_day"] == expected["by_day"] and found["sizes"] == expected["sizes"]


def test_figures_of_a_plan_that_is_not_kept_are_not_written(shop, tmp_path, capsys):
    from clickstream_conv.pipeline.experiment_commands import plan_command

    run, out, figures = str(shop[3] / "run"), tmp_path / "own.json", tmp_path / "metrics/plan.json"
    asked = dict(run=run, name="x", out=str(out), shown_after=3, window=7.0, stopping="once")
    plan_command(**asked, effect=0.5)
    last = capsys.readouterr().out.strip().replace("\n", " ").split("the plan, of ")[1]
    kept, before = load_plan(out), figures.read_bytes()
    assert last.startswith(
        f"{kept.units:,} visitors, each from its first visit of 3 events or more,"
    )
    assert "that have had their 7 days, in all arms together" in last
    assert json.loads(before)["shown_after"] == 3
    with pytest.raises(ValueError, match="holds another plan"):
        plan_command(**asked, effect=0.4)
    assert figures.read_bytes() == before and load_plan(out) == kept


def test_the_model_sees_nothing_after_the_exposure(shop):
    "Events after the exposure may be anything: what the model says stays."
    scorer, events, arms, _ = shop
    known = read_exposures(arms, by="session")
    own = events.with_columns(visitor=pl.col("visitor_id"))
    said = said_before(scorer, own, known)
    cut = seen_before(own, known).drop("_unit")
    assert said.equals(said_before(scorer, cut, known))
    assert said["probability"].null_count() == 0
    assert seen_before(own, known).group_by("session_id").len()["len"].unique().to_list() == [4]


def test_a_visit_that_the_model_has_learned_from_says_nothing(shop):
    scorer, _, _, folder = shop
    from clickstream_conv.sources.card import load_events

    learned = load_events(Run(folder / "run"), "train")
    said = said_before(scorer, learned, as_if_exposed(learned, Plan("x", by="session")))
    assert said["_learned"].all() and said["probability"].null_count() == len(said)


def test_a_learned_visit_is_known_by_who_came_when_where_ids_are_numbers(shop, monkeypatch):
    "Each file numbers the visits of a visitor anew, so that ids say nothing of another file."
    from clickstream_conv.sources.card import load_events

    scorer, _, _, folder = shop
    learned, plan = load_events(Run(folder / "run"), "train"), Plan("x", by="session")
    renamed = learned.with_columns(session_id=pl.col("session_id") + ":9")
    others = learned.with_columns(visitor=pl.col("visitor") + "b")
    cut = renamed.filter(pl.col("step") > 2).with_columns(step=pl.col("step") - 2)

    def known(events):
        return said_before(scorer, events, as_if_exposed(events, plan))["_learned"].mean()

    assert (known(learned), known(renamed), known(others)) == (1, 0, 1)
    monkeypatch.setattr(Scorer, "names_sessions", lambda self: False)
    assert (known(learned), known(renamed), known(others), known(cut)) == (1, 1, 0, 1)


def test_an_experiment_is_read_from_files(shop):
    scorer, events, arms, folder = shop
    events.write_parquet(folder / "log.parquet")
    arms.write_csv(folder / "arms.csv")
    plan = save_plan(Plan("x", by="session", units=3_000), folder / "plan.json")
    found = read_experiment(
        scorer, str(folder / "log.parquet"), folder / "arms.csv", plan, out=folder
    )
    kept = json.loads((folder / "metrics" / "experiment.json").read_text())
    assert kept["headline"] == found["headline"]
    row = found["arms"][0]["metrics"][0]
    assert row["units"] + row["units_control"] == len(arms)
    treated = set(arms.filter(arm="treatment")["session_id"])
    after = events.filter(pl.col("session_id").is_in(list(treated)), pl.col("step") > 4)
    converted = after.filter(event="purchase")["session_id"].n_unique()
    assert row["value"] == pytest.approx(converted / len(treated))
    assert 0.05 < row["narrower"] < 0.5


def test_a_plan_is_not_said_otherwise_later(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    with pytest.raises(ValueError, match="Leave it out"):
        read_experiment(scorer, own, arms, Plan("x", by="session"), by="visitor")
    with pytest.raises(ValueError, match="the plan has control, other"):
        plan = Plan("x", by="session", shares=dict(control=0.5, other=0.5))
        read_experiment(scorer, own, arms, plan)


def test_the_plan_of_another_shop_does_not_read(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("x", by="session", log="shoes@1")
    with pytest.raises(
        ValueError, match="was made for the log shoes@1, and the run run reads demo@"
    ):
        read_experiment(scorer, own, arms, plan, covariate=False)
    mark = log_mark(scorer.card, scorer.contract)
    assert read_experiment(scorer, own, arms, replace(plan, log=mark), covariate=False)["units"]


def test_exposures_of_other_days_than_the_plans_do_not_count(shop):
    "All of the last day does; days are of the log's zone, and a unit that was exposed too early stays out."
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("x", by="session", begins="2026-06-08", ends="2026-06-14", units=100_000)
    found = read_experiment(scorer, own, arms, plan, covariate=False)
    day = pl.from_epoch("timestamp", "us").dt.date().cast(pl.String)
    counts = [
        arms.filter(some).height
        for some in (day.is_between(pl.lit(plan.begins), pl.lit(plan.ends)), day < plan.begins)
    ]
    assert [
        found["units"],
        found["left_out"]["exposed before the plan's first day, 2026-06-08"],
    ] == counts
    after = "exposed after the plan's last day, 2026-06-14"
    assert found["left_out"][after] == len(arms) - sum(counts) > 0
    said = [sentence.text for sentence in experiment_sentences(found)]
    assert any(text.endswith(after) for text in said)
    assert said[-1].startswith("stop: the plan's last day, 2026-06-14, is past")
    again = (
        arms.filter(day < plan.begins).head(1).with_columns(timestamp=arms["timestamp"].median())
    )
    twice = pl.concat([arms, again.cast(arms.schema)])
    assert read_experiment(scorer, own, twice, plan, covariate=False)["counts"] == found["counts"]
    with pytest.raises(ValueError, match="Give the plan of this experiment"):
        read_experiment(scorer, own, arms, replace(plan, begins="2026-07-01", ends=""))


def test_days_of_a_plan_are_those_of_the_logs_zone():
    zone = ZoneInfo("America/New_York")
    moments = [datetime(2026, 11, 1, hour, 30, tzinfo=zone) for hour in (0, 23)]
    t = [int(moment.timestamp() * 1e6) for moment in moments]
    arms = read_exposures(exposed(a=(t[0], "control"), b=(t[1], "x")))
    inside = within_days(arms, "2026-11-01", "2026-11-01", "America/New_York")
    assert inside.counts == dict(control=1, x=1) and not inside.left_out
    with pytest.raises(ValueError, match="of the control, or none beside it"):
        within_days(arms, "2026-11-01", "2026-11-01")


def test_amounts_of_a_small_arm_wait_for_more_conversions_at_any_time():
    "With nine times as many in the other arm, 50 buyers are too few for an interval of revenue."
    shares = dict(control=0.9, treatment=0.1)
    least = least_converted("anytime", "revenue", shares)
    arm = np.where(np.arange(20_000) % 10 == 0, "treatment", "control")
    plan = Plan("x", by="session", shares=shares, metric="revenue")
    for converted in (least - 1, least + 1):
        buys = np.zeros(len(arm), bool)
        for name in shares:
            buys[np.flatnonzero(arm == name)[: converted * (9 if name == "control" else 1)]] = True
        events, arms = dealt(arm, buys, np.arange(len(arm)) * 60_000_000)
        row = experiment_figures(Experiment(events, arms, plan))["arms"][0]["metrics"][0]
        assert (row["anytime_low"] is None) == (converted < least)
        assert (row["ruled_effect_low"] is None) == (converted < least)


def test_of_two_arms_the_interval_says_what_the_decision_says():
    "An arm of p 0.03 is not shown where two are compared, whatever the other has."
    arm = np.array(["control", "banner", "coupon"])[np.arange(3_000) % 3]
    buys = np.zeros(3_000, bool)
    for name, converted in (("control", 100), ("banner", 132), ("coupon", 160)):
        buys[np.flatnonzero(arm == name)[:converted]] = True
    shares = dict(control=1 / 3, banner=1 / 3, coupon=1 / 3)
    events, arms = dealt(arm, buys)
    plan = Plan("x", by="session", stopping="once", shares=shares)
    found = {one["arm"]: one for one in experiment_figures(Experiment(events, arms, plan))["arms"]}
    banner, coupon = (found[name]["metrics"][0] for name in ("banner", "coupon"))
    assert 0.025 < banner["p"] < 0.05 and coupon["p"] < 0.001
    assert banner["adjusted"] == pytest.approx(2 * banner["p"])
    assert banner["ruled_effect_low"] < 0 < banner["ruled_effect_high"]
    assert found["banner"]["decision"]["what"] == OPEN
    width = 2 * stats.norm.isf(0.05 / 4) * banner["se"]
    assert banner["ruled_effect_high"] - banner["ruled_effect_low"] == pytest.approx(width)
    assert coupon["ruled_effect_low"] > 0
    assert found["coupon"]["decision"]["what"] == "better"


def test_of_a_ramp_only_those_are_planned_with_who_take_part():
    events = simulate(2_000, seed=0, days=28).with_columns(visitor=pl.col("visitor_id"))
    every = shop_traffic(events, Plan("x"))
    half = shop_traffic(events, Plan("x", ramp=[0.1, 0.5]))
    assert half.by_day == pytest.approx(every.by_day / 2)


def test_arms_are_held_against_those_that_the_plan_draws():
    names = [f"s{number:05}" for number in range(2_000)]
    own = np.array([arm_of(name, "banner") for name in names])
    other = np.array([arm_of(name, "coupon") for name in names])
    mixed = np.where(np.arange(2_000) < 100, other, own)
    plan = Plan("banner", by="session")
    said = {}
    for title, arm in (("own", own), ("mixed", mixed), ("other", other)):
        events, arms = dealt(arm, np.arange(2_000) % 5 == 0)
        said[title] = " ".join(worded(Experiment(events, arms, plan)))
    apart = int((mixed != own).sum())
    assert "draws" not in said["own"]
    assert (
        f"{apart} of 2,000 sessions are in another arm than the plan banner draws" in said["mixed"]
    )
    assert "not drawn by the plan banner" in said["other"]


def test_arms_whose_names_are_exchanged_are_said_so_and_not_learned_from():
    names = [f"s{number:05}" for number in range(2_000)]
    own = np.array([arm_of(name, "banner") for name in names])
    exchanged = np.where(own == "control", "treatment", "control")
    events, arms = dealt(exchanged, np.arange(2_000) % 5 == 0)
    of = Experiment(events, arms, Plan("banner", by="session"))
    said = [one for one in experiment_sentences(experiment_figures(of)) if "exchanged" in one.text]
    assert len(said) == 1 and said[0].level == "caution"
    with pytest.raises(ValueError, match="2,000 of 2,000 sessions .* may be exchanged"):
        pair_of(of, "")


def test_metrics_that_share_an_error_are_planned_as_they_are_read():
    plan = Plan("x", stopping="once", units=20_000)
    alone, shared = (smallest_effect(plan, 1.0, 20_000, name) for name in ("", "orders"))
    count = comparisons(plan, "orders")
    by_hand = stats.norm.isf(0.05 / 2 / count) + stats.norm.ppf(0.8)
    assert count > 1
    assert shared / alone == pytest.approx(
        by_hand / (stats.norm.isf(0.05 / 2) + stats.norm.ppf(0.8))
    )
    fewer, more = (units_for(plan, 1.0, 0.05, name) for name in ("", "orders"))
    assert more / fewer == pytest.approx((shared / alone) ** 2, rel=1e-3)


def test_visitors_who_are_all_in_both_arms_are_left_out_and_not_taken_for_visits():
    "A log that names each visitor once an arm: who is in both cannot tell what was drawn."
    n, both = 4_000, 67
    names = [f"v{number}" for number in range(n)]
    rows = pl.from_dict(
        dict(
            visitor_id=[*names, *names[:both]],
            timestamp=[*(number * 60_000_000 for number in range(n)), *([n * 60_000_000] * both)],
            arm=[*("control" if number % 2 else "treatment" for number in range(n))]
            + ["treatment" if number % 2 else "control" for number in range(both)],
        )
    )
    found = read_exposures(rows, "visitor")
    assert len(found.rows) == n - both
    assert found.left_out["visitor in several arms"] == both


def test_a_shop_that_is_quiet_at_night_has_its_last_day():
    "Of 200 sessions a day, from eight to ten in the evening, the last day is over when its evening is."
    hours = np.tile(np.linspace(8, 21.9, 200), 14) * 3_600_000_000
    t = (np.repeat(np.arange(14), 200) * DAY + hours).astype(np.int64)
    arm = halves(len(t))
    events, arms = dealt(arm, (arm == "treatment") | (np.arange(len(t)) % 4 == 0), t)
    plan = Plan("x", by="session", stopping="once", units=5_000, ends="1970-01-14")
    for end, what in ((t[-1], "better"), (13 * DAY + 12 * 3_600_000_000, OPEN)):
        found = experiment_figures(Experiment(events, arms, plan, end=int(end)))
        assert found["arms"][0]["decision"]["what"] == what


def test_more_than_were_planned_is_said_so():
    arm = halves(1_000)
    events, arms = dealt(arm, np.arange(1_000) % 4 < 2)
    plan = Plan("x", by="session", stopping="once", units=400)
    said = worded(Experiment(events, arms, plan))
    assert any(
        "1,000 sessions have come, more than the 400 that were planned" in one for one in said
    )


def test_a_reading_does_not_take_the_place_of_another_experiments(shop, tmp_path):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    for _ in range(2):  # the same again, of a newer day
        read_experiment(scorer, own, arms, by="session", out=tmp_path)
    before = (tmp_path / "metrics/experiment.json").read_bytes()
    later = arms.with_columns(pl.col("timestamp") + 40 * DAY)
    later_events = own.with_columns(pl.col("t") + 40 * DAY)
    with pytest.raises(ValueError, match="without a plan, since .*--out"):
        read_experiment(scorer, later_events, later, by="session", out=tmp_path)
    with pytest.raises(ValueError, match="holds the reading of another experiment.*--out"):
        read_experiment(scorer, own, arms, Plan("banner", by="session"), out=tmp_path)
    assert (tmp_path / "metrics/experiment.json").read_bytes() == before


def test_what_is_read_once_ends_with_the_last_day_of_its_plan():
    arm = halves(1_000)
    t = np.arange(1_000) * DAY // 100  # ten days
    events, arms = dealt(arm, (arm == "treatment") | (np.arange(1_000) % 4 == 0), t)
    plan = Plan("x", by="session", stopping="once", window=2.0, ends="1970-01-10")
    for end, what in ((12 * DAY - DAY // 2, OPEN), (12 * DAY - DAY // 100, "better")):
        found = experiment_figures(Experiment(events, arms, plan, end=end))
        assert found["arms"][0]["decision"]["what"] == what


def test_arms_that_are_not_sound_decide_nothing(shop):
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    odd = (pl.col("arm") == "treatment") & (pl.int_range(pl.len()) % 4 == 0)
    found = read_experiment(
        scorer, own, arms.filter(~odd), Plan("x", by="session"), covariate=False
    )
    assert not found["ratio"]["sound"]
    assert "Find it before anything is read" in found["headline"][0]
    assert "nothing is decided" in found["headline"][1]


def test_an_effect_is_found_and_said(shop):
    "Everybody in the treatment who looked at a product buys something for 1."
    scorer, events, arms, _ = shop
    treated = arms.filter(arm="treatment")["session_id"].to_list()
    more = pl.col("session_id").is_in(treated) & (pl.col("step") > 4) & (pl.col("event") == "view")
    own = events.with_columns(
        visitor=pl.col("visitor_id"),
        event=pl.when(more).then(pl.lit("purchase")).otherwise("event"),
    )
    found = experiment_figures(
        Experiment(own, read_exposures(arms, "session"), Plan("x", by="session", units=3_000))
    )
    assert found["arms"][0]["decision"]["what"] == "better"
    assert "is better" in experiment_sentences(found)[0].text


def test_one_arm_is_looked_at():
    rows = dict(visitor_id=list("abc"), timestamp=[1, 2, 3], arm=["control", "x", "y"])
    arms = read_exposures(pl.from_dict(rows))
    with pytest.raises(ValueError, match="--arm NAME"):
        one_treatment(arms)
    assert one_treatment(arms, "y").counts == dict(control=1, y=1)


def test_it_is_asked_where_most_were_shown_it():
    rows = [(who, f"s{who}", t, "view", None) for who in "abc" for t in (1, 2, 3)]
    arms = read_exposures(exposed(a=(3, "control"), b=(3, "x"), c=(4, "x")))
    shown = shown_at(seen_before(bought(*rows), arms), arms, 30 * 60_000_000)
    assert (shown.after, sum(shown.left_out.values())) == (2, 1)
    assert shown.rows["session_id"].to_list() == ["sa", "sb"]


def test_visits_that_were_over_teach_nothing(shop):
    "Who comes back is exposed in the new visit; the old one, over for days, is not what was going on."
    rows = []
    for n in range(10):
        rows += [(f"v{n}", f"old{n}", k * 60_000_000, "view", None) for k in (1, 2, 3)]
        rows += [(f"v{n}", f"new{n}", 5 * DAY + n, "view", None)]
    own = {f"v{n}": (5 * DAY + n, "x" if n % 2 else "control") for n in range(10)}
    arms = read_exposures(exposed(**own))
    with pytest.raises(
        ValueError, match="all 10 visits that are known were over when it was shown"
    ):
        shown_at(seen_before(bought(*rows), arms), arms, session_gap(shop[0]))
    longer = shown_at(seen_before(bought(*rows), arms), arms, 6 * DAY)
    assert len(longer.rows) == 10 and longer.rows["session_id"][0] == "old0"


def test_nobody_is_treated_where_nothing_is_moved(shop, tmp_path):
    scorer, *_ = shop
    treatment = no_effect("coupon")
    events, arms = simulate_experiment(
        6_000, seed=5, treatment=treatment, by="session", start="2026-06-01"
    )
    own = events.with_columns(visitor=pl.col("visitor_id"))
    price = Price(0.4, treatment.discount)
    found = whom_to_treat(scorer, own, arms, price, by="session", out=tmp_path, kinds=0)
    assert found["headline"][0].startswith("treat nobody")
    table = pl.read_parquet(tmp_path / "whom.parquet")
    test = set(table["visitor"])
    assert 0.3 < len(test) / arms["visitor_id"].n_unique() < 0.5
    assert table["probability"].is_between(0, 1, closed="none").all()
    assert table["probability"].n_unique() > 0.5 * len(table)
    treated = table["probability"] + table["conversion_effect"]
    assert treated.is_between(0, 1, closed="none").all()
    kept = load_effects(Run(tmp_path))
    whose = events.filter(pl.col("session_id").is_in(table["session_id"].implode()))
    asked = rows_to_ask(kept, scorer.card, whose)
    without, _ = kept.learner.chances(asked)
    own = dict(zip(table["session_id"], table["probability"]))
    told = dict(zip(asked.table["session_id"], without))
    assert max(abs(told[name] - own[name]) for name in own) < 1e-9


def moved_experiment(by_how_much: float = 1.5, sessions: int = 6_000) -> tuple:
    "Events and arms of a free treatment, shown to 30 per cent, that moves all kinds of visitors alike."
    free = Treatment("free", "it costs nothing", kinds=(by_how_much,) * 4)
    events, arms = simulate_experiment(
        sessions, seed=6, treatment=free, share=0.3, by="session", start="2026-06-01"
    )
    return events.with_columns(visitor=pl.col("visitor_id")), arms


def test_those_who_are_moved_are_treated(shop, tmp_path, monkeypatch):
    "The counterpart of nobody; and the same figure has the same interval in every place."
    scorer, own, drawn = shop[0], moved_experiment(2.0, 9_000), []
    monkeypatch.setattr(
        whom, "judged_policies", lambda *given: drawn.append(given) or judged_policies(*given)
    )
    found = whom_to_treat(scorer, *own, Price(0.4), by="session", out=tmp_path, kinds=0)
    treated = (own[1]["arm"] == "treatment").mean()
    assert found["share"] == drawn[0][0].share == treated and 0.25 < treated < 0.35
    assert found["advice"] != "nobody" and found["headline"][0].startswith("treat ")
    table, worth = pl.read_parquet(tmp_path / "whom.parquet"), pl.from_dicts(found["policies"])
    row = worth.row(by_predicate=pl.col("policy") == found["advice"], named=True)
    assert table["treated"].mean() == pytest.approx(row["treated"]) and row["treated"] > 0.5
    assert row["gain"] > row["gain_low"] > 0
    interval = f"{row['gain']:.3f} a session ({row['gain_low']:.3f} to {row['gain_high']:.3f})"
    assert interval in found["headline"][0]
    assert any(
        f"treating {found['advice']} (" in text and f"gains {interval}" in text
        for text in found["headline"]
    )
    test = own[1].filter(pl.col("session_id").is_in(table["session_id"].implode()))
    paid = own[0].filter(event="purchase").group_by("session_id")
    paid = paid.agg(_paid=(pl.col("price") * pl.col("quantity")).sum())
    earned = test.join(paid, on="session_id", how="left").with_columns(pl.col("_paid").fill_null(0))
    one, other = (earned.filter(arm=arm)["_paid"] * 0.4 for arm in ("treatment", "control"))
    everyone = worth.row(by_predicate=pl.col("policy") == "everyone", named=True)
    assert everyone["gain_low"] < one.mean() - other.mean() < everyone["gain_high"]


def test_nothing_is_learned_from_an_experiment_that_is_not_sound(shop):
    "Arms of another size than planned, and moments that know the arm: refused as experiment read says it."
    events, arms = moved_experiment()
    plan = Plan("free", by="session", shares=dict(control=0.7, treatment=0.3))
    asked = dict(plan=plan, kinds=0)
    found = whom_to_treat(shop[0], events, arms, Price(0.4), **asked)
    assert found["share"] == 0.3 and found["learned"]["experiment"] == "free"
    assert any(one.startswith("as many came as were meant to") for one in found["headline"])
    even = asked | dict(plan=replace(plan, shares=EVEN))
    with pytest.raises(ValueError, match="not sound: the arms are not as large as they were meant"):
        whom_to_treat(shop[0], events, arms, Price(0.4), **even)
    after = events.filter(pl.col("step") == found["shown_after"] + 1)
    late = arms.join(after.select("session_id", _next="t"), on="session_id", how="left")
    of = (pl.col("arm") == "treatment") & pl.col("_next").is_not_null()
    moment = pl.when(of).then(pl.col("_next") + 1).otherwise("timestamp")
    late = late.with_columns(timestamp=moment).drop("_next")
    told = read_experiment(shop[0], events, late, plan)
    with pytest.raises(
        ValueError, match="what was known before differs between treatment and"
    ) as no:
        whom_to_treat(shop[0], events, late, Price(0.4), **asked)
    assert [one for one in told["headline"] if one in str(no.value)]
    with pytest.raises(
        ValueError, match="the plan 'free' says by='session', and now it is 'visitor'"
    ):
        whom_to_treat(shop[0], events, arms, Price(0.4), by="visitor", **asked)


def test_nobody_is_treated_where_it_costs_more_than_it_brings(shop):
    price = Price(0.4, cost=30.0)
    found = whom_to_treat(shop[0], *moved_experiment(), price, by="session", kinds=0)
    assert found["advice"] == "nobody" and "treat nobody" in found["headline"][0]
    everyone = next(row for row in found["policies"] if row["policy"] == "everyone")
    assert everyone["gain"] < everyone["gain_high"] < 0
    loss = f"loses {-everyone['gain']:.3f} a session (as a gain: {everyone['gain_low']:.3f} to"
    whole = " ".join(found["headline"])
    assert loss in whole and "gains -" not in whole
    assert "a discount of 0% on a treated one, and 30 for showing it once" in whole
    best = max(found["policies"], key=lambda row: row["gain"])
    assert best["gain_low"] < 0 < best["gain_high"]
    assert found["headline"][0].startswith("treat nobody for now: none of 3 policies is shown")
    assert f"may gain or lose, {best['gain']:+.3f} a session" in found["headline"][0]
    assert f"counts all {found['units']:,} that took part" in whole
    told = next(one for one in found["headline"] if one.startswith("by the learned effects"))
    assert "treating everyone loses 2" in told and "the interval of what was earned holds" in told


def test_who_is_not_looked_at_is_told(shop):
    "Each unit is looked at, or left out for a reason; the amounts of a few may be unknown."
    events, arms = moved_experiment()
    ids = arms["session_id"].to_list()
    late, early, gone = ids[:5], ids[5:9], pl.DataFrame(dict(session_id=["z"], visitor_id=["z"]))
    bought = events.filter(event="purchase")["session_id"].unique().sort()
    unknown = bought.filter(bought.is_in(ids[9:]))[:2]
    own = events.with_columns(
        event=pl.when(pl.col("session_id").is_in(early), step=3)
        .then(pl.lit("purchase"))
        .otherwise("event"),
        price=pl.when(~pl.col("session_id").is_in(unknown.implode())).then("price"),
    )
    after = pl.col("timestamp") + 1_000_000_000_000
    shown = arms.with_columns(
        timestamp=pl.when(pl.col("session_id").is_in(late)).then(after).otherwise("timestamp")
    )
    absent = gone.with_columns(timestamp=arms["timestamp"].max(), arm=pl.lit("control"))
    other = gone.with_columns(
        session_id=pl.lit("y"), timestamp=arms["timestamp"].max(), arm=pl.lit("b")
    )
    shown = pl.concat([shown, *(one.select(arms.columns) for one in (absent, other))])
    asked = dict(by="session", arm="treatment", kinds=0)
    found = whom_to_treat(shop[0], own, shown, Price(0.4), **asked)
    why = found["left_out"]
    assert why["whose visit was over when it was shown"] == len(late)
    assert why["in another arm"] == why["without an event before it was shown"] == 1
    assert why["converted before it was shown"] == 4
    assert why["bought for an amount that nobody knows"] == 2
    assert found["units"] == len(arms) + 1
    counted = sum(count for name, count in why.items() if name != "in another arm")
    assert found["units"] == found["looked_at"] + counted
    assert "bought for an amount that nobody knows: 2" in found["headline"][-1]
    unpriced = events.with_columns(price=pl.lit(None, pl.Float64))
    with pytest.raises(ValueError, match="the log does not say what they paid, so that nobody"):
        whom_to_treat(shop[0], unpriced, arms, Price(0.4), by="session", kinds=0)


@pytest.mark.parametrize(
    "price, says",
    [
        (dict(margin=0.0), "margin is 0"),
        (dict(margin=0.3, discount=0.3), "discount is 0.3"),
        (dict(margin=0.3, cost=-1.0), "cost is -1"),
    ],
)
def test_prices_that_cannot_be(price, says):
    with pytest.raises(ValueError, match=says):
        Price(**price)


@pytest.mark.parametrize("command", ["plan", "read", "whom"])
def test_a_runs_own_folder_is_not_written_into(shop, command):
    from clickstream_conv.pipeline import experiment_commands as commands

    _, _, _, folder = shop
    run = str(folder / "run")
    files = dict(run=run, events="log.parquet", exposures="arms.csv")
    asked = {
        "plan": lambda: commands.plan_command(run=run, name="x", out=f"{run}/plan.json"),
        "read": lambda: commands.read_command(**files, out=run),
        "whom": lambda: commands.whom_command(**files, margin=0.3, out=run),
    }
    with pytest.raises(ValueError, match="holds a run"):
        asked[command]()


def test_a_control_near_nought_has_a_difference_and_nothing_relative():
    "Refunds may bring the net amount of an arm to nought; a change relative to it would be beyond any number."
    half = 500
    control = np.tile([1.0, -1.0], half) + 1e-9
    rows = dict(_arm=np.repeat(["control", "treatment"], 2 * half))
    rows |= dict(_revenue=np.append(control, control + 0.5))
    units = pl.from_dict(rows).with_columns(_orders=1)
    found = arms_compared(arm_sample(EXPERIMENT_METRICS["revenue"], units), "control", "treatment")
    welch = stats.ttest_ind(control + 0.5, control, equal_var=False)
    assert found["effect"] == pytest.approx(0.5)
    assert found["se"] == pytest.approx(0.5 / welch.statistic)
    assert [found[name] for name in ("relative", "relative_low", "relative_high")] == [None] * 3


@pytest.mark.parametrize("drawn, read", [("visitor", "session"), ("session", "visitor")])
def test_arms_are_read_as_they_were_drawn(shop, drawn, read):
    "Arms of visitors are not read by session, nor those of sessions by visitor; each is read as what it is."
    events, arms = simulate_experiment(
        6_000, seed=6, treatment="nothing", by=drawn, start="2026-06-01"
    )
    own = events.with_columns(visitor=pl.col("visitor_id"))
    for asked in (dict(by=read), dict(plan=Plan("x", by=read))):
        with pytest.raises(ValueError, match=f"--by {drawn}"):
            read_experiment(shop[0], own, arms, covariate=False, **asked)
        with pytest.raises(ValueError, match=f"--by {drawn}"):
            whom_to_treat(shop[0], own, arms, Price(0.4), kinds=0, **asked)
    found = read_experiment(shop[0], own, arms, by=drawn, covariate=False)
    assert found["by"] == drawn and found["units"] > 1_000


def test_what_was_drawn_is_seldom_mistaken():
    "Where it was the session, reading by session is refused in none of 300 draws; some mistaken visitors are borne."
    rng, who = np.random.default_rng(7), np.repeat(np.arange(200), 2)
    for share in (0.5, 0.2, 0.05):
        for _ in range(100):
            arm = rng.random(400) < share
            assert not drawn_arms(pl.DataFrame(dict(_visitor=who, _arm=arm))).by_visitor
    sticky = (np.arange(200) % 2).repeat(2)
    mistaken = np.where(np.arange(400) < 8, np.arange(400) % 2, sticky)
    found = drawn_arms(pl.DataFrame(dict(_visitor=who, _arm=mistaken)))
    assert (found.crossed, found.by_visitor, found.by_visit) == (4, True, False)


def test_a_written_experiment_is_drawn_by_its_plan(tmp_path):
    "The demo shop puts everybody in the arm that the plan's hash says, so that its reading says nothing of others."
    plan = Plan(name="free", by="session", shares={"control": 0.5, "banner": 0.5})
    save_plan(plan, tmp_path / "plan.json")
    words = ("fetch", "demo", "--out", "new.parquet", "--sessions", "300", "--treatment", "coupon")
    assert here(*words, "--plan", "plan.json", cwd=tmp_path).returncode == 0
    arms = pl.read_csv(tmp_path / "new-arms.csv")
    expected = [arm_of(one, "free", plan.shares) for one in arms["session_id"]]
    assert arms["arm"].to_list() == expected and {*expected} == {"control", "banner"}
    later = pl.read_parquet(tmp_path / "new.parquet").filter(pl.col("step") > 4)
    assert later.join(arms, on="session_id")["arm"].n_unique() == 2


@pytest.mark.parametrize(
    "shares, ramp, words, said",
    [
        ({"control": 0.5, "banner": 0.5}, [1.0], ("--by", "session"), "leave out --by"),
        ({"control": 0.5, "banner": 0.5}, [1.0], (), "add one, such as --treatment"),
        ({"control": 0.4, "a": 0.3, "b": 0.3}, [1.0], ("--treatment", "coupon"), "has 3 arms"),
        ({"control": 0.5, "a": 0.5}, [0.1, 1.0], ("--treatment", "coupon"), "or a ramp"),
    ],
)
def test_a_plan_that_the_demo_shop_cannot_follow_is_refused(shares, ramp, words, said, tmp_path):
    save_plan(Plan(name="free", shares=shares, ramp=ramp), tmp_path / "plan.json")
    treatment = ("--treatment", "coupon") if "--by" in words else ()
    asked = ("fetch", "demo", "--out", "new.parquet", *words, *treatment, "--plan", "plan.json")
    done = here(*asked, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr
    assert not (tmp_path / "new.parquet").exists()
