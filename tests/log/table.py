"""Which logs can be read: every case of cases.yaml with what reading it gives. Printed by: python tests/log/table.py"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import polars as pl
import yaml

from clickstream_conv.base.runs import Run
from clickstream_conv.log.mapping_read import mapping_from
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_source
from clickstream_conv.sources.source import Source

HERE = Path(__file__).resolve().parent
CASES = yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))
COLUMNS = ("case", "mapping", "sessions", "buying", "orders", "pieces", "revenue", "set aside")


def source_of(case):
    "How a case is read: by a known name, or by its own mapping."
    given = case["mapping"]
    if isinstance(given, str):
        return find_source(given)
    return Source("case", "case.yaml", mapping_from(given, "case.yaml"))


def log_of(case):
    "Where the log of a case lies."
    return HERE.parent / "cases" / case["log"]


def figures(events, rejected, orders):
    "What reading gave."
    counts = dict(rejected["reason"].value_counts().iter_rows())
    bought = events.filter(pl.col("event") == "purchase")
    found = dict(
        sessions=events["session_id"].n_unique(),
        events=len(events),
        buying=bought["session_id"].n_unique(),
    )
    return {**found, **asdict(orders), "revenue": round(orders.revenue, 6), "rejected": counts}


def read_case(case):
    "The log of a case, read."
    return read_source(
        source_of(case), str(log_of(case)), max_rejected=case.get("max_rejected", 0.05)
    )


def refusal_of(case, folder):
    "What is said when the log of a case is to be prepared for a run; nothing if nothing is wrong with it."
    try:
        name = case["mapping"]
        if not isinstance(name, str):
            name = str(Path(folder) / "case.yaml")
            Path(name).write_text(yaml.safe_dump(case["mapping"], sort_keys=False))
        prepare(Run(str(Path(folder) / "run")), source=name, path=str(log_of(case)))
    except ValueError as error:
        return str(error)
    return ""


def row_of(case):
    "One row of the table: what reading gives, or the refusal."
    known = case["mapping"] if isinstance(case["mapping"], str) else "its own"
    if "refused" in case:
        with tempfile.TemporaryDirectory() as folder:
            said = refusal_of(case, folder)
        return (case["case"], known, "", "", "", "", "", f"refused: {said}")
    read = read_case(case)
    found = figures(read.events, read.rejected, read.orders)
    aside = "; ".join(f"{reason}: {count}" for reason, count in sorted(found["rejected"].items()))
    if found["again"]:
        aside = "; ".join(filter(None, [aside, f"orders reported again: {found['again']}"]))
    if found["unpriced"]:
        aside = "; ".join(filter(None, [aside, f"orders of unknown worth: {found['unpriced']}"]))
    unknown = ["pieces"] if found["orders"] and found["unlisted"] == found["orders"] else []
    counts = (
        "-" if name in unknown else f"{found[name]:,}"
        for name in ("sessions", "buying", "orders", "pieces")
    )
    revenue = (
        "-"
        if found["orders"] and found["unpriced"] == found["orders"]
        else f"{found['revenue']:,.2f}"
    )
    return (case["case"], known, *counts, revenue, aside)


def rows():
    "The whole table."
    return [row_of(case) for case in CASES]


def as_text(table):
    "The table in columns."
    table = [COLUMNS, *table]
    widths = [max(len(row[place]) for row in table) for place in range(len(COLUMNS) - 1)]
    lines = []
    for row in table:
        words = [
            word.ljust(width) if place < 2 else word.rjust(width)
            for place, (word, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join([*words, row[-1]]).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_text(rows()))
