"""A visit that goes on gets the answers that a batch gets, the quick way and by way of frames, whatever comes late, twice or in another form."""

import random
from datetime import datetime, UTC

import numpy as np
import polars as pl
import pytest

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.sessions import build_sessions
from clickstream_conv.features.table import session_features
from clickstream_conv.features.visit import VisitColumns, VisitState
from clickstream_conv.log.rules import Rules
from clickstream_conv.models.families import FAMILIES, family_of
from clickstream_conv.scoring import quick
from clickstream_conv.scoring.live import Live
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_events
from clickstream_conv.sources.prepare import prepare

FIGURES = ("probability", "highest", "revenue", "revenue_low", "revenue_high")


def whole_run(made):
    "The scorer of a finished run, and events that it has not learned from."
    run = Run(str(made[0] / "run"))
    return Scorer.load(run.folder), load_events(run, "test").drop("visitor", "part", strict=False)


@pytest.fixture(scope="module", params=["demo", "rees46", "eshop"])
def of_source(request):
    return whole_run(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def shop(demo):
    return whole_run(demo)


def same(answers, scores):
    "Whether answers, one after the other, are the rows of a table."
    live = pl.DataFrame(answers, schema=scores.schema, orient="row")
    assert live.drop(FIGURES).equals(scores.drop(FIGURES))
    for name in FIGURES:
        assert live[name].is_null().equals(scores[name].is_null()), name
        np.testing.assert_allclose(
            live[name].drop_nulls(), scores[name].drop_nulls(), rtol=1e-9, atol=1e-9, err_msg=name
        )


def follow_all(scorer, events):
    "Every session of a log, event by event: its answers are those of a batch."
    scores = scorer.score(events, "every").scores
    for (name,), part in events.group_by("session_id", maintain_order=True):
        visit = scorer.session(name)
        for event in part.to_dicts():
            visit.add(event)
        same(visit.answers, scores.filter(pl.col("session_id") == name))


def by_frames(scorer, name):
    "A visit that is answered by way of frames."
    visit = scorer.session(name)
    visit._quick = None
    return visit


def test_every_source_is_asked_the_quick_way(of_source):
    scorer, _ = of_source
    made, why = scorer.quick()
    assert made is not None, why
    assert scorer.session("s").sentences == []


def test_each_event_of_random_visits_is_answered_as_in_a_batch(of_source):
    "Probability, flags, revenue, segment, status and notes, on every kind of log."
    scorer, log = of_source
    names = log["session_id"].unique(maintain_order=True).sample(60, seed=1, shuffle=True)
    events = log.filter(pl.col("session_id").is_in(names.implode()), pl.col("step") <= 25)
    follow_all(scorer, events)


def disturbed(events, seed):
    "Events of a visit, some of them late, some in another form, some with gaps."
    draw = random.Random(seed)
    events = [dict(event) for event in events]
    for event in events:
        form = draw.randrange(8)
        if form == 0:
            event["t"] = datetime.fromtimestamp(event["t"] // 1_000_000, UTC)
        elif form == 1:
            event["item_id"] = None
        elif form == 2:
            event["price"] = np.float64("nan")
        elif form == 3:
            event["category"] = f" {event['category'] or 'lamps'} "
        elif form == 4:
            event["quantity"] = 3
        elif form == 5:
            event["item_id"] = "(not set)" if draw.random() < 0.5 else "12.0"
    place = draw.randrange(len(events))
    return [*events[:place], *reversed(events[place:])] if draw.random() < 0.5 else events


def test_late_strange_and_repeated_events_are_answered_as_by_frames(shop):
    scorer, log = shop
    lengths = log.group_by("session_id", maintain_order=True).len().filter(pl.col("len") > 5)
    refused = 0
    for seed, name in enumerate(lengths["session_id"].head(40)):
        part = log.filter(pl.col("session_id") == name).head(12).drop("session_id").to_dicts()
        ways = scorer.session(name), by_frames(scorer, name)
        given = disturbed(part, seed)
        for event in [*given, given[0], given[-1]]:  # the last two were seen before
            said = []
            for visit in ways:
                try:
                    said.append(visit.add(event))
                except ValueError as error:
                    said.append(str(error))
            if isinstance(said[1], str):
                refused += 1
                assert said[0] == said[1]
            else:
                same([said[0]], pl.DataFrame([said[1]], schema=quick.EMPTY.schema, orient="row"))
    assert refused >= 40, "no repeat was refused, so nothing was tried"


def test_a_visit_without_end_asks_for_no_frame(shop, monkeypatch):
    "Ten thousand events: no event is read twice, so that the last costs what the first did."
    scorer, log = shop
    first = log.filter(pl.col("event") == "view").row(0, named=True)
    visit = scorer.session("long")
    frames = []
    monkeypatch.setattr(Live, "_frame_with", lambda self, event: frames.append(event))
    for number in range(10_000):
        answer = visit.add(
            first
            | dict(
                session_id="long",
                t=first["t"] + number * 7_000_000,
                item_id=f"p{number % 40}",
                page=f"page {number % 3}",
            )
        )
    assert answer["landmark"] == 10_000 and frames == []


@pytest.mark.parametrize("family", FAMILIES["conversion"])
def test_every_family_has_a_plain_form(tmp_path, family):
    "The same answers with each family of models."
    run = Run(str(tmp_path / "run"))
    prepare(run, sessions=1_200)
    build_sessions(run, kinds=2 if family_of(family).only else 0)
    quick_conversion(run, family, folds=2)
    scorer = Scorer.load(run.folder)
    made, why = scorer.quick()
    assert made is not None, why
    events = load_events(run, "test").head(400)
    follow_all(scorer, events)


def test_a_difference_is_found_before_the_quick_way_is_trusted(shop, monkeypatch):
    "A quick way that gives another figure is not taken, and a sentence says so."
    scorer, log = shop
    add = VisitColumns.add

    def wrong(self, state, event):
        row = add(self, state, event)
        return row | dict(cart_value=(row["cart_value"] or 0.0) + 50.0)

    monkeypatch.setattr(VisitColumns, "add", wrong)
    monkeypatch.setattr(scorer, "_quick", None)
    made, why = scorer.quick()
    assert made is None and "by way of a frame" in why
    visit = scorer.session("s")
    assert visit.sentences == [why]
    part = log.filter(pl.col("session_id") == log["session_id"][0]).drop("session_id")
    answers = [visit.add(event) for event in part.to_dicts()]
    monkeypatch.undo()
    monkeypatch.setattr(scorer, "_quick", None)
    other = scorer.session("s")
    same(
        [other.add(event) for event in part.to_dicts()],
        pl.DataFrame(answers, schema=quick.EMPTY.schema, orient="row"),
    )


def test_programs_are_noted_where_the_run_learned_without_them(shop):
    "A visit that clicks as no person does, one event after the other and by way of frames."
    scorer, log = shop
    rules = Rules(**{**vars(scorer.rules), "bots": "drop"})
    first = log.filter(pl.col("event") == "view").row(0, named=True) | dict(session_id="fast")
    events = [first | dict(t=first["t"] + 300_000 * n, item_id=f"p{n}") for n in range(30)]
    before, scorer.rules, scorer._of_visits = scorer.rules, rules, None
    try:
        ways = scorer.session("fast"), by_frames(scorer, "fast")
        notes = [[visit.add(event)["notes"] for event in events] for visit in ways]
    finally:
        scorer.rules, scorer._of_visits = before, None
    assert (
        notes[0] == notes[1]
        and "faster than an event" in notes[0][-1]
        and "faster" not in notes[0][3]
    )


def test_a_price_and_a_pause_at_a_split_fall_on_the_same_side(shop):
    "Columns are equal to the last bit, so that no split of a tree is passed on the other side."
    scorer, log = shop
    events = log.head(3_000)
    rows = scorer.rows(events, "every")
    made, _ = scorer.quick()
    found = []
    for _, part in events.group_by("session_id", maintain_order=True):
        visit = quick.VisitSoFar()
        for event in part.iter_rows(named=True):
            found.append(made.columns.add(visit.columns, event))
    keyed = {(row["session_id"], row["landmark"]): row for row in found}
    for name in rows.select_dtypes("number"):
        expected = rows[name].to_numpy(float)
        ours = np.array(
            [keyed[key][name] for key in zip(rows["session_id"], rows["landmark"])], float
        )
        np.testing.assert_array_equal(ours, expected, err_msg=name)


def test_kinds_of_visitors_are_followed_event_by_event():
    "Sums, words and odds of kinds are those of the table, to the last digits of a logarithm."
    events = simulate(2_500, 6)
    context = ("channel", "device", "returning")
    encoder = EventEncoder(state=("event", "page"), kinds=3, context=context).fit(events)
    assert encoder.kinds_.kinds_ == 3
    given = encoder.transform(events.with_columns(_asked=True))
    rows = session_features(given, "_asked", context, ("page",), "us")
    assert "kinds_log_odds" in rows.columns
    columns, found = VisitColumns(encoder, context, ("page",), "us"), []
    for _, part in events.sort("session_id", "step").group_by("session_id", maintain_order=True):
        state = VisitState()
        found += [columns.add(state, event) for event in part.iter_rows(named=True)]
    live = pl.DataFrame(found, schema=rows.schema, orient="row")
    numbers = [name for name, kind in rows.schema.items() if kind.is_float()]
    assert live.drop(numbers).equals(rows.drop(numbers))
    for name in numbers:
        np.testing.assert_allclose(live[name], rows[name], rtol=1e-9, atol=1e-9, err_msg=name)
