#!/usr/bin/env bash
# A covariate that is missing for some units makes experiments without any effect significant.
#
# Behaviour: tea-tasting 1.14.0 averages a covariate over the units that have one, and divides its variance and its
#   covariance with the metric by ALL units of the arm. Where half of the units have no value from before the
#   experiment, the adjusted difference moves with the few that have one while its standard error is that of twice as
#   many: of experiments in which nothing is done, about one in six is "significant" at 0.05. Nothing is said.
# Seen with the versions below, on 2026-11-30.
# The usual guess: a unit without a covariate is left out, or refused, or counts with the mean.
# Why it matters: "revenue in the four weeks before" is the textbook covariate of CUPED, and every new visitor of a
#   shop is missing it. A join that leaves nulls is all it takes.
# Source: tea_tasting/aggr.py, _read_aggr_narwhals: the count is the length of the group, means skip nulls.
# Remedy: give the missing ones the mean of all units before the library sees the column (the same for both arms): the
#   share of false alarms is the nominal one again.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q "tea-tasting==1.14.0" "polars==2.1.0" "numpy==2.4.6" "scipy==1.17.1" "pyarrow==26.0.1" 2>/dev/null

cat > "$place/look.py" <<'PY'
from importlib.metadata import version

import numpy as np
import polars as pl
import tea_tasting as tt

print("tea-tasting", version("tea-tasting"), "polars", version("polars"), "numpy", version("numpy"))
rng = np.random.default_rng(1)
experiment = tt.Experiment(dict(metric=tt.Mean("y", "before")), variant="arm")
runs, units, found = 1_000, 2_000, dict(missing=0, mean=0)
for _ in range(runs):
    before = rng.normal(10, 1, units)
    table = pl.DataFrame(
        dict(
            arm=rng.integers(0, 2, units),
            y=before + rng.normal(0, 1, units),
            before=np.where(rng.random(units) < 0.5, before, np.nan),
        )
    ).with_columns(pl.col("before").fill_nan(None))
    filled = table.with_columns(pl.col("before").fill_null(pl.col("before").mean()))
    for name, frame in dict(missing=table, mean=filled).items():
        found[name] += experiment.analyze(frame, control=0)["metric"].pvalue < 0.05
shares = {name: hits / runs for name, hits in found.items()}
print(f"nothing is done, {runs} experiments, half of the covariate missing:")
print(f"  as it is: {shares['missing']:.1%} significant at 0.05")
print(f"  filled with the mean: {shares['mean']:.1%}")
assert shares["missing"] > 0.12, "tea-tasting no longer counts units without a covariate"
assert shares["mean"] < 0.075
PY
"$place/env/bin/python" "$place/look.py"
