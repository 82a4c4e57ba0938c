#!/usr/bin/env bash
# A numeric column in which no training row has a value ends HistGradientBoosting in scikit-learn 1.9.1; 1.8.0 fits the same table.
#
# Behaviour: scikit-learn 1.9.1 raises "window shape cannot be larger than input array shape" while it cuts the column into
# bins, without naming the column. scikit-learn 1.8.0 takes the column as one that never splits. Seen on 2026-11-28.
# The usual guess: these estimators take missing values, so a column that holds nothing else is merely useless to them.
# Why it matters: logs of shops often lack a whole kind of value, such as prices in a log of clicks or a search term before the
# search was tracked. The same features then train on one shop's log and end on another's, or in the one fold in which the
# column happens to be empty.
# Source: seen by running the two releases side by side, below.
# Remedy: leave out columns without a value in the rows that a model learns from (decided there, and applied to whatever is
# predicted later), or give them a constant before fitting.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

cat > "$place/look.py" <<'PY'
import sys
import numpy, sklearn
from sklearn.ensemble import HistGradientBoostingClassifier

random = numpy.random.default_rng(0)
clicks = random.normal(size=400)
rows = numpy.column_stack([clicks, numpy.full(400, numpy.nan)])  # the second column is a price that this log never gives
try:
    HistGradientBoostingClassifier(max_iter=5).fit(rows, clicks > 0)
    said = "fits"
except ValueError as error:
    said = f"refuses: {error}"
print(f"scikit-learn {sklearn.__version__}, numpy {numpy.__version__}: {said}")
assert said.startswith(sys.argv[1]), "it is otherwise now"
PY

for release in "1.8.0 fits" "1.9.1 refuses:"; do
    read -r version expected <<< "$release"
    python3 -m venv "$place/$version"
    "$place/$version/bin/pip" install --quiet --disable-pip-version-check "scikit-learn==$version" numpy==2.4.6
    "$place/$version/bin/python" "$place/look.py" "$expected"
done
