"""How often experiments of the demo shop err, what their intervals hold, and what a model takes of the noise.

python tests/experiments_shown.py RUN --runs 10000

RUN is a finished run of the demo shop. Units are drawn with replacement from two populations of sessions that
the run has not seen, those that were shown a treatment and those that were not; each run of nothing draws both
arms from the latter. What is true of the populations is known exactly.
"""

import argparse

import numpy as np
import polars as pl
from scipy.stats import norm

from clickstream_conv.base.pictures import wilson
from clickstream_conv.demo.limit import best_prediction
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.demo.treatment import simulate_experiment
from clickstream_conv.experiments.anytime import anytime_factor, FEWEST_CONVERTED, spending_bounds
from clickstream_conv.experiments.compare import arm_sample, arms_compared, EXPERIMENT_METRICS
from clickstream_conv.experiments.covariates import said_before
from clickstream_conv.experiments.exposures import read_exposures
from clickstream_conv.experiments.looks import look_moments
from clickstream_conv.experiments.plan import Plan
from clickstream_conv.experiments.sizes import as_if_exposed, smallest_effect, with_said
from clickstream_conv.experiments.units import events_after, unit_outcomes
from clickstream_conv.scoring.scorer import Scorer

METRICS = ("conversion", "revenue", "order_value")


def share_in_words(hits: int, of: int) -> str:
    "A share with its interval."
    low, high = wilson(hits, of)
    return f"{hits / of:.2%} ({low:.2%} to {high:.2%})"


def populations(scorer: Scorer, sessions: int, treatment: str, seed: int) -> dict:
    "Units of an experiment by arm, with what the model said before."
    events, arms = simulate_experiment(sessions, seed, treatment, by="session", start="2026-06-01")
    known = events.with_columns(visitor=pl.col("visitor_id"))
    exposures = read_exposures(arms, by="session")
    units = with_said(unit_outcomes(known, exposures), said_before(scorer, known, exposures))
    return {arm: units.filter(pl.col("_arm") == arm) for arm in ("control", "treatment")}


def drawn(of: dict, arms: tuple, units: int, rng) -> pl.DataFrame:
    "An experiment: units of two populations, drawn with replacement."
    both = []
    for arm, population in zip(("control", "treatment"), arms):
        rows = of[population][rng.integers(0, len(of[population]), units // 2)]
        both.append(rows.with_columns(_arm=pl.lit(arm)))
    return pl.concat(both)


def truth(of: dict, metric: str, arms: tuple) -> float:
    "The difference of two populations."
    spec = EXPERIMENT_METRICS[metric]

    def value(arm: str) -> float:
        over = of[arm][spec.over].sum() if spec.over else len(of[arm])
        return of[arm][spec.total].sum() / over

    return value(arms[1]) - value(arms[0])


def read_once(of: dict, arms: tuple, units: int, runs: int, rng, title: str) -> None:
    "False alarms or power, and coverage, of experiments that are read once."
    for metric in METRICS:
        real, spec = truth(of, metric, arms), EXPERIMENT_METRICS[metric]
        for use in (False, True):
            found = 0
            held = 0
            for _ in range(runs):
                sample = arm_sample(spec, drawn(of, arms, units, rng))
                row = arms_compared(sample, "control", "treatment", covariate=use)
                found += row["p"] < 0.05
                held += row["effect_low"] <= real <= row["effect_high"]
            how = "with what the model said" if use else "alone"
            print(
                f"{title}, {metric} {how}: significant {share_in_words(found, runs)}, held {share_in_words(held, runs)}",
                flush=True,
            )
            if not spec.covariate:
                break


def differences(y: np.ndarray, x: np.ndarray | None) -> tuple:
    "Difference of two arms unit by unit, and its standard error; each (2, n), the covariate taken out as compare does."
    n = np.arange(1, y.shape[1] + 1)

    def moments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        mean = a.cumsum(axis=1) * b.cumsum(axis=1) / n
        return ((a * b).cumsum(axis=1) - mean) / np.maximum(n - 1, 1)

    mean, variance = y.cumsum(axis=1) / n, moments(y, y)
    effect = mean[1] - mean[0]
    if x is not None:
        both = moments(x, y).sum(axis=0), moments(x, x).sum(axis=0)
        slope = both[0] / np.maximum(both[1], 1e-300)
        known = x.cumsum(axis=1) / n
        effect = effect - slope * (known[1] - known[0])
        variance = variance - 2 * slope * moments(x, y) + slope**2 * moments(x, x)
    return effect, np.sqrt(np.maximum(variance.sum(axis=0), 0) / n)


def peeked(of: dict, arms: tuple, units: int, runs: int, rng, title: str) -> None:
    "Experiments that are looked at after every pair of units, by three rules."
    real = truth(of, "conversion", arms)
    half = units // 2
    wide = anytime_factor(2 * np.arange(1, half + 1), units)
    places = (np.arange(1, 6) * half // 5) - 1
    bounds = spending_bounds(np.arange(1, 6) / 5)
    for use in (False, True):
        found = dict.fromkeys(("at any time", "planned", "fixed, at every look", "missed"), 0)
        for _ in range(runs):
            rows = [of[arm][rng.integers(0, len(of[arm]), half)] for arm in arms]
            y = np.stack([one["_conversion"].to_numpy() for one in rows]).astype(float)
            x = np.stack([one["_known_probability"].to_numpy() for one in rows]) if use else None
            effect, se = differences(y, x)
            begun = y.cumsum(axis=1).mean(axis=0) >= FEWEST_CONVERTED  # expected of either arm
            away, off = np.abs(effect[begun]) / se[begun], np.abs(effect[begun] - real) / se[begun]
            found["at any time"] += (away > wide[begun]).any()
            found["fixed, at every look"] += (away > norm.ppf(0.975)).any()
            found["missed"] += (off > wide[begun]).any()
            found["planned"] += (np.abs(effect[places]) > bounds * se[places]).any()
        how = "with what the model said" if use else "alone"
        for rule, hits in found.items():
            print(f"{title}, {how}, {rule}: {share_in_words(int(hits), runs)}", flush=True)


def so_far(sessions: int, seed: int) -> tuple:
    "Visitors of a log in which nothing is done: by evening, who was exposed and who has converted since, (n, evenings)."
    events = simulate(sessions, seed, start="2026-06-01", days=60)
    known = events.with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("evenings")
    exposures = as_if_exposed(known, plan)
    after = events_after(known, exposures)
    moments = look_moments(exposures.rows["_exposed"].min(), known["t"].max())
    exposed = np.stack(
        [(exposures.rows["_exposed"] <= moment).to_numpy() for moment in moments], axis=1
    )
    first = after.filter("_hit").group_by("_unit").agg(_bought=pl.col("t").min())
    bought = exposures.rows.join(first, on="_unit", how="left", maintain_order="left")["_bought"]
    converted = np.stack(
        [(bought <= moment).fill_null(False).to_numpy() for moment in moments], axis=1
    )
    return exposed.astype(np.float32), (converted & exposed).astype(np.float32)


def grown(sessions: int, runs: int, rng, seed: int) -> None:
    "Visitors whose outcomes go on growing, put in arms anew each time, looked at every evening."
    exposed, converted = so_far(sessions, seed)
    wide = anytime_factor(exposed.sum(axis=0), len(exposed))
    found = dict.fromkeys(("at any time", "fixed, every evening"), 0)
    for _ in range(runs // 500):
        arms = (rng.random((500, len(exposed))) < 0.5).astype(np.float32)
        n, k = (np.stack([arms @ one, (1 - arms) @ one]) for one in (exposed, converted))
        share = k / np.maximum(n, 1)
        se = np.sqrt((share * (1 - share) / np.maximum(n - 1, 1)).sum(axis=0))
        begun = k.mean(axis=0) >= FEWEST_CONVERTED  # expected of either arm
        away = np.where(begun, np.abs(share[1] - share[0]) / np.maximum(se, 1e-12), 0)
        found["at any time"] += int((away > wide).any(axis=1).sum())
        found["fixed, every evening"] += int((away > norm.ppf(0.975)).any(axis=1).sum())
    for rule, hits in found.items():
        title = f"nothing is done, {len(exposed):,} visitors, {exposed.shape[1]} evenings"
        print(f"{title}, {rule}: {share_in_words(hits, runs // 500 * 500)}", flush=True)


def equal_by_hand(of: dict, rng) -> float:
    "The largest relative difference of the two ways to a standard error, here and in the package."
    worst = 0.0
    for _ in range(50):
        units = drawn(of, ("control", "control"), 2_000, rng)
        row = arms_compared(
            arm_sample(EXPERIMENT_METRICS["conversion"], units), "control", "treatment"
        )
        y, x = (
            units[name].to_numpy().reshape(2, -1) for name in ("_conversion", "_known_probability")
        )
        effect, se = differences(y.astype(float), x)
        worst = max(worst, abs(se[-1] / row["se"] - 1))
    return worst


def power(of: dict, units: int, runs: int, rng) -> None:
    "Power as planned beside power as it comes, of the real difference of the populations."
    real, arms = truth(of, "conversion", ("control", "treatment")), ("control", "treatment")
    row = arms_compared(
        arm_sample(EXPERIMENT_METRICS["conversion"], pl.concat(of.values())), *arms, covariate=False
    )
    spread = row["se"] / np.sqrt(1 / row["units"] + 1 / row["units_control"])
    for stopping in ("once", "anytime"):
        plan = Plan("power", by="session", stopping=stopping, units=units)
        se = spread * 2 / np.sqrt(units)
        bound = smallest_effect(plan, spread, units) / se - norm.ppf(plan.power)
        expected = norm.sf(bound - abs(real) / se) + norm.cdf(-bound - abs(real) / se)
        hits = 0
        for _ in range(runs):
            found = arms_compared(
                arm_sample(EXPERIMENT_METRICS["conversion"], drawn(of, arms, units, rng)),
                *arms,
                covariate=False,
            )
            hits += abs(found["effect"] / found["se"]) > bound
        print(
            f"power at {units:,} units, {stopping}: planned {expected:.1%}, came {share_in_words(hits, runs)}",
            flush=True,
        )


def narrower(scorer: Scorer, sessions: int, seed: int) -> None:
    "Variance of conversion that a probability takes, the model's beside the exact one."
    events = simulate(sessions, seed, start="2026-06-01")
    known = events.with_columns(visitor=pl.col("visitor_id"))
    for landmark in (1, 3, 8):
        exact = best_prediction(events, [landmark])
        shown = known.filter(pl.col("step") == landmark).join(
            exact.select("session_id"), on="session_id", how="semi"
        )
        just_after = pl.col("t") + 1  # what comes at the moment of an exposure comes after it
        arms = shown.select("session_id", timestamp=just_after, arm=pl.lit("control"))
        arms = arms.with_columns(
            arm=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("treatment")).otherwise("arm")
        )
        exposures = read_exposures(arms, by="session")
        units = with_said(unit_outcomes(known, exposures), said_before(scorer, known, exposures))
        units = units.join(exact.select(_unit="session_id", _exact="probability"), on="_unit")
        y = units["_conversion"].to_numpy()
        own, best = (
            np.corrcoef(y, units[name].to_numpy())[0, 1] ** 2
            for name in ("_known_probability", "_exact")
        )
        print(
            f"after {landmark} events, {len(units):,} sessions: the model takes {own:.1%}, the exact one {best:.1%}: {own / best:.0%}",
            flush=True,
        )


def main() -> None:
    "Print it all."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--units", type=int, default=8_000)
    parser.add_argument("--sessions", type=int, default=60_000)
    parser.add_argument("--treatment", default="reassurance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    scorer, rng = Scorer.load(given.run), np.random.default_rng(given.seed)
    parts = (
        given.only.split(",") if given.only else ["narrower", "peeked", "grown", "power", "once"]
    )
    if "narrower" in parts:
        narrower(scorer, given.sessions, given.seed)
    if set(parts) & {"peeked", "power", "once"}:
        of = populations(scorer, given.sessions, given.treatment, given.seed)
        print(
            {arm: len(units) for arm, units in of.items()},
            {name: truth(of, name, ("control", "treatment")) for name in METRICS},
        )
        print(f"standard errors of both ways differ by {equal_by_hand(of, rng):.1e} at most")
    nothing, something = ("control", "control"), ("control", "treatment")
    if "peeked" in parts:
        peeked(of, nothing, given.units, given.runs, rng, "nothing is done")
        peeked(of, something, given.units, given.runs, rng, "something is done")
    if "grown" in parts:
        grown(given.sessions, given.runs, rng, given.seed)
    if "power" in parts:
        power(of, given.units, given.runs, rng)
    if "once" in parts:
        read_once(of, nothing, given.units, given.runs, rng, "nothing is done")
        read_once(of, something, given.units, given.runs, rng, "something is done")


if __name__ == "__main__":
    main()
