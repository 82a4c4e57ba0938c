#!/usr/bin/env bash
# Contributions start from a hundred of the sessions that were handed over as the background: shap 0.51.0 draws them and does not say so.
#
# Behaviour: an explainer that is given an array of background sessions keeps 100 of its rows, drawn at random, and takes its expected
# value from these. Of a linear model, whose expected value is known exactly from the mean of each column, it does the same. What is rare
# among all sessions may then be missing among the hundred, or be twice as frequent. Seen on 2026-11-29.
# The usual guess: the expected value is the mean of what the model says of the background, all of it.
# Why it matters: in a shop's log, the sessions with a cart are few. The base from which a page explains a session, "the usual visitor",
# is that of the hundred; the contribution of having a cart is off by the same amount, for every session, and two explainers of the same
# model, each with a background of its own, disagree for no reason that anybody sees.
# Source: max_samples=100 of shap.maskers.Independent, into which an array is put; and the run below.
# Remedy: hand over shap.maskers.Independent(background, max_samples=len(background)), and compare the expected value with the mean.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check shap==0.51.0 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1

cat > "$place/look.py" <<'PY'
import warnings

import numpy
import shap
import sklearn
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
random = numpy.random.default_rng(0)
has_cart = random.random(4_000) < 0.03
sessions = numpy.column_stack([has_cart, random.normal(size=4_000)]).astype(float)
converts = random.random(4_000) < numpy.where(has_cart, 0.6, 0.01)
model = LogisticRegression().fit(sessions, converts)
exact = model.decision_function(sessions).mean()
whole = shap.maskers.Independent(sessions, max_samples=len(sessions))
quiet, said = shap.LinearExplainer(model, sessions), shap.LinearExplainer(model, whole)
base = {"array": float(quiet.expected_value), "all of it": float(said.expected_value)}
cart = sessions[has_cart][:1]
worth = {"array": quiet.shap_values(cart)[0, 0], "all of it": said.shap_values(cart)[0, 0]}
kept = quiet.masker.data if hasattr(quiet.masker, "data") else []
print(f"shap {shap.__version__}, scikit-learn {sklearn.__version__}, numpy {numpy.__version__}")
print(f"background: {len(sessions):,} sessions, {has_cart.mean():.1%} with a cart; kept of it: {len(kept)}")
print(f"mean of what the model says of the background, log-odds: {exact:.4f}")
for name, value in base.items():
    print(f"expected value, {name}: {value:.4f}; contribution of a cart: {worth[name]:.4f}")
assert len(kept) == 100 and abs(base["array"] - exact) > 0.01, "it is otherwise now"
assert abs(base["all of it"] - exact) < 1e-9, "it is otherwise now"
PY
"$place/env/bin/python" "$place/look.py"
