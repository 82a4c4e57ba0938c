"What the tests of reading share: a log read whole, in pieces and by the contract of a run, and its figures."

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from everywhere import set_everywhere

from clickstream_conv.log import csv_files as readers
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, with_pairs
from clickstream_conv.log.partitions import check_partitions, spill, summed_up
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.tables import read_pieces
from clickstream_conv.scoring import scorer as scoring
from clickstream_conv.scoring import sorted_log
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.sources.own import contract_for, source_of
from clickstream_conv.sources.source import Source

CASES = Path(__file__).resolve().parents[1] / "cases"
REPORTS = CASES / "reports"


def few_bytes(path):
    "How large a piece is: a few rows of a small log, a fortieth of a larger one."
    return max(200, Path(path).stat().st_size // 40) if Path(path).is_file() else 200


def in_partitions(path, mapping, folder, size=None, max_rejected=0.05):
    "A log read in pieces of a few rows."
    size = size or few_bytes(path)
    rules, rows, first = spill(
        read_pieces(path, **mapping.reading(), size=size),
        mapping,
        folder / "spill",
        3,
        Path(path).name,
    )
    parts = list(
        check_partitions(folder / "spill", rules, mapping.context(), Path(path).name, first)
    )
    total = summed_up(parts, rows, rules, max_rejected, Path(path).name)
    events = pl.concat([part.events for part in parts if len(part.events)]).sort(
        "session_id", "step"
    )
    return events, total


def by_contract(path, mapping, rules, folder, size=None):
    "The events of a log that is scored by the contract of a run that read a log by these rules."
    size = size or few_bytes(path)
    contract = contract_for(Source("mine", "mine", mapping), rules)
    card = LogCard("mine", "mine")
    source = source_of(contract, card)
    source = replace(source, mapping=with_pairs(source.mapping, [Path(path).parent]))
    with pytest.MonkeyPatch.context() as small:
        set_everywhere(small, readers, "PIECE", size)
        set_everywhere(
            small, sorted_log, "MEMORY", 5e-8 * size
        )  # some partitions, not one for each few rows
        found = scoring.sort_log(source, str(path), False, folder / "scored", Path(path).name)
        parts = list(found.parts)
    return pl.concat([part.events for part in parts if len(part.events)]).sort("session_id", "step")


def everywhere(path, mapping, folder, max_rejected=0.05):
    "A log read whole; in pieces and for scoring it gives the same events, and in pieces the same notes."
    mapping = mapping_from_text(mapping) if isinstance(mapping, str) else load_mapping(mapping)
    whole = read_log(path, mapping, max_rejected)
    events, total = in_partitions(path, mapping, folder, max_rejected=max_rejected)
    own = whole.events.drop("_file", strict=False)
    assert events.drop("_file", strict=False).equals(own)
    assert total.notes == whole.notes and total.reasons() == whole.reasons()
    assert total.rules == whole.rules
    if Path(path).is_file():
        assert (
            by_contract(path, mapping, whole.rules, folder).drop("_file", strict=False).equals(own)
        )
    return whole


def proposed(path):
    "A log read by the mapping that is proposed for it."
    return read_log(path, mapping_from_text(propose(path)))


def figures(events):
    "Sessions, buying sessions, rows of purchases, pieces and revenue."
    bought = events.filter(pl.col("event") == "purchase")
    revenue = (bought["price"] * bought["quantity"]).sum()
    return (
        events["session_id"].n_unique(),
        bought["session_id"].n_unique(),
        len(bought),
        bought["quantity"].sum(),
        round(revenue, 2),
    )


def refusal(what, *words):
    "The sentence of a refusal, which holds these words."
    with pytest.raises(ValueError) as error:
        what()
    assert all(word in str(error.value) for word in words), error.value
    return str(error.value)
