#!/bin/sh
# What the image holds, made from a checkout: sh deploy/install.sh FOLDER [CONSTRAINTS]
# FOLDER becomes a virtual environment with the package, what the service needs, and nothing that compiles.
set -eu
export UV_PYTHON_DOWNLOADS=never

to=$1
here=$(cd "$(dirname "$0")" && pwd)
constraints=${2:-$here/constraints.txt}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# xgboost-cpu is XGBoost without what only a graphics card needs: module xgboost, the same releases.
# Its requirement is met by it, so xgboost itself is asked for nowhere.
echo 'xgboost ; python_version < "3"' >"$work/overrides.txt"
sed 's/^xgboost==/xgboost-cpu==/' "$constraints" >"$work/constraints.txt"

uv build --quiet --wheel --out-dir "$work" "$here/.."
uv venv --quiet --python "${PYTHON:-python3}" "$to"
uv pip install --quiet --python "$to/bin/python" --only-binary :all: \
    --overrides "$work/overrides.txt" --constraints "$work/constraints.txt" \
    "$(ls "$work"/*.whl)[serve]" xgboost-cpu

# The image is not made where XGBoost cannot train and predict, or where the command is not there.
"$to/bin/python" -c 'import numpy as n, xgboost as x; x.XGBClassifier(n_estimators=1).fit(n.eye(2), [0, 1]).predict(n.eye(2))'
"$to/bin/clickstream-conv" serve --help >/dev/null
uv pip freeze --python "$to/bin/python" | grep -v ' @ ' >"$to/installed.txt"
