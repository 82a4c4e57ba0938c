"""What learners of effects and policies are worth where the truth is known; run by hand, not by pytest.

python tests/effects_shown.py gain --randomised 200000 --experiments 3
python tests/effects_shown.py nothing --sessions 8000 --experiments 100

`gain`: which share of the oracle's gain in profit is earned on visitors who were set aside, exactly.
`nothing`: how often the rule says nobody where the treatment moves nobody, at its price and for nothing.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from clickstream_conv.base.pictures import wilson
from clickstream_conv.demo.treatment import (
    best_effect,
    exact_policy,
    known_treatment,
    MARGIN,
    no_effect,
    simulate_experiment,
)
from clickstream_conv.experiments.effect_rows import demo_card, effect_rows, profit, spent
from clickstream_conv.experiments.effects import EffectLearner
from clickstream_conv.experiments.policies import (
    arm_scores,
    policy_values,
    recommend,
    treat_by_value_per_cost,
    treat_positive,
    treat_top,
)
from clickstream_conv.experiments.uplift_curves import uplift_figures
from clickstream_conv.judging.intervals import draws_of_visitors

REACHING = 0.4  # share of the sessions that reach the landmark, a little more than do


def experiment_rows(treatment, sessions, seed, landmark, kinds):
    "A simulated experiment as rows, and its log."
    events, exposures = simulate_experiment(sessions, seed, treatment, landmark)
    rows = effect_rows(events, exposures, demo_card(), landmark, kinds=kinds)
    return events, rows


def learned(rows, treatment, learner, seed):
    "Policies for the test part, learned from the training part; the effect, and the scores of the arms."
    train, test = rows.of_part("train"), rows.of_part("test")
    price = (treatment.discount, treatment.cost)
    of_profit = EffectLearner(learner, seed=seed).fit(train, profit(train, MARGIN, *price))
    likely = EffectLearner(final="constant", seed=seed).fit(train, train.table["converted"])
    effect, chance = of_profit.predict(test), likely.expected(test)[0]
    by_effect = treat_positive(effect)
    policies = {
        "by effect": by_effect,
        "by probability": treat_top(chance, by_effect.mean()),
        "everyone": np.ones(len(test), bool),
    }
    scores = arm_scores(
        profit(test, MARGIN, *price), test.treated, test.share, of_profit.expected(test)
    )
    return of_profit, policies, effect, chance, scores, test


def with_half_the_budget(rows, treatment, effect, chance, truth, seed):
    "Policies that may spend half of what treating everyone costs."
    train, test = rows.of_part("train"), rows.of_part("test")
    price = (treatment.discount, treatment.cost)
    spending = EffectLearner(final="constant", seed=seed).fit(train, spent(train, *price))
    cost = np.maximum(spending.expected(test)[1], 0)
    half = cost.sum() / 2
    found = {
        "by value per cost": treat_by_value_per_cost(effect + cost, cost, half),
        "by effect": treat_top_within(effect, cost, half),
        "by probability": treat_top_within(chance, cost, half),
    }
    return {name: exact_policy(truth, treat)["gain"] for name, treat in found.items()}


def treat_top_within(score, cost, budget):
    "The highest scores that a budget reaches, and of these only the positive ones."
    from clickstream_conv.experiments.policies import treat_within

    return treat_within(score, cost, budget) & (np.asarray(score) > 0)


def share_of_oracle(truth, treat, visitors, draws=400):
    "Gain of a policy over the oracle's, with an interval by visitor."
    effect = truth["profit_effect"].to_numpy()
    gain, most = np.where(treat, effect, 0.0), np.maximum(effect, 0.0)
    drawn = [
        (weight * gain).sum() / (weight * most).sum()
        for weight in draws_of_visitors(visitors, draws, 0)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return dict(share=float(gain.sum() / most.sum()), low=float(low), high=float(high))


def one_gain(given, seed):
    "One large experiment: what each policy earns, exactly and as estimated."
    began, treatment = time.perf_counter(), known_treatment(given.treatment)
    sessions = int(given.randomised / REACHING)
    kinds = given.kinds if given.kinds == "auto" else int(given.kinds)
    events, rows = experiment_rows(treatment, sessions, seed, given.landmark, kinds)
    read = time.perf_counter()
    learner, policies, effect, chance, scores, test = learned(
        rows, treatment, given.learner, seed
    )
    names = pl.DataFrame({"session_id": test.table["session_id"].to_numpy()})
    mine = events.join(names, on="session_id", how="semi", maintain_order="left")
    truth = best_effect(mine, [given.landmark], treatment)
    truth = names.join(truth, on="session_id", how="left", maintain_order="left")
    policies["oracle"] = truth["profit_effect"].to_numpy() > 0
    estimated = policy_values(policies, scores, test.visitors)
    found = {
        name: exact_policy(truth, treat)
        | share_of_oracle(truth, treat, test.visitors)
        | dict(
            estimated=float(estimated.loc[name, "gain"]),
            estimated_low=float(estimated.loc[name, "gain_low"]),
            estimated_high=float(estimated.loc[name, "gain_high"]),
        )
        for name, treat in policies.items()
    }
    candidates = {name: policies[name] for name in ("by effect", "everyone")}
    curve = uplift_figures(
        effect,
        profit(test, MARGIN, treatment.discount, treatment.cost),
        test.treated,
        test.share,
        test.visitors,
        scores[1] - scores[0],
    )
    print(
        f"seed {seed}: {len(rows):,} randomised sessions of {sessions:,}, {len(rows) - len(test):,}"
        f" learned from; {learner.learner}-learner, {learner.chosen_}, {learner.kept_:.2f} of the"
        f" spread kept; rows {read - began:.0f} s, rest {time.perf_counter() - read:.0f} s"
    )
    print(learner.losses_.round(3).to_string())
    correlation = np.corrcoef(effect, truth["profit_effect"].to_numpy())[0, 1]
    print(f"  correlation of learned and exact effects {correlation:.3f}")
    for name, row in found.items():
        print(
            f"  {name}: treats {row['treated']:.0%}, gains {row['gain']:.3f} a session exactly"
            f" ({row['estimated']:.3f}, {row['estimated_low']:.3f} to {row['estimated_high']:.3f},"
            f" estimated), {row['share']:.1%} of the oracle's ({row['low']:.1%} to {row['high']:.1%})"
        )
    print(
        f"  area of the uplift curve {curve['uplift_area']:.4f} ({curve['uplift_area_low']:.4f} to"
        f" {curve['uplift_area_high']:.4f})"
    )
    halves = with_half_the_budget(rows, treatment, effect, chance, truth, seed)
    print("  with half the budget:", {name: round(gain, 3) for name, gain in halves.items()})
    print("  " + recommend(candidates, scores, test.visitors).says, flush=True)
    return found


def one_nothing(given, seed, treatment):
    "What is recommended where nobody is moved."
    _, rows = experiment_rows(treatment, given.sessions, seed, given.landmark, 0)
    _, policies, _, _, scores, test = learned(rows, treatment, given.learner, seed)
    return recommend(policies, scores, test.visitors).policy


def shown_nothing(given):
    "How often nobody is recommended where nobody is moved."
    priced = no_effect(given.treatment)
    free = replace(priced, name="free", discount=0.0, cost=0.0)
    for words, treatment in (("at its price", priced), ("for nothing", free)):
        said = []
        for number in range(given.experiments):
            said.append(one_nothing(given, given.seed + number, treatment))
            if given.out:
                Path(given.out).write_text(json.dumps({words: said}))
        right = sum(one == "nobody" for one in said)
        low, high = wilson(right, len(said))
        print(
            f"no effect, {words}: nobody is recommended in {right} of {len(said)} experiments of"
            f" {given.sessions:,} sessions ({low:.1%} to {high:.1%});"
            f" {dict(zip(*np.unique(said, return_counts=True)))}",
            flush=True,
        )


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("what", choices=["gain", "nothing"])
    asked.add_argument("--treatment", default="coupon")
    asked.add_argument("--landmark", type=int, default=4)
    asked.add_argument("--randomised", type=int, default=200_000)
    asked.add_argument("--sessions", type=int, default=8_000)
    asked.add_argument("--experiments", type=int, default=1)
    asked.add_argument("--learner", default="DR")
    asked.add_argument("--kinds", default="0")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--out", default="")
    given = asked.parse_args()
    if given.what == "nothing":
        return shown_nothing(given)
    every = [one_gain(given, given.seed + number) for number in range(given.experiments)]
    for name in every[0]:
        shares = [one[name]["share"] for one in every]
        print(f"{name}: {np.mean(shares):.1%} of the oracle's gain, {min(shares):.1%} at the least")


if __name__ == "__main__":
    main()
