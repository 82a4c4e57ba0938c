"""Sessions that the end of a log cut off: counted where they may still buy, and said with their number."""

import polars as pl
import pytest

from clickstream_conv.base.findings import texts
from clickstream_conv.log.draws import cut_off_sessions, glance
from clickstream_conv.log.rules import Rules
from clickstream_conv.log.values import MINUTE
from clickstream_conv.sources.large import _glance_at_all
from clickstream_conv.sources.source import Outcome
from clickstream_conv.sources.split import session_spans
from clickstream_conv.sources.warnings import warnings


def log(last):
    "Twenty sessions an hour apart, and three that are active as the log ends, whose events are given."
    rows = [(f"s{i}", i * 60 * MINUTE, "view") for i in range(20)]
    rows += [
        (f"end{i}", 20 * 60 * MINUTE + j, event)
        for i, events in enumerate(last)
        for j, event in enumerate(events)
    ]
    frame = pl.DataFrame(rows, schema=["session_id", "t", "event"], orient="row")
    return frame.with_columns(
        visitor_id=pl.col("session_id"), step=pl.int_range(1, pl.len() + 1).over("session_id")
    )


@pytest.mark.parametrize(
    "last, count",
    [
        ([["view"], ["cart"], ["view", "purchase"]], 2),
        ([["view", "purchase"], ["purchase", "view"], ["purchase"]], 0),
        ([["view"], ["view"], ["view"]], 3),
    ],
)
def test_whoever_has_bought_is_not_said_to_buy_perhaps(last, count):
    "In a log that is read whole, and in one that is read in partitions."
    events = log(last)
    seen = glance(events)
    parts = _glance_at_all([seen], session_spans(events), Rules())
    assert seen["cut_off_sessions"] == parts["cut_off_sessions"] == count
    assert len(cut_off_sessions(events)) == 3  # their end was not seen, bought or not


def test_few_are_not_called_many():
    said = texts(warnings(dict(sessions=60, buying_sessions=600, cut_off_sessions=2), Outcome()))
    assert said == [
        "2 of 60 sessions (3.3%) are cut off: they were still active when the log ended, without a purchase so far, and may have bought after it"
    ]
    assert texts(warnings(dict(sessions=24, buying_sessions=600, cut_off_sessions=1), Outcome()))[
        0
    ].startswith("a session is cut off: 1 of 24 was still active")
    assert warnings(dict(sessions=1_000, buying_sessions=600, cut_off_sessions=2), Outcome()) == []
