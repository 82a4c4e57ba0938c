#!/usr/bin/env bash
# A score that is the same for everybody is given an area under the uplift curve, good or bad as the rows lie.
#
# Behaviour: causalml 0.18.0 sorts rows by the score and draws its curve row by row. Rows with the same score stay as
#   they lie in the frame, so that auuc_score of a constant follows the order of the rows; it is then divided by the
#   last value of the curve. scikit-uplift 0.5.1 averages ties in qini_auc_score and uplift_auc_score (0 for a
#   constant), and takes the first k rows as they lie in uplift_at_k.
# Seen with the versions below, on 2026-11-30.
# The usual guess: a score that cannot tell two visitors apart has no uplift, whatever the order of the file; and
#   one library's area can be held against another's.
# Why it matters: segments, rules and trees of few leaves give the same score to thousands of visitors. A log that was
#   exported by arm, or by outcome, makes such a model look excellent, or worthless, and both are of the file.
# Source: causalml/metrics/visualize.py (get_cumlift, get_cumgain); sklift/metrics/metrics.py (uplift_at_k).
# Remedy: read a curve only where a group of ties ends, as of any order on average; until then shuffle the rows many
#   times and look how far the figure moves; compare areas within one library alone.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q "causalml==0.18.0" "scikit-uplift==0.5.1" "numpy==2.4.6" "pandas==3.1.1" \
    "scikit-learn==1.9.1" 2>/dev/null

cat > "$place/look.py" <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
from causalml.metrics import auuc_score
from sklift.metrics import qini_auc_score, uplift_at_k

print("causalml", version("causalml"), "scikit-uplift", version("scikit-uplift"))
rng = np.random.default_rng(0)
arm, bought = rng.integers(0, 2, 4_000), (rng.random(4_000) < 0.2).astype(int)
same, found = np.full(4_000, 0.5), {}
orders = {
    "as they came": np.arange(4_000),
    "treated buyers last": np.argsort(bought * (2 * arm - 1), kind="stable"),
    "treated buyers first": np.argsort(-bought * (2 * arm - 1), kind="stable"),
}
for name, order in orders.items():
    y, w = bought[order], arm[order]
    rows = pd.DataFrame({"y": y, "w": w, "same": same})
    found[name] = (
        float(auuc_score(rows, outcome_col="y", treatment_col="w", normalize=True)["same"]),
        float(uplift_at_k(y, same, w, strategy="overall", k=0.3)),
        float(qini_auc_score(y, same, w)),
    )
    print("%-21s area in causalml %8.3f, uplift at 30%% in scikit-uplift %6.3f, its Qini %.3f" % (name, *found[name]))
area, at_k, qini = (np.array(one) for one in zip(*found.values()))
assert np.ptp(area) > 1, "the area of a constant does not follow the order of the rows any more"
assert np.ptp(at_k) > 0.5, "uplift at k does not follow the order of the rows any more"
assert not qini.any(), "scikit-uplift's Qini of a constant is not 0 any more"
PY
"$place/env/bin/python" "$place/look.py"
