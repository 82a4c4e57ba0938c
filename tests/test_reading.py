"""Files as they come: paths and patterns, what is no file, empty parts, odd JSON, lines above a header, packed bombs, pieces of every size."""

import ast
import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import command, ROOT
from everywhere import set_everywhere
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st

from clickstream_conv.base.runs import BRIEF, Run
from clickstream_conv.log import (
    csv_files as log_csv_files,
)
from clickstream_conv.log import (
    mapping as log_mapping,
)
from clickstream_conv.log import mapping_read
from clickstream_conv.log import (
    parquet_files as log_parquet_files,
)
from clickstream_conv.log import (
    streams as log_streams,
)
from clickstream_conv.log.csv_files import csv_pieces, read_csv
from clickstream_conv.log.files import log_files
from clickstream_conv.log.json_files import json_pieces, read_json_file
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, write_mapping
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.tables import read_pieces, read_table
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_source

CASES = ROOT / "tests" / "cases" / "reports"
PLAIN = mapping_from_text(
    "columns: {session_id: sid, event: what, price: price}\nevents: {view: [look], purchase: [buy]}"
)


def by_its_mapping(case, path):
    "A case's log read by its mapping."
    return read_source(
        find_source(str(CASES / case / "m.yaml")), str(CASES / case / path), max_rejected=0.9
    )


# ---- a path is not a pattern


def test_a_log_whose_name_holds_marks_is_read_alone(tmp_path):
    frame = pl.DataFrame({"sid": ["mine", "mine"], "what": ["look", "buy"], "price": [1.0, 2.0]})
    frame.write_parquet(tmp_path / "log[1].parquet")
    frame.with_columns(sid=pl.lit("another's")).write_parquet(tmp_path / "log1.parquet")
    for path in (tmp_path / "log[1].parquet", str(tmp_path / "log[1].parquet")):
        assert read_table(path)["sid"].to_list() == ["mine", "mine"]
        assert [piece["sid"].to_list() for piece in read_pieces(path)] == [["mine", "mine"]]
        assert read_log(path, PLAIN).events["session_id"].unique().to_list() == ["mine"]


def test_a_run_whose_folder_holds_marks_reads_its_own_tables(tmp_path):
    runs = [Run(str(tmp_path / name)) for name in ("run1", "run[1]")]
    for run, sessions in zip(runs, (30, 60)):
        prepare(run, sessions=sessions)
    for run, sessions in zip(runs, (30, 60)):
        assert (
            pl.read_parquet(run / "events.parquet", glob=False)["session_id"].n_unique() == sessions
        )
        from clickstream_conv.sources.card import load_events

        assert load_events(run, "all")["session_id"].n_unique() == sessions


def test_the_same_path_is_the_same_files_everywhere():
    where = CASES / "19_paths"
    assert log_files(where / "export[1].csv") == [where / "export[1].csv"]
    assert (
        log_files(where / "logs" / "*" / "part-0.csv")
        == log_files(where / "logs")
        == log_files(where / "**" / "part-0.csv")
    )
    both = by_its_mapping("19_paths", "logs/*/part-0.csv").events
    assert (
        len(both)
        == len(by_its_mapping("19_paths", "logs").events)
        == sum(
            len(by_its_mapping("19_paths", f"logs/day=0{day}/part-0.csv").events) for day in (1, 2)
        )
    )
    assert "session_id: session" in propose(
        where / "export[1].csv"
    ) and "session_id: session" in propose(where / "logs" / "*" / "part-0.csv")
    assert len(by_its_mapping("19_paths", "export[1].csv").events)


WITHOUT = {
    "read_parquet_schema",
    "scan_ndjson",
    "scan_ipc",
    "read_ipc",
    "read_ipc_schema",
    "read_delta",
    "scan_delta",
}  # of Polars: take a path for a pattern, and cannot be told not to
WITH = {
    "read_parquet",
    "scan_parquet",
    "read_csv",
    "scan_csv",
    "read_csv_batched",
}  # of Polars: can


def patterns_in(code):
    "Calls that may take a path for a pattern."
    calls = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    for call in calls:
        module, name = ast.unparse(call.func.value), call.func.attr
        exact = any(
            word.arg == "glob"
            and isinstance(word.value, ast.Constant)
            and word.value.value is False
            for word in call.keywords
        )
        if module in ("pl", "polars") and (name in WITHOUT or name in WITH and not exact):
            yield ast.unparse(call)
        if (
            module == "glob"
            or module.endswith(".read")
            and name == "parquet"
            and "spark_path" not in ast.unparse(call)
        ):
            yield ast.unparse(call)
        if name in ("sql", "execute", "query") and any(
            f"{kind}(" in ast.unparse(call) for kind in ("read_parquet", "read_csv", "parquet_scan")
        ):
            yield ast.unparse(call)


def test_no_call_takes_a_path_for_a_pattern():
    assert (
        list(
            patterns_in(
                "pl.read_parquet(a); pl.scan_csv(b, glob=True); glob.glob(c); pl.read_parquet_schema(d); spark.read.parquet(e)"
            )
        )
        != []
    )
    assert (
        list(
            patterns_in(
                "pl.read_parquet(a, glob=False); pd.read_parquet(b); spark.read.parquet(spark_path(c))"
            )
        )
        == []
    )
    found = {
        path.name: list(patterns_in(path.read_text()))
        for path in sorted((ROOT / "clickstream_conv").rglob("*.py"))
    }
    assert {name: calls for name, calls in found.items() if calls} == {}


# ---- what is no file


def refused(what, *words):
    "The sentence of a refusal, which holds these words."
    with pytest.raises(ValueError) as error:
        what()
    assert all(word in str(error.value) for word in words), error.value


def no_files(folder):
    "Things that are no files, by what they are called."
    os.mkfifo(folder / "pipe.csv")
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(folder / "door.csv"))
    (folder / "link.csv").symlink_to("gone.csv")
    return {
        folder / "pipe.csv": "a pipe",
        folder / "door.csv": "a socket",
        Path("/dev/zero"): "a device",
        Path("/dev/null"): "a device",
        folder / "link.csv": "which does not exist",
    }, door


@pytest.mark.parametrize(
    "read",
    [
        read_table,
        read_csv,
        read_json_file,
        log_parquet_files.read_parquet,
        propose,
        load_mapping,
        lambda path: list(read_pieces(path)),
        lambda path: list(csv_pieces(path)),
        lambda path: list(json_pieces(path)),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path, read):
    things, door = no_files(tmp_path)
    with door:
        for path, words in things.items():
            refused(lambda: read(path), path.name, words)


def test_the_command_line_does_not_wait_for_a_pipe(tmp_path):
    things, door = no_files(tmp_path)
    (tmp_path / "m.yaml").write_text("columns: {session_id: sid}")
    with door:
        for path, words in [*things.items()][1:4:2]:
            done = command(
                "run",
                "--source",
                "m.yaml",
                "--path",
                path,
                "--out",
                "out",
                "--until",
                "02_sources",
                "--no-report",
                cwd=tmp_path,
            )
            assert done.returncode == 1 and words in done.stderr, done.said


def test_a_folder_with_a_link_to_nothing_is_not_read_as_if_it_were_whole(tmp_path):
    (tmp_path / "a.csv").write_text("sid\n1\n")
    (tmp_path / "b.csv").symlink_to("gone.csv")
    refused(lambda: log_files(tmp_path), "b.csv is a link to gone.csv, which does not exist")


# ---- empty parts


def test_an_empty_part_is_left_out_and_said(tmp_path):
    checked = by_its_mapping("20_empty_part", "logs")
    assert checked.notes[0] == "1 of 2 files are empty and were left out, e.g. part-00001.csv"
    assert checked.events.drop("_file", strict=False).equals(
        by_its_mapping("20_empty_part", "logs/part-00000.csv").events
    )
    for memory in (0, 1):
        card = prepare(
            Run(str(tmp_path / f"run{memory}")),
            str(CASES / "20_empty_part" / "m.yaml"),
            str(CASES / "20_empty_part" / "logs"),
            memory=memory,
        )
        assert card.notes[0] == "1 of 2 files are empty and were left out, e.g. part-00001.csv"


def test_nothing_but_empty_parts(tmp_path):
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b" \n" * 99))
    refused(lambda: read_table(tmp_path), "all 2 files are empty, e.g. a.csv")
    refused(lambda: list(read_pieces(tmp_path)), "all 2 files are empty")
    refused(lambda: read_table(tmp_path / "a.csv"), "a.csv is empty")


# ---- odd JSON


def test_nan_is_a_missing_price():
    checked = by_its_mapping("21_json_nan", "log.jsonl")
    lines = (CASES / "21_json_nan" / "log.jsonl").read_text().splitlines()
    missing = sum("NaN" in line for line in lines)
    assert missing and checked.rejected.is_empty() and len(checked.events) == len(lines)
    assert checked.events["price"].null_count() == missing


ODD_LINES = [
    '{"sid": "a", "what": "look", "price": NaN}',
    '{"sid": "a", "what": "look", "price": Infinity}',
    '{"sid": NaN, "what": "look", "price": 1}',
    '{"sid": "a", "what": "buy", "price": 2}',
    '{"sid": "a", "what": "look", "page": ' + "[" * 100_000 + "]" * 100_000 + "}",
]


@pytest.mark.parametrize("name", ["lines.jsonl", "array.json"])
def test_what_python_writes_is_read_and_counted_where_a_value_is_needed(tmp_path, name):
    lines = ODD_LINES if name == "lines.jsonl" else ODD_LINES[:4]
    path = tmp_path / name
    path.write_text("\n".join(lines) if name == "lines.jsonl" else f"[{','.join(lines)}]")
    checked = read_log(path, PLAIN, max_rejected=0.9)
    assert checked.events["price"].to_list() == [None, 2.0]
    assert checked.reasons() == {"unparsable price": 1, "no session_id": 1} | (
        {"line broken": 1} if name == "lines.jsonl" else {}
    )
    for size in (1, 50, 1 << 20):
        assert sum(map(len, read_pieces(path, size=size))) == len(lines)


def test_a_deep_array_is_refused_by_name(tmp_path):
    (tmp_path / "deep.json").write_text('[{"sid": ' + "[" * 100_000 + "]" * 100_000 + "}]")
    refused(lambda: read_table(tmp_path / "deep.json"), "deep.json nests its values too deeply")


def test_an_infinite_value_costs_no_digits(tmp_path):
    (tmp_path / "ids.jsonl").write_text(
        '{"sid": 12345678901234567}\n{"sid": 12345678901234568}\n{"sid": Infinity}\n'
    )
    assert read_json_file(tmp_path / "ids.jsonl")["sid"].to_list() == [
        "12345678901234567",
        "12345678901234568",
        "inf",
    ]


# ---- lines above the header


def test_lines_above_the_header_are_named_and_can_be_skipped(tmp_path):
    case = CASES / "25_lines_above_the_header"
    refused(
        lambda: read_table(case / "log.csv"),
        "line 1 is no header",
        "line 6 reads like it: 'session,visitor,time",
        "skip_lines: 5",
    )
    proposed = propose(case / "log.csv")
    assert (
        "skip_lines: 5  # ? line 1 is no header; line 6 reads like it: session,visitor,time"
        in proposed
    )
    mapping, bare = mapping_from_text(proposed), tmp_path / "bare.csv"
    bare.write_text("".join((case / "log.csv").read_text().splitlines(keepends=True)[5:]))
    assert mapping.skip_lines == 5 and mapping_from_text(write_mapping(mapping)) == mapping
    whole = read_log(case / "log.csv", mapping)
    assert (
        whole.events.equals(read_log(bare, mapping_from_text(propose(bare))).events)
        and len(whole.events)
        and whole.rejected.is_empty()
    )
    assert sum(map(len, read_pieces(case / "log.csv", **mapping.reading(), size=300))) == len(
        whole.events
    )
    refused(
        lambda: read_table(bare, skip_lines=10_000), "bare.csv has no line after the first 10,000"
    )
    refused(
        lambda: mapping_from_text("columns: {session_id: a}\nskip_lines: -1"), "skip_lines is -1"
    )
    refused(lambda: read_table(CASES / "21_json_nan" / "log.jsonl", skip_lines=2), "for CSV files")


# ---- memory

BOUND = 700  # megabytes that reading may take above what the libraries take
MEASURED = """
import re, sys
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.tables import read_pieces, read_table
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024  # unlike ru_maxrss, without what the parent took
before = peak()
for read in (propose, lambda path: sum(map(len, read_pieces(path))), lambda path: len(read_table(path))):
    try: print(repr(read(sys.argv[1])))
    except ValueError as error: print("refused:", error)
print(peak() - before)
"""
MEGA = 1 << 20
PACKED = {  # name: beginning, block, how often, end, words of the answer
    "blanks.json.gz": (b'{"sid": "a"}\n', b" " * MEGA, 200, b'\n{"sid": "b"}\n', "2"),
    "lines of blanks.json.gz": (b'{"sid": "a"}\n', b"\n" * MEGA, 200, b'{"sid": "b"}\n', "2"),
    "only blanks.json.gz": (b"", b" " * MEGA, 200, b"", "is empty"),
    "one line.json.gz": (
        b'{"sid": "',
        b"x" * MEGA,
        200,
        b'"}\n',
        "line 1 is longer than 16,777,216 bytes",
    ),
    "one array.json.gz": (
        b'[{"sid": "',
        b"x" * MEGA,
        200,
        b'"}]\n',
        "element 1 is longer than 16,777,216 bytes",
    ),
    "blanks in an array.json.gz": (b'[{"sid": "a"}', b" " * MEGA, 200, b"]\n", "1"),
    "one line.csv.gz": (
        b"sid,what\na,look\nb,",
        b"x" * MEGA,
        200,
        b"\n",
        "line 3 is longer than that",
    ),
    "open quote.csv.gz": (
        b'sid,what\na,look\nb,"',
        b"x,y\n" * (MEGA // 4),
        200,
        b"\n",
        "first in line 3: 'b,\"x,y'",
    ),
    "blank lines.csv.gz": (
        b"sid,what\na,look\n",
        b" \n" * (MEGA // 2),
        200,
        b"b,look\n",
        "from line 3 on, 524,288 lines in a row do not have the fields of the header",
    ),
    "blanks first.csv.gz": (b"", b" " * MEGA, 200, b"sid,what\n", "begins with"),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_unpacks_to_much_takes_little(tmp_path, name):
    "Two hundred megabytes: a mapping is proposed, the log is read in pieces, and whole."
    start, block, times, end, words = PACKED[name]
    packed = [gzip.compress(part, 1) for part in (start, block, end)]
    (tmp_path / name).write_bytes(packed[0] + packed[1] * times + packed[2])
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / name],
        capture_output=True,
        text=True,
        timeout=300,
    )
    _, pieces, whole, peak = done.stdout.strip().split("\n")
    assert words in pieces and words in whole, done.stdout + done.stderr
    assert float(peak) < BOUND, (pieces, peak)
    print(name, peak)


def test_more_than_free_memory_is_refused_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"sid,what\n" + b"a,look\n" * 500_000))
    set_everywhere(monkeypatch, log_streams, "free_memory", lambda: 12_000_000)
    refused(
        lambda: read_table(tmp_path / "log.csv.gz"),
        "log.csv.gz holds more than 1 MB once unpacked",
        "--memory",
    )
    assert sum(map(len, read_pieces(tmp_path / "log.csv.gz"))) == 500_000
    pl.DataFrame({"sid": ["a"] * 2_000_000}).write_parquet(tmp_path / "log.parquet")
    refused(
        lambda: read_table(tmp_path / "log.parquet"),
        "log.parquet holds 2,000,000 rows of 1 column",
        "--memory",
    )


# ---- pieces of every size

FIELD = st.one_of(
    st.text('ab1 ;,\n\r"é', max_size=6),
    st.sampled_from(["", "1.5", "2026-03-01", 'say "hi"', "two\nlines", "x" * 30]),
)


def in_csv(rows, mark, end, quote_all, cut):
    "Rows as a file; what needs quotes has them."

    def plain(field):
        return (
            '"' + field.replace('"', '""') + '"'
            if quote_all or any(c in field for c in (mark, '"', "\n", "\r"))
            else field
        )

    text = (
        end.join([mark.join(["id", "t", "what"]), *(mark.join(map(plain, row)) for row in rows)])
        + end
    )
    return text[: len(text) - cut].encode()


def as_one(tables):
    "Pieces as a table, rows in the order of their numbers."
    table = log_csv_files.joined_pieces(list(tables))
    if "_broken" not in table.columns:
        table = table.with_columns(_broken=pl.lit(False), _text=pl.lit(None, pl.String))
    table = table.select(sorted(table.columns)).with_columns(
        pl.all().exclude("_row", "_broken").cast(pl.String)
    )
    return table.sort("_row", "_broken", "_text", maintain_order=True)


def same_in_pieces(whole, pieces, sizes):
    "The table, or the sentence, is the same however the file is cut."
    try:
        expected = as_one([whole()])
    except ValueError as error:
        for size in sizes:
            refused(lambda: list(pieces(size)), str(error))
        return
    for size in sizes:
        found = list(pieces(size))
        if found:
            assert as_one(found).equals(expected), (as_one(found), expected)
        else:
            assert expected.is_empty()


def table_or_sentence(read):
    "What was read, or why not."
    try:
        return as_one([read()])
    except ValueError as error:
        return str(error)


def same(one, other):
    "Whether two answers are equal."
    return (
        one.equals(other)
        if isinstance(one, pl.DataFrame) and isinstance(other, pl.DataFrame)
        else isinstance(one, str) and one == other
    )


EVERY = dict(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@settings(**EVERY)
@given(
    rows=st.lists(st.lists(FIELD, min_size=1, max_size=4), min_size=1, max_size=12),
    mark=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    cut=st.integers(0, 9),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=3),
    block=st.integers(150, 2_000),
    junk=st.sampled_from([b"", b'a,"b\n', b'5" x,y,z\n', b"\n\n", b" \n"]),
)
def test_a_csv_in_pieces_is_the_csv(tmp_path, rows, mark, end, quote_all, cut, sizes, block, junk):
    path = tmp_path / "log.csv"
    data = in_csv(rows, mark, end, quote_all, cut)
    first, rest = data.split(b"\n", 1) if b"\n" in data else (data, b"")
    path.write_bytes(first + b"\n" + junk + rest)
    with pytest.MonkeyPatch.context() as change:

        def whole():
            return read_csv(path, mark)

        same_in_pieces(whole, lambda size: csv_pieces(path, mark, size=size), sizes)
        longest = max(map(len, path.read_bytes().split(b"\n")), default=0)
        if (
            junk == b"" and cut == 0 and longest * 13 < block
        ):  # a block holds every row: where it ends makes no difference either
            expected = table_or_sentence(whole)
            set_everywhere(change, log_csv_files, "BLOCK", block)
            assert same(table_or_sentence(whole), expected)


VALUE = st.one_of(
    st.none(), st.integers(-5, 10**17), st.floats(), st.booleans(), st.text('ab\n"é', max_size=4)
)


@settings(**EVERY)
@given(
    rows=st.lists(
        st.one_of(
            st.dictionaries(
                st.sampled_from("abc"),
                st.integers(0, 9) | st.none() | st.just(float("nan")) | st.just(float("inf")),
                max_size=3,
            ),
            st.just(None),
            VALUE,
        ),
        min_size=1,
        max_size=12,
    ),
    junk=st.lists(
        st.sampled_from(["", "  ", "{", '{"a": 1', "[1]", '{"a": 1} {"a": 2}', "{}"]), max_size=3
    ),
    place=st.integers(0, 12),
    end=st.sampled_from(["\n", "\r\n"]),
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    block=st.integers(1, 300),
)
def test_json_lines_in_pieces_are_the_file(tmp_path, rows, junk, place, end, sizes, block):
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "log.jsonl").write_bytes(end.join([*lines[:place], *junk, *lines[place:]]).encode())
    path = tmp_path / "log.jsonl"
    same_in_pieces(lambda: read_json_file(path), lambda size: json_pieces(path, size=size), sizes)
    with pytest.MonkeyPatch.context() as change:
        expected = table_or_sentence(lambda: read_json_file(path))
        set_everywhere(change, log_csv_files, "BLOCK", block)
        assert same(table_or_sentence(lambda: read_json_file(path)), expected)


@settings(**EVERY)
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.integers(0, 9) | st.none() | st.just(float("nan")),
            max_size=3,
        ),
        min_size=1,
        max_size=12,
    ),
    indent=st.sampled_from([None, 1]),
    block=st.integers(1, 60),
    size=st.integers(1, 99),
)
def test_a_json_array_is_its_lines(tmp_path, rows, indent, block, size):
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=indent))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = as_one([read_json_file(tmp_path / "lines.jsonl")])
    with pytest.MonkeyPatch.context() as change:
        set_everywhere(change, log_csv_files, "BLOCK", block)
        assert as_one([read_json_file(tmp_path / "array.json")]).equals(expected)
        assert as_one(json_pieces(tmp_path / "array.json", size=size)).equals(expected)


# ---- the text of a mapping

KEYS = st.sampled_from(
    [
        *log_mapping.KEYS,
        "colums",
        "on",
        "1",
        "?",
        "- a",
        "!!int x",
        "!!timestamp x",
        "!!binary x",
        "*a",
        "&a b",
        "<<",
    ]
)
WORDS = st.one_of(
    st.sampled_from(
        [
            *log_mapping.NAMES,
            *"abc",
            "{",
            "}",
            "[",
            "]",
            "yes",
            "2024-13-45",
            "1e999",
            ".nan",
            ".inf",
            "0x",
            "!!bool x",
            "!!float x",
            "!!map [a]",
            "!!python/name:os.system",
            "&a [*a]",
            "*a",
            "'",
            '"%d"',
            "{session_id: sid}",
            "{visitor_id: v, t: at}",
            "{view: [look]}",
            "{a: b}",
            "[a, b]",
            "5",
            "-1",
            "|",
            ">",
        ]
    ),
    st.text(max_size=8),
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.tuples(KEYS, WORDS), max_size=6).map(
        lambda pairs: "\n".join(f"{key}: {word}" for key, word in pairs)
    ),
    st.lists(st.tuples(KEYS, WORDS), max_size=6).map(
        lambda pairs: (
            "columns: {session_id: sid}\n" + "\n".join(f"{key}: {word}" for key, word in pairs)
        )
    ),
)


@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_any_text_is_a_mapping_or_a_sentence(text):
    try:
        mapping = mapping_from_text(text)
    except ValueError as error:
        assert str(error).startswith("the mapping") and len(str(error)) < 1_000
        return
    assert mapping_from_text(write_mapping(mapping)) == mapping


def test_a_mapping_with_an_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="^m.yaml: encoding 's' is not known"):
        mapping_from_text("columns: {session_id: s}\nencoding: s", "m.yaml")


NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(
    columns=st.dictionaries(st.sampled_from(log_mapping.NAMES), NAME, max_size=9),
    words=st.dictionaries(NAME, st.sampled_from(["view", "cart", "purchase"]), max_size=5),
    context=NAME,
    other=st.fixed_dictionaries(
        {},
        optional=dict(
            decimal=st.sampled_from(".,"),
            gap_minutes=st.integers(1, 99),
            skip_lines=st.integers(0, 9),
            delimiter=st.sampled_from(";|\t"),
            encoding=st.just("latin-1"),
            format=st.sampled_from(["csv", "json"]),
        ),
    ),
)
def test_a_mapping_is_written_and_read_back(tmp_path_factory, columns, words, context, other):
    given_ = dict(
        columns=columns | {"session_id": "sid"},
        events={
            event: [word for word, of in words.items() if of == event]
            for event in set(words.values())
        },
        event_context={"page": context},
        **other,
    )
    mapping = mapping_read.mapping_from(given_)
    path = tmp_path_factory.getbasetemp() / "back.yaml"
    path.write_text(write_mapping(mapping), encoding="utf-8")
    assert load_mapping(path) == mapping


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "a: &a [x]\nb: [" + ", ".join(["*a"] * 30) + "]",
            ["repeats values with *name more than 20 times", "out"],
        ),
        ("columns: " + "[" * 5_000 + "]" * 5_000, ["nested more than 20 levels deep"]),
        ("columns: !!bool maybe", ["cannot be read"]),
        ("columns: !!timestamp x", ["cannot be read"]),
        ("columns: {a: " + "x" * 500_000 + "}", ["unknown column name 'a'"]),
    ],
)
def test_mappings_that_harm_are_refused(text, words):
    refused(lambda: mapping_from_text(text), *words)


def test_a_mapping_of_any_size_is_refused_soon(tmp_path):
    (tmp_path / "m.yaml").write_bytes(b"a" * (1 << 21))
    refused(
        lambda: load_mapping(tmp_path / "m.yaml"),
        "m.yaml holds more than",
        "Give the file that you wrote",
    )


# ---- copies of processes that were killed

HOLDS = """
import sys, time
from clickstream_conv.{module} import {name}
with {name}({arguments}) as path: print(path, flush=True); time.sleep(600)
"""


@pytest.mark.parametrize(
    "module, name, arguments",
    [
        ("base.runs", "brief_folder", ""),
        ("app.uploads", "briefly_on_disk", "b'sid,what\\n', 'log.csv'"),
    ],
)
def test_a_copy_of_a_killed_process_is_swept_at_the_next_start(tmp_path, module, name, arguments):
    def held():
        code = HOLDS.format(module=module, name=name, arguments=arguments)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        return process, next(
            part
            for part in Path(process.stdout.readline().strip()).relative_to(tmp_path).parts
            if part.startswith(BRIEF)
        )

    (killed, first), (lives, second) = held(), held()
    assert (tmp_path / first).is_dir() and (tmp_path / second).is_dir()
    killed.kill()
    killed.wait()
    (tmp_path / f"{BRIEF}{killed.pid}-link").symlink_to(tmp_path / second)
    third, new = held()
    assert (
        not (tmp_path / first).exists()
        and (tmp_path / second).is_dir()
        and (tmp_path / new).is_dir()
        and (tmp_path / f"{BRIEF}{killed.pid}-link").is_symlink()
    )
    for process in (lives, third):
        process.kill()
        process.wait()
