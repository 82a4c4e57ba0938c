#!/usr/bin/env bash
# A pause of exactly a minute, in nanoseconds, is longer than a minute in Polars 2.1.0: a column that is divided by a constant is
# multiplied by the constant's inverse.
#
# Behaviour: 60_000_000_000 / 1e9 is 60.00000000000001 in Polars, and so are 15, 30 and 120 seconds a little too long. pandas, NumPy and
# DuckDB say 60. The same expression of narwhals keeps a session together on one engine and cuts it on the other. A column that is
# divided by a column of the same numbers is divided. Seen on 2026-11-29.
# The usual guess: a division of whole numbers that leaves no remainder is exact, in every engine.
# Why it matters: clocks of logs are whole seconds, and limits are too (a glance of 15 s, an idle minute, a bot's pause). Events that lie
# on the limit fall on one side in the pipeline that trains and on the other in the one that answers; a tree passes them on differently.
# Source: pull request 1131 and issue 23741 of Polars, and the run below.
# Remedy: compare whole nanoseconds with whole nanoseconds, and divide only what is shown. Where two engines must agree to the last bit,
# multiply by the inverse in both.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check \
    polars==2.1.0 pandas==3.1.1 duckdb==2.0.1 narwhals==2.29.0 numpy==2.4.6

cat > "$place/look.py" <<'PY'
import duckdb, narwhals, pandas, polars
import narwhals.stable.v2 as nw

pauses = {"pause_ns": [seconds * 10**9 for seconds in (10, 15, 30, 60, 120, 600)]}
versions = {one.__name__: one.__version__ for one in (polars, pandas, duckdb, narwhals)}
print(", ".join(f"{name} {version}" for name, version in versions.items()))
seconds = nw.col("pause_ns") / 1e9
cut = {}
for made in (polars.DataFrame(pauses), pandas.DataFrame(pauses)):
    frame = nw.from_native(made)
    said = frame.select(s=seconds)["s"].to_list()
    name = frame.implementation.name.lower()
    cut[name] = [round(s) for s in said if s > round(s)]
    print(f"{name}: {said}")
beside = polars.DataFrame(pauses | {"second": [1e9] * len(pauses["pause_ns"])})
exact = beside.select(polars.col("pause_ns") / polars.col("second")).to_series()
rows = f"SELECT unnest({pauses['pause_ns']}) AS pause_ns"
in_sql = [s for (s,) in duckdb.sql(f"SELECT pause_ns / 1e9::DOUBLE FROM ({rows})").fetchall()]
print(f"polars, by a column: {exact.to_list()}")
print(f"duckdb: {in_sql}")
print(f"longer than they are: {cut}")
assert cut == {"polars": [15, 30, 60, 120], "pandas": []}, "it is otherwise now"
assert exact.to_list() == in_sql == [10.0, 15.0, 30.0, 60.0, 120.0, 600.0], "it is otherwise now"
PY
"$place/env/bin/python" "$place/look.py"
