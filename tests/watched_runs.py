"""How often an estimate without outcomes holds, each week under a run of its own; run by hand, not by pytest.

python tests/watched_runs.py --runs 100 --learned 20000 --sessions 4000

Weeks under one run share what its test part got wrong by chance, so that many of them say little about the next run.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from watched_weeks import FOLLOWED, one_week, share

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.changes import simulate_change
from clickstream_conv.monitoring.estimated import recalibration_of
from clickstream_conv.monitoring.observed import read_news
from clickstream_conv.monitoring.periods import threshold_rows, watch_reference
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.prepare import prepare

FIRST, DAYS = "2026-01-05", 119


EVERY = 2**62  # events of a test part are read whole


def tested_more(scorer, reference, sessions, seed, place):
    "What the watch would know with a test part of so many sessions."
    events = simulate_change("steady", sessions=sessions, seed=seed, start=FIRST, days=DAYS)
    events.write_parquet(place / "tested.parquet")
    rows = read_news(scorer, str(place / "tested.parquet"), EVERY).rows
    decided = threshold_rows(scorer, rows)
    known = dict(by_row=recalibration_of(rows), by_decision=recalibration_of(decided))
    return replace(reference, **known), rows


def one_run(learned, sessions, change, seed, place, tested=0):
    "What the watch says of one week, of a shop that it learned from anew."
    steady = simulate_change("steady", sessions=learned, seed=seed, start=FIRST, days=DAYS)
    steady.write_parquet(place / "log.parquet")
    run = Run(place / "run")
    prepare(run, "demo", str(place / "log.parquet"))
    quick_conversion(run, sessions=learned, seed=seed)
    scorer = Scorer.load(run.folder)
    reference = watch_reference(scorer)
    rows = reference.known.test.rows
    if tested:
        reference, rows = tested_more(scorer, reference, tested, 50_000 + seed, place)
    test = rows.group_by("session_id").agg(bought="converted")
    found = one_week(scorer, reference, change, sessions, 10_000 + seed, place)
    buyers = int(test["bought"].list.max().sum())
    return found | dict(seed=seed, tested=len(test), buyers=buyers)


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--change", default="mix")
    asked.add_argument("--runs", type=int, default=100)
    asked.add_argument("--learned", type=int, default=20_000)
    asked.add_argument("--sessions", type=int, default=4_000)
    asked.add_argument("--tested", type=int, default=0, help="0: the run's own test part")
    asked.add_argument("--seed", type=int, default=100)
    asked.add_argument("--out", default="")
    given = asked.parse_args()
    found = []
    for seed in range(given.seed, given.seed + given.runs):
        with tempfile.TemporaryDirectory() as folder:
            size = (given.learned, given.sessions, given.change)
            found.append(one_run(*size, seed, Path(folder), given.tested))
        if given.out:
            Path(given.out).write_text(json.dumps(found))
    tested, buyers = (sum(one[name] for one in found) / len(found) for name in ("tested", "buyers"))
    print(
        f"{given.change}: {given.runs} runs of {given.learned:,} sessions, a week of {given.sessions:,} after each;"
        f" test parts of {tested:,.0f} sessions, {buyers:,.0f} of them converted"
    )
    for of in ("exact", "realised"):
        apart = [abs(one["estimated"] - one[of]) <= 0.01 for one in found if one.get(of)]
        print(f"estimated ROC-AUC within 0.01 of the {of} one:", share(apart))
    for name in FOLLOWED:
        told = [one for one in found if f"{name} held" in one]
        off = np.array([one[f"{name} off"] for one in told])
        reach = 1.96 * off.std(ddof=1) / len(off) ** 0.5
        held = share(one[f"{name} held"] for one in told)
        print(
            f"{name}: its interval holds what came in {held};"
            f" it is off by {off.mean():+.4f} ({off.mean() - reach:+.4f} to {off.mean() + reach:+.4f}) on average"
        )
    print("concept shift at 0.05:", share(one["concept"] <= 0.05 for one in found))


if __name__ == "__main__":
    main()
