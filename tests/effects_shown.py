"""What learners of effects and policies are worth where the truth is known; run by hand, not by pytest.

python tests/effects_shown.py gain --randomised 200000 --experiments 3
python tests/effects_shown.py nothing --sessions 8000 --experiments 100 --kinds 0

`gain`: which share of the oracle's gain in profit is earned on visitors who were set aside, exactly.
`nothing`: how often the rule says nobody where the treatment moves nobody, at its price and for nothing.
"""

import argparse
import json
import time
from collections import Counter
from copy import copy
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
from clickstream_conv.experiments.effect_rows import demo_card, effect_rows, profit
from clickstream_conv.experiments.policies import (
    arm_scores,
    policy_values,
    recommend,
    treat_by_value_per_cost,
    treat_positive,
    treat_top,
    treat_within,
)
from clickstream_conv.experiments.profit_effects import ProfitLearner
from clickstream_conv.experiments.uplift_curves import uplift_figures
from clickstream_conv.features.sessions import kinds_asked
from clickstream_conv.judging.intervals import draws_of_visitors

REACHING = 0.388  # share of the sessions that reach the landmark, a little less than do


def experiment_rows(treatment, sessions, seed, landmark, kinds):
    "A simulated experiment as rows, and its log."
    events, exposures = simulate_experiment(sessions, seed, treatment, landmark)
    rows = effect_rows(events, exposures, demo_card(), landmark, kinds=kinds)
    return events, rows


def learned(rows, treatment, given, seed):
    "A learner, the policies that follow from it for the test part, and the scores of the arms there."
    train, test = rows.of_part("train"), rows.of_part("test")
    learner = ProfitLearner(
        MARGIN, treatment.discount, treatment.cost, learner=given.learner, seed=seed
    ).fit(train)
    return learner, *policies_of(learner, test), test


def policies_of(learner, test):
    "The policies that follow from a learner, and the scores of the arms at its prices."
    by_effect = treat_positive(learner.predict(test))
    chance = learner.conversion_.expected(test)[0]
    policies = {
        "by effect": by_effect,
        "by probability": treat_top(chance, by_effect.mean()),
        "everyone": np.ones(len(test), bool),
    }
    earned = profit(test, MARGIN, learner.discount, learner.cost)
    return policies, arm_scores(earned, test.treated, test.share, learner.expected(test))


def with_a_quarter(learner, test, truth):
    "What policies gain that may spend a quarter of what treating everyone would cost."
    effect, cost = learner.predict(test), learner.spending(test)
    chance, budget = learner.conversion_.expected(test)[0], cost.sum() / 4
    found = {
        "by value per cost": treat_by_value_per_cost(effect + cost, cost, budget),
        "by effect": treat_within(effect, cost, budget) & (effect > 0),
        "by probability": treat_within(chance, cost, budget),
    }
    return {name: round(exact_policy(truth, treat)["gain"], 3) for name, treat in found.items()}


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
    events, rows = experiment_rows(treatment, sessions, seed, given.landmark, given.kinds)
    read = time.perf_counter()
    learner, policies, scores, test = learned(rows, treatment, given, seed)
    names = pl.DataFrame({"session_id": test.table["session_id"].to_numpy()})
    mine = events.join(names, on="session_id", how="semi", maintain_order="left")
    truth = best_effect(mine, [given.landmark], treatment)
    truth = names.join(truth, on="session_id", how="left", maintain_order="left")
    effect, exact = learner.predict(test), truth["profit_effect"].to_numpy()
    conversion = learner.conversion_
    print(
        f"{treatment.name}, seed {seed}: {len(rows):,} randomised sessions of {sessions:,},"
        f" {len(rows) - len(test):,} learned from and {len(test):,} judged on;"
        f" {given.learner}-learner, {conversion.chosen_}, {conversion.kept_:.2f} of the spread kept,"
        f" correlation with the exact effects {np.corrcoef(effect, exact)[0, 1]:.3f}; rows"
        f" {read - began:.0f} s, learning {time.perf_counter() - read:.0f} s"
    )
    policies["oracle"] = exact > 0
    estimated, found = policy_values(policies, scores, test.visitors), {}
    for name, treat in policies.items():
        row = exact_policy(truth, treat) | share_of_oracle(truth, treat, test.visitors)
        gain, low, high = estimated.loc[name, ["gain", "gain_low", "gain_high"]]
        found[name] = row
        print(
            f"  {name}: treats {row['treated']:.0%}, gains exactly {row['gain']:.3f} a session, as"
            f" estimated {gain:.3f} ({low:.3f} to {high:.3f}); of the oracle's gain"
            f" {row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
        )
    earned = profit(test, MARGIN, treatment.discount, treatment.cost)
    of_arms = (earned, test.treated, test.share, test.visitors)
    area = uplift_figures(effect, *of_arms, scores[1] - scores[0])
    print(
        f"  area of the uplift curve of profit {area['uplift_area']:.3f}"
        f" ({area['uplift_area_low']:.3f} to {area['uplift_area_high']:.3f})"
    )
    print("  with a quarter of the budget:", with_a_quarter(learner, test, truth))
    followed = {"by effect": policies["by effect"]}
    print("  " + recommend(followed, scores, test).says, flush=True)
    return found


def one_nothing(given, seed):
    "What is recommended where nobody is moved: of a treatment at its price, and of one for nothing."
    priced = no_effect(given.treatment)
    _, rows = experiment_rows(priced, given.sessions, seed, given.landmark, given.kinds)
    learner, policies, scores, test = learned(rows, priced, given, seed)
    free = copy(learner)
    free.discount = free.cost = 0.0
    said = {"at its price": recommend(policies, scores, test).policy}
    policies, scores = policies_of(free, test)
    return said | {"for nothing": recommend(policies, scores, test).policy}


def shown_nothing(given):
    "How often nobody is recommended where nobody is moved."
    found = []
    for number in range(given.experiments):
        found.append(one_nothing(given, given.seed + number))
        if given.out:
            Path(given.out).write_text(json.dumps(found))
    for words in found[0]:
        said = Counter(one[words] for one in found)
        low, high = wilson(said["nobody"], len(found))
        print(
            f"no effect, {words}: nobody is recommended in {said['nobody']} of {len(found)}"
            f" experiments of {given.sessions:,} sessions ({low:.1%} to {high:.1%}); {dict(said)}",
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
    asked.add_argument("--kinds", default="auto", help="of visitors: auto, a number, or 0")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--out", default="")
    given = asked.parse_args()
    given.kinds = kinds_asked(given.kinds)
    if given.what == "nothing":
        return shown_nothing(given)
    every = [one_gain(given, given.seed + number) for number in range(given.experiments)]
    for name in every[0]:
        shares = [one[name]["share"] for one in every]
        print(f"{name}: {np.mean(shares):.1%} of the oracle's gain, {min(shares):.1%} at the least")


if __name__ == "__main__":
    main()
