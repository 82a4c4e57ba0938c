"""One query over the files of a log: the same events as without it, and a query that reaches nothing else."""

import json
import os
import signal
import subprocess
import sys
import time

import duckdb
import polars as pl
import pytest
from conftest import warm
from everywhere import set_everywhere

from clickstream_conv.base.runs import BRIEF, Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.log import csv_files as log_csv_files
from clickstream_conv.log.contract import CONTRACT, load_contract
from clickstream_conv.log.mapping_files import mapping_from_text, write_mapping
from clickstream_conv.log.query_guard import refuse_query, TABLE_FUNCTIONS
from clickstream_conv.log.sql import open_database, Workspace
from clickstream_conv.log.tables import read_pieces, read_table
from clickstream_conv.scoring.scorer import score_file
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_source

MAPPING = """\
columns: {session_id: session_id, visitor_id: visitor_id, t: t, event: event, item_id: item_id, category: category, price: price, quantity: quantity}
session_context: [channel, device]
event_context: [page]
time_format: "%Y-%m-%d %H:%M:%S%.f"
resolution: us
"""
FORMS = ("log.csv", "log.jsonl", "log.parquet")


def mapping_file(folder, more="", name="m.yaml"):
    "A mapping file with more lines."
    path = folder / name
    path.write_text(MAPPING + more)
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    "One log of 400 sessions in three forms."
    folder = tmp_path_factory.mktemp("logs")
    log = simulate(400, 3).with_columns(
        pl.from_epoch("t", time_unit="us").dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    )
    log.write_csv(folder / "log.csv")
    log.write_ndjson(folder / "log.jsonl")
    log.write_parquet(folder / "log.parquet")
    return folder


def events_of(folder, mapping, memory=0.0):
    "The canonical events of a run, whole or in partitions, in one order."

    def read(path):
        run = Run(str(folder / f"run-{path.name}-{memory}"))
        prepare(run, source=str(mapping), path=str(path), memory=memory)
        assert not (run / ".spill").exists()
        return pl.read_parquet(run / "events.parquet", glob=False).sort("session_id", "step")

    return read


# ---- the same events, whichever way


@pytest.mark.parametrize("memory", [0.0, 4.0], ids=["whole", "in pieces"])
@pytest.mark.parametrize("form", FORMS)
def test_every_way_of_reading_gives_the_same_events(logs, tmp_path, monkeypatch, form, memory):
    set_everywhere(monkeypatch, log_csv_files, "PIECE", 40_000)  # many pieces
    expected = events_of(tmp_path, mapping_file(tmp_path))(logs / "log.csv")
    by_query = mapping_file(tmp_path, "sql: SELECT * FROM log\n", "q.yaml")
    (tmp_path / "plain").mkdir()
    (tmp_path / "sql").mkdir()
    assert events_of(tmp_path / "plain", mapping_file(tmp_path), memory)(logs / form).equals(
        expected
    )
    found = events_of(tmp_path / "sql", by_query, memory)(logs / form)
    assert (
        found.equals(expected)
        and found.schema == expected.schema
        and len(found) == len(simulate(400, 3))
    )


def test_a_query_says_what_columns_cannot(tmp_path):
    "Orders lie in another file than clicks; one query puts both into one log, and says in which order."
    (tmp_path / "clicks.csv").write_text(
        "who,ts,page\na,2026-01-05 10:00:00,p1\na,2026-01-05 10:01:00,p2\nb,2026-01-05 10:00:30,p1\n"
    )
    (tmp_path / "orders.csv").write_text("who,ts,page\na,2026-01-05 10:01:00,19.90\n")
    text = """\
columns: {session_id: who, t: ts, event: what, item_id: page, price: price}
events: {view: [look], purchase: [buy]}
sql: |
  SELECT who, ts, CASE WHEN bought THEN 'buy' ELSE 'look' END AS what, CASE WHEN NOT bought THEN page END AS page,
         CASE WHEN bought THEN page END AS price, file
  FROM (SELECT *, file LIKE '%orders.csv' AS bought FROM log)
  ORDER BY ts, bought
"""
    (tmp_path / "m.yaml").write_text(text)
    checked = read_source(find_source(str(tmp_path / "m.yaml")), str(tmp_path / "*.csv"))
    assert checked.events.select("session_id", "event", "price").rows() == [
        ("a", "view", None),
        ("a", "view", None),
        ("a", "purchase", 19.9),
        ("b", "view", None),
    ]
    assert set(checked.events["_file"]) == {
        str(tmp_path / "clicks.csv"),
        str(tmp_path / "orders.csv"),
    }
    assert mapping_from_text(write_mapping(mapping_from_text(text))) == mapping_from_text(text)


def test_rows_come_in_the_order_of_the_files_and_broken_lines_are_not_lost(tmp_path):
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text(
            "n,what\n" + "".join(f"{name}{i},look\n" for i in range(30_000)) + "broken\n"
        )
    pieces = list(read_pieces(tmp_path, sql="SELECT n FROM log", size=100_000))
    table = pl.concat(pieces, how="diagonal_relaxed").with_columns(
        pl.col("_broken").fill_null(False)
    )
    whole, broken = table.filter(~pl.col("_broken")), table.filter("_broken")
    assert len(pieces) > 3 and whole["n"].to_list() == [
        f"{name}{i}" for name in ("a.csv", "b.csv") for i in range(30_000)
    ]
    assert whole["_row"].to_list() == list(range(1, 60_001))
    assert broken.select("_row", "_text").rows() == [(30_002, "broken"), (30_002, "broken")]
    assert broken["_file"].to_list() == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_json_whose_kinds_change_is_what_it_is_when_read_whole(tmp_path):
    rows = [{"sid": f"s{i}", "n": i, "more": {"a": i}} for i in range(50)]
    rows += [
        {"sid": f"s{i}", "n": i + 0.5, "late": "x", "more": {"a": i, "b": "y"}}
        for i in range(50, 100)
    ]
    rows += [{"sid": "odd", "n": None, "more": None}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole = read_table(tmp_path / "log.jsonl")
    found = pl.concat(
        list(read_pieces(tmp_path / "log.jsonl", sql="SELECT * FROM log", size=600)),
        how="diagonal_relaxed",
    )
    assert found.drop("file", "_row").equals(whole.drop("_row")) and found.schema["n"] == pl.Float64


def test_a_column_called_file_stays_the_logs_own(tmp_path):
    (tmp_path / "log.csv").write_text("sid,file,SID\na,mine,b\n")
    found = read_table(tmp_path / "log.csv", sql="SELECT * FROM log")
    assert found.drop("_row").row(0, named=True) == {
        "sid": "a",
        "file": "mine",
        "SID_1": "b",
        "log_file": str(tmp_path / "log.csv"),
    }


def test_sums_are_the_same_to_the_last_digit_every_time(logs):
    query = "SELECT session_id, sum(price::DOUBLE) AS price, list(item_id) AS items FROM log GROUP BY session_id"
    first = read_table(logs / "log.csv", sql=query)
    assert all(read_table(logs / "log.csv", sql=query).equals(first) for _ in range(3))


# ---- what a stranger's query cannot do

BEYOND = [
    "SELECT * FROM '{other}'",
    "SELECT * FROM read_csv('{other}')",
    "SELECT * FROM read_text('{other}')",
    "SELECT * FROM read_blob('{other}')",
    "SELECT * FROM log WHERE session_id IN (SELECT content FROM read_text('{other}'))",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM parquet_metadata('{other}')",
    "SELECT * FROM query_table('{other}')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM python_variable",
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT write_log('x')",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{folder}')",
    "SELECT * FROM enable_profiling(save_location := '{folder}/p')",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pragma_table_info('log')",
    "WITH new AS (INSERT INTO log SELECT * FROM log RETURNING *) SELECT * FROM new",
    "COPY log TO '{folder}/copy.csv'",
    "COPY (SELECT 1) TO '{folder}/copy.csv'",
    "EXPORT DATABASE '{folder}/all'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 2",
    "RESET threads",
    "PRAGMA threads = 2",
    "PRAGMA database_list",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE MACRO m(a) AS a",
    "INSERT INTO log SELECT * FROM log",
    "DELETE FROM log",
    "DROP TABLE log",
    "UPDATE log SET page = 1",
    "CALL pragma_version()",
    "DESCRIBE log",
    "SHOW TABLES",
    "SUMMARIZE log",
    "EXPLAIN SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT * FROM log; DROP TABLE log",
    "BEGIN",
    "VACUUM",
    "USE memory",
    "PREPARE p AS SELECT 1",
    "",
    ";",
    "-- nothing",
    "SELECT * FROM log log2 JOIN main.log USING (t)",
    "SELEC",
    "SELECT 'open",
]


@pytest.mark.parametrize("query", BEYOND)
def test_a_query_reaches_the_log_and_nothing_else(tmp_path, query):
    python_variable = pl.DataFrame({"a": [1]})  # noqa: F841, what a query must not see
    (tmp_path / "other.csv").write_text("secret\n1\n")
    query = query.format(other=tmp_path / "other.csv", folder=tmp_path)
    with pytest.raises(ValueError, match="^m.yaml: sql .*[^.]$") as refused:
        refuse_query(query, "m.yaml")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv"]


@pytest.mark.parametrize(
    "query",
    [query for query in BEYOND if "{" in query]
    + [
        "SET threads = 2",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FROM python_variable",
        "DELETE FROM log",
    ],
)
def test_the_database_itself_is_shut_too(tmp_path, query):
    "The second lock, without the first."
    python_variable = pl.DataFrame({"a": [1]})  # noqa: F841
    (tmp_path / "other.csv").write_text("secret\n1\n")
    with duckdb.connect(str(tmp_path / "log.duckdb")) as made:
        made.execute("CREATE TABLE log AS SELECT 'a' AS session_id")
    before = sorted(path.name for path in tmp_path.iterdir())
    shut = open_database(tmp_path / "log.duckdb", 200, tmp_path)
    with pytest.raises(duckdb.Error):
        shut.execute(query.format(other=tmp_path / "other.csv", folder=tmp_path)).fetchall()
    shut.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM log",
        "FROM log",
        "select * from LOG;",
        "WITH a AS (FROM log), b AS (FROM a) SELECT * FROM b UNION ALL FROM log -- and a comment",
        "SELECT l.* EXCLUDE (page), u FROM log l, UNNEST([1, 2]) t(u)",
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 3) FROM r, log",
        "SELECT *, lag(page) OVER (PARTITION BY session_id ORDER BY t) FROM log QUALIFY row_number() OVER () < 9",
        "FROM log PIVOT (count(*) FOR page IN ('a', 'b'))",
        "SELECT json_extract_string('{\"a\": 1}', '$.a') FROM log",
        "VALUES (1)",
        "SELECT * FROM log, range(3), generate_series(1, 2)",
    ],
)
def test_a_select_is_a_select(query):
    refuse_query(query)


def test_functions_that_are_allowed_reach_nothing():
    assert set(TABLE_FUNCTIONS) == {
        "generate_series",
        "json_each",
        "json_tree",
        "range",
        "repeat",
        "unnest",
    }


# ---- refusals


@pytest.mark.parametrize(
    "query, says",
    [
        (
            "SELECT pgae FROM log",
            r"sql failed: Binder Error.*pgae.*log has the columns: session_id, .*, file\. Mend sql in the mapping$",
        ),
        (
            "SELECT price::INTEGER * 'x'::INTEGER AS n FROM log",
            r"sql failed: Conversion Error.*log has the columns",
        ),
        ("SELECT page, page FROM log", "gives two columns 'page'"),
        ("SELECT page AS _row FROM log", "gives a column '_row'"),
        ("SELECT INTERVAL 1 DAY AS pause FROM log", "a column 'pause' of the kind .*CAST"),
        ("SELECT * FROM log WHERE false", "sql gives no rows"),
    ],
)
def test_what_goes_wrong_names_the_mapping_and_the_way_out(logs, tmp_path, query, says):
    source = find_source(str(mapping_file(tmp_path, f"sql: {json.dumps(query)}\n", "mine.yaml")))
    with pytest.raises(ValueError, match=says) as refused:
        read_source(source, str(logs / "log.csv"))
    assert "mine.yaml" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "lines, says",
    [
        ("sql: SELECT * FROM 'x.csv'", "mine.yaml: sql reads 'x.csv'"),
        ("sql: SELECT * FROM log\nquery: SELECT 1", "mine.yaml: it has sql and query. Keep one"),
        ("query: SELECT 1\ntable: events", "mine.yaml: it has query and table. Keep one"),
        ("sql: [a]", "mine.yaml: sql should be a word"),
    ],
)
def test_a_mapping_with_a_wrong_query_is_refused_before_anything_is_read(tmp_path, lines, says):
    with pytest.raises(ValueError, match=says):
        find_source(str(mapping_file(tmp_path, lines + "\n", "mine.yaml")))


def test_a_query_for_a_database_does_not_read_files(logs, tmp_path):
    for key in ("query: SELECT 1", "table: events"):
        source = find_source(str(mapping_file(tmp_path, key + "\n")))
        with pytest.raises(
            ValueError, match=f"the mapping has {key.split(':')[0]}, which is for databases"
        ):
            read_source(source, str(logs / "log.csv"))


def test_a_query_that_needs_too_much_memory_says_so(logs):
    work = Workspace("m.yaml", None, 0.0001)
    query = "SELECT a.page, b.page AS other, random() AS r FROM log a, log b, range(30) ORDER BY r"
    from clickstream_conv.log import sql

    with pytest.MonkeyPatch.context() as change:
        change.setattr(Workspace, "limit", lambda self: 60)
        change.setattr(
            sql,
            "_bounds",
            lambda memory, folder: dict(
                memory_limit="60MB",
                threads=1,
                max_temp_directory_size="1MB",
                temp_directory=str(folder / "aside"),
            ),
        )
        with pytest.raises(
            ValueError, match="m.yaml: sql needs more memory than it may take .*--memory 8"
        ):
            for _ in read_pieces(logs / "log.csv", sql=query, work=work):
                pass


def test_memory_stays_bounded_while_a_large_result_comes(logs, tmp_path):
    "A result of 800 MB goes by in pieces."
    code = f"""
from pathlib import Path
from clickstream_conv.base.memory import peak_memory
from clickstream_conv.log.sql import Workspace
from clickstream_conv.log.tables import read_pieces
rows = 0
before = peak_memory()
for piece in read_pieces({str(logs / "log.csv")!r}, sql="SELECT l.*, r.range, repeat('x', 50) AS filling FROM log l, range(1500) r", work=Workspace("m", Path({str(tmp_path / "aside")!r}), 0.4)): rows += len(piece)
print(rows, int(peak_memory() - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    rows, grown = map(int, done.stdout.split())
    assert rows == 1_500 * len(simulate(400, 3)) and grown < 600, done.stdout + done.stderr
    assert not (tmp_path / "aside").exists()


# ---- a query that never ends


def test_ctrl_c_ends_a_query(logs, tmp_path):
    endless = "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT sum(x) AS session_id FROM r"
    code = f"""
import sys
from clickstream_conv.log import tables as log_tables
from clickstream_conv.pipeline import command_line as pipeline
@pipeline.app.command("endless")
def endless() -> None:
    print("begun", flush=True)
    for _ in log_tables.read_pieces({str(logs / "log.csv")!r}, sql={endless!r}): pass
sys.exit(pipeline.command(["endless"]))
"""
    going = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert going.stdout.readline() == "begun\n"
    for _ in range(600):
        if list(tmp_path.glob(f"{BRIEF}*/log.duckdb")):
            break
        time.sleep(0.1)
    time.sleep(5)  # the log is loaded by now, and the query goes on
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=60)
    assert (
        going.returncode == 130 and "clickstream-conv: stopped" in said and "Traceback" not in said
    )
    assert not list(tmp_path.glob(f"{BRIEF}*"))


# ---- scoring by the same contract


def test_score_asks_by_the_runs_own_query(logs, tmp_path):
    "The query is kept in the contract; the scores are those of the same events read without it."
    query = "SELECT * REPLACE (CASE event WHEN 'view' THEN 'look' ELSE event END AS event) FROM log"
    words = "events: {view: [look], cart: [cart], remove: [remove], checkout: [checkout], purchase: [purchase], other: [other, '*']}\n"
    scores = []
    for name, more in (("q", f"sql: {json.dumps(query)}\n{words}"), ("p", "")):
        run, mapping = Run(str(tmp_path / name)), mapping_file(tmp_path, more, f"{name}.yaml")
        prepare(run, source=str(mapping), path=str(logs / "log.csv"))
        quick_conversion(run, folds=2)
        assert load_contract(run).mapping.sql == (query if more else "") and json.loads(
            (run / CONTRACT).read_text()
        )["mapping"]["sql"] == (query if more else "")
        mapping.unlink()
        score_file(
            run.folder, str(logs / "log.parquet"), tmp_path / f"{name}.parquet", progress=False
        )
        scores.append(pl.read_parquet(tmp_path / f"{name}.parquet", glob=False).sort("session_id"))
    assert scores[0].equals(scores[1]) and len(scores[0]) == 400


def test_a_query_that_was_slipped_into_a_contract_is_refused(logs, tmp_path):
    run = Run(str(tmp_path / "run"))
    prepare(run, source=str(mapping_file(tmp_path)), path=str(logs / "log.csv"))
    kept = json.loads((run / CONTRACT).read_text())
    kept["mapping"]["sql"] = "SELECT * FROM read_text('/etc/hostname')"
    (run / CONTRACT).write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"contract.json is damaged.*sql calls read_text\(\)"):
        load_contract(run)


def test_the_command_reads_by_a_query(logs, tmp_path):
    mapping_file(tmp_path, "sql: SELECT * FROM log\n", "mine.yaml")
    done = warm(
        "run",
        "--source",
        "mine.yaml",
        "--path",
        logs / "log.jsonl",
        "--out",
        "out",
        "--until",
        "02_sources",
        "--no-report",
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "400 sessions" in done.said, done.said
    mapping_file(tmp_path, "sql: SELECT seite FROM log\n", "mine.yaml")
    done = warm(
        "run",
        "--source",
        "mine.yaml",
        "--path",
        logs / "log.jsonl",
        "--out",
        "out",
        "--until",
        "02_sources",
        "--no-report",
        cwd=tmp_path,
    )
    assert (
        done.returncode == 1
        and "mine.yaml: sql failed: Binder Error" in done.said
        and "log has the columns: session_id" in done.said
    ), done.said
