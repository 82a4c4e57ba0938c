"""A log's context column is called like nothing that a stage makes or reads: the names are taken from the package itself."""

import ast
import keyword
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import clickstream_conv
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features import columns as features_columns
from clickstream_conv.features.catalogue import column_names
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.registry import FEATURES
from clickstream_conv.features.table import session_features
from clickstream_conv.log.mapping import Mapping, reserved_names
from clickstream_conv.log.mapping_files import mapping_from_text, write_mapping
from clickstream_conv.log.mapping_read import mapping_from
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.values import COLUMNS
from clickstream_conv.scoring import answers as scoring
from clickstream_conv.sources.known import SOURCES
from clickstream_conv.sources.public import register
from clickstream_conv.sources.source import Source

PACKAGE = Path(clickstream_conv.__file__).parent
CONTEXTS = {name for source in SOURCES.values() for name in source.context}  # of the known sources
MAKERS, NAMERS = ("with_columns", "select", "agg", "assign"), ("alias", "with_row_index", "col")
BASE = {"columns": {"session_id": "sid", "t": "at"}}


def names_used(code):
    "Names that a module gives to columns or reads columns by, as far as they stand in it as they are; private ones cannot be a log's."
    found = set()
    for part in ast.walk(ast.parse(code)):
        if isinstance(part, ast.Call):
            called = (
                part.func.attr
                if isinstance(part.func, ast.Attribute)
                else getattr(part.func, "id", "")
            )
            if called in MAKERS:
                found |= {word.arg for word in part.keywords if word.arg}
            if called in NAMERS:
                found |= {
                    name.value
                    for name in part.args
                    if isinstance(name, ast.Constant) and isinstance(name.value, str)
                }
        if isinstance(part, ast.Assign):
            places = [target.slice for target in part.targets if isinstance(target, ast.Subscript)]
            found |= {
                place.value
                for place in places
                if isinstance(place, ast.Constant) and isinstance(place.value, str)
            }
    return {name for name in found if name.isidentifier() and not name.startswith("_")}


def is_free(name, context=CONTEXTS):
    "Whether a column of a stage's table may be called so: by a name that no log can take, or that is a context's."
    return name.startswith("_") or name in (
        *COLUMNS,
        *reserved_names(),
        *context,
        *(f"last_{c}" for c in context),
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_name_in_the_code_is_reserved(path):
    assert not (
        left := sorted(name for name in names_used(path.read_text()) if not is_free(name))
    ), f"add to RESERVED in nbs/log (mapping): {' '.join(left)}"


@pytest.mark.parametrize("resolution", ("us", "day", "none"))
def test_every_feature_is_reserved(resolution):
    events = simulate(40, 1)
    encoded = EventEncoder().fit(events).transform(events)
    for table in (
        encoded,
        session_features(encoded, resolution=resolution),
        session_features(events, None, resolution=resolution),
    ):
        assert [name for name in table.columns if not is_free(name)] == []
    assert [
        name
        for name in (
            *column_names(),
            *(name for one in FEATURES.values() for name in one.needs),
            *features_columns.NOT_FEATURES,
        )
        if not is_free(name, ())
    ] == []


def test_every_answer_is_reserved():
    assert [name for name in scoring.EMPTY.columns if not is_free(name, ())] == []


def test_every_table_of_facts_is_reserved():
    from clickstream_conv.eda.facts import session_facts

    facts = session_facts(simulate(40, 1).with_columns(visitor="visitor_id", part=pl.lit("train")))
    assert [name for name in facts.columns if not is_free(name)] == []


SOME = [
    "price",
    "step",
    "order",
    "landmark",
    "visitor",
    "part",
    "start",
    "end",
    "events",
    "hour",
    "weekday",
    "last_event",
    "last_category",
    "price_last",
    "n_cart",
    "elapsed",
    "probability",
    "flagged",
    "revenue_low",
    "segment",
    "status",
    "notes",
    "hit",
    "hits",
    "trials",
    "at_cart",
    "t_purchase",
    "n_other",
    "first_price",
    "seconds",
    "session",
    "sessions",
    "converted",
    "visit",
    "self",
    "Visitor",
    "PRICE",
]


@pytest.mark.parametrize("key", ["session_context", "event_context"])
def test_a_reserved_name_is_refused_with_a_way_out(key):
    for name in sorted({*SOME, *reserved_names()}):
        if keyword.iskeyword(name):
            continue  # refused as no name at all
        with pytest.raises(
            ValueError,
            match=rf"^my.yaml: {key} uses the name '{name}', .*Choose another, such as {name}_in_log: kind",
        ):
            mapping_from(BASE | {key: {name: "kind"}}, "my.yaml")
        assert mapping_from(BASE | {key: {f"{name}_in_log": "kind"}}).context() == (
            f"{name}_in_log",
        )


def test_what_is_made_of_a_name_is_not_another_name():
    "The last page of an event context is a column of its own."
    with pytest.raises(
        ValueError,
        match="session_context has the name 'last_page', which is made from 'page' of event_context",
    ):
        mapping_from(BASE | {"session_context": {"last_page": "a"}, "event_context": {"page": "b"}})
    assert mapping_from(BASE | {"session_context": {"last_page": "a", "page": "b"}}).context() == (
        "last_page",
        "page",
    )


def test_a_proposal_avoids_reserved_names(tmp_path):
    "And what it proposes is read back."
    (tmp_path / "log.csv").write_text(
        "sid,at,what,status,hour\n"
        + "".join(
            f"s{i // 4},2026-03-01 10:{i:02}:00,view,{'xy'[i // 4 % 2]},{('am', 'pm')[i % 2]}\n"
            for i in range(40)
        )
    )
    text = propose(tmp_path / "log.csv")
    assert "hour_in_log" in set(mapping_from_text(text).context())


@pytest.mark.parametrize(
    "name", [name for name, source in SOURCES.items() if not source.ready_made]
)
def test_known_sources_pass_the_same_check(name):
    mapping = SOURCES[name].mapping
    assert mapping_from_text(write_mapping(mapping)).context() == mapping.context()


def test_a_source_in_code_passes_the_same_check():
    with pytest.raises(ValueError, match="source 'mine': event_context uses the name 'status'"):
        register(
            Source(
                "mine",
                "mine",
                Mapping(columns={"session_id": "sid", "t": "at"}, event_context={"status": "s"}),
            )
        )
    assert "mine" not in SOURCES


@pytest.mark.parametrize(
    "context, message",
    [
        (dict(session_context=("price_last",)), "'price_last'"),
        (dict(session_context=("last_event",)), "'last_event'"),
        (dict(session_context=("hour",)), "'hour'"),
        (dict(session_context=("last_page",), event_context=("page",)), "'last_page'"),
        (dict(session_context=("n_view",)), "'n_view'"),
        (dict(event_context=("category",)), "'last_category'"),
    ],
)
def test_features_refuse_to_be_replaced(context, message):
    "The second line: events that came by another way."
    events = simulate(20, 1).with_columns(
        price_last=pl.lit(7.0),
        last_event=pl.lit("x"),
        hour=pl.lit("x"),
        last_page=pl.lit("x"),
        n_view=pl.lit("x"),
    )
    with pytest.raises(ValueError, match=f"context column would replace the feature {message}"):
        session_features(events, **context)


def test_what_a_context_is_called_changes_no_answer():
    "Names that are not reserved, however close they come."
    events = simulate(300, 2)
    plain = session_features(events, session_context=("device",), event_context=("page",))
    for one, other in (
        ("carts", "date"),
        ("views", "sessions_before"),
        ("eventful", "pages_seen"),
        ("price_in_log", "last_event_in_log"),
    ):
        found = session_features(
            events.rename({"device": one, "page": other}),
            session_context=(one,),
            event_context=(other,),
        )
        assert found.rename({one: "device", f"last_{other}": "last_page"}).equals(plain)


@pytest.mark.parametrize(
    "family", ("logistic regression", "random forest", "xgboost", "gradient boosting")
)
@pytest.mark.parametrize(
    "columns",
    [
        dict(last_event=["view", "cart"], last_event_view=[0.5, 1.5]),
        dict(a=["b_c", "x"], a_b=["c", "y"]),
        dict(a=["<b>", "[x]"], b=["x, 10%", "x%5B"]),
    ],
    ids=(
        "a number called like a word of another column",
        "words that join to the same name",
        "marks that XGBoost refuses",
    ),
)
def test_words_and_columns_never_meet(family, columns):
    "What a model calls the column of a word is no other column's name, and one that every library takes."
    from clickstream_conv.features.columns import preprocess
    from clickstream_conv.models.fitting import make_model

    table = pd.DataFrame(
        dict(
            session_id=[f"s{i}" for i in range(160)],
            landmark=1,
            price_last=[float(i % 7) for i in range(160)],
            converted=[int(i % 3 == 0) for i in range(160)],
        )
        | {
            name: [values[i // (1 + place) % 2] for i in range(160)]
            for place, (name, values) in enumerate(columns.items())
        }
    )
    names = list(preprocess(table, linear=False).fit(table).get_feature_names_out())
    assert len(names) == len(set(names)) and not any(
        mark in name for name in names for mark in "[]<"
    )
    assert make_model(family, table).fit(table, table["converted"]).classes_.tolist() == [0, 1]
