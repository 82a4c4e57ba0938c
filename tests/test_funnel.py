"""The funnel on a log whose figures others have counted."""

from conftest import ROOT

from clickstream_conv.eda.facts import session_facts
from clickstream_conv.eda.funnel import funnel, funnel_kinds, ordered_steps
from clickstream_conv.sources.own import own_source
from clickstream_conv.sources.reading import read_source


def test_the_way_in_order_and_pair_by_pair(real_log):
    "retentioneering's bundled shop: its ordered funnel of 30-minute sessions has these counts."
    source = own_source(str(ROOT / "tests" / "cases" / "retentioneering.yaml"))
    events = read_source(source, str(real_log("retentioneering-ecom.csv"))).events
    facts = session_facts(events)
    steps = funnel(facts, ordered=ordered_steps(events, funnel_kinds(facts)))
    assert steps["in_order"].tolist() == [2868, 944, 352, 118]
    assert steps["sessions"].tolist() == [2868, 1213, 632, 470]
    assert (steps["pairs"] >= steps["in_order"]).tolist() == [
        True,
        False,
        True,
        True,
    ]  # first this after first that is another count
