#!/usr/bin/env bash
# The log-loss of the same probabilities is another one when they come in 32 bits: scikit-learn 1.9.1 holds probabilities of 0 and 1 off
# by the smallest step of their own type.
#
# Behaviour: log_loss counts a session that converts after a probability of exactly 0 with 36.0 where the probabilities are in 64 bits,
# and with 15.9 where the same ones are in 32 bits. Seen on 2026-11-28.
# The usual guess: a loss depends on what a model says, not on the type of the array that it says it in.
# Why it matters: converting sessions are few, so forests with small leaves say exactly 0 of some that do convert, in 64 bits, while
# boosted trees of other libraries answer in 32 bits. A table that compares the two by log-loss charges the same mistake more than twice as
# much to the first, and a search and a comparison that differ only in a cast choose different models.
# Source: scikit-learn's pull request 24354 (release 1.2), and the run below.
# Remedy: bring probabilities of all models into one type, and hold them off 0 and 1 by a bound of one's own, before any loss is taken.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6

cat > "$place/look.py" <<'PY'
import numpy, sklearn
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import log_loss

random = numpy.random.default_rng(0)
clicks = random.normal(size=(2_000, 3))
converts = (random.random(2_000) < 1 / (1 + numpy.exp(3 - 1.5 * clicks[:, 0]))).astype(int)
forest = ExtraTreesClassifier(20, random_state=0, n_jobs=1).fit(clicks[:1_000], converts[:1_000])
said, came = forest.predict_proba(clicks[1_000:])[:, 1], converts[1_000:]
never = int(((said == 0) & (came == 1)).sum())
wide, narrow = log_loss(came, said), log_loss(came, said.astype(numpy.float32))
print(f"scikit-learn {sklearn.__version__}, numpy {numpy.__version__}")
print(f"{never} of {came.sum()} sessions convert after a probability of 0")
print(f"log-loss of the same probabilities: {wide:.4f} in 64 bits, {narrow:.4f} in 32 bits")
one = [log_loss([1], numpy.array([0.0], kind), labels=[0, 1]) for kind in ("float64", "float32")]
print(f"of one such session: {one[0]:.1f} and {one[1]:.1f}")
assert never and wide > 1.02 * narrow, "it is otherwise now"
assert round(one[0], 1) == 36.0 and round(one[1], 1) == 15.9, "it is otherwise now"
PY
"$place/env/bin/python" "$place/look.py"
