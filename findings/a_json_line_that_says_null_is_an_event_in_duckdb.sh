#!/usr/bin/env bash
# A line `null` in a JSON-lines event log is one more event in DuckDB, and an error in Polars.
#
# Behaviour: duckdb 2.0.1 reads the line as a row in which every column is NULL, without a word. polars 2.1.0 refuses the same
# file ("NDJSON line expected to contain JSON object"). Seen on 2026-11-28.
# The usual guess: both skip such a line, or both complain; a log that one program reads has as many events in the other.
# Why it matters: queues and log shippers write `null` for a payload that was dropped. count(*) then counts events that never
# happened, and a session id of NULL gathers them into one long session, which shifts lengths, rates and the last event's time.
# Source: seen by running the two releases side by side, below; RFC 8259 allows any value as a JSON text, so the file is valid.
# Remedy: filter rows whose session and event are both NULL before anything is counted, and say how many there were; or check
# that each line is an object while reading.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0

printf '%s\n' '{"session": "a", "event": "view"}' 'null' '{"session": "b", "event": "purchase"}' > "$place/log.jsonl"

cat > "$place/look.py" <<'PY'
import sys
import duckdb, polars

path = sys.argv[1]
rows, sessions, missing = duckdb.execute(
    "select count(*), count(session), count(*) filter (where session is null and event is null) from read_json(?, format='newline_delimited')", [path]).fetchone()
print(f"duckdb {duckdb.__version__}: {rows} events, {sessions} with a session, {missing} of nothing")
try:
    said = f"{polars.read_ndjson(path).height} events"
except polars.exceptions.ComputeError as error:
    said = f"refused: {error}"
print(f"polars {polars.__version__}: {said}")
assert (rows, sessions, missing) == (3, 2, 1), "DuckDB reads the line otherwise now"
assert said.startswith("refused: NDJSON line expected to contain JSON object"), "Polars reads the line otherwise now"
PY
"$place/venv/bin/python" "$place/look.py" "$place/log.jsonl"
