"""An answer does not depend on who else is asked: every size of a batch, every choice of landmarks, every composition."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.outcomes import outcomes
from clickstream_conv.features.sessions import rows_of_both_parts
from clickstream_conv.features.table import session_features
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.card import load_card, load_events
from clickstream_conv.sources.prepare import prepare

MOST = 130  # sessions of the largest batch
# Every size up to forty, then those at which libraries change their way (powers of two) and a few more
SIZES = (*range(1, 41), 48, 60, 63, 64, 65, 80, 100, 127, 128, 129, MOST)
CASES = Path(__file__).parent / "cases" / "reports" / "00_thirty_rows"
MODES = ("last", "now", "every", 2, [1, 3])
CONTEXT = dict(session_context=("channel", "device", "returning"), event_context=("page",))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    run = Run(str(tmp_path_factory.mktemp("shop")))
    prepare(run, sessions=900)
    quick_conversion(run, folds=2)
    return run


class Worth:
    "A stand-in for a model of revenue."

    def predict(self, table, probability=None):
        return 100 * np.asarray(probability) + table["landmark"].to_numpy()

    def interval(self, table, probability=None):
        return np.column_stack([np.zeros(len(table)), 200 * np.asarray(probability)])


class Kinds:
    "A stand-in for segments, given from the second event on."

    names_, view = ["browsing", "comparing"], 2

    def predict(self, table):
        return (table["n_items"] > 1).astype(int).to_numpy()


@pytest.fixture(scope="module")
def scorer(shop):
    "With a model for revenue and segments, whose answers must hold still too."
    plain = Scorer.load(shop.folder)
    return Scorer(
        plain.card,
        plain.encoder,
        plain.conversion,
        plain.about,
        revenue=Worth(),
        segments=Kinds(),
        kinds=plain.kinds,
        folder=plain.folder,
    )


@pytest.fixture(scope="module")
def log(shop):
    "The first events of sessions, each as a frame of its own."
    events = load_events(shop, "test").filter(pl.col("step") <= 14).drop("visitor", "part")
    return events.partition_by("session_id", maintain_order=True)[:MOST]


@pytest.fixture(scope="module")
def alone(scorer, log):
    "The answers to each session asked on its own, by choice of landmarks."
    return {str(mode): [scorer.score(session, mode).scores for session in log] for mode in MODES}


def assert_same(found, expected, what):
    "The same rows; numbers to the last bit but two."
    found, expected = found.sort("session_id", "landmark"), expected.sort("session_id", "landmark")
    numbers = ("probability", "highest", "revenue", "revenue_low", "revenue_high")
    assert found.drop(numbers).equals(expected.drop(numbers)), what
    for name in numbers:
        np.testing.assert_allclose(
            found[name].to_numpy(),
            expected[name].to_numpy(),
            rtol=1e-12,
            atol=1e-12,
            err_msg=f"{what}: {name}",
        )


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_size_of_a_batch(mode, scorer, log, alone):
    for size in SIZES:
        assert_same(
            scorer.score(pl.concat(log[:size]), mode).scores,
            pl.concat(alone[str(mode)][:size]),
            f"{size} sessions, {mode}",
        )


def test_every_length_of_a_visit(scorer, log):
    "After each of its first events a long visit is told the same, however long it became; live as in a batch."
    first = log[0].filter(pl.col("event") != "purchase").head(1)
    long = pl.concat([first] * 60).with_columns(
        step=pl.int_range(1, 61), t=pl.col("t") + pl.int_range(60) * 9_000_000
    )
    whole, visit = scorer.score(long, "every").scores, scorer.session(long["session_id"][0])
    for size, event in enumerate(long.to_dicts(), 1):
        assert_same(
            scorer.score(long.head(size), "every").scores, whole.head(size), f"{size} events"
        )
        live = pl.DataFrame([visit.add(event)], schema=whole.schema, orient="row")
        assert_same(live, whole.filter(pl.col("landmark") == size), f"{size} events, live")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_composition_of_a_batch(data, scorer, log, alone):
    "Any sessions in any order, with copies of some under other names, rows shuffled or not."
    mode = data.draw(st.sampled_from(MODES), "landmarks")
    chosen = data.draw(
        st.lists(st.integers(0, MOST - 1), min_size=1, max_size=45, unique=True), "sessions"
    )
    copied = data.draw(st.lists(st.sampled_from(chosen), max_size=10, unique=True), "copies")
    named = [(log[i], i, "") for i in chosen] + [
        (log[i].with_columns(session_id="copy of " + pl.col("session_id")), i, "copy of ")
        for i in copied
    ]
    batch = pl.concat([events for events, _, _ in named])
    if data.draw(st.booleans(), "shuffled"):
        batch = batch.sample(fraction=1, shuffle=True, seed=len(batch))
    expected = pl.concat(
        [
            alone[str(mode)][i].with_columns(session_id=name + pl.col("session_id"))
            for _, i, name in named
        ]
    )
    given = batch.to_pandas() if data.draw(st.booleans(), "pandas") else batch
    assert_same(
        pl.DataFrame(scorer.score(given, mode).scores, orient="row")
        if given is batch
        else pl.from_pandas(scorer.score(given, mode).scores, schema_overrides=expected.schema),
        expected,
        "a composed batch",
    )


def test_every_number_of_session_rows():
    "Features of sessions, from one row to two hundred, in the engine that adds up by itself and in another."
    from clickstream_conv.demo.simulate import simulate

    events = simulate(400, 5).sort("session_id", "step")
    encoded = EventEncoder(state=("event", "page")).fit(events).transform(events)
    names = encoded["session_id"].unique(maintain_order=True)
    for landmarks in ((1,), (1, 2, 3, 5), None):
        whole = session_features(encoded, landmarks, **CONTEXT)
        for size in SIZES:
            some = encoded.filter(pl.col("session_id").is_in(names.head(size).implode()))
            found, expected = (
                session_features(some, landmarks, **CONTEXT),
                whole.filter(pl.col("session_id").is_in(names.head(size).implode())),
            )
            assert_frame_equal(found, expected, rel_tol=1e-13, abs_tol=1e-13)
            if size in (1, 2, 14, 15, 29, 30, 31, 60):
                pd.testing.assert_frame_equal(
                    session_features(some.to_pandas(), landmarks, **CONTEXT).reset_index(drop=True),
                    expected.to_pandas(),
                    check_dtype=False,
                    rtol=1e-9,
                )


def test_every_size_of_a_training_table(shop, scorer):
    "Rows of the session table, with features and outcomes, for some sessions are those of the whole table."
    card, events = load_card(shop), load_events(shop, "test")
    ids = events["session_id"].unique(maintain_order=True)
    whole, paid = (
        rows_of_both_parts(events, scorer.encoder, {}, card, (1, 2)),
        outcomes(events, (1, 2)),
    )
    for size in SIZES:
        some = events.filter(pl.col("session_id").is_in(ids.head(size).implode()))
        expected = whole.filter(pl.col("session_id").is_in(ids.head(size).implode()))
        assert_frame_equal(
            rows_of_both_parts(some, scorer.encoder, {}, card, (1, 2)),
            expected,
            rel_tol=1e-13,
            abs_tol=1e-13,
        )
        assert outcomes(some, (1, 2)).equals(
            paid.filter(pl.col("session_id").is_in(ids.head(size).implode()))
        ), size


def test_thirty_sessions_from_a_file(shop, tmp_path):
    "The log of thirty sessions, and the same with one more."
    scores = {}
    for name in ("log30", "log31"):
        score_file(
            shop.folder,
            CASES / f"{name}.parquet",
            tmp_path / f"{name}.parquet",
            [1],
            progress=False,
        )
        scores[name] = pl.read_parquet(tmp_path / f"{name}.parquet").sort("session_id")
    assert (len(scores["log30"]), len(scores["log31"])) == (30, 31)
    shared = scores["log31"].filter(
        pl.col("session_id").is_in(scores["log30"]["session_id"].implode())
    )
    assert len(shared) == 30
    np.testing.assert_allclose(
        shared["probability"].to_numpy(),
        scores["log30"]["probability"].to_numpy(),
        rtol=1e-12,
        atol=1e-12,
    )
