"""What follows a state is found by the same text that it was counted by, whatever kinds its columns are of."""

import polars as pl
import pytest

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.log.mapping import Mapping
from clickstream_conv.log.rules import Rules
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.known import SOURCES
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.public import register
from clickstream_conv.sources.source import Source
from clickstream_conv.whatif.next_events import continuations, next_events
from clickstream_conv.whatif.scenario import scenario_of
from clickstream_conv.whatif.sessions import find_sessions, past_of


@pytest.fixture
def with_ads(tmp_path):
    "The scorer of a log whose state holds a truth value: whether a page shows an ad."
    events = simulate(400, 1).with_columns(ad=pl.col("page") == "product")
    names = ("session_id", "visitor_id", "t", "event", "item_id", "category", "price", "ad")
    events.select(names).write_csv(tmp_path / "log.csv")
    mapping = Mapping(
        columns={name: name for name in names[:-1]},
        rules=Rules(resolution="us", kinds={"ad": "boolean"}),
        event_context={"ad": "ad"},
    )
    register(Source("with ads", "a shop with ads", mapping, state=("event", "ad")))
    run = Run(tmp_path / "run")
    try:
        prepare(run, "with ads", str(tmp_path / "log.csv"))
        quick_conversion(run)
        yield Scorer.load(run.folder)
    finally:
        del SOURCES["with ads"]


def test_a_state_with_a_truth_value_is_met_again(with_ads):
    past, asked = past_of(with_ads), []
    past.following = lambda scorer, state, least: asked.append(state) or []
    scenario = scenario_of(with_ads, find_sessions(with_ads, None, (3, 8))["session_id"][0])
    continuations(with_ads, scenario)
    assert isinstance(scenario.steps[-1]["ad"], bool)
    assert len(asked) == 1 and asked[0] in set(next_events(with_ads, past.events)["before"])
