"""The rows of a log may come in any order, and large logs are put in order without comparing texts."""

import numpy as np
import polars as pl
import pytest
from everywhere import set_everywhere
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features import order as ordering
from clickstream_conv.features import table
from clickstream_conv.features.order import lie_together, session_order, sorted_events
from clickstream_conv.features.table import session_features

CONTEXT = dict(session_context=("device", "channel"), event_context=("page",))
MARKS = dict(some=(1, 2, 5), none=(), last=None, asked="asked")
LETTERS = "abcdefghijkl"
NAMES = st.one_of(st.text(max_size=20), st.sampled_from(["a", "b", "a" * 13, "a" * 12 + "b"]))


@pytest.fixture(scope="module")
def log():
    events = simulate(400, seed=8).sort("session_id", "step")
    return events.with_columns(asked=pl.col("t") % 3 == 0)


@pytest.fixture
def small_pieces(monkeypatch):
    set_everywhere(monkeypatch, table, "EVENTS_AT_ONCE", 100)


def shuffled(events, seed=1):
    return events.sample(fraction=1.0, shuffle=True, seed=seed)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.dictionaries(NAMES, st.integers(1, 9), min_size=1, max_size=12),
    furthest=st.one_of(st.none(), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
@example(lengths={"": 1, "a": 3}, furthest=None, seed=0)
def test_places_are_those_of_a_sort(lengths, furthest, seed):
    rows = [(name, step) for name, n in lengths.items() for step in range(1, n + 1)]
    schema = dict(session_id=pl.String, step=pl.Int64)
    events = shuffled(pl.DataFrame(rows, schema, orient="row"), seed)
    wanted = events.filter(pl.col("step") <= (furthest or 9)).sort("session_id", "step")
    order = session_order(events, furthest)
    assert events[order.rows].equals(wanted)
    numbers, steps = order.numbers(0, len(wanted))
    assert order.ids.gather(numbers).equals(wanted["session_id"])
    assert steps.tolist() == wanted["step"].to_list()
    assert sorted_events(events).equals(events.sort("session_id", "step"))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "c"]), st.one_of(st.none(), st.integers(-1, 5))),
        max_size=9,
    ),
    furthest=st.one_of(st.none(), st.integers(0, 5)),
)
@example(rows=[("a", 1), ("a", 3), ("b", 0)], furthest=None)
@example(rows=[("a", 1), ("a", 1), ("b", 2)], furthest=None)
@example(rows=[("a", 1), ("b", 2)], furthest=None)
def test_there_is_an_order_where_steps_count_the_events_alone(rows, furthest):
    schema = dict(session_id=pl.String, step=pl.Int64)
    events = pl.DataFrame(rows, schema, orient="row")
    kept = [row for row in rows if None not in row and (furthest is None or row[1] <= furthest)]
    steps = {name: sorted(s for one, s in kept if one == name) for name, _ in kept}
    counted = all(of == [*range(1, len(of) + 1)] for of in steps.values())
    known = not any(None in row for row in rows)
    order = session_order(events, furthest)
    assert (order is not None) == bool(kept and counted and known)
    if order is not None:
        assert events[order.rows].rows() == sorted(kept)
    assert sorted_events(events).equals(events.sort("session_id", "step"))


@pytest.mark.parametrize("kind", (pl.Int64, pl.UInt8, pl.Int16), ids=str)
def test_ids_and_steps_may_be_numbers_of_any_width(kind):
    events = pl.DataFrame(dict(session_id=[*range(90)] * 2, step=[2] * 90 + [1] * 90))
    events = shuffled(events.cast({"session_id": kind, "step": kind}))
    assert events[session_order(events).rows].equals(events.sort("session_id", "step"))


@pytest.mark.parametrize("kind", (pl.Categorical, pl.Float64, pl.Binary), ids=str)
def test_ids_of_other_kinds_are_sorted(kind):
    ids = pl.Series(["2", "1", "2"]).cast(kind)
    events = pl.DataFrame(dict(session_id=ids, step=[2, 1, 1]))
    assert session_order(events) is None
    assert sorted_events(events)["step"].to_list() == [1, 1, 2]


@pytest.mark.parametrize("bits", (0, 1, 3, 64))
def test_ids_of_equal_hashes_are_told_apart(bits, monkeypatch):
    "Where a hash says little, rows are sorted or are right; they are never another session's."
    whole = pl.Series.hash
    keep = np.uint64(2**bits - 1)
    monkeypatch.setattr(pl.Series, "hash", lambda one: pl.Series(whole(one).to_numpy() & keep))
    one, twelve = (
        [(name, step) for name in names for step in (1, 2, 3)] for names in ("b", LETTERS)
    )
    for rows in (one, [*one, ("a", 4), ("a", 5)], twelve):
        events = pl.DataFrame(rows, ["session_id", "step"], orient="row")
        for seed in range(5):
            mixed = shuffled(events, seed)
            assert sorted_events(mixed).equals(mixed.sort("session_id", "step"))


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("seed", range(3))
def test_features_of_any_order_are_those_in_order(log, marks, seed, small_pieces):
    case = dict(landmarks=MARKS[marks], **CONTEXT)
    mixed = shuffled(log, seed)
    assert not lie_together(mixed)
    found = session_features(mixed, **case)
    wanted = session_features(log.lazy(), **case).collect()
    assert found.schema == wanted.schema and found.equals(wanted)
    assert session_features(log, **case).equals(wanted)


def test_names_and_steps_may_be_shown_as_context(log, small_pieces):
    case = dict(landmarks=(1, 3), event_context=("session_id", "step"))
    found = session_features(shuffled(log), **case)
    assert found.equals(session_features(log.lazy(), **case).collect())
    assert found["last_session_id"].equals(found["session_id"].alias("last_session_id"))
    assert found["last_step"].equals(found["landmark"].alias("last_step"))


CHANGES = {
    "gaps": pl.col("step") * 2,
    "from zero": pl.col("step") - 1,
    "narrow": pl.col("step").cast(pl.UInt16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_steps_that_count_otherwise(log, change, small_pieces):
    changed = log.with_columns(step=CHANGES[change])
    case = dict(landmarks=(1, 2, 4), **CONTEXT)
    found = session_features(shuffled(changed), **case)
    assert len(found) and found.equals(session_features(changed.lazy(), **case).collect())


def test_copies_of_rows_and_unknown_sessions(log, small_pieces):
    case = dict(landmarks=(1, 2, 4), **CONTEXT)
    copied = pl.concat([log, log.filter(pl.col("step") == 2)]).sort("session_id", "step")
    unknown = log.with_columns(
        session_id=pl.when(pl.col("session_id") != log["session_id"][0]).then("session_id")
    ).sort("session_id", "step")
    for events in (copied, unknown):
        found = session_features(shuffled(events), **case)
        assert len(found) and found.equals(session_features(events.lazy(), **case).collect())


def test_a_column_that_is_missing_is_named_however_rows_lie(log, small_pieces):
    for column in ("session_id", "step", "price", "page"):
        with pytest.raises(ValueError, match=f"no column '{column}'"):
            session_features(shuffled(log).drop(column), **CONTEXT)


@pytest.mark.parametrize("step", (2**63, 2**64 - 1))
def test_steps_beyond_counting(step):
    steps = pl.Series([step, 1, 1], dtype=pl.UInt64)
    events = pl.DataFrame(dict(session_id=[*"aab"], step=steps))
    assert session_order(events) is None
    assert session_order(events, 5).rows.tolist() == [1, 2]


def test_steps_that_are_no_whole_numbers_are_sorted(log):
    assert session_order(log.with_columns(pl.col("step").cast(pl.Float64))) is None


def test_more_rows_than_can_be_counted_are_sorted(log, monkeypatch):
    set_everywhere(monkeypatch, ordering, "MOST_ROWS_ORDERED", len(log) - 1)
    assert session_order(shuffled(log)) is None
