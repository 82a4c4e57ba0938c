"""Logs in databases: the same events as from a CSV, no password anywhere, and a connection that is cut."""

import glob
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import command, start, warm

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.log.addresses import absolute_address, parse_address
from clickstream_conv.log.databases import database_pieces
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.sql import Workspace
from clickstream_conv.log.tables import read_pieces, read_table
from clickstream_conv.pipeline.lineage import lineage_of
from clickstream_conv.pipeline.verify import beforehand, prepare_repetition
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
COLUMNS = (
    "session_id",
    "visitor_id",
    "t",
    "event",
    "item_id",
    "category",
    "price",
    "quantity",
    "channel",
    "device",
    "page",
)
SESSIONS = 300
SECRET = "open-sesame-0815"
IN_ORDER = "query: SELECT * FROM events ORDER BY number\n"


def mapping_file(folder, more="", name="m.yaml"):
    "A mapping file with more lines."
    path = folder / name
    path.write_text(MAPPING + more)
    return path


def the_log():
    "A log of 300 sessions, its rows numbered."
    log = simulate(SESSIONS, 5).with_columns(
        pl.from_epoch("t", time_unit="us").dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    )
    return log.select(COLUMNS).with_row_index("number")


# ---- a PostgreSQL of the tests' own


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def as_user():
    "Words before a command that make it run as somebody who is not root, whom PostgreSQL refuses."
    if os.geteuid():
        return []
    names = [one.pw_name for one in pwd.getpwall() if one.pw_name in ("postgres", "nobody")]
    return [
        "setpriv",
        "--reuid",
        sorted(names)[-1],
        "--regid",
        str(pwd.getpwnam(sorted(names)[-1]).pw_gid),
        "--clear-groups",
    ]


class Server:
    "A PostgreSQL on a port and a socket of its own."

    def __init__(self, programs, folder):
        self.programs, self.folder, self.port = Path(programs), folder, free_port()
        self.data = folder / "data"

    def do(self, program, *words):
        done = subprocess.run(
            [*as_user(), str(self.programs / program), *map(str, words)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.env,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self):
        self.env = {**os.environ, "LC_ALL": "C", "PGPASSWORD": SECRET}
        if not os.geteuid():
            shutil.chown(self.folder, pwd.getpwnam(as_user()[2]).pw_uid, -1)
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o644)
        self.do(
            "initdb",
            "--pgdata",
            self.data,
            "--username",
            "owner",
            "--auth",
            "scram-sha-256",
            "--pwfile",
            secret,
            "--encoding",
            "UTF8",
            "--no-sync",
        )
        options = f"-k {self.folder} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.do(
            "pg_ctl",
            "--pgdata",
            self.data,
            "--options",
            options,
            "--log",
            self.folder / "server.log",
            "--wait",
            "start",
        )

    def ask(self, statement):
        return self.do(
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            self.port,
            "-U",
            "owner",
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-qAtc",
            statement,
        )

    def stop(self):
        self.do("pg_ctl", "--pgdata", self.data, "--mode", "immediate", "stop")

    def address(self, host="127.0.0.1"):
        return f"postgresql://owner@{host}:{self.port}/postgres"

    def by_socket(self):
        return f"postgresql://owner@/postgres?host={self.folder}&port={self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A server with the log, found under Debian's packages."
    pytest.importorskip(
        "psycopg", reason="the driver is an extra: pip install clickstream-conv[databases]"
    )
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        pytest.skip("no PostgreSQL is here: apt-get install postgresql")
    folder = Path(
        tempfile.mkdtemp(prefix="pg-", dir="/tmp")
    )  # the name of a socket must be short, and others must reach it
    folder.chmod(0o755)
    one = Server(found[-1], folder)
    try:
        one.start()
        kinds = ", ".join(
            f"{name} {'numeric(10,2)' if name == 'price' else 'int' if name in ('quantity', 'number') else 'text'}"
            for name in ("number", *COLUMNS)
        )
        one.ask(f"CREATE TABLE events ({kinds}); CREATE SCHEMA shop")
        the_log().write_csv(folder / "log.csv")
        (folder / "log.csv").chmod(0o644)
        one.ask(f"COPY events FROM '{folder / 'log.csv'}' WITH (FORMAT csv, HEADER)")
        one.ask(
            "CREATE TABLE shop.\"odd Names\" AS SELECT * FROM events; CREATE TABLE many AS SELECT g AS n, repeat('x', 200) AS filling FROM generate_series(1, 400000) g"
        )
        yield one
    finally:
        try:
            one.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def password(monkeypatch):
    "The password, where it belongs."
    monkeypatch.setenv("PGPASSWORD", SECRET)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "The log as CSV, in SQLite and in DuckDB."
    folder, log = tmp_path_factory.mktemp("files"), the_log()
    log.write_csv(folder / "log.csv")
    with sqlite3.connect(folder / "shop.sqlite") as made:
        made.execute(
            f"CREATE TABLE events (number INTEGER, {', '.join(name + (' REAL' if name == 'price' else ' TEXT') for name in COLUMNS)})"
        )
        made.executemany(
            f"INSERT INTO events VALUES ({', '.join('?' * (len(COLUMNS) + 1))})", log.rows()
        )
    made.close()
    with duckdb.connect(str(folder / "shop.duckdb")) as made:
        made.register("log", log.to_arrow())
        made.execute("CREATE TABLE events AS SELECT * FROM log")
    return folder


def address_of(kind, files, request):
    "Where the log lies."
    if kind == "csv":
        return str(files / "log.csv")
    if kind == "postgresql":
        return request.getfixturevalue("server").address()
    return f"{kind}:///{files}/shop.{kind}"


# ---- the same events


@pytest.mark.parametrize("memory", [0.0, 4.0], ids=["whole", "in pieces"])
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_a_database_gives_the_events_of_the_csv(files, tmp_path, request, kind, memory):
    tables = []
    for place, more in (("csv", ""), (kind, IN_ORDER)):
        run = Run(str(tmp_path / place))
        prepare(
            run,
            source=str(mapping_file(tmp_path, more, f"{place}.yaml")),
            path=address_of(place, files, request),
            memory=memory,
        )
        tables.append(
            pl.read_parquet(run / "events.parquet", glob=False).sort("session_id", "step")
        )
        assert not (run / ".spill").exists()
    assert (
        tables[0].equals(tables[1])
        and tables[0].schema == tables[1].schema
        and tables[0]["session_id"].n_unique() == SESSIONS
    )


def test_numbers_and_times_keep_what_they_are(server):
    query = """SELECT 12345678901234567890::numeric AS id, 19.90::numeric(8,2) AS price, 'NaN'::numeric AS none, true AS yes, '2026-03-01 10:00:00.123456'::timestamp AS t,
               '2026-03-01 10:00:00+02'::timestamptz AS tz, '2026-03-01'::date AS d, '{"a": [1, "x%"]}'::jsonb AS j, '2b0dc8a5-7d3c-4f43-9ab2-3c4b0a8a9b1f'::uuid AS u,
               9007199254740993 AS large, 1.5::real AS r, ARRAY['a', 'b'] AS list, NULL AS empty, 'a%b' AS percent"""
    row = pl.concat(database_pieces(server.address(), query)).row(0, named=True)
    assert (
        str(row["id"]) == "12345678901234567890"
        and str(row["price"]) == "19.90"
        and row["none"] is None
        and row["yes"] is True
    )
    assert (
        row["t"].isoformat() == "2026-03-01T10:00:00.123456"
        and row["tz"].isoformat() == "2026-03-01T08:00:00+00:00"
        and str(row["d"]) == "2026-03-01"
    )
    assert (
        json.loads(row["j"]) == {"a": [1, "x%"]}
        and row["u"] == "2b0dc8a5-7d3c-4f43-9ab2-3c4b0a8a9b1f"
        and row["large"] == 9007199254740993
    )
    assert (
        row["r"] == 1.5
        and row["list"] == "['a', 'b']"
        and row["empty"] is None
        and row["percent"] == "a%b"
        and row["_row"] == 1
    )


def test_a_table_by_its_name_and_a_socket(server):
    assert len(read_table(server.by_socket(), table="events")) == len(the_log())
    assert len(read_table(server.address(), table="shop.odd Names")) == len(the_log())


def test_a_snapshot_is_one_moment(server):
    "Rows that are added while the log is read are not in it."
    server.ask("CREATE TABLE IF NOT EXISTS growing AS SELECT * FROM many")
    pieces = read_pieces(server.address(), table="growing", size=1_000_000)
    first = len(next(pieces))
    server.ask("INSERT INTO growing SELECT * FROM many")
    assert first + sum(map(len, pieces)) == 400_000


def test_kinds_that_sqlite_mixes_lose_nothing(tmp_path):
    with sqlite3.connect(tmp_path / "a.sqlite") as made:
        made.execute("CREATE TABLE e (a, b)")
        made.executemany(
            "INSERT INTO e VALUES (?, ?)", [(1, 2**60), (2.5, 0.5), ("x", None), (None, 1)]
        )
    made.close()
    found = read_table(f"sqlite:///{tmp_path}/a.sqlite", table="e")
    assert found["a"].to_list() == ["1", "2.5", "x", None] and found["b"].to_list() == [
        str(2**60),
        "0.5",
        None,
        "1",
    ]


# ---- what is refused

WRONG = [
    "DELETE FROM events",
    "INSERT INTO events SELECT * FROM events",
    "SELECT 1; DELETE FROM events",
    "SELECT 1; SELECT 2",
    "DROP TABLE events",
    "COPY events TO STDOUT",
    "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
    "SELECT * FROM events FOR UPDATE",
    "SELECT nextval('s')",
    "VACUUM",
    "SELEC",
    "SELECT x FROM events",
]
NO_LOCKS = (
    "duckdb",
    "SELECT * FROM events FOR UPDATE",
)  # DuckDB has no locks of rows, and takes it for a SELECT


@pytest.mark.parametrize(
    "kind, query",
    [
        (kind, query)
        for kind in ("sqlite", "duckdb", "postgresql")
        for query in WRONG
        if (kind, query) != NO_LOCKS
    ],
)
def test_only_one_select_that_reads(files, request, kind, query):
    address = address_of(kind, files, request)
    if kind == "postgresql":
        request.getfixturevalue("server").ask("CREATE SEQUENCE IF NOT EXISTS s")
    with pytest.raises(ValueError, match="^m.yaml: ") as refused:
        list(database_pieces(address, query, work=Workspace("m.yaml")))
    assert "in the mapping" in str(refused.value) and "\n" not in str(refused.value)
    assert len(read_table(address, query="SELECT * FROM events")) == len(the_log())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "ATTACH 'x.duckdb' AS x",
        "INSTALL httpfs",
        "SET threads = 2",
        "COPY events TO 'x.csv'",
    ],
)
def test_a_query_to_duckdb_reaches_its_file_alone(files, query):
    with pytest.raises(ValueError, match="Permission Error|Catalog Error|holds [A-Z]+"):
        list(database_pieces(f"duckdb:///{files}/shop.duckdb", query))


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH '{folder}/x.sqlite' AS x",
        "PRAGMA user_version = 3",
        "SELECT load_extension('x')",
        "VACUUM INTO '{folder}/x.sqlite'",
    ],
)
def test_a_query_to_sqlite_reaches_its_file_alone(files, tmp_path, query):
    with pytest.raises(ValueError, match="not authorized|authorization denied"):
        list(database_pieces(f"sqlite:///{files}/shop.sqlite", query.format(folder=tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address, says",
    [
        ("mysql://host/db", "not from mysql://"),
        ("s3://bucket/log.csv", "not from s3://"),
        ("https://host/log.csv", "not from https://"),
        ("postgres://host/db", "not from postgres://"),
        ("postgresql://host", "does not name it"),
        ("postgresql://host:99999/db", "no port between"),
        ("postgresql://host/db?options=-c%20x", "'options' behind its"),
        ("sqlite://shop.sqlite", "behind three slashes"),
        ("sqlite:///nowhere.sqlite", "no such file: nowhere.sqlite"),
        ("duckdb:///", "behind three slashes"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address, says):
    with pytest.raises(ValueError, match=says):
        list(database_pieces(address, table="events"))


def test_what_is_no_database_or_no_log_is_refused(files, tmp_path):
    (tmp_path / "text.db").write_text(
        "no database, and longer than a header of one hundred bytes " * 3
    )
    for kind in ("sqlite", "duckdb"):
        with pytest.raises(ValueError, match=f"{kind}:///.*could not be read"):
            list(database_pieces(f"{kind}:///{tmp_path}/text.db", table="events"))
        with pytest.raises(ValueError, match="orders.*in the mapping"):
            list(database_pieces(f"{kind}:///{files}/shop.{kind}", table="orders"))
        with pytest.raises(ValueError, match="gives no rows"):
            list(
                database_pieces(
                    f"{kind}:///{files}/shop.{kind}", "SELECT * FROM events WHERE number < 0"
                )
            )
        with pytest.raises(ValueError, match="two columns 'event'"):
            list(
                database_pieces(f"{kind}:///{files}/shop.{kind}", "SELECT event, event FROM events")
            )
        with pytest.raises(ValueError, match="names neither a table nor a query"):
            read_source(find_source(str(mapping_file(tmp_path))), f"{kind}:///{files}/shop.{kind}")
    with pytest.raises(ValueError, match="source rees46 is read|names neither|is a database"):
        read_source(find_source("rees46"), f"sqlite:///{files}/shop.sqlite")
    with pytest.raises(ValueError, match="source yoochoose is read from files"):
        read_source(find_source("yoochoose"), f"sqlite:///{files}/shop.sqlite")
    with pytest.raises(ValueError, match="is a database, and a file is needed"):
        propose(f"sqlite:///{files}/shop.sqlite")


def test_sql_is_for_files(files, tmp_path):
    with pytest.raises(ValueError, match="the mapping has sql, which is for logs in files"):
        read_table(f"sqlite:///{files}/shop.sqlite", sql="SELECT * FROM log")


def test_without_the_driver_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r'pip install "clickstream-conv\[databases\]"'):
        list(database_pieces("postgresql://host/db", table="events"))


# ---- passwords


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}/x@host/db",
        f"postgresql://me:{SECRET}?x@host/db",
        f"postgresql://host/db?password={SECRET}",
        f"mysql://me:{SECRET}@host/db",
        f"sqlite://me:{SECRET}@host/db",
        f"postgresql://me:1@{SECRET}@host/db",
        f"postgresql://me:{SECRET}#@host/db",
        f"postgresql://host/db?sslpassword={SECRET}",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(ValueError, match="holds a password.*CLICKSTREAM_CONV_PASSWORD") as refused:
        parse_address(address)
    assert SECRET not in str(refused.value)


def test_no_command_repeats_a_password(tmp_path):
    address = f"postgresql://me:{SECRET}@host/db"
    mapping_file(tmp_path, "table: events\n")
    done = command("run", "--source", "m.yaml", "--path", address, "--out", "out", cwd=tmp_path)
    assert (
        done.returncode == 1
        and "holds a password" in done.said
        and SECRET not in done.said
        and not (tmp_path / "out").exists()
    )
    for words in (("map", address), ("score", "--run", "out", "--events", address)):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 1 and SECRET not in done.said, done.said


def test_the_password_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wrong-" + SECRET)
    with pytest.raises(ValueError, match="could not be read.*CLICKSTREAM_CONV_PASSWORD") as refused:
        read_table(server.address(), table="events")
    assert SECRET not in str(refused.value)
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(
        ValueError, match="could not be read.*Set the variable CLICKSTREAM_CONV_PASSWORD"
    ):
        read_table(server.address(), table="events")
    monkeypatch.setenv("CLICKSTREAM_CONV_PASSWORD", SECRET)
    assert len(read_table(server.address(), table="events")) == len(the_log())


def test_a_server_that_is_not_there_is_a_sentence():
    with pytest.raises(
        ValueError, match="could not be read.*Check the address, and that the database runs"
    ) as refused:
        list(database_pieces(f"postgresql://me@127.0.0.1:{free_port()}/db", table="e"))
    assert "\n" not in str(refused.value) and SECRET not in str(refused.value)


# ---- a run


def test_a_run_reads_scores_and_keeps_no_password(server, tmp_path):
    mapping_file(tmp_path, IN_ORDER, "mine.yaml")
    words = (
        "run",
        "--source",
        "mine.yaml",
        "--path",
        server.address(),
        "--out",
        "out",
        "--until",
        "02_sources",
        "--no-report",
    )
    done = command(*words, cwd=tmp_path)
    assert (
        done.returncode == 0
        and f"{SESSIONS} sessions" in done.said
        and "what has changed there since is not seen" in done.stderr
    ), done.said
    again = command(*words, cwd=tmp_path)
    assert (
        again.returncode == 0
        and "nothing to do" in again.stderr
        and "Read it again with --fresh" in again.stderr
    )
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["parameters"]["path"] == server.address() and record["data"][-1]["path"].endswith(
        "mine.yaml"
    )
    asked = lineage_of(tmp_path / "out")["database"]
    assert (asked["address"], asked["sessions"], asked["hashed"]) == (server.address(), 300, False)
    assert asked["query"] == "SELECT * FROM events ORDER BY number"
    said = beforehand(prepare_repetition(tmp_path / "out"))
    assert "a database, whose content has no hash" in said[0][1]
    quick_conversion(Run(str(tmp_path / "out")), folds=2)
    score_file(tmp_path / "out", server.address(), tmp_path / "db.parquet", progress=False)
    score_file(
        tmp_path / "out",
        str(tmp_path / "out/events.parquet"),
        tmp_path / "file.parquet",
        progress=False,
    )
    one, other = (
        pl.read_parquet(tmp_path / name, glob=False).sort("session_id")
        for name in ("db.parquet", "file.parquet")
    )
    assert one.equals(other) and len(one) == SESSIONS
    kept = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert kept == []
    mapping_file(
        tmp_path, "query: SELECT * FROM events WHERE number >= 0 ORDER BY number\n", "mine.yaml"
    )
    assert "02_sources: the log changed" in command(*words, cwd=tmp_path).stderr


def test_a_database_in_a_file_has_a_fingerprint(files, tmp_path):
    mapping_file(tmp_path, IN_ORDER)
    shutil.copy(files / "shop.sqlite", tmp_path / "shop.sqlite")
    words = (
        "run",
        "--source",
        "m.yaml",
        "--path",
        "sqlite:///shop.sqlite",
        "--out",
        "out",
        "--until",
        "02_sources",
        "--no-report",
    )
    assert warm(*words, cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "out/run.json").read_text())["parameters"][
        "path"
    ] == absolute_address(f"sqlite:///{tmp_path}/shop.sqlite")
    assert "nothing to do" in warm(*words, cwd=tmp_path).stderr
    with sqlite3.connect(tmp_path / "shop.sqlite") as change:
        change.execute("DELETE FROM events WHERE number = 3")
    change.close()
    assert "02_sources: the log changed" in warm(*words, cwd=tmp_path).stderr


# ---- a connection that is cut


@pytest.mark.parametrize("how", ["backend", "server"])
def test_a_cut_connection_says_how_far_it_got_and_keeps_nothing(server, tmp_path, how):
    pieces = database_pieces(server.address(), table="many", work=Workspace("m.yaml"))
    read = len(next(pieces))
    if how == "backend":
        assert (
            server.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clickstream-conv'"
            ).strip()
            == "t"
        )
    else:
        server.do(
            "pg_ctl",
            "--pgdata",
            server.data,
            "--mode",
            "immediate",
            "restart",
            "--log",
            server.folder / "server.log",
            "--wait",
        )
    with pytest.raises(
        ValueError, match="broke off after [0-9,]+ rows had been read, and nothing was kept"
    ) as refused:
        for piece in pieces:
            read += len(piece)
    assert (
        f"after {read:,} rows" in str(refused.value)
        and read < 400_000
        and "Run the same command again" in str(refused.value)
        and "\n" not in str(refused.value)
    )


def test_a_run_whose_connection_is_cut_keeps_nothing(server, tmp_path):
    server.ask(
        "CREATE TABLE slow AS SELECT 's' || n AS session_id, '2026-03-01 10:00:00' AS t, 'view' AS event, n FROM many"
    )
    query = "SELECT *, CASE WHEN n % 1000 = 0 THEN pg_sleep(0.1) END AS wait FROM slow"
    (tmp_path / "m.yaml").write_text(
        f"columns: {{session_id: session_id, t: t, event: event}}\nquery: {query}\n"
    )
    going = start(
        "run",
        "--source",
        "m.yaml",
        "--path",
        server.address(),
        "--out",
        "out",
        "--until",
        "02_sources",
        "--no-report",
        "--memory",
        "1",
        cwd=tmp_path,
    )
    for _ in range(600):
        time.sleep(0.1)
        if (
            server.ask(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'clickstream-conv'"
            ).strip()
            == "1"
        ):
            break
    time.sleep(6)  # some batches are read by now; all of them take 40 seconds
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clickstream-conv'"
    )
    said, _ = going.communicate(timeout=120)
    assert (
        going.returncode == 1
        and "broke off after" in said
        and "nothing was kept" in said
        and "Traceback" not in said
    ), said
    assert (
        not (tmp_path / "out/.spill").exists()
        and not (tmp_path / "out/events.parquet").exists()
        and not (tmp_path / "out/metrics/source.json").exists()
    )


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_ctrl_c_ends_a_query_to_a_database(files, request, kind):
    endless = (
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT sum(x) FROM r"
    )
    code = f"from clickstream_conv.log.databases import database_pieces\nprint('begun', flush=True)\nlist(database_pieces({address_of(kind, files, request)!r}, {endless!r}))"
    going = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert going.stdout.readline() == "begun\n"
    time.sleep(3)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=60)
    assert going.returncode and "KeyboardInterrupt" in said.splitlines()[-1], said
