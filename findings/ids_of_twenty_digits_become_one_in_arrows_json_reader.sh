#!/usr/bin/env bash
# Two ids of twenty digits in a JSON-lines event log become one and the same number in Arrow's JSON reader.
#
# Behaviour: pyarrow 26.0.1 infers int64 for whole numbers; as soon as one of a column does not fit, the whole column is read as
# double, without a word, and ids that differ in their last digits are equal from then on. polars 2.1.0 reads the same file as
# Int128 and keeps every digit. Seen on 2026-11-28.
# The usual guess: a reader keeps whole numbers whole, as text or a wider kind, or refuses what does not fit.
# Why it matters: trackers write hashes and the two halves of a visitor id as unsigned 64-bit numbers, most of which have twenty
# digits. Visitors melt into one another, sessions grow over weeks, and one id past int64 spoils the small ones beside it too.
# Source: seen by running the two releases side by side, below; RFC 8259, section 6, sets no bound on numbers.
# Remedy: after reading, look for doubles of 2^63 and more and read such a file with another reader; or give the ids' columns
# as strings in ParseOptions(explicit_schema=...) where the log writes them in quotes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0

printf '%s\n' '{"visitor": 17446744073709551615, "event": "view"}' '{"visitor": 17446744073709551616, "event": "view"}' \
    '{"visitor": 9007199254740993, "event": "view"}' > "$place/log.jsonl"

cat > "$place/look.py" <<'PY'
import sys
import polars, pyarrow, pyarrow.json

path = sys.argv[1]
arrow = pyarrow.json.read_json(path)["visitor"]
whole = polars.read_ndjson(path)["visitor"]
print(f"pyarrow {pyarrow.__version__}: {arrow.type}, {len(set(arrow.to_pylist()))} visitors: {[int(one) for one in arrow.to_pylist()]}")
print(f"polars {polars.__version__}: {whole.dtype}, {whole.n_unique()} visitors: {whole.to_list()}")
assert str(arrow.type) == "double" and len(set(arrow.to_pylist())) == 2, "Arrow reads the ids otherwise now"
assert 9007199254740993 not in [int(one) for one in arrow.to_pylist()], "Arrow keeps the small id now"
assert whole.n_unique() == 3 and whole[2] == 9007199254740993, "Polars reads the ids otherwise now"
PY
"$place/venv/bin/python" "$place/look.py" "$place/log.jsonl"
