"""One definition of a feature in every engine: the same log gives the same rows."""

import os
import shutil

import duckdb
import numpy as np
import polars as pl
import pytest
from everywhere import set_everywhere

from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.outcomes import LANDMARKS, outcomes
from clickstream_conv.features.table import session_features
from clickstream_conv.sources.source import Outcome

ENGINES = ("pandas", "polars", "polars lazy", "polars streaming", "duckdb", "spark")
CONTEXT = dict(session_context=("device", "channel"), event_context=("page",))
CASES = {
    "defaults": dict(landmarks=LANDMARKS, resolution="s", **CONTEXT),
    "last event": dict(landmarks=None, resolution="s", **CONTEXT),
    "whole days": dict(landmarks=(13, 2, 200), resolution="day", event_context=("page",)),
    "no clock": dict(landmarks=(1, 4), resolution="none"),
}
BUYS, RUGS = (
    Outcome(),
    Outcome("rugs next", "the next product is a rug", "next", "category", "rugs", proxy=True),
)
MINUTE = 60_000_000


def session(name, events, **columns):
    "A session made by hand; what is not given is a plain view."
    n = len(events)
    plain = dict(
        visitor_id="v",
        step=range(1, n + 1),
        t=[1_700_000_000_000_000 + MINUTE * i for i in range(n)],
        event=events,
        item_id="p1",
        category="lamps",
        price=20.0,
        quantity=1,
        channel="search",
        device="mobile",
        returning="no",
        page="product",
    )
    return pl.DataFrame(
        dict(session_id=[name] * n)
        | {c: v if isinstance(v, (list, range)) else [v] * n for c, v in (plain | columns).items()},
        schema=SCHEMA,
    )


SCHEMA = dict(
    session_id=pl.String,
    visitor_id=pl.String,
    step=pl.Int64,
    t=pl.Int64,
    event=pl.String,
    item_id=pl.String,
    category=pl.String,
    price=pl.Float64,
    quantity=pl.Int64,
    channel=pl.String,
    device=pl.String,
    returning=pl.String,
    page=pl.String,
)


def traps():
    "Sessions on which engines like to differ."
    view = ["view"] * 6
    return [
        session("ties", view, t=[5] * 6, item_id=[*"abacab"]),
        session("before 1970", view, t=[-MINUTE * 60 * 25 * (9 - i) + 7 for i in range(6)]),
        session("no times", view, t=[None] * 6),
        session("some times", view, t=[None, 1, None, None, 5_000_000, 5_000_001]),
        session(
            "no item",
            view,
            item_id=[None, "a", None, "a", "b", None],
            category=[None, "rugs", None, None, "lamps", "rugs"],
        ),
        session("no category", view, category=None, item_id=None),
        session("no price", view, price=[None, 5.0, None, 0.0, None, 1e6]),
        session("no price at all", view, price=None, device=None, page=None, channel=None),
        session(
            "unknown",
            view,
            price=[None] * 6,
            item_id=[None] * 6,
            t=[None] * 6,
            category=[None] * 6,
            page=[None] * 6,
        ),
        session("one", ["view"]),
        session("one purchase", ["purchase"]),
        session("two", ["cart", "purchase"]),
        session("ünï 日本 'q\" | > \\", view, category="Läden > 店", item_id="п|1", page="ñ, \n"),
        session(
            "in and out",
            ["cart", "remove", "cart", "cart", "remove", "checkout", "purchase", "view"],
            quantity=[3, 1, 2, 7, 5, 1, 6, 1],
            price=[9.99, 9.99, 0.1, 0.2, 0.3, None, 9.99, 4.0],
        ),
        session(
            "other",
            ["other", "view", "other", "purchase", "purchase", "cart"],
            price=[None, 1.1, None, 2.2, 3.3, 4.4],
        ),
        session(
            "long",
            ["view", "cart", "remove"] * 100,
            t=[i * i * 1_003 for i in range(300)],
            item_id=[f"p{i * i % 17}" for i in range(300)],
            category=[["lamps", None, "rugs", "pots"][i * 7 % 11 % 4] for i in range(300)],
            price=[0.1 * (i % 13) for i in range(300)],
        ),
        session("ONE", ["view"]),
        session("", view),
        session("0", view, category="", item_id=""),
    ]


@pytest.fixture(scope="module")
def log():
    "Simulated sessions and traps, rows in no order."
    return pl.concat(
        [simulate(300, 11).select(pl.col(c).cast(kind) for c, kind in SCHEMA.items()), *traps()]
    ).sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def encoder(log):
    return EventEncoder(state=("event", "page")).fit(log.sort("session_id", "step"))


@pytest.fixture(scope="module")
def spark():
    "A small Spark on this machine alone."
    sql = pytest.importorskip(
        "pyspark.sql", reason='Spark is not installed: pip install "pyspark>=4"'
    )
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java 17 or later, and there is none")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    here = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
    }
    session = (
        sql.SparkSession.builder.master("local[2]")
        .appName("clickstream-conv tests")
        .config(map=quiet | here)
        .getOrCreate()
    )
    yield session
    session.stop()


class Engine:
    "An engine: how events get in, and how results get out."

    def __init__(self, name, spark=None):
        self.name, self.spark, self.connection = name, spark, duckdb.connect()

    def put(self, events):
        if self.name == "pandas":
            return events.to_pandas()
        if self.name == "duckdb":
            return self.connection.from_arrow(events.to_arrow())
        if self.name == "spark":
            return self.spark.createDataFrame(events.to_arrow())
        return events if self.name == "polars" else events.lazy()

    def get(self, result):
        if self.name == "pandas":
            return pl.from_pandas(result)
        if self.name == "duckdb":
            return result.pl()
        if self.name == "spark":
            return pl.from_arrow(result.toArrow())
        if self.name == "polars":
            return result
        return result.collect(
            engine="streaming" if self.name == "polars streaming" else "in-memory"
        )


@pytest.fixture(params=ENGINES, scope="module")
def engine(request):
    return Engine(
        request.param, request.getfixturevalue("spark") if request.param == "spark" else None
    )


def family(kind):
    "What kind of values a column holds, whatever the engine calls it."
    return (
        "text"
        if kind in (pl.String, pl.Categorical, pl.Null)
        else "whole"
        if kind.is_integer()
        else "number"
        if kind.is_float()
        else str(kind)
    )


def assert_same(found, expected, what, tolerance=1e-9):
    "The same columns in the same order, of the same kinds, with the same rows, nulls and values."
    assert found.columns == expected.columns, what
    for name in expected.columns:
        a, b, where = found[name], expected[name], f"{what}: {name}"
        assert family(a.dtype) == family(b.dtype) or (
            a.dtype.is_numeric()
            and b.dtype.is_numeric()
            and b.dtype.is_integer()
            and b.null_count()
        ), (where, a.dtype, b.dtype)
        assert a.len() == b.len(), where
        assert a.is_null().to_list() == b.is_null().to_list(), where
        if b.dtype.is_numeric():
            np.testing.assert_allclose(
                a.cast(pl.Float64).drop_nulls().to_numpy(),
                b.cast(pl.Float64).drop_nulls().to_numpy(),
                rtol=tolerance,
                atol=tolerance,
                err_msg=where,
            )
        else:
            assert a.to_list() == b.to_list(), where


@pytest.fixture(scope="module")
def reference(log, encoder):
    "What the other engines must give: Polars, on rows in order."
    ordered = log.sort("session_id", "step")
    encoded = encoder.transform(ordered)
    return dict(
        encoded=encoded,
        **{name: session_features(encoded, **case) for name, case in CASES.items()},
        **{o.name: outcomes(ordered, outcome=o) for o in (BUYS, RUGS)},
    )


def test_what_is_learned_is_the_same(engine, log, encoder, reference):
    found = engine.get(encoder.transform(engine.put(log))).sort("session_id", "step")
    assert_same(found, reference["encoded"], engine.name)


@pytest.mark.parametrize("case", CASES)
def test_features_are_the_same(engine, case, log, encoder, reference):
    assert reference[case]["landmark"].dtype == pl.Int64 and len(reference[case])
    assert_same(
        engine.get(session_features(encoder.transform(engine.put(log)), **CASES[case])),
        reference[case],
        f"{engine.name}, {case}",
    )


@pytest.mark.parametrize("outcome", (BUYS, RUGS), ids=lambda o: o.name)
def test_outcomes_are_the_same(engine, outcome, log, reference):
    assert_same(
        engine.get(outcomes(engine.put(log), outcome=outcome)), reference[outcome.name], engine.name
    )


def test_features_need_nothing_learned(engine, log):
    "And the order of the rows says nothing."
    ordered, case = log.sort("session_id", "step"), CASES["defaults"]
    assert_same(
        engine.get(session_features(engine.put(ordered.reverse()), **case)),
        session_features(ordered, **case),
        engine.name,
    )


def test_later_events_change_no_earlier_row(engine, log, encoder):
    "What comes after the third event is unknown at the third event."
    early, case = (
        engine.put(log.filter(pl.col("step") <= 3)),
        CASES["defaults"] | dict(landmarks=(1, 2, 3)),
    )
    whole, cut = (
        engine.get(session_features(encoder.transform(frame), **case))
        for frame in (engine.put(log), early)
    )
    assert_same(cut, whole, engine.name, tolerance=0)


@pytest.mark.parametrize("order", ("by session", "by time", "sessions backwards"))
def test_a_polars_frame_may_come_in_any_order(order, log, encoder, reference):
    "The same bits, however the rows come."
    ordered = log.sort("session_id", "step")
    frame = dict(
        zip(
            ("by session", "by time", "sessions backwards"),
            (
                ordered,
                ordered.sort("t", nulls_last=True, maintain_order=True),
                ordered.sort("session_id", "step", descending=[True, False]),
            ),
        )
    )[order]
    assert session_features(encoder.transform(frame), **CASES["defaults"]).equals(
        reference["defaults"]
    )


@pytest.mark.parametrize("kind", (pl.Int64, pl.Categorical), ids=str)
def test_ids_of_other_types(kind, log):
    "Session ids need not be text."
    numbered = log.with_columns(session_id=pl.col("session_id").rank("dense").cast(pl.Int64))
    other = session_features(
        numbered
        if kind == pl.Int64
        else log.with_columns(pl.col("session_id", "event", "category").cast(kind)),
        **CASES["defaults"],
    )
    expected = session_features(numbered, **CASES["defaults"])
    assert len(other) == len(expected) and sorted(other["category_entropy"].to_list()) == sorted(
        expected["category_entropy"].to_list()
    )


def test_a_log_may_be_empty(engine, log):
    assert engine.get(session_features(engine.put(log.head(0)), **CASES["defaults"])).is_empty()


def test_a_large_frame_in_pieces_has_the_same_bits(monkeypatch, log, encoder, reference):
    from clickstream_conv.features import table as features

    set_everywhere(monkeypatch, features, "EVENTS_AT_ONCE", 500)
    assert len(log) > 4 * features.EVENTS_AT_ONCE
    encoded = reference["encoded"]
    for name, case in CASES.items():
        assert session_features(encoded, **case).equals(reference[name]), name
