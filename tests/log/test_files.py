"""Files as shops and trackers write them: without a header, with quotes that mean nothing, lines of a web server, wrapped JSON, archives, parts that differ."""

import gzip
import io
import json
import shutil
import time
import zipfile

import polars as pl
import pytest
from conftest import FEW_PICTURES, HEADER, log_lines, MAPPING, QUICK, ROOT, warm
from everywhere import set_everywhere
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st

from clickstream_conv.base.runs import Run
from clickstream_conv.log import archives
from clickstream_conv.log import streams as readers
from clickstream_conv.log.contract import load_contract
from clickstream_conv.log.delimiters import READER_COLUMNS
from clickstream_conv.log.file_notes import file_notes
from clickstream_conv.log.files import log_files
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, write_mapping
from clickstream_conv.log.mapping_read import mapping_from
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.records import record_lines
from clickstream_conv.log.tables import read_pieces, read_table
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_source

CASES = ROOT / "tests" / "cases"
VENDORS, TAOBAO = (
    CASES / "vendors",
    CASES / "research" / "07_taobao_headerless" / "UserBehavior.csv",
)
ADOBE = {"quote": "none", "escape": "backslash", "delimiter": "\t"}


def reading(**keys):
    "How files are read by a mapping with these keys."
    return mapping_from({"columns": {"session_id": "sid"}} | keys).of_files()


def refused(what, *words):
    "A refusal that says these words."
    with pytest.raises(ValueError) as error:
        what()
    for word in words:
        assert word in str(error.value), str(error.value)


def comparable(table):
    "The rows of a table, every value as text, whichever way it was read."
    if "_broken" in table.columns:
        table = table.with_columns(pl.col("_broken").fill_null(False))
    return [
        {key: str(value) for key, value in present(row).items() if value is not False}
        for row in table.to_dicts()
    ]


def present(value):
    "A value without what is empty in it; a piece of JSON knows only the keys that it holds."
    if isinstance(value, list):
        return [present(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: present(one) for key, one in sorted(value.items())}
    return {key: one for key, one in kept.items() if one not in (None, {}, [])}


def same_both_ways(paths, sizes=(700, 20_000), **how):
    "A log read whole, which is what it is in pieces of every size."
    whole = read_table(paths, **how)
    for size in sizes:
        assert [
            row for piece in read_pieces(paths, size=size, **how) for row in comparable(piece)
        ] == comparable(whole)
    return whole


def own(table):
    return [name for name in table.columns if name not in READER_COLUMNS]


# ---- names


def test_a_first_row_is_not_eaten_as_a_header(tmp_path):
    refused(
        lambda: read_table(TAOBAO),
        "UserBehavior.csv: line 1 looks like data",
        "'1, 2268319, 2520377, pv, 1511549070'",
        "names: [visitor, item, ...]",
    )
    refused(lambda: list(read_pieces(TAOBAO)), "line 1 looks like data")
    named = same_both_ways(TAOBAO, **reading(names=["user", "item", "category", "what", "t"]))
    assert (
        len(named) == 70 and named["_row"].to_list() == [*range(1, 71)] and named["user"][0] == "1"
    )
    proposed = propose(TAOBAO)
    assert (
        "names: [column_1, column_2, column_3, column_4, column_5]  # ? line 1 looks like data"
        in proposed
    )
    checked = read_log(TAOBAO, mapping_from_text(proposed))
    assert len(checked.events) == 70 and checked.events["session_id"].n_unique() == 30
    assert checked.events.filter(pl.col("event") == "purchase")["session_id"].n_unique() == 10


@pytest.mark.parametrize(
    "text",
    [
        "anna,view,hat\nbert,view,shoe\nanna,buy,hat\n",
        "1,2,3\n4,5,6\n",
        "x,2024-01-01 10:00\ny,2024-01-02 11:00\n",
        "7,8\n",
    ],
)
def test_data_is_known_by_what_stands_below(tmp_path, text):
    (tmp_path / "log.csv").write_text(text.replace("1,2,3", "9,2,3"))
    refused(lambda: read_table(tmp_path / "log.csv"), "looks like data")


@pytest.mark.parametrize(
    "text",
    [
        "sid,what,2024\nx,view,\n",
        "sid,view,buy\nx,1,0\ny,0,1\n",
        "a,b\nx,1\na,b\ny,2\n",
        "0,1,2\n5,6,7\n",
        "Straße,Preis €\nx,1\n",
        "_id,$price\n1,2\n",
        "sid\nsid\nx\n",
    ],
)
def test_a_header_is_no_data(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    assert own(read_table(tmp_path / "log.csv")) == text.splitlines()[0].split(",")


def test_a_file_of_names_beside_the_log_or_the_mapping(tmp_path):
    how = reading(names_file="adobe_column_headers.tsv", **ADOBE)
    table = same_both_ways(VENDORS / "adobe_hit_data.tsv", **how)
    assert (
        len(table) == 124
        and own(table)[:2] == ["hit_time_gmt", "date_time"]
        and len(own(table)) == 20
    )
    snowplow = read_table(
        VENDORS / "snowplow_enriched.tsv", **reading(names_file="snowplow_column_headers.tsv")
    )
    assert (
        len(own(snowplow)) == 131
        and snowplow["event"].drop_nulls().n_unique() > 1
        and "_broken" not in snowplow.columns
    )
    refused(
        lambda: read_table(VENDORS / "adobe_hit_data.tsv", **reading(names_file="gone.tsv")),
        "there is no file gone.tsv beside adobe_hit_data.tsv",
        "names: [...]",
    )
    (tmp_path / "names.txt").write_text("user\nitem\ncategory\nwhat\nt\n")
    (tmp_path / "m.yaml").write_text(
        "names_file: names.txt\ncolumns: {visitor_id: user, t: t, event: what}\nevents: {view: pv, cart: cart, purchase: buy}\n"
    )
    mapping = load_mapping(tmp_path / "m.yaml")
    assert (
        mapping.names == ("user", "item", "category", "what", "t")
        and mapping_from_text(write_mapping(mapping)) == mapping
    )
    assert len(read_log(TAOBAO, mapping).events) == 70
    (tmp_path / "log.csv").write_text(TAOBAO.read_text())
    (tmp_path / "names.txt").write_text("user,item,category,t,what\n")
    refused(
        lambda: read_log(tmp_path / "log.csv", mapping),
        "names.txt beside log.csv has other names than the mapping: 't' in place of 'what'",
    )


def test_a_file_of_names_in_the_folder_of_a_log_is_no_part_of_it(tmp_path):
    for day in ("01", "02"):
        shutil.copy(VENDORS / "adobe_hit_data.tsv", tmp_path / f"hit_data_{day}.tsv")
    shutil.copy(VENDORS / "adobe_column_headers.tsv", tmp_path / "column_headers.tsv")
    assert len(same_both_ways(tmp_path, **reading(names_file="column_headers.tsv", **ADOBE))) == 248
    assert 'names_file: "column_headers.tsv"  # ?' in propose(tmp_path)


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "a/b.tsv", "..", "C:\\x"])
def test_a_stranger_names_no_path(path):
    refused(lambda: reading(names_file=path), "names_file is", "the plain name of a file")


def test_names_that_do_not_fit(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    refused(
        lambda: read_table(tmp_path / "log.csv", names=("a", "b")),
        "its first line holds the names themselves",
    )
    refused(
        lambda: read_table(tmp_path / "log.csv", names=("a", "b", "c")),
        "3 names are stated, and its lines have 2 fields",
    )
    assert read_table(tmp_path / "log.csv", names=("x", "y"), skip_lines=1).select(
        "x", "y", "_row"
    ).rows() == [("1", "2", 2)]


# ---- quotes, escapes, comments, words for nothing


def test_quotes_that_mean_nothing():
    path = VENDORS / "adobe_quotes.tsv"
    table = same_both_ways(path, **reading(**ADOBE))
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert len(table) == 124 and "_broken" not in table.columns
    for place, name in enumerate(lines[0]):
        assert table[name].fill_null("").to_list() == [
            line[place].replace("\\\\", "\\") for line in lines[1:]
        ]
    assert {'"Best" mugs of 2024', '"12 inch pan'} <= set(table["post_pagename"])
    assert "quote: none  # ?" in propose(path) and "escape: backslash  # ?" in propose(path)


def test_a_backslash_keeps_tabs_and_line_breaks():
    table = same_both_ways(VENDORS / "adobe_escaped.tsv", **reading(**ADOBE))
    names = table["post_pagename"].to_list()
    assert len(table) == 124 and "_broken" not in table.columns
    assert (
        names.count("search\tstring") == 1
        and names.count("search\nstring") == 1
        and "shop: home \\ start" in names
        and 'shop: search: 12" pan' in names
    )
    assert table["geo_country"].null_count() == 0 and table["currency"].unique().to_list() == [
        "EUR"
    ]
    assert "escape: backslash  # ?" in propose(VENDORS / "adobe_escaped.tsv")


def test_another_quote(tmp_path):
    (tmp_path / "log.csv").write_text("sid,text,n\nx,'a, b',1\ny,'it''s \"so\"',2\nz,'open,3\n")
    table = same_both_ways(tmp_path / "log.csv", **reading(quote="'"))
    assert table.filter(~pl.col("_broken"))["text"].to_list() == ["a, b", 'it\'s "so"']
    assert table.filter("_broken").select("_row", "_text").rows() == [(4, "z,'open,3")]


def test_comments_are_left_out_and_counted_and_lines_keep_their_numbers(tmp_path):
    (tmp_path / "log.csv").write_text(
        "# made by a shop\nsid,what\nx,look\n# half way\ny,look,9\nz,#1\n#end"
    )
    how = reading(comment="#")
    table = same_both_ways(tmp_path / "log.csv", **how)
    assert table.select("_row", "sid", "what").rows() == [
        (3, "x", "look"),
        (5, None, None),
        (6, "z", "#1"),
    ]
    assert table.filter("_broken")["_text"].to_list() == ["y,look,9"]
    assert file_notes(tmp_path / "log.csv", **how) == [
        "3 lines begin with '#' and were left out as comments"
    ]
    (tmp_path / "above.csv").write_text("Export\n# of 2024\nsid,what\n# x\nx,look\n")
    assert same_both_ways(tmp_path / "above.csv", **reading(comment="#", skip_lines=1))[
        "_row"
    ].to_list() == [5]
    (tmp_path / "none.csv").write_text("# a\n# b\n")
    refused(lambda: read_table(tmp_path / "none.csv", **how), "none.csv holds nothing but comments")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(
        st.sampled_from(
            ["a\tb", "#c", "d\\\te\tf", "g\\\nh\ti", "\\N\tj", "k", 'l"\t"m', "n\to\\\\", "p\t\\N"]
        ),
        min_size=1,
        max_size=12,
    ),
    size=st.integers(1, 40),
)
def test_every_mixture_of_lines_reads_alike_in_pieces(tmp_path, lines, size):
    path = tmp_path / "log.tsv"
    path.write_text("\n".join(["first\tsecond", "x\ty", *lines]) + "\n")
    how = reading(comment="#", **ADOBE)
    table = same_both_ways(path, (size,), **how)
    rows = [line for line in lines if not line.startswith("#")]
    assert len(table) - 1 == len(rows)
    plain = {
        "a\tb": ("a", "b"),
        "d\\\te\tf": ("d\te", "f"),
        "g\\\nh\ti": ("g\nh", "i"),
        "\\N\tj": (None, "j"),
        'l"\t"m': ('l"', '"m'),
        "n\to\\\\": ("n", "o\\"),
        "p\t\\N": ("p", None),
    }
    good = table.filter(~pl.col("_broken")) if "_broken" in table.columns else table
    assert good.select("first", "second").rows()[1:] == [plain[row] for row in rows if row != "k"]


def test_words_for_nothing_are_nothing_in_every_format(tmp_path):
    rows = [("NULL", "look"), ("a", "\\N"), ("null", "buy")]
    pl.DataFrame(rows, schema=["sid", "what"], orient="row").write_parquet(tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text(
        "sid,what\n" + "".join(f"{sid},{what}\n" for sid, what in rows)
    )
    (tmp_path / "log.jsonl").write_text(
        "".join(json.dumps(dict(sid=sid, what=what)) + "\n" for sid, what in rows)
    )
    for name in ("log.csv", "log.parquet", "log.jsonl"):
        table = same_both_ways(tmp_path / name, **reading(null_words=["\\N", "NULL"]))
        assert table["sid"].to_list() == [None, "a", "null"] and table["what"].to_list() == [
            "look",
            None,
            "buy",
        ]
    (tmp_path / "log.tsv").write_text("sid\twhat\na\t\\N\nb\t\\\\N\n")
    assert read_table(tmp_path / "log.tsv", **reading(**ADOBE))["what"].to_list() == [None, "\\N"]
    checked = read_log(
        tmp_path / "log.csv",
        mapping_from({"columns": {"session_id": "sid"}, "null_words": ["NULL", "null"]}),
        max_rejected=0.9,
    )
    assert checked.reasons() == {"no session_id": 2}


# ---- lines of a web server

WEB = 'line_pattern: combined\ncolumns: {visitor_id: host, t: time}\ntime_format: "%d/%b/%Y:%H:%M:%S %z"\n'


def test_the_log_of_a_web_server():
    table = same_both_ways(VENDORS / "access.log", **reading(line_pattern="combined"))
    assert (
        len(table) == 120
        and not table["_broken"].any()
        and table["method"].unique().to_list() == ["GET"]
    )
    assert (
        table["user"].null_count() == 120
        and table["agent"][0] == "Mozilla/5.0 (X11; Linux x86_64) u01"
    )
    for text in (WEB, propose(VENDORS / "access.log")):
        mapping = mapping_from_text(text)
        checked = read_log(VENDORS / "access.log", mapping)
        assert (
            mapping.line_pattern == "combined"
            and len(checked.events) == 120
            and checked.events["session_id"].n_unique() == 24
        )


def test_a_line_that_does_not_fit_is_kept_with_its_number(tmp_path):
    lines = (VENDORS / "access.log").read_text().splitlines()
    (tmp_path / "access.log.gz").write_bytes(
        gzip.compress("\n".join([*lines[:50], "", "oops", *lines[50:]]).encode())
    )
    table = same_both_ways(tmp_path / "access.log.gz", **reading(line_pattern="combined"))
    assert (
        table.filter("_broken").select("_row", "_text").rows() == [(52, "oops")]
        and len(table) == 121
    )
    checked = read_log(tmp_path / "access.log.gz", mapping_from_text(WEB))
    assert checked.reasons() == {"line broken": 1} and checked.rejected["text"].to_list() == [
        "oops"
    ]
    (tmp_path / "half.log").write_text("\n".join([*lines[:60], *["oops"] * 20]))
    refused(
        lambda: read_log(tmp_path / "half.log", mapping_from_text(WEB)),
        "half.log: 20 of 80 rows break the contract",
    )
    (tmp_path / "other.log").write_text("\n".join([*lines[:3], *["oops"] * 20]))
    refused(
        lambda: list(read_pieces(tmp_path / "other.log", **reading(line_pattern="combined"))),
        "other.log: 3 of 23 lines fit line_pattern 'combined'; line 4 does not: 'oops'",
    )


def test_a_pattern_of_ones_own_and_of_a_stranger(tmp_path):
    (tmp_path / "log.txt").write_text("x|look|7\ny|buy|8\n" + "a" * 50_000 + "!\n")
    table = same_both_ways(
        tmp_path / "log.txt", **reading(line_pattern=r"(?P<sid>\w)\|(?<what>\w+)\|(\d)")
    )
    assert table.select("sid", "what", "_broken").rows() == [
        ("x", "look", False),
        ("y", "buy", False),
        (None, None, True),
    ]
    began = time.perf_counter()
    refused(
        lambda: read_table(tmp_path / "log.txt", **reading(line_pattern="(?P<a>(a+)+)")),
        "0 of 3 lines fit",
    )
    assert time.perf_counter() - began < 20
    for pattern, why in (
        (r"(?P<a>x)\1", "backreferences"),
        ("(?P<a>", "unclosed group"),
        ("(?P<a>((x{500}){500}){500})", "size limit"),
        (r"\S+", "names no column"),
        ("(?P<_row>x)", "'_row'"),
    ):
        refused(lambda: reading(line_pattern=pattern), why)
    refused(
        lambda: read_table(VENDORS / "meta_capi.json", **reading(line_pattern="combined")),
        "line_pattern is combined",
        "meta_capi.json is read as json",
    )


# ---- JSON in one object


def test_a_list_within_an_object():
    path = VENDORS / "meta_capi.json"
    stated, found = (same_both_ways(path, **how) for how in (reading(records="data"), reading()))
    assert len(stated) == len(json.loads(path.read_text())["data"]) and comparable(
        stated
    ) == comparable(found)
    assert (
        file_notes(path, **reading())
        == ["meta_capi.json is one object; its events were read from the list 'data'"]
        and file_notes(path, **reading(records="data")) == []
    )
    refused(
        lambda: read_table(path, **reading(records="rows")), "meta_capi.json has no list at 'rows'"
    )
    refused(
        lambda: read_table(TAOBAO, **reading(records="data", names=list("abcde"))),
        "records is 'data', which is for JSON",
    )


EVENTS = [{"sid": "x", "n": 1, "items": [{"sku": "a"}]}, {"sid": "y", "n": 2, "items": []}]


@pytest.mark.parametrize(
    "text, records",
    [
        (json.dumps({"ok": True, "result": {"rows": EVENTS, "n": 2}}), "result.rows"),
        (json.dumps({"result": {"rows": EVENTS}}, indent=4), ""),
        (json.dumps(EVENTS, indent=2), ""),
        ("\n".join(json.dumps(event, indent=2) for event in EVENTS), ""),
        ("".join(json.dumps(event) + "\n" for event in EVENTS), ""),
        (json.dumps({"data": EVENTS[:1]}) + "\n" + json.dumps({"data": EVENTS[1:]}), "data"),
        ("\ufeff" + json.dumps({"data": EVENTS}), "data"),
    ],
)
def test_the_same_events_however_they_are_wrapped(tmp_path, text, records):
    (tmp_path / "log.json").write_text(text)
    table = same_both_ways(tmp_path / "log.json", **reading(records=records))
    assert table.select("sid", "n").rows() == [("x", 1), ("y", 2)]


def test_one_event_with_its_products_is_no_wrapper(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps(EVENTS[0]))
    assert own(read_table(tmp_path / "log.jsonl")) == ["sid", "n", "items"]
    (tmp_path / "two.json").write_text(json.dumps({"a": [{"x": 1}], "b": [{"y": 1}]}))
    assert own(read_table(tmp_path / "two.json")) == ["a", "b"]


def test_a_wrapped_list_that_is_cut_or_odd(tmp_path):
    whole = json.dumps({"data": EVENTS, "next": {"page": 2}})
    for cut in range(len(whole) - 60, len(whole) - 1, 7):
        (tmp_path / "log.json").write_text(whole[:cut])
        refused(
            lambda: read_table(tmp_path / "log.json", **reading(records="data")),
            "log.json is broken behind",
        )
    (tmp_path / "log.json").write_text('{"data": [1]}')
    refused(
        lambda: read_table(tmp_path / "log.json", **reading(records="data")),
        "element 1 of 'data' is 1",
    )


def test_a_large_list_is_never_held_whole():
    def blocks():
        one = b'{"sid": "' + b"x" * 200 + b'"}'  # 85 MB in all
        yield b'{"data": ['
        for _ in range(40):
            yield (one + b", ") * 10_000
        yield one + b"]}"

    import tracemalloc

    tracemalloc.start()
    count = sum(map(len, record_lines(blocks(), "data", "log.json")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 400_001 and peak < 20_000_000


# ---- archives


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_of_packed_members():
    path = VENDORS / "amplitude_export.zip"
    table = same_both_ways(path)
    assert len(table) == 120 and table["_file"].n_unique() == 2
    assert set(table["_file"]) == {
        f"{path}/12345/12345_2024-09-02_0#1.json.gz",
        f"{path}/12345/12345_2024-09-03_1#1.json.gz",
    }
    assert "the first 60 rows of amplitude_export.zip/12345/" in propose(path)


def test_rejected_rows_name_the_member(tmp_path):
    zip_of(
        tmp_path / "log.zip",
        {
            "b/2.csv": "sid,what\ny,look\nz\n",
            "a/1.csv.gz": gzip.compress(b"sid,what\nx,look\n"),
            "__MACOSX/a/._1.csv": b"\0",
            ".DS_Store": b"\0",
            "a/": b"",
        },
    )
    checked = read_log(
        tmp_path / "log.zip", mapping_from({"columns": {"session_id": "sid"}}), max_rejected=0.5
    )
    assert checked.events["session_id"].to_list() == ["x", "y"]
    assert checked.rejected.select("file", "row", "text").rows() == [
        (f"{tmp_path}/log.zip/b/2.csv", 3, "z")
    ]


def test_member_names_are_no_paths(tmp_path):
    zip_of(tmp_path / "log.zip", {"../../out.csv": "sid\nx\n", "/etc/out.csv": "sid\ny\n"})
    before = sorted(tmp_path.parent.rglob("*"))
    assert sorted(read_table(tmp_path / "log.zip")["sid"]) == ["x", "y"]
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "members, words",
    [
        ({"[Content_Types].xml": "", "xl/a.xml": "", "xl/b.xml": ""}, "an Office workbook"),
        ({"a.csv": "sid\n1\n", "b.json": "{}"}, "several kinds (csv, json)"),
        ({"a.csv": "sid\nx\n", "README": "hello"}, "several kinds (csv, unknown)"),
        ({"a.parquet": b"PAR1", "b.parquet": b"PAR1"}, "Parquet files"),
        (
            {
                "a.csv.gz": gzip.compress(gzip.compress(b"sid\nx\n")),
                "b.csv.gz": gzip.compress(b"sid\nx\n"),
            },
            "packed twice",
        ),
    ],
)
def test_archives_that_are_no_log(tmp_path, members, words):
    zip_of(tmp_path / "log.zip", members)
    refused(lambda: read_table(tmp_path / "log.zip"), "log.zip", words)
    refused(lambda: list(read_pieces(tmp_path / "log.zip")), "log.zip", words)


def test_archives_in_archives_and_locked_ones(tmp_path):
    inner = io.BytesIO()
    zip_of(inner, {"a.csv": "sid\nx\n"})
    zip_of(tmp_path / "log.zip", {"a.zip": inner.getvalue(), "b.zip": inner.getvalue()})
    refused(
        lambda: read_table(tmp_path / "log.zip"), "log.zip/a.zip is an archive within an archive"
    )
    data = bytearray(
        zip_of(tmp_path / "locked.zip", {"a.csv": "sid\nx\n", "b.csv": "sid\nx\n"}).read_bytes()
    )
    for place in range(len(data) - 4):
        if data[place : place + 4] == b"PK\x01\x02":
            data[place + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    refused(lambda: read_table(tmp_path / "locked.zip"), "locked.zip is locked with a password")


def test_an_archive_packed_by_another_method(tmp_path):
    data = bytearray(
        zip_of(tmp_path / "log.zip", {"a.csv": "sid\nx\n", "b.csv": "sid\nx\n"}).read_bytes()
    )
    for place in range(len(data) - 4):
        if data[place : place + 4] == b"PK\x01\x02":
            data[place + 10] = 9
    (tmp_path / "log.zip").write_bytes(data)
    refused(
        lambda: read_table(tmp_path / "log.zip"),
        "log.zip",
        "packed by a method that cannot be read here",
    )


def test_an_archive_that_unpacks_to_more_than_memory(tmp_path, monkeypatch):
    bomb = gzip.compress(b"sid\n" + b"x\n" * 3_000_000)
    zip_of(tmp_path / "log.zip", {"a.csv.gz": bomb, "b.csv.gz": bomb})
    set_everywhere(monkeypatch, readers, "free_memory", lambda: 12_000_000)
    refused(
        lambda: read_table(tmp_path / "log.zip"),
        "log.zip/a.csv.gz holds more than 1 MB once unpacked",
    )
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    refused(lambda: read_table(tmp_path / "log.zip"), "log.zip holds 2 files, and no more than 1")


# ---- several files


def parts(folder, **files):
    "A folder of small files."
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_column_that_a_file_lacks_is_empty_there_and_said(tmp_path):
    folder = parts(
        tmp_path / "log",
        a__csv="sid,what\nx,look\n",
        b__csv="what,sid,price\nbuy,y,7\n",
        c__csv="sid,what\nz,look\n",
    )
    table = same_both_ways(folder)
    assert table.select("sid", "what", "price").rows() == [
        ("x", "look", None),
        ("y", "buy", "7"),
        ("z", "look", None),
    ]
    mapping = mapping_from({"columns": {"session_id": "sid", "price": "price"}})
    checked = read_log(folder, mapping)
    assert checked.notes[
        0
    ] == "2 of 3 files, e.g. a.csv, lack the column price; it is empty there" and checked.events[
        "price"
    ].to_list() == [None, 7.0, None]
    parts(tmp_path / "typed")
    pl.DataFrame({"sid": ["x"], "n": [1]}).write_parquet(tmp_path / "typed" / "a.parquet")
    pl.DataFrame({"sid": ["y"], "n": [2], "price": [7.0]}).write_parquet(
        tmp_path / "typed" / "b.parquet"
    )
    assert same_both_ways(tmp_path / "typed")["price"].to_list() == [None, 7.0]
    for memory in (0, 1):
        (tmp_path / "m.yaml").write_text(
            write_mapping(
                mapping_from({"columns": {"session_id": "sid"}, "outcome": {"event": "view"}})
            )
        )
        run = Run(str(tmp_path / f"run{memory}"))
        try:
            prepare(run, str(tmp_path / "m.yaml"), str(folder), memory=memory)
        except ValueError as error:
            assert "lack" not in str(error)


def test_files_that_are_two_logs(tmp_path):
    folder = parts(
        tmp_path / "log",
        a__csv="sid,what,t,price\nx,look,1,2\n",
        items__csv="sku,price,brand\na,1,b\n",
    )
    refused(
        lambda: read_table(folder),
        "items.csv has other columns than a.csv: it lacks sid, t, what; it adds brand, sku",
    )
    refused(lambda: list(read_pieces(folder)), "items.csv has other columns than a.csv")


def test_an_intraday_twin_is_left_out_and_said(tmp_path):
    folder = VENDORS / "ga4_folder"
    table = same_both_ways(folder)
    assert len(table) == 116 and "_file" not in table.columns
    said = "events_intraday_20240902.jsonl was left out: its day stands in another file of the log as well, which is taken for the finished one"
    assert file_notes(folder) == [said]
    assert len(read_table(folder / "events_intraday_20240902.jsonl")) == 58
    checked, alone = (
        read_source(find_source("ga4"), str(path), max_rejected=0.5)
        for path in (folder, folder / "events_20240902.jsonl")
    )
    assert said in checked.notes and checked.events.drop("_file", strict=False).equals(alone.events)


def test_several_kinds_of_files_are_one_log(tmp_path):
    folder = parts(
        tmp_path / "log",
        a__csv='sid,n,price,t\n7,1,"1,5",2024-09-02 10:00:00\n',
        c__jsonl='{"sid": 9, "n": 3, "price": 3.25, "tags": [1]}\n',
    )
    pl.DataFrame(
        {"sid": [8], "n": [2.0], "price": [2.5], "t": ["2024-09-02 10:00:00"]}
    ).with_columns(pl.col("t").str.to_datetime()).write_parquet(folder / "b.parquet")
    table = same_both_ways(folder, **reading(decimal=","))
    assert table.select("sid", "n", "price", "t").rows() == [
        ("7", "1", "1,5", "2024-09-02 10:00:00"),
        ("8", "2", "2,5", "2024-09-02 10:00:00"),
        ("9", "3", "3,25", None),
    ]
    checked = read_log(
        folder, mapping_from({"columns": {"session_id": "sid", "price": "price"}, "decimal": ","})
    )
    assert checked.events["price"].to_list() == [1.5, 2.5, 3.25]
    (folder / "about.json").write_text('{"made_by": "a shop"}')
    refused(lambda: read_table(folder), "about.json has other columns than a.csv")
    assert (
        len(read_table([folder / "a.csv", folder / "b.parquet"])) == 2
        and len(read_table(folder, format="csv")) == 1
    )


def test_files_without_an_ending(tmp_path):
    folder = parts(tmp_path / "export")
    for place in range(2):
        shutil.copy(
            VENDORS / "ga4_folder" / "events_20240902.jsonl",
            folder / f"ga4_export-00000000000{place}",
        )
    for name in ("_SUCCESS", "README", ".hidden"):
        (folder / name).write_text("about this folder\n")
    assert [path.name for path in log_files(folder)] == [
        "ga4_export-000000000000",
        "ga4_export-000000000001",
    ]
    assert len(same_both_ways(folder)) == 232
    parts(tmp_path / "logs", access__log=(VENDORS / "access.log").read_text())
    (tmp_path / "logs" / "access.log.1").write_text((VENDORS / "access.log").read_text())
    assert len(read_table(tmp_path / "logs", **reading(line_pattern="combined"))) == 240
    (folder / "more.csv").write_text("sid\n1\n")
    assert [path.name for path in log_files(folder)] == ["more.csv"]


# ---- a run carries it all


def test_a_run_learns_and_scores_by_the_same_way_of_reading(tmp_path):
    rows = [line.replace(",", "\t") for line in log_lines()]
    text = (
        "\n".join(
            [
                "# made by a shop",
                *rows[:20],
                "# half way",
                *[row.replace("\tp", '\t"p', 1) for row in rows[20:40]],
                *rows[40:],
            ]
        )
        + "\n"
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "log.tsv").write_text(text)
    (tmp_path / "in" / "names.tsv").write_text(HEADER.replace(",", "\t"))
    (tmp_path / "m.yaml").write_text(MAPPING + 'names_file: names.tsv\nquote: none\ncomment: "#"\n')
    words = (
        "run",
        "--source",
        "m.yaml",
        "--path",
        "in/log.tsv",
        "--out",
        "out",
        "--landmarks",
        "1,2",
        "--until",
        "05_classification",
        "--no-report",
        *FEW_PICTURES,
        *QUICK,
    )
    done = warm(*words, cwd=tmp_path)
    assert done.returncode == 0, done.said
    card = json.loads((tmp_path / "out" / "metrics" / "source.json").read_text())
    assert (
        card["sessions"] == 240
        and card["rejected"] == 0
        and "2 lines begin with '#' and were left out as comments" in card["notes"]
    )
    contract = load_contract(Run(str(tmp_path / "out")))
    assert contract.mapping.names == tuple(HEADER.split(",")) and contract.mapping.quote == "none"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "log.tsv").write_text(text)
    (tmp_path / "m.yaml").unlink()
    done = warm(
        "score",
        "--run",
        "out",
        "--events",
        "new/log.tsv",
        "--out",
        "scored.csv",
        "--landmarks",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "0 rejected" in done.said, done.said
    assert pl.read_csv(tmp_path / "scored.csv")["session_id"].n_unique() == 240
