"""Every log of cases.yaml comes in with its right figures: whole, in pieces, and by the contract that a run keeps; or it is refused in the right words."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import polars as pl
import pytest
from table import CASES, figures, HERE, log_of, read_case, refusal_of, source_of

from clickstream_conv.log.contract import contract_of, mapping_from_json
from clickstream_conv.log.files import log_files
from clickstream_conv.log.partitions import check_partitions, spill, summed_up
from clickstream_conv.log.tables import read_pieces
from clickstream_conv.log.trackers import shipped_mapping, shipped_mappings
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.reading import read_source, with_names

READ = [case for case in CASES if "right" in case]
REFUSED = [case for case in CASES if "refused" in case]
PUBLIC = (
    "otto",
    "coveo-2021",
    "gstore",
    "tmall",
    "taobao",
    "synerise-2025",
    "diginetica",
)  # logs that anybody can get
NO_FIGURE = ("synerise-2025",)  # of which no published count is known


def names(cases):
    return [case["case"] for case in cases]


def right(case, found):
    "What is said to be right, beside what was found; reasons that are not named must not be there."
    said = {"rejected": {}, **case["right"]}
    return said, {name: found[name] for name in said}


def pieces_of(source, path):
    "A log a few rows at a time; what a reader of its own makes is cut."
    if not source.reader:
        return read_pieces(log_files(path), **source.mapping.reading(), size=5_000)
    raw = source.reader([path] if path.is_dir() else log_files(path))
    return raw.iter_slices(50)


@pytest.mark.parametrize("case", READ, ids=names(READ))
def test_whole(case):
    read = read_case(case)
    said, found = right(case, figures(read.events, read.rejected, read.orders))
    assert found == said, read.notes
    value = read.events.filter(pl.col("event") == "purchase")["value"]
    assert round(value.sum(), 6) == found.get(
        "revenue", round(value.sum(), 6)
    ) and value.null_count() == found.get("unpriced", value.null_count())


@pytest.mark.parametrize("case", READ, ids=names(READ))
def test_in_pieces(case, tmp_path):
    "The same, a few rows at a time and by partitions."
    source = with_names(source_of(case), str(log_of(case)))
    whole = read_case(case)
    rules, rows, first = spill(
        pieces_of(source, log_of(case)),
        source.mapping,
        tmp_path / "parts",
        3,
        prepare=source.prepare,
    )
    parts = list(check_partitions(tmp_path / "parts", rules, source.context, first=first))
    total = summed_up(parts, rows, rules, case.get("max_rejected", 0.05))
    events = pl.concat([part.events for part in parts]).sort("session_id", "step")
    found = figures(events, total.rejected, total.orders)
    assert found == figures(whole.events, whole.rejected, whole.orders) | {
        "example": found["example"]
    }
    own = whole.events.sort("session_id", "step")
    assert events.drop("_file", strict=False).equals(
        own.select(events.drop("_file", strict=False).columns)
    ) or events.select("session_id", "step", "event", "value").equals(
        own.select("session_id", "step", "event", "value")
    )


@pytest.mark.parametrize("case", READ, ids=names(READ))
def test_the_contract_reads_alike(case):
    "What a run keeps of a mapping reads the log as the mapping does."
    source = source_of(case)
    read = read_case(case)
    kept = json.loads(json.dumps(asdict(contract_of(source.mapping, read.rules).mapping)))
    again = read_source(
        replace(source, mapping=mapping_from_json(kept)),
        str(log_of(case)),
        max_rejected=case.get("max_rejected", 0.05),
    )
    assert again.events.equals(read.events) and again.orders == read.orders


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED))
def test_refused(case, tmp_path):
    "What cannot be read, or holds nothing to predict, is refused in a sentence."
    said = refusal_of(case, tmp_path)
    assert said and all(word in said for word in case["refused"]), said


def test_the_mappings_are_short():
    "A tracker's mapping is a page of YAML."
    for name in ("ga4", "segment", "adobe"):
        assert len(shipped_mapping(name).read_text(encoding="utf-8").splitlines()) <= 40, name


@pytest.mark.parametrize("name", [*PUBLIC, "yoochoose", "retailrocket", "rees46"])
def test_a_public_log_says_what_it_is(name):
    "How to get it, on which terms, what goes wrong with it, and a figure to compare with."
    source = find_source(name)
    assert all((source.where, source.licence, source.citation, source.traps)), name
    assert bool(source.compare) == (name not in NO_FIGURE), name


@pytest.mark.parametrize("name", shipped_mappings())
def test_a_shipped_mapping_has_a_case(name):
    assert any(case["mapping"] == name for case in CASES) or name == "meta-capi"


def test_the_table_is_printed_by_one_command():
    done = subprocess.run(
        [sys.executable, str(HERE / "table.py")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(CASES) + 1
    assert sum("refused: " in line for line in lines) == len(REFUSED)
