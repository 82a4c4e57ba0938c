#!/usr/bin/env bash
# One outlier decides a population stability index.
#
# Behaviour: evidently 0.7.23 and frouros 0.9.0 compute the PSI of a number from bins of equal width over both samples.
#   One value of 1,000,000 in 100,000 makes one bin hold all other values. From then on the index says nothing of the
#   data any more: two columns that have changed by different amounts get the same number. Evidently fills empty bins
#   by a rule of each sample (the smallest share over a million, or 0.0001), so bins that BOTH samples lack add most of
#   it; frouros puts the smallest positive number there.
# Seen with the versions below, on 2026-11-30.
# The usual guess: PSI is one formula, so that tools agree on it, and "reference quantiles" (so evidently's docstring)
#   keep one bad price from mattering.
# Why it matters: prices, basket values and times on a page have such values every day. An alarm above 0.1 or 0.2 is
#   then deaf to a real change, or rings for one mistyped price.
# Source: evidently/legacy/calculations/stattests/psi.py and utils.get_binned_data; frouros/detectors/data_drift/batch/
#   distance_based/psi.py, each in the release installed here.
# Remedy: bins by quantiles of the reference alone, made once and kept, with one stated rule for empty bins, and a bin
#   that both samples lack counting nothing.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q "evidently==0.7.23" "pandas==2.3.3" "numpy==2.4.6" "scipy==1.17.1" 2>/dev/null
"$place/env/bin/pip" install -q --no-deps "frouros==0.9.0" 2>/dev/null  # it asks for older releases of numpy and scipy

cat > "$place/look.py" <<'PY'
import warnings
from importlib.metadata import version

warnings.filterwarnings("ignore")
import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import psi_stat_test
from evidently.legacy.core import ColumnType
from frouros.detectors.data_drift import PSI

print("evidently", version("evidently"), "frouros", version("frouros"), "pandas", version("pandas"))
rng = np.random.default_rng(0)
columns = {
    "normal": (rng.normal(0, 1, 100_000), rng.normal(0.1, 1, 100_000)),
    "lognormal": (rng.lognormal(3, 1, 100_000), rng.lognormal(3.1, 1, 100_000)),
}


def evidently(before, now):
    return float(psi_stat_test.func(pd.Series(before), pd.Series(now), ColumnType.Numerical, 0.1)[0])


def frouros(before, now):
    detector = PSI(num_bins=10)
    detector.fit(X=before)
    return float(detector.compare(X=now)[0].distance)


found = {}
for name, (before, now) in columns.items():
    spoilt = before.copy()
    spoilt[0] = 1e6
    for tool in (evidently, frouros):
        found[tool.__name__, name] = tool(before, now), tool(spoilt, now)
        plain, with_one = found[tool.__name__, name]
        print(f"{tool.__name__:9} {name:9} PSI {plain:.5f}, with one value of 1e6 {with_one:.5f}")
for tool in ("evidently", "frouros"):
    (a, spoilt_a), (b, spoilt_b) = found[tool, "normal"], found[tool, "lognormal"]
    assert abs(a - b) > 0.002, "without the outlier the two columns differ"
    assert abs(spoilt_a - spoilt_b) < 1e-6, "with it they have the same number"
PY
DO_NOT_TRACK=1 "$place/env/bin/python" "$place/look.py"
echo "as described"
