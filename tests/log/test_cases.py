"""Every log of cases.yaml comes in with its right figures: whole, in pieces, and by the contract that a run keeps."""
import json
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
import yaml

from clickstream_conv.contract import contract_of, mapping_from_json
from clickstream_conv.log.orders import Orders
from clickstream_conv.partitions import check_partitions, spill, summed_up
from clickstream_conv.readers import load_mapping, log_files, mapping_from, read_log, read_pieces
from clickstream_conv.log.trackers import shipped_mapping

HERE = Path(__file__).resolve().parent
EVERY = yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))
CASES = [case for case in EVERY if "right" in case]
REFUSED = [case for case in EVERY if "refused" in case]


def mapping_of(case):
    "The mapping of a case: shipped, or its own."
    given = case["mapping"]
    return load_mapping(shipped_mapping(given)) if isinstance(given, str) else mapping_from(given, "case.yaml")


def log_of(case):
    return HERE.parent / "cases" / case["log"]


def figures(events, rejected, orders):
    "What reading gave."
    counts = dict(rejected["reason"].value_counts().iter_rows())
    return dict(sessions=events["session_id"].n_unique(), events=len(events), buying=events.filter(pl.col("event") == "purchase")["session_id"].n_unique(),
                **{**asdict(orders), "revenue": round(orders.revenue, 6)}, rejected=counts)


def right(case, found):
    "What is said to be right, beside what was found; reasons that are not named must not be there."
    said = {"rejected": {}, **case["right"]}
    return said, {name: found[name] for name in said}


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_whole(case):
    read = read_log(log_of(case), mapping_of(case))
    said, found = right(case, figures(read.events, read.rejected, read.orders))
    assert found == said, read.notes
    value = read.events.filter(pl.col("event") == "purchase")["value"]
    assert round(value.sum(), 6) == found.get("revenue", round(value.sum(), 6)) and value.null_count() == found.get("unpriced", value.null_count())


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_in_pieces(case, tmp_path):
    "The same, a few rows at a time and by partitions."
    mapping = mapping_of(case)
    whole = read_log(log_of(case), mapping)
    pieces = read_pieces(log_files(log_of(case)), **mapping.reading(), size=5_000)
    rules, rows, first = spill(pieces, mapping, tmp_path / "parts", 3)
    parts = list(check_partitions(tmp_path / "parts", rules, mapping.context(), first=first))
    total = summed_up(parts, rows, rules, 0.05)
    events = pl.concat([part.events for part in parts]).sort("session_id", "step")
    found = figures(events, total.rejected, total.orders)
    assert found == figures(whole.events, whole.rejected, whole.orders) | {"example": found["example"]}
    own = whole.events.sort("session_id", "step")
    assert events.drop("_file", strict=False).equals(own.select(events.drop("_file", strict=False).columns)) or events.select("session_id", "step", "event", "value").equals(own.select("session_id", "step", "event", "value"))


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_contract_reads_alike(case):
    "What a run keeps of a mapping reads the log as the mapping does."
    mapping = mapping_of(case)
    read = read_log(log_of(case), mapping)
    kept = json.loads(json.dumps(asdict(contract_of(mapping, read.rules).mapping)))
    again = read_log(log_of(case), mapping_from_json(kept))
    assert again.events.equals(read.events) and again.orders == read.orders


@pytest.mark.parametrize("case", REFUSED, ids=[case["case"] for case in REFUSED])
def test_refused(case):
    with pytest.raises(ValueError) as error: read_log(log_of(case), mapping_of(case))
    assert all(word in str(error.value) for word in case["refused"]), error.value


def test_the_mappings_are_short():
    "A tracker's mapping is a page of YAML."
    for name in ("ga4", "segment", "adobe"):
        assert len(shipped_mapping(name).read_text(encoding="utf-8").splitlines()) <= 40, name
