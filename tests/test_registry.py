"""Every feature is described once: by its entry in the catalogue, which every face reads."""

import ast
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import clickstream_conv
from clickstream_conv.clustering.behaviour import (
    behaviour_columns,
    beside_segments,
    measure_of,
    segmented_by,
)
from clickstream_conv.clustering.profiles import profile
from clickstream_conv.clustering.segmenter import Segmenter
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.explain.encoding import BASE
from clickstream_conv.explain.overall import overall_importance
from clickstream_conv.explain.words import CONTEXT_WORDS, feature_in_words, feature_title, sentence
from clickstream_conv.features.catalogue import (
    add_feature,
    all_parts,
    column_names,
    following_columns,
    periods,
)
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.expressions import ratio
from clickstream_conv.features.feature import (
    ADDED,
    added,
    ALONG,
    Feature,
    FINE_CLOCK,
    follows,
    HOW,
    last,
    Measure,
    Running,
    Words,
    worked_out,
)
from clickstream_conv.features.of_kinds import KIND_COLUMNS
from clickstream_conv.features.registry import FEATURES
from clickstream_conv.features.table import session_features
from clickstream_conv.log.mapping import is_reserved
from clickstream_conv.log.mapping_read import mapping_from
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.whatif.contradictions import apply_changes, contradictions

PACKAGE = Path(clickstream_conv.__file__).parent
CONTEXT = dict(session_context=("device", "channel", "returning"), event_context=("page",))
BROUGHT = ("device", "channel", "returning", "last_page")  # by the log of the demo
CARD = LogCard("toy", "a toy shop")
LANDMARKS = (1, 2, 3, 5, 8)
AGAIN = {  # modules that name features, and why: they may only become fewer
    "features/registry.py",  # the catalogue itself
    "features/expressions.py",  # what its entries share
    "features/learned.py",  # transformers, which put columns beside events
    "features/odds.py",  # likewise
    "features/of_kinds.py",  # entries of the catalogue, as many as there are kinds
    "audit/features.py",  # the second opinion: other code on purpose
    "scale/by_hand.py",  # the benchmark's other ways: other code on purpose
}
WORDS_OF_ALL = (
    "landmark",
    "hour",
    "weekday",
)  # the key of a row, and what anybody counts visits by


@pytest.fixture(scope="module")
def events():
    return simulate(400, 7)


@pytest.fixture(scope="module")
def encoded(events):
    return EventEncoder(state=("event", "page")).fit(events).transform(events)


@pytest.fixture(scope="module")
def table(encoded):
    "Session rows of the demo, with all that a log can have."
    return session_features(encoded, LANDMARKS, **CONTEXT)


@pytest.fixture
def entry():
    "An entry of a person's own, for the time of a test."
    yield add_feature(
        Feature(
            "carts_of_each_item",
            Words("carts per product seen", "{} carts per product seen", "number"),
            follows(ratio(nw.col("n_cart"), nw.col("n_items")), of=("n_cart", "n_items")),
            not_without={
                "n_cart": "carts_of_each_item is {carts_of_each_item:g} without any cart event"
            },
            measure=Measure("carts per product", "looks around", "takes it", place=9, beside=5),
        )
    )
    del FEATURES["carts_of_each_item"]


def rows_of(table, landmark):
    return table.filter(pl.col("landmark") == landmark).to_pandas()


@pytest.mark.parametrize("resolution", ("us", "s", "day", "none"))
@pytest.mark.parametrize("landmarks", (LANDMARKS, None), ids=("landmarks", "last"))
def test_every_column_has_one_entry(encoded, events, resolution, landmarks):
    "With all that a log can have, and with nothing learned and no context."
    rich = session_features(encoded, landmarks, **CONTEXT, resolution=resolution).columns
    bare = session_features(events, landmarks, resolution=resolution).columns
    assert [c for c in bare if c not in FEATURES] == ["session_id"]
    assert [c for c in rich if c not in (*FEATURES, *BROUGHT)] == ["session_id"]
    assert len(rich) == len({*rich}) and [name for name in FEATURES if name in BROUGHT] == []
    assert [c for c in rich if c in FEATURES] == [name for name in FEATURES if name in rich]


def test_every_entry_is_a_column_of_a_rich_log(table):
    missing = [name for name in FEATURES if name not in table.columns]
    assert missing == [*KIND_COLUMNS]  # those of a log in which kinds were learned: see test_kinds


def test_entries_are_whole():
    "What an entry names is there, and its words can be said."
    known = {*FEATURES}
    for name, one in FEATURES.items():
        assert one.name == name and one.made.how in HOW, name
        assert one.words.title and one.words.says.count("{}") == 1 and one.words.unit, name
        assert {*one.made.of} <= known and not (one.made.of and one.made.how in ALONG), name
        for wrong in one.contradictions():
            assert {*wrong.of} <= known and name in wrong.of, name
            assert wrong.says.format(**dict.fromkeys(wrong.of, 1.5)), name
        if one.measure:
            assert one.measure.instead_of in ("", *known), name
    parts = [part for one in FEATURES.values() for part in one.made.parts]
    assert all(all_parts()[part.name] is part for part in parts)
    assert not {*all_parts()} & known and not {*CONTEXT_WORDS} & known


def test_no_real_row_contradicts_itself(table):
    "All contradictions, over all rows at once."
    asked = [wrong for one in FEATURES.values() for wrong in one.contradictions()]
    found = nw.from_native(table).select(
        **{str(place): wrong.when.sum() for place, wrong in enumerate(asked)}
    )
    assert len(asked) > 20
    assert [w.says for w, count in zip(asked, found.row(0)) if count] == []


def test_what_follows_is_what_the_table_has(table):
    "Each feature that follows from others: made anew of one row, it is the same."
    for name, of in following_columns().items():
        assert {*of} <= {*table.columns}
        anew = nw.from_native(table.to_pandas()).select(FEATURES[name].made.value.alias(name))
        np.testing.assert_array_equal(anew[name].to_numpy(), table.to_pandas()[name].to_numpy())


def names_in(path):
    "Features that a module names, as text or as the name of an argument."
    names = {name for name in FEATURES if name not in WORDS_OF_ALL}
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in names:
            yield part.value
        if isinstance(part, ast.keyword) and part.arg in names:
            yield part.arg


def test_nobody_else_lists_features():
    "A module that names a feature is one of a few, and each of these still does."
    naming = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("[a-z]*.py")
        if any(names_in(path))
    }
    assert naming == AGAIN


def test_an_entry_is_a_column_on_every_engine(entry, events):
    import duckdb

    expected = session_features(events, LANDMARKS)
    assert expected.columns[-1] == entry.name and expected[entry.name].max() > 0
    lazy = session_features(events.lazy(), LANDMARKS).collect()
    assert lazy.equals(expected)
    pandas = session_features(events.to_pandas(), LANDMARKS)[entry.name]
    with duckdb.connect() as connection:
        relation = connection.from_arrow(events.to_arrow())
        duck = session_features(relation, LANDMARKS).pl()[entry.name]
    for found in (pandas.to_numpy(), duck.to_pandas().to_numpy()):
        np.testing.assert_array_equal(found, expected[entry.name].to_pandas().to_numpy())


def test_an_entry_has_a_row_live_and_does_not_look_ahead(entry, events):
    "Whatever comes later: the first rows of a visit stay as they were."
    whole = session_features(events, (1, 2, 3))
    cut = session_features(events.filter(pl.col("step") <= 3), (1, 2, 3))
    assert cut.equals(whole)
    one = events.filter(pl.col("session_id") == whole["session_id"][-1]).sort("step").head(3)
    for row in whole.filter(pl.col("session_id") == one["session_id"][0]).rows(named=True):
        live = session_features(one.head(row["landmark"]), None)
        assert live[entry.name][0] == row[entry.name]


def test_an_entry_is_said(entry, table):
    "By its title, with its value, and among the columns that the report ranks."
    assert feature_title(entry.name) == "carts per product seen"
    assert feature_in_words(entry.name, 0.5) == "0.5 carts per product seen"
    row = pd.Series({entry.name: 0.5, "device": "mobile"})
    said = sentence(row, pd.Series({entry.name: 1.0, "device": -0.2, BASE: 0.0}), 0.3, 0.1)
    assert said.endswith(": 0.5 carts per product seen (+), on mobile (-)")
    rows = pd.DataFrame({entry.name: np.linspace(0, 1, 50), "device": ["mobile", "desktop"] * 25})
    moves = pd.DataFrame(
        {entry.name: np.linspace(-1, 1, 50), "device": [0.1, -0.1] * 25, BASE: 0.0}
    )
    first = overall_importance(moves, rows).iloc[0]
    assert (first["title"], first["says"]) == ("carts per product seen", "higher: likelier")


def test_an_entry_is_moved_along_and_contradicted(entry, events):
    rows = rows_of(session_features(events, LANDMARKS), 5)
    row = rows[rows["n_items"] == 2].iloc[[0]]
    moved = apply_changes(row, dict(n_cart=3.0), CARD)
    assert moved[entry.name].item() == 1.5
    assert apply_changes(row, {"n_cart": 3.0, entry.name: 9.0}, CARD)[entry.name].item() == 9.0
    wrong = contradictions(row.iloc[0].to_dict() | {"n_cart": 0.0, entry.name: 1.5}, CARD)
    assert "carts_of_each_item is 1.5 without any cart event" in wrong


def test_an_entry_tells_kinds_of_visitor_apart(entry, encoded):
    rows = rows_of(session_features(encoded, LANDMARKS), 5)
    assert segmented_by()[-1] == beside_segments()[-1] == entry.name
    assert measure_of(entry.name) is entry.measure and entry.name in behaviour_columns(rows)
    model = Segmenter(view=5, clusters=3).fit(rows)
    shown = profile(rows, model.predict(rows), model.names_, model.features_)
    assert (shown["measure"] == "carts per product").sum() == 3


def test_an_entry_takes_its_name(entry):
    "No log can bring a column of that name along, and it is free again afterwards."
    assert is_reserved(entry.name) and entry.name in column_names()
    with pytest.raises(ValueError, match="session_context uses the name 'carts_of_each_item'"):
        mapping_from(
            dict(columns=dict(session_id="a", t="b"), session_context={entry.name: "c"}), "my.yaml"
        )


def test_a_model_of_before_says_what_it_said(tmp_path):
    "A column that it does not know changes no answer of a model that is kept."
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.whatif.sessions import small_run

    folder, asked = small_run(str(tmp_path / "run"), sessions=400).folder, simulate(60, 3)
    before = Scorer.load(folder).score(asked, "every").scores
    add_feature(Feature("n_seen", Words("all", "{}", "event"), added(nw.lit(1.0))))
    try:
        after = Scorer.load(folder).score(asked, "every").scores
    finally:
        del FEATURES["n_seen"]
    assert after.equals(before)


def test_all_ways_to_come_about(events):
    "Of parts that run along, of the last event, of a column that the log brings, of a clock."
    words = Words("a thing", "{}", "number")
    quick = Running("_quick", added((nw.col("_dwell") < 30).cast(nw.Float64)))
    share = worked_out(nw.col("_quick") / nw.col("landmark"), parts=(quick,))
    entries = [
        Feature("quick_share", words, share, clock=FINE_CLOCK),
        Feature("on_basket", words, added(nw.col("page") == "basket"), needs=("page",)),
        Feature("is_late", words, last(nw.col("step") > 3)),
    ]
    for one in entries:
        add_feature(one)
    try:
        rows = session_features(events, (5,), event_context=("page",))
        coarse = session_features(events, (5,), event_context=("page",), resolution="day")
        other = session_features(events.drop("page"), (5,))
    finally:
        for one in entries:
            del FEATURES[one.name]
    baskets = events.filter(pl.col("step") <= 5).group_by("session_id")
    baskets = baskets.agg(n=pl.len(), on=(pl.col("page") == "basket").sum()).filter(n=5)
    baskets = baskets.sort("session_id")
    assert rows["on_basket"].to_list() == baskets["on"].to_list() and rows["is_late"].all()
    pauses = events.sort("session_id", "step").with_columns(
        quick=(pl.col("t").diff().over("session_id") < 30e6).cast(pl.Float64).fill_null(0)
    )
    pauses = pauses.filter(pl.col("step") <= 5).group_by("session_id", maintain_order=True)
    pauses = pauses.agg(n=pl.len(), share=pl.col("quick").sum() / 5).filter(n=5).sort("session_id")
    np.testing.assert_allclose(rows["quick_share"], pauses["share"])
    assert "quick_share" not in coarse.columns and "on_basket" not in other.columns


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="n_cart"), "no feature can be called 'n_cart'"),
        (dict(name="price"), "no feature can be called 'price'"),
        (dict(name="status"), "no feature can be called 'status'"),
        (dict(name="_dwell"), "no feature can be called '_dwell'"),
        (dict(name="a b"), "no feature can be called 'a b'"),
        (dict(words=Words("t", "no place", "event")), "says must have one {}"),
        (dict(made=follows(nw.col("x"), of=("x",))), "it follows from 'x', which is no feature"),
        (
            dict(made=worked_out(nw.col("_dwell"), parts=(Running("_dwell", added(nw.lit(1))),))),
            "_dwell is taken",
        ),
        (
            dict(made=worked_out(nw.col("_last"), parts=(Running("_last", last(nw.lit(1))),))),
            "_last is the last; it must run along the session",
        ),
    ],
)
def test_an_entry_that_cannot_be_is_refused(change, message):
    "In one sentence, and nothing is added."
    given = dict(name="fine", words=Words("t", "{}", "event"), made=added(nw.lit(1.0))) | change
    before = [*FEATURES]
    with pytest.raises(ValueError) as refused:
        add_feature(Feature(**given))
    assert message in str(refused.value) and [*FEATURES] == before


def test_what_starts_again():
    assert periods() == {"hour": 24, "weekday": 7}
    assert {one.made.how for one in FEATURES.values()} == {*HOW} >= {ADDED}
