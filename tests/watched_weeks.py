"""How often the watch is wrong, on simulated weeks whose truth is known; run by hand, not by pytest.

python tests/watched_weeks.py RUN --change steady --weeks 200 --sessions 1200

The run is of the demo shop standing still: clickstream-conv fetch demo --drift steady --out steady.parquet,
then clickstream-conv run --source demo --path steady.parquet.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from clickstream_conv.base.pictures import wilson
from clickstream_conv.demo.changes import change_limit, CHANGES, simulate_change, TRACKER
from clickstream_conv.monitoring.estimated import rank_twice
from clickstream_conv.monitoring.observed import read_news
from clickstream_conv.monitoring.periods import watch_reference
from clickstream_conv.monitoring.watch import watched
from clickstream_conv.scoring.scorer import Scorer

MONDAY, DAYS = "2026-05-11", 7
FOLLOWED = ("roc_auc", "average_precision", "log_loss", "precision", "recall")


def exact_auc(scorer, news, events, change):
    "The ROC-AUC that the week's outcomes have on average: each row counts by its exact chance."
    truth = change_limit(
        events, list(scorer.landmarks), change, start=MONDAY, days=DAYS, at=MONDAY
    ).select("session_id", "landmark", truth="probability")
    rows = news.rows.join(truth, on=["session_id", "landmark"], how="left")
    assert rows["truth"].null_count() == 0
    return rank_twice(rows["probability"].to_numpy()).figures(rows["truth"].to_numpy())["roc_auc"]


def one_week(scorer, reference, change, sessions, seed, place):
    "What the watch says of one week, and what is true."
    events = simulate_change(
        change, sessions=sessions, seed=seed, start=MONDAY, days=DAYS, at=MONDAY
    )
    events.write_parquet(place / "week.parquet")
    news = read_news(scorer, str(place / "week.parquet"))
    look = watched(reference, news, "week")
    week = next(found for found in look.figures["periods"] if found["period"] == "week")
    estimate = week["estimated"] | week["estimated_at_threshold"]
    real = week["realised"] | week["realised_at_threshold"]
    found = dict(
        families=sorted({alarm.family for alarm in look.alarms}),
        weekly=sorted({alarm.family for alarm in look.alarms if alarm.period == "week"}),
        concept=week["concept"]["p"],
        estimated=estimate["roc_auc"],
        realised=real.get("roc_auc"),
    )
    if CHANGES[change].kind != TRACKER:
        found["exact"] = exact_auc(scorer, news, events, change)
    for name in FOLLOWED:
        if real.get(name) is not None:
            found[f"{name} off"] = estimate[name] - real[name]
            found[f"{name} held"] = bool(
                estimate[f"{name}_low"] <= real[name] <= estimate[f"{name}_high"]
            )
    return found


def share(hits):
    "A share with its interval (Wilson)."
    hits = [bool(hit) for hit in hits]
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits)} of {len(hits)}, {np.mean(hits):.1%} ({low:.1%} to {high:.1%})"


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("run")
    asked.add_argument("--change", default="steady", choices=list(CHANGES))
    asked.add_argument("--weeks", type=int, default=200)
    asked.add_argument("--sessions", type=int, default=1_200)
    asked.add_argument("--seed", type=int, default=1_000)
    asked.add_argument("--out", default="")
    given = asked.parse_args()
    scorer = Scorer.load(given.run)
    reference, found = watch_reference(scorer), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.weeks):
            found.append(
                one_week(
                    scorer,
                    reference,
                    given.change,
                    given.sessions,
                    given.seed + number,
                    Path(folder),
                )
            )
            if given.out:
                Path(given.out).write_text(json.dumps(found))
    print(f"{given.change}: {given.weeks} weeks of {given.sessions:,} sessions, run {given.run}")
    print("weeks with an alarm:", share(one["families"] for one in found))
    for family in ("inputs", "answers", "traffic", "outcomes"):
        print(f"  {family}:", share(family in one["families"] for one in found))
    print("concept shift at 0.05:", share(one["concept"] <= 0.05 for one in found))
    for of in ("exact", "realised"):
        apart = [
            abs(one["estimated"] - one[of]) <= 0.01 for one in found if one.get(of) is not None
        ]
        if apart:
            print(f"estimated ROC-AUC within 0.01 of the {of} one:", share(apart))
    for name in FOLLOWED:
        held = [one[f"{name} held"] for one in found if f"{name} held" in one]
        if held:
            print(f"interval of {name} holds what came:", share(held))


if __name__ == "__main__":
    main()
