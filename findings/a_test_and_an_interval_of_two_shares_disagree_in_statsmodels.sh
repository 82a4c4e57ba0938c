#!/usr/bin/env bash
# The default test of two shares says "chance", and the default interval of the same two shares excludes 0.
#
# Behaviour: in statsmodels 0.15.0 test_proportions_2indep compares a difference by the method of Agresti and Caffo
#   unless told otherwise, and confint_proportions_2indep by that of Newcombe. With few conversions in arms of
#   different sizes they contradict each other: p = 0.19 beside a 95% interval that lies on one side of 0.
# Seen with the versions below, on 2026-11-30.
# The usual guess: a 95% interval excludes 0 exactly where p is below 0.05, since both are the defaults of one library
#   for one comparison.
# Why it matters: an experiment in its first days, or one that gives 5% of visitors the new page, has just such counts.
#   Whoever shows the interval declares a winner, whoever shows p does not.
# Source: statsmodels/stats/proportion.py, the two functions, each with its own default of `method` for compare="diff".
# Remedy: name the method in both calls, one that both know ("agresti-caffo"), or derive both from one standard error.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q "statsmodels==0.15.0" "numpy==2.4.6" "scipy==1.17.1" "pandas==3.1.1" 2>/dev/null

cat > "$place/look.py" <<'PY'
from importlib.metadata import version

from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

print("statsmodels", version("statsmodels"))
disagree = 0
for counts in ((3, 5000, 1, 200), (2, 5000, 1, 200), (2, 1000, 1, 50)):
    p = test_proportions_2indep(*counts).pvalue
    low, high = confint_proportions_2indep(*counts)
    same = confint_proportions_2indep(*counts, method="agresti-caffo")
    one, of_one, two, of_two = counts
    print(f"{one} of {of_one} and {two} of {of_two}: p {p:.3f}, interval {low:.5f} to {high:.5f}", end="")
    print(f"; by the test's own method {same[0]:.5f} to {same[1]:.5f}")
    disagree += p > 0.15 and not low <= 0 <= high and same[0] <= 0 <= same[1]
assert disagree == 3, "the defaults of test and interval agree by now"
PY
"$place/env/bin/python" "$place/look.py" 2>/dev/null
