"""Odd inputs, by name: how each is made, and what is right.

Each is a log of 240 sessions, 80 of them buying, with one thing odd; or such a mapping, path, option or folder.
What is right is `accepts` (with exact figures, and the words that must be said of it) or `refuses` (with the words that
name the file, column or value at fault); where both are fine, both stand. `why` says why, where that is not plain.
"""

import gzip
import io
import json
import os
import zipfile
from dataclasses import dataclass
from datetime import datetime, UTC
from functools import partial

import polars as pl
from conftest import HEADER, log_lines, MAPPING

FIELDS = HEADER.split(",")
GOOD = log_lines()
ALL = (240, 80)  # sessions, buying sessions
OUT = ("--out", "out")
WITH_QUANTITY = MAPPING.replace("price: price}", "price: price, quantity: qty}")
NO_SESSIONS = MAPPING.replace("session_id: sid, ", "")
NO_FORMAT = MAPPING.replace('time_format: "%Y-%m-%d %H:%M:%S"\n', "")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


@dataclass(frozen=True)
class Accepts:
    "The log is read, and these are its figures; None where it does not matter."

    sessions: int | None = 240
    buying: int | None = 80
    revenue: float | None = None
    rejected: int | None = 0
    says: tuple = ()  # words of the notes and warnings
    first: str | None = None  # first moment, UTC


@dataclass(frozen=True)
class Refuses:
    "A sentence of our own with these words, and a way out."

    words: tuple = ()


@dataclass(frozen=True)
class Odd:
    "An input: how it is made, and what is right."

    make: object  # A function of a folder that writes the input there and returns the words after `clickstream-conv run`
    right: tuple  # Accepts and Refuses; any of them
    why: str = ""


ODD = {}  # name: Odd


def odd(name, make, *right, why=""):
    "Put an input into the list."
    assert name not in ODD and right, name
    ODD[name] = Odd(make, right, why)


def refuses(*words):
    return Refuses(words)


def values_of(line):
    "The fields of a line without quotes, by column."
    return dict(zip(FIELDS, line.split(",")))


def accepts(lines=GOOD, **others):
    "The figures of these lines, counted anew: sessions, buying sessions, revenue."
    rows = [values_of(line) for line in lines]
    buys = [row for row in rows if row["what"] == "buy"]
    counted = dict(
        sessions=len({row["sid"] for row in rows}),
        buying=len({row["sid"] for row in buys}),
        revenue=sum(float(row["price"]) for row in buys),
    )
    return Accepts(**{**counted, **others})


def changed(field, change, every=1, rows=None):
    "The good lines with a field changed: to a text, or by a function of its text and the line's number."
    place, lines = FIELDS.index(field), []
    for number, line in enumerate(GOOD):
        fields = line.split(",")
        hit = number in rows if rows is not None else number % every == 0
        if hit:
            fields[place] = change(fields[place], number) if callable(change) else change
        lines.append(",".join(fields))
    return lines


def without(every=1, rows=None):
    "The good lines but for those that were changed."
    return [
        line
        for number, line in enumerate(GOOD)
        if not (number in rows if rows is not None else number % every == 0)
    ]


def with_column(value):
    "The good lines with one more field, a text or a function of the line's number."
    return [
        f"{line},{value(number) if callable(value) else value}" for number, line in enumerate(GOOD)
    ]


def write_csv(
    folder,
    lines=GOOD,
    header=HEADER,
    mapping=MAPPING,
    name="log.csv",
    options=(),
    end="\n",
    encoding="utf8",
    path=None,
    source="mine.yaml",
):
    "A CSV log and its mapping."
    lines = lines() if callable(lines) else lines
    text = end.join([header, *lines] if header else lines) + end
    return write_bytes(folder, text.encode(encoding), mapping, name, options, path, source)


def write_bytes(
    folder, data, mapping=MAPPING, name="log.csv", options=(), path=None, source="mine.yaml"
):
    "A log of these bytes, or made by a function, and its mapping."
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data() if callable(data) else data)
    (folder / source).parent.mkdir(parents=True, exist_ok=True)
    (folder / source).write_bytes(mapping if isinstance(mapping, bytes) else mapping.encode())
    return ["--source", source, "--path", path or name, *options]


def csv_log(**how):
    return partial(write_csv, **how)


def raw_log(data, **how):
    return partial(write_bytes, data=data, **how)


def options(*words):
    return partial(write_csv, options=words)


def mapped(text):
    return partial(write_csv, mapping=text)


def text_of(lines=GOOD, header=HEADER, end="\n"):
    "The bytes of a CSV log."
    return (end.join([header, *lines]) + end).encode()


# ------------------------------------------------------------------ sizes
odd("000_good", csv_log(), accepts())
odd("001_empty", raw_log(b""), refuses("log.csv is empty"))
odd("002_header_only", csv_log(lines=[]), refuses("log.csv", "row"))
odd("003_one_row", csv_log(lines=GOOD[:1]), refuses("1 session"))
odd(
    "004_one_session",
    csv_log(lines=[line for line in GOOD if line.startswith("s2,")]),
    refuses("1 session"),
)
odd(
    "005_one_visitor",
    csv_log(lines=changed("who", "v0")),
    refuses("'v0'", "visitor_id"),
    accepts(says=("visitor",)),
    why="no split by visitor: every session belongs to whoever is in the test part",
)
odd(
    "006_same_time",
    csv_log(lines=changed("when", "2024-03-01 10:00:00")),
    refuses("2024-03-01", "same moment"),
    accepts(says=("same moment",)),
)
odd("117_100k_items", csv_log(lines=lambda: many("sku")), Accepts(240, 0, 0.0))
odd("118_100k_categories", csv_log(lines=lambda: many("kind")), Accepts(240, 0, 0.0))


def many(field):
    "A hundred thousand looks of 240 sessions, each with a value of its own in one column."
    lines = []
    for number in range(100_000):
        s, i = number % 240, number // 240
        row = dict(
            sid=f"s{s}",
            who=f"v{s}",
            when=f"2024-03-{1 + s // 60:02} {10 + s % 10}:{i // 60:02}:{i % 60:02}",
            what="look",
            sku="p1",
            kind="k1",
            price="5.50",
        )
        row[field] = f"x{number}"
        lines.append(",".join(row[name] for name in FIELDS))
    return lines


# ------------------------------------------------------------------ time
def at_row(text):
    return changed("when", text, rows={5})


odd(
    "007_year_1",
    csv_log(lines=at_row("0001-03-01 10:00:00")),
    accepts(rejected=1, says=("0001-03-01", "10 years")),
)
odd(
    "008_year_9999",
    csv_log(lines=at_row("9999-03-01 10:00:00")),
    accepts(rejected=1, says=("9999-03-01", "10 years")),
)
odd(
    "151_one_row_1970",
    csv_log(lines=at_row("1970-01-01 00:00:00")),
    accepts(rejected=1, says=("1970-01-01", "10 years")),
)
odd(
    "151b_one_row_2098",
    csv_log(lines=at_row("2098-12-31 23:59:59")),
    accepts(rejected=1, says=("2098-12-31", "10 years")),
)
odd(
    "151c_all_rows_1970",
    csv_log(lines=changed("when", lambda text, n: f"1970-01-0{1 + n // 200} 00:{n % 60:02}:00")),
    accepts(says=("1970-01-", "no shop was online")),
)


def ticks(text, unit=1):
    "A time of the good log as a number of ticks since 1970."
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * unit)


SECONDS = MAPPING.replace('"%Y-%m-%d %H:%M:%S"', "s")
odd(
    "009_ticks_negative",
    csv_log(
        lines=changed("when", lambda text, n: "-5" if n % 100 == 0 else str(ticks(text))),
        mapping=SECONDS,
    ),
    accepts(without(100), rejected=8),
    why="a negative time is no time of a shop: the row is set aside and counted",
)
odd(
    "010_ticks_overflow",
    csv_log(lines=changed("when", lambda text, n: str(ticks(text)) + "0" * 14), mapping=SECONDS),
    refuses("log.csv", "'t'", "unparsable time"),
)
odd(
    "011_ms_read_as_s",
    csv_log(lines=changed("when", lambda text, n: str(ticks(text, 1000))), mapping=SECONDS),
    refuses("log.csv", "'t'", "unparsable time"),
)
odd(
    "011b_ticks_good",
    csv_log(lines=changed("when", lambda text, n: str(ticks(text))), mapping=SECONDS),
    accepts(first="2024-03-01T10:00:00"),
)
odd(
    "089_time_format_wrong",
    mapped(MAPPING.replace("%Y-%m-%d %H", "%d.%m.%Y %H")),
    refuses("log.csv", "'t'", "2024-03-01 10:00:00"),
)
odd(
    "089b_time_format_no_percent",
    mapped(MAPPING.replace('"%Y-%m-%d %H:%M:%S"', '"YYYY-MM-DD"')),
    refuses("mine.yaml", "YYYY-MM-DD"),
)
odd(
    "089c_time_format_number",
    mapped(MAPPING.replace('"%Y-%m-%d %H:%M:%S"', "2024")),
    refuses("mine.yaml", "2024"),
)
odd(
    "090_time_ambiguous",
    csv_log(
        lines=changed(
            "when", lambda text, n: f"0{1 + n % 9}/0{1 + n // 200}/2024 10:{n % 60:02}:00"
        ),
        mapping=NO_FORMAT,
    ),
    refuses("'t'", "day/month"),
)
odd(
    "091_zone_typo",
    mapped(MAPPING + "time_zone: Europe/Berln\n"),
    refuses("Europe/Berln", "Europe/Berlin"),
)
odd(
    "092_dst_gap",
    csv_log(
        lines=changed("when", lambda text, n: f"2024-03-31 02:{n % 60:02}:00"),
        mapping=MAPPING + "time_zone: Europe/Berlin\n",
    ),
    refuses("'t'", "2024-03-31 02:"),
)
odd(
    "093_gap_inf",
    mapped(MAPPING + "gap_minutes: .inf\n"),
    refuses("gap_minutes"),
    why="a silence that never ends would call every session cut off",
)
odd("094_gap_nan", mapped(MAPPING + "gap_minutes: .nan\n"), refuses("gap_minutes"))
odd("095_gap_zero", mapped(MAPPING + "gap_minutes: 0\n"), refuses("gap_minutes"))
odd("095a_gap_negative", mapped(MAPPING + "gap_minutes: -3\n"), refuses("gap_minutes"))
odd(
    "095b_gap_huge_nosession",
    mapped(NO_SESSIONS + "gap_minutes: 1000000000\n"),
    refuses("gap_minutes", "1000000000"),
    why="no visit pauses for 1,900 years; a slip of units",
)
odd(
    "095c_gap_inf_nosession",
    mapped(NO_SESSIONS + "gap_minutes: .inf\n"),
    refuses("gap_minutes"),
    why="every visitor would be one session, without a word",
)
odd(
    "095d_gap_text",
    mapped(MAPPING + "gap_minutes: half an hour\n"),
    refuses("gap_minutes", "half an hour"),
)
odd("095e_gap_true", mapped(MAPPING + "gap_minutes: true\n"), refuses("gap_minutes"))
odd("095f_gap_1e300", mapped(NO_SESSIONS + "gap_minutes: 1.0e+300\n"), refuses("gap_minutes"))
odd("095g_no_session", mapped(NO_SESSIONS), accepts())
odd(
    "140_tz_offset",
    csv_log(lines=changed("when", lambda text, n: text + "+02:00"), mapping=NO_FORMAT),
    accepts(first="2024-03-01T08:00:00"),
)
odd(
    "141_tz_mixed_offset",
    csv_log(
        lines=changed("when", lambda text, n: text + ("+02:00" if n % 2 else "+00:00")),
        mapping=NO_FORMAT,
    ),
    accepts(first="2024-03-01T08:00:07"),
)
odd(
    "142_feb_30",
    csv_log(lines=at_row("2024-02-30 10:00:00")),
    accepts(without(rows={5}), rejected=1),
)
odd(
    "143_leap_second",
    csv_log(lines=at_row("2016-12-31 23:59:60")),
    accepts(),
    accepts(without(rows={5}), rejected=1),
    why="read as the second after, or set aside and counted: POSIX time has no leap second",
)
odd(
    "144_month_two_digit_year",
    csv_log(
        lines=changed("when", lambda text, n: f"{text[8:10]} Mar 24 {text[11:]}"),
        mapping=MAPPING.replace("%Y-%m-%d %H", "%d %b %y %H"),
    ),
    accepts(first="2024-03-01T10:00:00"),
)
odd(
    "145_no_time_given",
    csv_log(lines=changed("when", "", every=50)),
    accepts(without(50), rejected=16),
)
odd("146_no_times_at_all", csv_log(lines=changed("when", "")), refuses("'t'"))
odd("147_time_not_mapped", mapped(MAPPING.replace("t: when, ", "")), accepts())
odd("148_resolution_typo", mapped(MAPPING + "resolution: minute\n"), refuses("mine.yaml", "minute"))
odd(
    "149_session_of_a_decade",
    csv_log(lines=changed("when", "2012-01-01 10:00:00", rows={0})),
    accepts(rejected=1, says=("2012-01-01", "10 years")),
)

# ------------------------------------------------------------------ numbers
odd(
    "012_price_nan",
    csv_log(lines=changed("price", "nan", every=40)),
    accepts(without(40), rejected=20),
    accepts(rejected=0, revenue=None),
)
odd(
    "013_price_inf",
    csv_log(lines=changed("price", "inf", every=40)),
    accepts(without(40), rejected=20),
)
odd(
    "014_price_1e308",
    csv_log(lines=changed("price", "1e308", rows={6, 13})),
    accepts(without(rows={6, 13}), rejected=2),
    refuses("1e308", "'price'"),
    why="the sum of two would be infinite",
)
odd("014b_price_1e308_all", csv_log(lines=changed("price", "1e308")), refuses("price", "1e308"))
odd(
    "015_price_dollar",
    csv_log(lines=changed("price", lambda text, n: "$" + text)),
    refuses("'price'", "$5.50"),
)
odd(
    "016_price_thousands",
    csv_log(lines=changed("price", "1'234.56")),
    Accepts(revenue=80 * 1234.56),
)
odd(
    "016b_price_thousands_comma",
    raw_log(lambda: quoted_price("1,234.56")),
    refuses("'price'", "1,234.56"),
    Accepts(revenue=80 * 1234.56),
)
odd(
    "016c_price_thousands_other_decimal",
    raw_log(lambda: quoted_price("1,234.56"), mapping=MAPPING + "decimal: ','\n"),
    refuses("'price'", "1,234.56"),
    why="with a decimal comma it would be 1.23456",
)
odd(
    "016d_price_point_under_decimal_comma",
    raw_log(lambda: quoted_price("899.00"), mapping=MAPPING + "decimal: ','\n"),
    refuses("'price'", "899.00"),
    why="with a decimal comma it would be 89900",
)
odd(
    "016e_price_german",
    raw_log(lambda: quoted_price("1.234,56"), mapping=MAPPING + "decimal: ','\n"),
    Accepts(revenue=80 * 1234.56),
)
odd(
    "016f_price_german_plain",
    raw_log(lambda: quoted_price("1234,5"), mapping=MAPPING + "decimal: ','\n"),
    Accepts(revenue=80 * 1234.5),
)
odd("016g_decimal_odd", mapped(MAPPING + "decimal: ';'\n"), refuses("decimal", "';'"))
odd(
    "017_price_decimal_comma_unstated",
    raw_log(lambda: quoted_price("12,5")),
    refuses("'price'", "12,5"),
    Accepts(revenue=80 * 12.5),
)
odd(
    "018_price_negative_zero",
    csv_log(lines=changed("price", "-0.0")),
    accepts(changed("price", "-0.0")),
)
odd(
    "018b_price_negative",
    csv_log(lines=changed("price", lambda text, n: "-" + text)),
    refuses("'price'", "negative price"),
)
odd("018c_price_hex", csv_log(lines=changed("price", "0x1F")), refuses("'price'", "0x1F"))
odd("018d_price_true", csv_log(lines=changed("price", "true")), refuses("'price'", "true"))
odd(
    "018e_price_empty_everywhere",
    csv_log(lines=changed("price", "")),
    accepts(revenue=None, says=("price",)),
    why="no revenue can be known, and that is to be said",
)
odd(
    "018f_price_empty_purchases",
    csv_log(
        lines=[
            line if values_of(line)["what"] != "buy" else line[: line.rfind(",") + 1]
            for line in GOOD
        ]
    ),
    accepts(revenue=None, says=("price",)),
)
odd(
    "150_sentinel_9999",
    csv_log(lines=changed("price", "9999", every=4)),
    refuses("9999"),
    accepts(changed("price", "9999", every=4), says=("9,999.00", "200 of 800")),
)
odd(
    "150b_sentinel_999999",
    csv_log(lines=changed("price", "999999.99", every=20)),
    refuses("999999.99"),
    accepts(changed("price", "999999.99", every=20), says=("999,999.99",)),
)


def quoted_price(text):
    return text_of([",".join([*line.split(",")[:-1], f'"{text}"']) for line in GOOD])


def quantities(value):
    return csv_log(lines=with_column(value), header=HEADER + ",qty", mapping=WITH_QUANTITY)


odd("019_qty_negative", quantities("-1"), refuses("'quantity'", "-1"))
odd("020_qty_fraction", quantities("2.5"), refuses("'quantity'", "2.5", "whole number"))
odd(
    "020b_qty_fraction_some",
    quantities(lambda n: "2.5" if n % 40 == 0 else "1"),
    accepts(without(40), rejected=20),
)
odd("020c_qty_as_float", quantities("2.0"), accepts(revenue=2 * accepts().revenue))
odd(
    "021_qty_1e18",
    quantities(lambda n: "1000000000000000000" if n == 6 else "1"),
    accepts(without(rows={6}), rejected=1),
    refuses("'quantity'", "1000000000000000000"),
)
odd(
    "022_qty_int_overflow",
    quantities("99999999999999999999"),
    refuses("'quantity'", "99999999999999999999"),
)
odd("023_qty_zero", quantities("0"), refuses("'quantity'", "zero"))
odd("023b_qty_word", quantities("two"), refuses("'quantity'", "two"))
odd("023c_qty_empty", quantities(""), accepts())

# ------------------------------------------------------------------ ids
odd("024_sid_all_null", csv_log(lines=changed("sid", "")), refuses("'session_id'"))
odd("025_who_all_null", csv_log(lines=changed("who", "")), accepts(says=("visitor_id",)))
odd(
    "026_sid_some_null",
    csv_log(lines=changed("sid", "", every=40)),
    accepts(without(40), rejected=20),
)
odd(
    "114_sid_floats_big",
    csv_log(lines=changed("sid", lambda text, n: f"{4_000_000_000_000_000 + int(text[1:])}.0")),
    accepts(says=("floats",)),
)
odd(
    "114b_sid_floats_past_exact",
    csv_log(lines=changed("sid", lambda text, n: f"{17_000_000_000_000_000 + int(text[1:])}.0")),
    refuses("'session_id'", "1700000000000000"),
)
odd(
    "115_sid_exp",
    csv_log(lines=changed("sid", lambda text, n: f"{100_000 + int(text[1:]):e}")),
    accepts(says=("floats",)),
    why="1.000010e+05 tells all of its six digits",
)
odd(
    "115b_sid_excel",
    csv_log(lines=changed("sid", lambda text, n: f"{1.70 + int(text[1:]) // 24 / 100:.2f}E+12")),
    refuses("'sid'", "session_id", "1.70E+12"),
    why="digits are lost: ten ids for 240 sessions",
)
odd(
    "115c_sid_hexadecimal",
    csv_log(
        lines=changed(
            "sid",
            lambda text, n: (
                f"{int(text[1:]) % 10}e{234_000 + int(text[1:])}"
                if int(text[1:]) % 3
                else f"a{text}"
            ),
        )
    ),
    accepts(),
    why="1e234567 is a hexadecimal id, no number",
)
odd(
    "116_sid_lead_zero",
    csv_log(
        lines=changed(
            "sid",
            lambda text, n: (
                f"{int(text[1:]) // 2}" if int(text[1:]) % 2 else f"0{int(text[1:]) // 2}"
            ),
        )
    ),
    accepts(),
)
odd("116b_sid_spaces", csv_log(lines=changed("sid", lambda text, n: f" {text} ")), accepts())
odd(
    "122_session_two_visitors",
    csv_log(lines=changed("who", "v999", rows={1, 8})),
    accepts(says=("2 sessions", "visitor")),
)
odd(
    "122b_one_session_id_for_many",
    csv_log(lines=changed("sid", lambda text, n: f"s{int(text[1:]) % 12}")),
    Accepts(12, None, accepts().revenue, says=("visitor",)),
    refuses("session_id"),
    why="a session id that many visitors share names no session",
)
odd(
    "073_map_same_column_twice",
    mapped(MAPPING.replace("category: kind", "category: sku")),
    accepts(says=("'sku'", "twice")),
)
odd(
    "073b_map_sid_and_who_same",
    mapped(MAPPING.replace("visitor_id: who", "visitor_id: sid")),
    accepts(says=("'sid'", "twice")),
)

# ------------------------------------------------------------------ bytes and packing
BIG = log_lines(sessions=1200, buying=400)  # longer than the head that is looked at
odd(
    "027_nul_in_head",
    raw_log(text_of().replace(b"look", b"lo\0k", 1)),
    refuses("log.csv", "byte 00"),
)
odd(
    "028_nul_beyond_head",
    raw_log(lambda: text_of(BIG[:-1] + [BIG[-1].replace("buy", "b\0y")])),
    accepts(BIG[:-1], rejected=1),
    refuses("log.csv"),
)
odd(
    "029_10mb_field",
    raw_log(lambda: text_of(changed("sku", "x" * 10_000_000, rows={300}))),
    refuses("log.csv", "longer"),
)
odd(
    "030_10mb_quoted",
    raw_log(lambda: text_of(changed("sku", '"' + "x" * 10_000_000 + '"', rows={300}))),
    refuses("log.csv", "longer"),
)
odd(
    "119_1mb_strings",
    raw_log(lambda: text_of(changed("sku", "x" * 1_000_000, rows={300, 301, 302}))),
    accepts(),
    refuses("log.csv", "longer"),
)
odd(
    "036_cut_in_quote",
    raw_log(lambda: text_of(GOOD[:-1]) + b's239,v239,2024-03-04 19:59:14,"lo'),
    accepts(GOOD[:-1], rejected=1),
)
odd("036b_cut_in_line", raw_log(lambda: text_of()[:-12]), accepts(GOOD[:-1], rejected=1))
odd(
    "037_cut_gz",
    raw_log(lambda: gzip.compress(text_of())[:-400], name="log.csv.gz"),
    refuses("log.csv.gz", "cut short"),
)
odd("038_gz_named_csv", raw_log(lambda: gzip.compress(text_of())), accepts())
odd("038b_gz_named_gz", raw_log(lambda: gzip.compress(text_of()), name="log.csv.gz"), accepts())
odd(
    "039_gz_trailing_garbage",
    raw_log(lambda: gzip.compress(text_of()) + b"garbage", name="log.csv.gz"),
    refuses("log.csv.gz", "damaged"),
)
odd(
    "040_gz_flipped_crc",
    raw_log(lambda: flipped(gzip.compress(text_of()), -6), name="log.csv.gz"),
    refuses("log.csv.gz", "damaged"),
)
odd(
    "040b_gz_of_nothing",
    raw_log(lambda: gzip.compress(b""), name="log.csv.gz"),
    refuses("log.csv.gz is empty"),
)
odd("041_parquet_named_csv", raw_log(lambda: parquet_of(table())), refuses("log.csv", "Parquet"))
odd(
    "042_csv_named_parquet",
    raw_log(text_of(), name="log.parquet"),
    refuses("log.parquet", "not a Parquet file"),
)
odd(
    "043_cut_parquet",
    raw_log(lambda: parquet_of(table())[:-300], name="log.parquet"),
    refuses("log.parquet", "cut short"),
)
odd(
    "044_parquet_flipped",
    raw_log(lambda: flipped(parquet_of(table()), -300), name="log.parquet"),
    refuses("log.parquet", "damaged"),
)
odd(
    "044b_parquet_page_flipped",
    raw_log(lambda: flipped(parquet_of(table()), 200), name="log.parquet"),
    refuses("log.parquet"),
)
odd(
    "044c_parquet_magic_only",
    raw_log(b"PAR1PAR1", name="log.parquet"),
    refuses("log.parquet", "damaged"),
)
odd(
    "046_zip_two",
    raw_log(
        lambda: zip_of({"a.csv": text_of(GOOD[:400]), "b.csv": text_of(GOOD[400:])}), name="log.zip"
    ),
    accepts(),
)
odd(
    "046b_zip_two_the_same",
    raw_log(lambda: zip_of({"a.csv": text_of(), "b.csv": text_of()}), name="log.zip"),
    accepts(GOOD + GOOD, says=("800 rows repeat an earlier row exactly",)),
)
odd(
    "046c_zip_two_kinds",
    raw_log(lambda: zip_of({"a.csv": text_of(), "b.json": b"{}"}), name="log.zip"),
    refuses("log.zip", "2 files", "csv, json"),
)
odd("047_zip_empty", raw_log(lambda: zip_of({}), name="log.zip"), refuses("log.zip", "0 files"))
odd(
    "047b_zip_of_empty_file",
    raw_log(lambda: zip_of({"a.csv": b""}), name="log.zip"),
    refuses("log.zip", "empty"),
)
odd(
    "047c_zip_cut",
    raw_log(lambda: zip_of({"a.csv": text_of()})[:-30], name="log.csv.zip"),
    refuses("log.csv.zip", "damaged"),
)
odd("047d_zip_good", raw_log(lambda: zip_of({"a.csv": text_of()}), name="log.csv.zip"), accepts())
odd(
    "048_zip_dotdot",
    raw_log(lambda: zip_of({"../../evil.csv": text_of()}), name="log.csv.zip"),
    accepts(),
)
odd("049_png", raw_log(PNG), refuses("log.csv is a PNG picture"))
odd("049b_pdf", raw_log(b"%PDF-1.7\n" + PNG), refuses("log.csv is a PDF document"))
odd(
    "049c_workbook",
    raw_log(
        lambda: zip_of({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}), name="log.csv"
    ),
    refuses("log.csv", "Office workbook"),
)
odd(
    "049d_html",
    raw_log(
        b"<!DOCTYPE html>\n<html><head><title>Log in</title></head>\n<body>Please log in</body></html>\n"
    ),
    refuses("log.csv"),
)
odd("050_utf16", raw_log(text_of().decode().encode("utf16")), refuses("log.csv", "UTF-16"))
odd(
    "050b_utf16_stated",
    raw_log(text_of().decode().encode("utf16"), mapping=MAPPING + "encoding: utf16\n"),
    accepts(),
)
odd(
    "051_latin1",
    csv_log(lines=changed("kind", "caf\u00e9", every=3), encoding="latin-1"),
    refuses("log.csv", "encoding", "e9"),
)
odd(
    "051b_latin1_stated",
    csv_log(
        lines=changed("kind", "caf\u00e9", every=3),
        encoding="latin-1",
        mapping=MAPPING + "encoding: latin-1\n",
    ),
    accepts(),
)
odd("052_bom", raw_log(b"\xef\xbb\xbf" + text_of()), accepts())
odd("053_crlf", csv_log(end="\r\n"), accepts())
odd("054_cr_only", csv_log(end="\r"), accepts(), refuses("log.csv"))
odd("096_encoding_unknown", mapped(MAPPING + "encoding: klingon\n"), refuses("klingon"))
odd("097_encoding_rot13", mapped(MAPPING + "encoding: rot13\n"), refuses("rot13"))
odd("098_encoding_base64", mapped(MAPPING + "encoding: base64\n"), refuses("base64"))
odd("098b_encoding_idna", mapped(MAPPING + "encoding: idna\n"), refuses("idna"))
odd(
    "098c_encoding_unicode_escape",
    mapped(MAPPING + "encoding: unicode_escape\n"),
    refuses("unicode_escape"),
)
odd("098d_encoding_utf7", mapped(MAPPING + "encoding: punycode\n"), refuses("punycode"))
odd(
    "120_control_chars",
    csv_log(lines=changed("kind", "bell\x07", every=3)),
    refuses("log.csv", "byte 07"),
    why="no text of a shop rings a bell: most likely no text, or another encoding",
)
odd(
    "121_unicode_odd",
    csv_log(lines=changed("kind", "\u202e\U0001f6d2e\u0301\u200b\ufffd", every=3)),
    accepts(),
)


def zip_of(members):
    "A zip archive."
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def flipped(data, place):
    "Bytes with one of them turned over."
    changed_ = bytearray(data)
    changed_[place] ^= 0xFF
    return bytes(changed_)


def table(**columns):
    "The good log as a table of texts, with columns replaced."
    rows = [values_of(line) for line in GOOD]
    return pl.DataFrame(rows, orient="row").with_columns(**columns)


def parquet_of(frame):
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


# ------------------------------------------------------------------ the form of a CSV
odd("031_dup_header", csv_log(header=HEADER.replace("kind", "sku")), refuses("log.csv", "'sku'"))
odd("032_blank_header", csv_log(header=HEADER + ",", lines=with_column("x")), accepts())
odd(
    "033_5000_columns",
    csv_log(
        header=HEADER + "".join(f",c{n}" for n in range(5000)),
        lines=lambda: with_column(",".join("1" * 5000)),
    ),
    accepts(),
)
odd(
    "034_5000_context",
    csv_log(
        header=HEADER + "".join(f",c{n}" for n in range(5000)),
        lines=lambda: with_column(",".join("1" * 5000)),
        mapping=MAPPING
        + "session_context: {"
        + ", ".join(f"c{n}: c{n}" for n in range(5000))
        + "}\n",
    ),
    refuses("mine.yaml", "5,000"),
    why="no model learns from 5,000 columns of context; most likely the export is a wide table of something else",
)
odd(
    "035_mixed_delims",
    csv_log(lines=[line.replace(",", ";") if n % 2 else line for n, line in enumerate(GOOD)]),
    refuses("log.csv"),
)
odd(
    "035b_other_delimiter_in_rows",
    csv_log(lines=[line.replace(",", ";") for line in GOOD]),
    refuses("log.csv"),
)
odd("099_delim_two", mapped(MAPPING + "delimiter: '||'\n"), refuses("'||'"))
odd("100_delim_quote", mapped(MAPPING + "delimiter: '\"'\n"), refuses("delimiter"))
odd("101_delim_newline", mapped(MAPPING + 'delimiter: "\\n"\n'), refuses("delimiter"))
odd("102_delim_nonascii", mapped(MAPPING + "delimiter: '\u00a7'\n"), refuses("\u00a7"))
odd(
    "102b_delim_nonascii_in_file",
    csv_log(
        header=HEADER.replace(",", "\u00a7"),
        lines=[line.replace(",", "\u00a7") for line in GOOD],
        mapping=MAPPING + "delimiter: '\u00a7'\n",
    ),
    refuses("\u00a7"),
    accepts(),
)
odd(
    "102c_delim_tab",
    csv_log(
        header=HEADER.replace(",", "\t"),
        lines=[line.replace(",", "\t") for line in GOOD],
        mapping=MAPPING + "delimiter: tab\n",
    ),
    accepts(),
)
odd("102d_delim_wrong", mapped(MAPPING + "delimiter: ';'\n"), refuses("log.csv", "';'"))
odd(
    "125_newline_unquoted",
    csv_log(lines=changed("kind", "k\n1", rows={300})),
    accepts(without(rows={300}), rejected=2),
)
odd("125b_newline_quoted", csv_log(lines=changed("kind", '"k\n1"', rows={300})), accepts())
odd("132_missing_last_newline", raw_log(text_of()[:-1]), accepts())
odd(
    "133_blank_lines",
    csv_log(lines=[line + "\n" if n % 50 == 0 else line for n, line in enumerate(GOOD)]),
    accepts(),
)
odd(
    "134_comment_line_first",
    raw_log(b"# exported by shop 7\n" + text_of()),
    refuses("log.csv"),
    why="lines above the header are stated in the mapping, never guessed at",
)
odd(
    "134b_title_lines_first",
    raw_log(b"Report,of,the,shop,in,March,2024\n\n" + text_of()),
    refuses("log.csv", "Report"),
)
odd(
    "135_no_header",
    csv_log(header="", lines=GOOD),
    refuses("log.csv", "line 1 looks like data", "names:"),
)
odd(
    "135b_names",
    csv_log(header="", lines=GOOD, mapping=MAPPING + f"names: [{HEADER}]\n"),
    accepts(),
)
odd(
    "135c_names_and_header",
    csv_log(lines=GOOD, mapping=MAPPING + f"names: [{HEADER}]\n"),
    refuses("log.csv", "holds the names themselves"),
)
odd("136_extra_field_all", csv_log(lines=with_column("x")), refuses("log.csv", "7 fields"))
odd(
    "137_fewer_fields_3pct",
    csv_log(
        lines=[line[: line.rfind(",")] if n % 40 == 0 else line for n, line in enumerate(GOOD)]
    ),
    accepts(without(40), rejected=20),
)
odd("138_header_spaces", csv_log(header=HEADER.replace(",", " , ")), accepts())
odd("139_header_case", csv_log(header=HEADER.upper()), refuses("'sid'", "SID"))
odd("123_unsorted", csv_log(lines=GOOD[::-1]), accepts())
odd(
    "124_all_twice",
    csv_log(lines=[line for line in GOOD for _ in range(2)]),
    accepts(revenue=2 * accepts().revenue, says=("800 rows repeat",)),
)
odd(
    "124b_quoted_everything",
    csv_log(
        header=",".join(f'"{name}"' for name in FIELDS),
        lines=[",".join(f'"{text}"' for text in line.split(",")) for line in GOOD],
    ),
    accepts(),
)
odd(
    "160_price_range_words",
    csv_log(
        header=HEADER + ",price_range",
        lines=with_column(lambda n: ("low", "high")[n % 2]),
        mapping=MAPPING + "event_context: {price_range: price_range}\n",
    ),
    accepts(),
)
odd(
    "161_price_range_plain",
    csv_log(
        header=HEADER + ",price_range",
        lines=with_column(lambda n: ("10-20", "20-50")[n % 2]),
        mapping=MAPPING + "event_context: {price_range: price_range}\n",
    ),
    accepts(),
)
odd(
    "162_dollars_in_values",
    csv_log(lines=changed("kind", lambda text, n: f"$a$ {n % 3} $b$")),
    accepts(),
)
odd(
    "163_formulas_in_values",
    csv_log(lines=changed("kind", "=cmd|' /C calc'!A1", every=3)),
    accepts(),
)
odd(
    "164_markup_in_values",
    csv_log(lines=changed("kind", "<img src=x onerror=alert(1)>", every=3)),
    accepts(),
)

# ------------------------------------------------------------------ events
odd(
    "110_all_purchase",
    csv_log(lines=changed("what", "buy")),
    refuses("every row is a purchase", "nothing to predict"),
    why="whoever has bought at the first event is at risk at no landmark",
)
odd(
    "111_no_purchase",
    csv_log(lines=changed("what", "look")),
    accepts(changed("what", "look"), says=("buyers are few: 0",)),
)
odd(
    "112_case_space_events",
    csv_log(lines=changed("what", lambda text, n: f" {text.upper()} ")),
    refuses("'event'", "LOOK"),
)
odd(
    "113_unknown_3pct",
    csv_log(lines=changed("what", "wave", every=40)),
    accepts(without(40), rejected=20),
)
odd("113b_unknown_all", csv_log(lines=changed("what", "wave")), refuses("'event'", "wave"))
odd("113c_empty_all", csv_log(lines=changed("what", "")), refuses("'event'"))
odd(
    "113d_star",
    csv_log(
        lines=changed("what", "wave", every=2),
        mapping=MAPPING.replace("purchase: [buy]", "purchase: [buy], other: '*'"),
    ),
    accepts(changed("what", "wave", every=2), sessions=240),
)
odd(
    "087_map_two_events",
    mapped(MAPPING.replace("cart: [add]", "cart: [look]")),
    refuses("mine.yaml", "look"),
)
odd("088_map_on", mapped(MAPPING.replace("[look]", "[on]")), refuses("mine.yaml", "quotes"))
odd("126_outcome_unknown", options("--outcome", "churn"), refuses("churn"))
odd(
    "126b_outcome_of_mapping",
    mapped(
        MAPPING
        + "outcome: {name: sees k1, says: sees k1, kind: any later, column: category, equals: k1, proxy: true}\n"
    ),
    accepts(),
)
odd(
    "126c_outcome_typo",
    mapped(MAPPING + "outcome: {name: x, kynd: event}\n"),
    refuses("mine.yaml", "kynd"),
)
odd(
    "126d_outcome_kind",
    mapped(MAPPING + "outcome: {name: x, kind: sometimes}\n"),
    refuses("mine.yaml", "sometimes"),
)
odd(
    "126e_outcome_no_column",
    mapped(MAPPING + "outcome: {name: x, kind: any later, column: colour, equals: red}\n"),
    refuses("colour", "event_context"),
)
odd("126f_outcome_list", mapped(MAPPING + "outcome: [purchase]\n"), refuses("mine.yaml", "outcome"))
odd(
    "127_outcome_nested",
    mapped(MAPPING + "outcome: {name: {a: {b: c}}, says: [x, y]}\n"),
    refuses("mine.yaml", "outcome"),
)
odd(
    "127b_outcome_proxy_word",
    mapped(MAPPING + "outcome: {name: x, proxy: perhaps}\n"),
    refuses("mine.yaml", "proxy", "perhaps"),
)
odd(
    "127c_outcome_label",
    mapped(MAPPING + "outcome: {name: x, kind: label, column: event, equals: purchase}\n"),
    refuses("mine.yaml", "label"),
    why="a label belongs to logs of finished sessions; a log of events has none",
)
odd(
    "127d_outcome_number",
    mapped(MAPPING + "outcome: {name: 5, kind: any later, column: category, equals: 1}\n"),
    accepts(),
    refuses("mine.yaml", "outcome"),
)

# ------------------------------------------------------------------ JSON
JSON_MAPPING = MAPPING.replace(", price: price", ", price: price")


def json_lines(change=None):
    "The good log as JSON lines, each row changed by a function of it and its number; a text replaces the line."
    lines = []
    for number, line in enumerate(GOOD):
        row = values_of(line)
        row["price"] = float(row["price"])
        made = change(row, number) if change else row
        lines.append(made if isinstance(made, str) else json.dumps(made))
    return ("\n".join(lines) + "\n").encode()


def json_log(change=None, name="log.jsonl", **how):
    return raw_log(lambda: json_lines(change), name=name, **how)


DEEP = "[" * 100_000 + "]" * 100_000
NESTED = '{"a":' * 5_000 + "1" + "}" * 5_000
odd("045_json_named_csv", json_log(name="log.csv"), refuses("log.csv"))
odd("045b_csv_named_json", raw_log(text_of(), name="log.jsonl"), refuses("log.jsonl", "JSON"))
odd("045c_json_good", json_log(), accepts())
odd(
    "055_json_deep",
    json_log(lambda row, n: DEEP if n == 5 else row),
    accepts(without(rows={5}), rejected=1),
    refuses("log.jsonl"),
)
odd(
    "055b_json_deep_objects",
    json_log(lambda row, n: NESTED if n == 5 else row),
    accepts(without(rows={5}), rejected=1),
    refuses("log.jsonl"),
)
odd(
    "055c_json_deep_in_unmapped_key",
    json_log(lambda row, n: json.dumps(row)[:-1] + ', "deep": ' + DEEP + "}" if n == 5 else row),
    accepts(without(rows={5}), rejected=1),
    refuses("log.jsonl"),
    accepts(),
)
odd("056_json_deep_all", json_log(lambda row, n: "[" * 2000 + "]" * 2000), refuses("log.jsonl"))
odd(
    "057_json_array",
    raw_log(lambda: b"[" + json_lines().replace(b"\n", b",\n")[:-2] + b"]", name="log.json"),
    accepts(),
)
odd("058_json_scalars", json_log(lambda row, n: str(n)), refuses("log.jsonl"))
odd(
    "059_json_mixed_types",
    json_log(lambda row, n: row | dict(price={"eur": 1}) if n % 2 else row),
    refuses("log.jsonl"),
)
odd(
    "059b_json_price_as_text_in_some",
    json_log(lambda row, n: row | dict(price=str(row["price"])) if n % 2 else row),
    accepts(),
    refuses("log.jsonl"),
)
odd(
    "060_json_half_broken",
    json_log(lambda row, n: json.dumps(row)[:-5] if n % 2 else row),
    refuses("log.jsonl", "broken"),
)
odd(
    "060b_json_some_broken",
    json_log(lambda row, n: json.dumps(row)[:-5] if n % 40 == 0 else row),
    accepts(without(40), rejected=20),
)
odd(
    "061_json_nan_inf",
    json_log(
        lambda row, n: (
            row | dict(price=float("nan"))
            if n == 0
            else row | dict(price=float("inf"))
            if n == 1
            else row
        )
    ),
    accepts(without(rows={0, 1}), rejected=2),
    accepts(without(rows={1}), rejected=1),
    accepts(),
    why="NaN is a price that is not known, Infinity is none",
)
odd(
    "061b_json_nan_everywhere",
    json_log(lambda row, n: row | dict(price=float("nan"))),
    accepts(revenue=0.0, says=("price",)),
    refuses("log.jsonl"),
    refuses("'price'"),
)
odd(
    "062_json_dup_keys",
    json_log(lambda row, n: json.dumps(row)[:-1] + ', "price": 1.0}'),
    Accepts(revenue=80.0),
    refuses("log.jsonl", "price"),
    accepts(),
    why="RFC 8259 leaves it open; readers take the last, or it is refused",
)
odd(
    "063_json_big_int",
    json_log(lambda row, n: json.dumps(row | dict(sid=10**23 + int(row["sid"][1:])))),
    accepts(),
    refuses("'session_id'"),
    refuses("log.jsonl"),
    why="an id of 24 digits is kept whole or refused, never rounded",
)
odd(
    "063b_json_int_past_exact",
    json_log(lambda row, n: row | dict(sid=2**53 + int(row["sid"][1:]))),
    accepts(),
    refuses("session_id"),
)
odd(
    "064_json_session_object",
    json_log(lambda row, n: row | dict(sid={"id": row["sid"]})),
    refuses("'sid'", "nested"),
)
odd("065_json_array_deep", raw_log(DEEP.encode(), name="log.json"), refuses("log.json"))
odd(
    "065b_json_array_of_numbers",
    raw_log(b"[1, 2, 3]", name="log.json"),
    refuses("log.json", "objects"),
)
odd("065c_json_empty_array", raw_log(b"[]", name="log.json"), refuses("log.json"))
odd(
    "065d_json_array_cut",
    raw_log(lambda: (b"[" + json_lines().replace(b"\n", b",\n"))[:-300], name="log.json"),
    refuses("log.json", "broken"),
)
odd(
    "065e_json_null_rows",
    json_log(lambda row, n: "null" if n % 40 == 0 else row),
    accepts(without(40), rejected=20),
)
odd(
    "065f_json_empty_objects",
    json_log(lambda row, n: "{}" if n % 40 == 0 else row),
    accepts(without(40), rejected=20),
)
odd("065g_json_all_empty_objects", json_log(lambda row, n: "{}"), refuses("log.jsonl"))
odd(
    "065h_json_wrapper",
    raw_log(
        lambda: b'{"data": [' + json_lines().replace(b"\n", b",\n")[:-2] + b"]}", name="log.json"
    ),
    refuses("log.json"),
    accepts(),
)


# ------------------------------------------------------------------ Parquet
def parquet_log(**columns):
    return raw_log(lambda: parquet_of(table(**columns)), name="log.parquet")


odd("066_parquet_nested_sid", parquet_log(sid=pl.struct("sid")), refuses("'sid'", "nested"))
odd(
    "067_parquet_no_rows",
    raw_log(lambda: parquet_of(table().clear()), name="log.parquet"),
    refuses("log.parquet", "row"),
)
odd(
    "068_parquet_types",
    parquet_log(
        when=pl.col("when").str.to_datetime(),
        price=pl.col("price").cast(pl.Float32),
        kind=pl.col("kind").cast(pl.Categorical),
        what=pl.col("what").cast(pl.Enum(["look", "add", "buy"])),
    ),
    accepts(first="2024-03-01T10:00:00"),
)
odd(
    "068b_parquet_zone",
    parquet_log(when=pl.col("when").str.to_datetime().dt.replace_time_zone("Europe/Berlin")),
    accepts(first="2024-03-01T09:00:00"),
)
odd("068c_parquet_decimal", parquet_log(price=pl.col("price").cast(pl.Decimal(20, 4))), accepts())
odd(
    "068d_parquet_nanoseconds",
    parquet_log(when=pl.col("when").str.to_datetime(time_unit="ns")),
    accepts(first="2024-03-01T10:00:00"),
)
odd(
    "069_parquet_binary",
    parquet_log(sid=pl.col("sid").cast(pl.Binary), kind=pl.col("kind").cast(pl.Binary)),
    accepts(),
)
odd(
    "069b_parquet_binary_no_text",
    parquet_log(sid=pl.lit(b"\xff\xfe")),
    refuses("'session_id'"),
    refuses("'sid'"),
)
odd(
    "069c_parquet_null_column",
    parquet_log(price=pl.lit(None)),
    accepts(revenue=0.0, says=("price",)),
)
odd("069d_parquet_boolean_price", parquet_log(price=pl.lit(True)), refuses("'price'"))
odd(
    "069e_parquet_price_list",
    parquet_log(price=pl.concat_list("price")),
    refuses("'price'", "nested"),
)
odd(
    "069f_parquet_ids_as_floats",
    parquet_log(sid=pl.col("sid").str.slice(1).cast(pl.Float64)),
    accepts(says=("floats",)),
)
odd(
    "069g_parquet_ids_half",
    parquet_log(sid=pl.col("sid").str.slice(1).cast(pl.Float64) / 2),
    accepts(),
    refuses("session_id"),
    why="cutting the half off would make 120 sessions of 240",
)
odd(
    "069h_parquet_ids_nan",
    parquet_log(
        sid=pl.when(pl.col("sid") != "s5")
        .then(pl.col("sid").str.slice(1).cast(pl.Float64))
        .otherwise(float("nan"))
    ),
    Accepts(239, None, None, 3, says=("floats",)),
    Accepts(239, None, None, 4, says=("floats",)),
    refuses("session_id"),
)
odd(
    "069i_parquet_price_nan",
    parquet_log(price=pl.lit(float("nan"))),
    refuses("'price'"),
    accepts(revenue=0.0, says=("price",)),
)
odd("069j_parquet_price_inf", parquet_log(price=pl.lit(float("inf"))), refuses("'price'"))

# ------------------------------------------------------------------ the mapping
odd(
    "070_map_typo_key",
    mapped(MAPPING.replace("columns:", "colums:")),
    refuses("mine.yaml", "colums", "columns"),
)
odd(
    "071_map_typo_name",
    mapped(MAPPING.replace("session_id", "sesion_id")),
    refuses("mine.yaml", "sesion_id", "session_id"),
)
odd(
    "072_map_no_column",
    mapped(MAPPING.replace("category: kind", "category: colour")),
    refuses("'colour'", "log.csv"),
)
odd("074_map_t_is_price", mapped(MAPPING.replace("t: when", "t: price")), refuses("'t'", "5.50"))
odd(
    "074b_map_price_is_t",
    mapped(MAPPING.replace("price: price", "price: when")),
    refuses("'price'", "2024-03-01"),
)
odd(
    "075_map_key_twice",
    mapped(MAPPING + "columns: {session_id: sid}\n"),
    refuses("mine.yaml", "columns", "twice"),
)
odd(
    "082_log_has__row",
    csv_log(header=HEADER + ",_row", lines=with_column("1")),
    refuses("_row", "log.csv"),
)
odd(
    "082b_log_has__file",
    csv_log(header=HEADER + ",_file", lines=with_column("1")),
    refuses("_file", "log.csv"),
)
odd("083_map_empty", mapped(""), refuses("mine.yaml is empty"))
odd(
    "083b_map_comments_only",
    mapped("# columns: {session_id: sid}\n"),
    refuses("mine.yaml is empty"),
)
odd("083c_map_list", mapped("- sid\n- who\n"), refuses("mine.yaml", "columns"))
odd("083d_map_scalar", mapped("sid"), refuses("mine.yaml", "columns"))
odd("083e_map_columns_list", mapped("columns: [sid]\n"), refuses("mine.yaml", "columns"))
odd(
    "083f_map_no_ids",
    mapped("columns: {t: when, event: what}\n"),
    refuses("mine.yaml", "session_id"),
)
odd(
    "083g_map_column_null",
    mapped(MAPPING.replace("price: price", "price: ")),
    refuses("mine.yaml", "price"),
)
odd(
    "083h_map_column_nested",
    mapped(MAPPING.replace("price: price", "price: {a: b}")),
    refuses("mine.yaml", "price"),
)
odd("083i_map_invalid_yaml", mapped("columns: {session_id: sid"), refuses("mine.yaml", "YAML"))
odd("083j_map_binary", mapped(PNG), refuses("mine.yaml"))
odd(
    "083k_map_latin1",
    mapped("# caf\u00e9\n".encode("latin-1") + MAPPING.encode()),
    refuses("mine.yaml", "encoding"),
)
odd("083l_map_two_documents", mapped(MAPPING + "---\n" + MAPPING), refuses("mine.yaml", "YAML"))
odd("083m_map_key_not_text", mapped("? [a, b]\n: c\n"), refuses("mine.yaml"))
odd("083n_map_key_number", mapped(MAPPING + "5: x\n"), refuses("mine.yaml", "5"))
odd("083o_map_events_number", mapped(MAPPING.replace("view: [look]", "view: [1, look]")), accepts())
odd(
    "083p_map_events_nested",
    mapped(MAPPING.replace("view: [look]", "view: [{a: b}]")),
    refuses("mine.yaml", "events"),
)
odd("083q_map_tabs", mapped("columns:\n\tsession_id: sid\n"), refuses("mine.yaml", "YAML"))
odd("083r_map_merge_key", mapped("columns: {<<: [1, 2]}\n"), refuses("mine.yaml"))
odd(
    "083s_map_timestamp",
    mapped(MAPPING.replace("category: kind", "category: 2024-01-01")),
    refuses("mine.yaml", "category"),
)
odd(
    "084_map_python_tag",
    mapped("columns: !!python/object/apply:os.system ['true']\n"),
    refuses("mine.yaml", "YAML"),
)


def bomb(levels=9):
    "Lines of which each repeats the one before nine times."
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


odd("084b_map_false_bool", mapped("columns: {session_id: !!bool x}\n"), refuses("mine.yaml"))
odd("084c_map_false_number", mapped("columns: {session_id: !!int x}\n"), refuses("mine.yaml"))
odd("084d_map_false_date", mapped("columns: {session_id: 2024-99-99}\n"), refuses("mine.yaml"))
odd("085_map_alias_bomb", mapped(bomb() + MAPPING), refuses("mine.yaml"))
odd(
    "085b_map_bomb_in_columns",
    mapped(
        "columns: {session_id: &a [x, x, x, x, x, x, x, x, x], visitor_id: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a], "
        "t: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b], event: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c], price: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d], "
        "category: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e], item_id: [*f, *f, *f, *f, *f, *f, *f, *f, *f]}\n"
    ),
    refuses("mine.yaml"),
)
odd("085c_map_of_itself", mapped("columns: &a {session_id: *a}\n"), refuses("mine.yaml"))
odd(
    "086_map_deep",
    mapped("columns: " + "{a: " * 3000 + "b" + "}" * 3000 + "\n"),
    refuses("mine.yaml", "deep"),
)
odd(
    "086b_map_deep_list",
    mapped("columns: " + "[" * 5000 + "]" * 5000 + "\n"),
    refuses("mine.yaml", "deep"),
)
odd(
    "086c_map_long_word",
    mapped("columns: {session_id: [" + "x" * 1_000_000 + "]}\n"),
    refuses("mine.yaml", "session_id"),
)
odd(
    "086d_map_megabytes",
    mapped("# " + "x" * 30_000_000 + "\n" + MAPPING),
    refuses("mine.yaml"),
    why="a mapping is a page of text",
)


def context(name, where="session_context"):
    "A context column of this name, the same in a whole session."
    lines = [f"{line},{'ab'[int(values_of(line)['sid'][1:]) % 2]}" for line in GOOD]
    return csv_log(
        header=HEADER + ",extra", lines=lines, mapping=MAPPING + f"{where}: {{{name}: extra}}\n"
    )


odd("076_context_price", context("price"), refuses("'price'", "mine.yaml"))
odd("077_context_landmark", context("landmark"), refuses("'landmark'", "mine.yaml"))
odd("078_context_step", context("step"), refuses("'step'", "mine.yaml"))
odd("079_context_visitor", context("visitor"), refuses("'visitor'", "mine.yaml"))
odd("080_context_hit", context("hit"), refuses("'hit'", "mine.yaml"), accepts())
for word in (
    "carts",
    "date",
    "events",
    "hour",
    "last_event",
    "probability",
    "returning",
    "seconds",
    "segment",
    "session",
    "sessions_before",
    "status",
    "views",
    "weekday",
):
    odd(f"081_context_{word}", context(word), refuses(f"'{word}'", "mine.yaml"), accepts())
for word in (
    "n_view",
    "price_last",
    "elapsed",
    "quantity",
    "converted",
    "part",
    "_x",
    "order",
    "class",
):
    odd(f"081b_context_{word}", context(word), refuses(f"'{word}'", "mine.yaml"))
for word in ("last_event", "price_last", "n_cart"):
    odd(
        f"081c_event_context_{word}",
        context(word, "event_context"),
        refuses(f"'{word}'", "mine.yaml"),
    )
odd(
    "081d_context_in_both",
    mapped(MAPPING + "session_context: {a: kind}\nevent_context: {a: kind}\n"),
    refuses("mine.yaml", "'a'"),
)
odd(
    "081e_context_unknown_column",
    mapped(MAPPING + "session_context: {a: nowhere}\n"),
    refuses("'nowhere'"),
)
odd("081f_context_long_name", context("x" * 5_000), refuses("mine.yaml"), accepts())
odd(
    "081g_context_nul", mapped(MAPPING + 'session_context: {"a\\0b": kind}\n'), refuses("mine.yaml")
)


# ------------------------------------------------------------------ paths and folders
def parts(folder, files, options=(), path="logs", mapping=MAPPING):
    "A folder of files."
    for name, data in files.items():
        (folder / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "logs" / name).write_bytes(data)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(mapping)
    return ["--source", "mine.yaml", "--path", path, *options]


def in_parts(files, **how):
    return partial(parts, files=files, **how)


HALVES = {"a.csv": text_of(GOOD[:400]), "b.csv": text_of(GOOD[400:])}
odd(
    "103_folder_two_formats",
    in_parts({"a.csv": text_of(), "b.jsonl": b"{}\n"}),
    refuses("b.jsonl", "other columns than a.csv"),
)
odd("103b_folder_good", in_parts(HALVES), accepts())
odd(
    "103c_folder_other_columns",
    in_parts(
        {"a.csv": text_of(GOOD[:400]), "b.csv": text_of(GOOD[400:], HEADER.replace("kind", "sort"))}
    ),
    accepts(says=("b.csv lacks the column kind", "a.csv lacks the column sort")),
)
odd(
    "103i_folder_of_two_logs",
    in_parts({"a.csv": text_of(GOOD[:400]), "b.csv": b"sku,brand\np1,x\n"}),
    refuses("b.csv", "other columns than a.csv"),
)
odd("103d_folder_empty_part", in_parts(HALVES | {"c.csv": b""}), accepts(says=("c.csv",)))
odd("103e_folder_header_only_part", in_parts(HALVES | {"c.csv": text_of([])}), accepts())
odd("103f_folder_hidden_files", in_parts(HALVES | {".c.csv": b"junk", "_SUCCESS": b""}), accepts())
odd("103g_folder_all_empty", in_parts({"a.csv": b"", "b.csv": b""}), refuses("empty"))
odd("103h_folder_png_part", in_parts(HALVES | {"c.csv": PNG}), refuses("c.csv", "PNG"))
odd("104_pattern_none", csv_log(path="nothing*.csv"), refuses("nothing*.csv"))
odd("104b_pattern", in_parts(HALVES, path="logs/*.csv"), accepts())
odd("104c_no_such_file", csv_log(path="lgo.csv"), refuses("lgo.csv"))
odd("104d_no_such_folder", csv_log(path="nowhere/log.csv"), refuses("nowhere"))
odd("104e_nul_in_path", csv_log(path="a\0b"), refuses("a"))
odd("104f_path_too_long", csv_log(path="x" * 5_000), refuses("xxx"))
odd("105_empty_dir", in_parts({}), refuses("logs"))
odd("105b_brackets", csv_log(name="log[1].csv"), accepts())
odd(
    "105c_brackets_beside",
    in_parts({"log[1].csv": text_of(), "log1.csv": text_of(GOOD[:100])}, path="logs/log[1].csv"),
    accepts(),
    why="a path that is there is that file, not a pattern",
)
odd("105d_run_in_brackets", csv_log(options=("--out", "run[1]")), accepts())
odd("105e_star_in_name", csv_log(name="log*.csv"), accepts())
odd("129_name_with_html", csv_log(name="<img src=x onerror=alert(1)>.csv"), accepts())
odd("130_name_quotes spaces'\"", csv_log(name="my 'log' \"new\".csv"), accepts())
odd("130b_name_newline", csv_log(name="log\nlog.csv"), accepts())
odd("130c_name_dollar", csv_log(name="$HOME ${x} %s {0}.csv"), accepts())
odd("131_mapping_named_dotdot", csv_log(source="...yaml", options=OUT), accepts())
odd("131b_mapping_dotdot_path", csv_log(source="sub/../mine.yaml"), accepts())
odd("131c_mapping_name_html", csv_log(source="<b>mine<b>.yaml", options=OUT), accepts())


def special(folder, kind):
    "A path that is no plain file."
    (folder / "mine.yaml").write_text(MAPPING)
    path = folder / "log.csv"
    if kind == "link":
        path.symlink_to(folder / "gone.csv")
    if kind == "loop":
        path.symlink_to(path)
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    return [
        "--source",
        "mine.yaml",
        "--path",
        str(path) if path.is_symlink() or path.exists() else kind,
    ]


odd("106_dangling_link", partial(special, kind="link"), refuses("log.csv", "link"))
odd("106b_link_to_itself", partial(special, kind="loop"), refuses("log.csv", "link"))
odd("106c_folder_named_log", partial(special, kind="folder"), refuses("log.csv"))
odd("107_fifo", partial(special, kind="fifo"), refuses("log.csv"))
odd("108_dev_zero", partial(special, kind="/dev/zero"), refuses("/dev/zero"))
odd("109_dev_null", partial(special, kind="/dev/null"), refuses("null"))
odd("109b_dev_urandom", partial(special, kind="/dev/urandom"), refuses("/dev/urandom"))


def old_run(folder, text):
    "A good log, and an output folder with this run.json."
    (folder / "out").mkdir()
    (folder / "out" / "run.json").write_text(text)
    return write_csv(folder, options=OUT)


for name, text in {
    "list": "[1, 2]",
    "text": '"run"',
    "null": "null",
    "number": "5",
    "empty_object": "{}",
    "no_source": '{"stages": {}}',
    "stages_list": '{"source": "mine", "stages": [1]}',
    "stages_text": '{"source": "mine", "stages": "x"}',
    "stage_list": '{"source": "mine", "stages": {"02_sources": []}}',
    "files_number": '{"source": "mine", "stages": {"02_sources": {"status": "done", "files": 5}}}',
    "source_list": '{"source": ["mine"], "stages": {}}',
    "data_text": '{"source": "mine", "stages": {}, "data": "x"}',
    "broken": "{",
    "empty": "",
    "deep": "[" * 100_000,
    "nan": '{"source": NaN}',
}.items():
    odd(
        f"170_run_json_{name}",
        partial(old_run, text=text),
        refuses("run.json"),
        accepts(),
        why="read as a new run, or refused by name",
    )

# ------------------------------------------------------------------ options
for place, (words, right) in enumerate(
    {
        ("--max-rejected", "nan"): refuses("max_rejected", "nan"),
        ("--max-rejected", "-1"): refuses("max_rejected", "-1"),
        ("--max-rejected", "2"): refuses("max_rejected", "2"),
        ("--test-share", "0"): refuses("test_share", "0"),
        ("--test-share", "-0.5"): refuses("test_share", "-0.5"),
        ("--test-share", "nan"): refuses("test_share", "nan"),
        ("--test-share", "0.9999"): refuses("test_share", "0.9999"),
        ("--seed", "-1"): refuses("seed", "-1"),
        ("--seed", "99999999999999999999"): refuses("seed", "99999999999999999999"),
        ("--landmarks", "1,1"): refuses("landmarks", "twice"),
        ("--landmarks", "1000000"): refuses("landmarks", "1000000"),
        ("--landmarks", "[]"): refuses("landmarks"),
        ("--memory", "nan"): refuses("memory", "nan"),
        ("--memory", "inf"): refuses("memory", "inf"),
        ("--memory", "-1"): refuses("memory", "-1"),
        ("--memory", "1e-9"): refuses("memory", "1e-09"),
    }.items()
):
    odd(f"128{chr(97 + place)}_opt{'_'.join(words)}", options(*words), right)
for words, right in {
    ("--max-rejected", "inf"): refuses("max_rejected", "inf"),
    ("--max-rejected", "0"): accepts(),
    ("--max-rejected", "1"): accepts(),
    ("--max-rejected", "half"): refuses("max_rejected", "half"),
    ("--test-share", "1"): refuses("test_share", "1"),
    ("--test-share", "inf"): refuses("test_share", "inf"),
    ("--test-share", "1.5"): refuses("test_share", "1.5"),
    ("--test-share", "1e-300"): refuses("test_share"),
    ("--seed", "1.5"): refuses("seed", "1.5"),
    ("--seed", "true"): refuses("seed"),
    ("--seed", "4294967295"): accepts(),
    ("--seed", "4294967296"): refuses("seed", "4294967296"),
    ("--landmarks", "0"): refuses("landmarks", "0"),
    ("--landmarks", "-1"): refuses("landmarks", "-1"),
    ("--landmarks", "1.5"): refuses("landmarks", "1.5"),
    ("--landmarks", "nan"): refuses("landmarks", "nan"),
    ("--landmarks", ""): refuses("landmarks"),
    ("--landmarks", "500"): refuses("landmarks", "500", "4"),
    ("--landmarks", "1,500"): accepts(says=("500",)),
    ("--landmarks", "99999999999999999999999"): refuses("landmarks"),
    ("--landmarks", "[[1]]"): refuses("landmarks"),
    ("--landmarks", "1,"): accepts(),
    ("--landmarks", "[" * 5000): refuses("landmarks"),
    ("--memory", "1e300"): refuses("memory"),
    ("--memory", "1"): accepts(),
    ("--memory", "0"): accepts(),
    ("--memory", "lots"): refuses("memory", "lots"),
    ("--sessions", "0"): refuses("sessions", "0"),
    ("--sessions", "-5"): refuses("sessions", "-5"),
    ("--sessions", "99999999999999999999"): refuses("sessions"),
    ("-p", "most_rows=-1"): refuses("most_rows", "-1"),
    ("-p", "most_rows=0"): accepts(),
    ("-p", "folds=1"): refuses("folds", "1"),
    ("-p", "folds=-3"): refuses("folds", "-3"),
    ("-p", "folds=1000000"): refuses("folds"),
    ("-p", "resamples=-1"): refuses("resamples", "-1"),
    ("-p", "at_least=nan"): refuses("at_least", "nan"),
    ("-p", "at_least=7"): refuses("at_least", "7"),
    ("-p", "top_share=-1"): refuses("top_share", "-1"),
    ("-p", "gain=inf"): refuses("gain", "inf"),
    ("-p", "cost=nan"): refuses("cost", "nan"),
    ("-p", "clusters=-2"): refuses("clusters", "-2"),
    ("-p", "view=-1"): refuses("view", "-1"),
    ("-p", "families=[]"): refuses("families"),
    ("-p", "imbalances=[]"): refuses("imbalances"),
    ("-p", "revenue_models="): refuses("revenue_models"),
    ("-p", "search_seconds=-1"): refuses("search_seconds", "-1"),
    ("-p", "least=-1"): refuses("least", "-1"),
    ("-p", "shuffles=-1"): refuses("shuffles", "-1"),
    ("-p", "explained=0"): refuses("explained", "0"),
    ("-p", "nonsense=1"): refuses("nonsense"),
    ("-p", "=1"): refuses("parameter"),
    ("-p", "seed"): refuses("-p", "seed"),
    ("--until", "99"): refuses("99"),
    ("--config", "nowhere.yaml"): refuses("nowhere.yaml"),
    ("--jobs", "0"): refuses("jobs"),
    ("--jobs", "-2"): refuses("jobs"),
    ("--out", "log.csv"): refuses("log.csv"),
    ("--out", "/dev/null/x"): refuses("/dev/null"),
    ("--out", "a\0b"): refuses("out"),
    ("--source", "dmeo"): refuses("dmeo", "demo"),
}.items():
    odd(f"180_opt_{'_'.join(words)[:40]}", options(*words), right)


def config(folder, text):
    "A good log, and parameters in a file."
    (folder / "run.yaml").write_bytes(text.encode())
    return write_csv(folder, options=("--config", "run.yaml"))


for name, text in {
    "deep": "[" * 5000,
    "bomb": "a: &a [x,x]\nb: [" + "*a," * 100 + "]\n",
    "list": "- 1\n",
    "scalar": "5",
    "tag": "seed: !!python/name:os.system\n",
    "nested": "seed: {a: 1}\n",
    "null": "seed: null\n",
    "twice": "seed: 1\nseed: 2\n",
    "landmarks_null": "landmarks: [1, null]\n",
    "nan": "test_share: .nan\n",
    "number_key": "5: 1\n",
    "landmarks_nested": "landmarks: [[1], [2]]\n",
    "date": "seed: 2024-01-01\n",
}.items():
    odd(
        f"181_config_{name}",
        partial(config, text=text),
        refuses(
            {
                "nested": "seed",
                "null": "seed",
                "nan": "test_share",
                "landmarks_null": "landmarks",
                "landmarks_nested": "landmarks",
                "date": "seed",
                "number_key": "5",
            }.get(name, "run.yaml")
        ),
    )
odd(
    "182_demo_small",
    lambda folder: ["--source", "demo", "--sessions", "300"],
    Accepts(300, None, None),
)
odd(
    "183_demo_one_session",
    lambda folder: ["--source", "demo", "--sessions", "1"],
    refuses("1 session"),
)
odd(
    "184_source_folder",
    lambda folder: [
        "--source",
        str(folder / "x.yaml") if (folder / "x.yaml").mkdir() is None else "",
        "--path",
        "log.csv",
    ],
    refuses("x.yaml"),
)
odd(
    "185_ready_made_other_log",
    lambda folder: ["--source", "uci-shoppers", *write_csv(folder)[2:]],
    refuses("log.csv", "Administrative"),
)
odd(
    "186_rees46_other_log",
    lambda folder: ["--source", "rees46", *write_csv(folder)[2:]],
    refuses("log.csv", "user_session"),
)
odd(
    "187_ga4_other_log",
    lambda folder: ["--source", "ga4", *write_csv(folder)[2:]],
    refuses("user_pseudo_id"),
)
odd(
    "188_yoochoose_other_log",
    lambda folder: ["--source", "yoochoose", *write_csv(folder)[2:]],
    refuses("yoochoose", "clicks"),
)
odd(
    "189_eshop_other_log",
    lambda folder: ["--source", "uci-eshop", *write_csv(folder)[2:]],
    refuses("log.csv", "session ID"),
)
odd(
    "190_retailrocket_other_log",
    lambda folder: ["--source", "retailrocket", *write_csv(folder)[2:]],
    refuses("log.csv", "visitorid"),
)
