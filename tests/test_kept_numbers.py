"""A run's models as numbers: the same answers without any library of models, and refused where they are not of these models."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from test_folder import ALTERED, copied, edit, SAME

from clickstream_conv.base.models_kept import NUMBERS, save_model, seal_of
from clickstream_conv.base.runs import read_json, Run
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features.encoder import EventEncoder
from clickstream_conv.features.of_kinds import KIND_PARTS
from clickstream_conv.features.outcomes import outcomes
from clickstream_conv.features.plain import NotPlain
from clickstream_conv.features.table import session_features
from clickstream_conv.models import many_rows
from clickstream_conv.models.calibration import calibrate, Calibrated
from clickstream_conv.models.families import FAMILIES
from clickstream_conv.models.fitting import fit, IMBALANCE, make_model, probability
from clickstream_conv.models.kept import load_model
from clickstream_conv.models.many_rows import row_model_of
from clickstream_conv.pipeline.ending import keep_for_batches
from clickstream_conv.regression.intervals import fit_quantiles
from clickstream_conv.regression.models import fit_revenue, make_regressor, revenue_families
from clickstream_conv.regression.row_worth import row_worth_of
from clickstream_conv.regression.worth import Worth
from clickstream_conv.scoring.kept_numbers import keep_numbers, sound_numbers
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.card import load_events

SMALL = {  # of families whose trees are many by default
    "gradient boosting": dict(exact=False),
}


@pytest.fixture(scope="module")
def table():
    "Session rows of a small shop that sells often, with gaps and truth values."
    shop = simulate(1_500, 0)
    events = EventEncoder(state=("event", "page")).fit_transform(shop)
    made = session_features(events, (1, 2, 3, 5), ("device", "channel"), ("page",), "us")
    made = made.join(outcomes(events, (1, 2, 3, 5)), on=["session_id", "landmark"])
    number = pl.int_range(pl.len())
    known = pl.when(number % 3 > 0).then(number % 2 == 0)
    return made.with_columns(
        visitor="session_id",
        known=known,
        **{part: number * (place + 3) % 11 / 5.0 - 1 for place, part in enumerate(KIND_PARTS)},
        converted=pl.max_horizontal("converted", (number % 7 == 0).cast(pl.Int64)),
        revenue=pl.when(number % 5 == 0).then(20.0 + number % 11).otherwise("revenue"),
    )


@pytest.fixture(scope="module")
def others(table):
    "Other rows: gaps, numbers beyond those learned from, words that were never seen."
    number = pl.int_range(pl.len())
    return table.with_columns(
        device=pl.when(number % 4 > 0).then("device"),
        channel=pl.when(number % 5 > 0).then("channel").otherwise(pl.lit("new")),
        price_mean=pl.when(number % 3 > 0).then(pl.col("price_mean") * 10),
        cart_value=pl.when(number % 6 > 0).then(-pl.col("cart_value")),
        known=pl.lit(None, pl.Boolean),
    )


def assert_same(model, table, others):
    "A model and its numbers say the same of rows it has learned from, of others, and of none."
    told = row_model_of(model)
    for rows in (table, others, table.head(1)):
        expected = probability(model, rows.to_pandas())
        np.testing.assert_allclose(told.says(rows), expected, rtol=0, atol=1e-12)
    assert np.std(told.says(table)) > 0 or "rule" in repr(model).lower()


@pytest.mark.parametrize("family", FAMILIES["conversion"])
def test_every_family_says_the_same_by_its_numbers(table, others, family, monkeypatch):
    monkeypatch.setattr(many_rows, "MOST_QUESTIONS", 10**9)
    rows = table.to_pandas()
    assert_same(fit(make_model(family, rows, **SMALL.get(family, {})), rows), table, others)


@pytest.mark.parametrize("imbalance", [one for one in IMBALANCE if one != "none"])
def test_answers_to_a_rare_outcome_too(table, others, imbalance):
    rows = table.to_pandas()
    assert_same(fit(make_model("logistic regression", rows, imbalance), rows), table, others)


@pytest.mark.parametrize("method, shift", [*product(("none", "sigmoid", "isotonic"), (0.0, 0.3))])
def test_calibration_and_level_too(table, others, method, shift):
    rows = table.to_pandas()
    model = calibrate(make_model("logistic regression", rows), rows, method, folds=2)
    assert isinstance(model, Calibrated)
    model.level_ = dict(shift=shift)
    assert_same(model, table, others)


def test_too_many_trees_are_left_to_their_library(table, monkeypatch):
    monkeypatch.setattr(many_rows, "MOST_QUESTIONS", 10)
    rows = table.to_pandas()
    with pytest.raises(NotPlain, match="left to their library"):
        row_model_of(fit(make_model("xgboost", rows), rows))


def test_a_column_that_is_gone_is_named(table):
    rows = table.to_pandas()
    told = row_model_of(fit(make_model("logistic regression", rows), rows))
    with pytest.raises(ValueError, match="have no column 'device', which the model learned from"):
        told.says(table.drop("device"))


@pytest.mark.parametrize("name", revenue_families())
@pytest.mark.parametrize("constant", (False, True))
def test_every_model_of_revenue_says_the_same(table, others, name, constant):
    paid = table.filter(pl.col("revenue") > 0).to_pandas()
    rows = table.filter(pl.col("revenue").is_not_null()).to_pandas()
    hurdle = name in FAMILIES["amount"]
    amounts = fit_revenue(make_regressor(name, paid), paid if hurdle else rows)
    conversion = fit(make_model("logistic regression", rows), rows)
    parts = dict(amounts=amounts, quantiles=fit_quantiles(paid, constant=constant))
    ways = [
        Worth(**parts, conversion=conversion, correction=(0.1, 0.2), mixture=0.85, level=1.1),
        Worth(**parts, conversion=conversion, own=True),
        Worth(**parts, correction=(0.1, -0.1)),
        Worth(**parts, conversion=conversion, direct=None if hurdle else amounts, level=0.9),
    ]
    p = np.linspace(0.0, 1.0, len(others))
    for worth in ways:
        told = row_worth_of(worth)
        given = dict(probability=p)
        expected = worth.predict(others.to_pandas(), **given)
        np.testing.assert_allclose(told.predict(others, **given), expected, rtol=1e-12)
        expected = worth.interval(others.to_pandas(), **given)
        np.testing.assert_allclose(told.interval(others, **given), expected, rtol=1e-12)


# a run


def assert_near(found, expected):
    "Two tables of answers, row by row."
    assert found.schema == expected.schema and len(found) == len(expected)
    for name in found.columns:
        if found[name].dtype == pl.Float64:
            assert found[name].is_null().equals(expected[name].is_null())
            assert ((found[name] - expected[name]).abs().max() or 0.0) <= 1e-9
        else:
            assert found[name].equals(expected[name]), name


@pytest.fixture(scope="module")
def events(run):
    return load_events(Run(run), "test").head(4_000)


def test_the_run_of_a_small_log_keeps_none(demo, tmp_path, monkeypatch):
    run = copied(demo, tmp_path)
    (run / NUMBERS).unlink()
    assert keep_for_batches(run.folder) == "the log has fewer than 10,000 sessions"
    assert not run.has(NUMBERS)
    monkeypatch.setattr("clickstream_conv.pipeline.ending.LEAST_IN_NUMBERS", 3_000)
    assert keep_for_batches(run.folder) == "" and run.has(NUMBERS)


def test_a_run_with_numbers_answers_the_same(run, events):
    assert (run / NUMBERS).is_file() and keep_numbers(run) == ""
    light, full = Scorer.for_batches(run), Scorer.load(run)
    assert light.in_numbers and not full.in_numbers
    strange = events.with_columns(
        device=pl.when(pl.col("step") > 0).then(pl.lit("fridge")),
        price=pl.when(pl.col("step") % 3 > 0).then("price"),
        page=pl.when(pl.col("step") % 5 > 0).then("page").otherwise(pl.lit("moon")),
    )
    for some in (events, strange, events.to_pandas()):
        for landmarks in ("last", "now", "every", [2, 3]):
            found, expected = light.score(some, landmarks), full.score(some, landmarks)
            if not isinstance(some, pl.DataFrame):
                found, expected = (
                    one._replace(scores=pl.from_pandas(one.scores)) for one in (found, expected)
                )
            assert_near(found.scores, expected.scores)
            assert found.sentences == expected.sentences
    assert (light.score(strange).scores["notes"] != "").any()
    assert list(light.rows(events).columns) == list(full.rows(events).columns)
    rows = full.rows(events)
    np.testing.assert_allclose(light.chance(rows), full.chance(rows), rtol=0, atol=1e-12)


def test_a_file_is_scored_without_any_library_of_models(run, tmp_path):
    code = """
import json, sys
from clickstream_conv.scoring.scorer import score_file
score_file(sys.argv[1], sys.argv[2], sys.argv[3], progress=False)
names = ("pandas", "scipy.stats", "scipy.optimize", "sklearn", "skops", "xgboost", "matplotlib")
print(json.dumps([name for name in names if name in sys.modules]))
"""
    told = [str(run), str(run / "events.parquet"), str(tmp_path / "light.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", code, *told], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    score_file(Scorer.load(run), told[1], str(tmp_path / "full.parquet"), progress=False)
    assert_near(*(pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("light", "full")))


def test_a_run_without_numbers_is_loaded_as_before(demo, events, tmp_path):
    run = copied(demo, tmp_path)
    (run / NUMBERS).unlink()
    scorer = Scorer.for_batches(run)
    assert not scorer.in_numbers
    assert scorer.score(events).scores.equals(Scorer.load(run).score(events).scores)
    assert keep_numbers(run.folder) == "" and Scorer.for_batches(run).in_numbers


def test_numbers_of_an_earlier_model_are_refused(demo, tmp_path):
    run = copied(demo, tmp_path)
    about = read_json(run, "models/manifest.json")["segments"]
    about = {n: v for n, v in about.items() if n not in ("sha256", "type", "beside", "versions")}
    other = load_model(run, "segments")
    other.names_ = [f"{name}, more" for name in other.names_]
    save_model(run, "segments", other, about)
    with pytest.raises(ValueError, match="is not of the model 'segments' of this run"):
        Scorer.for_batches(run)
    assert keep_numbers(run.folder) == ""
    assert Scorer.for_batches(run).segments.names_ == other.names_


def sealed(change):
    "An alteration by somebody who makes a fitting seal."

    def alter(said):
        change(said)
        said["seal"] = seal_of(said)

    return alter


def other_type(said):
    said["conversion"]["object"][0] = "Popen"


def no_array(said):
    said["segments"] = {"array": ["|O", [1], ""]}


DAMAGED = {
    "a weight": (lambda said: said["words"].popitem(), "its seal does not fit"),
    "no seal": (lambda said: said.pop("seal"), "its seal does not fit"),
    "of another model": (
        sealed(lambda said: said["of"].update(revenue=["0" * 64, "a.B"])),
        "is not of the model 'revenue' of this run",
    ),
    "of a model that is gone": (
        sealed(lambda said: said["of"].update(more="0" * 64)),
        "is not of the model 'that was removed' of this run",
    ),
    "of nothing": (sealed(lambda said: said.pop("of")), "is not of the model"),
    "of a list": (sealed(lambda said: said.update(of=[1])), "is not of the model"),
    "a type that is never built": (sealed(other_type), "cannot be read (ValueError: a 'Popen')"),
    "an array of objects": (sealed(no_array), "cannot be read (ValueError: an array of '|O')"),
    "revenue as conversion": (
        sealed(lambda said: said.update(conversion=said["revenue"])),
        "cannot be read (ValueError: a RowWorth for conversion)",
    ),
    "no encoder": (sealed(lambda said: said.pop("encoder")), "cannot be read (KeyError"),
    "another encoder": (
        sealed(lambda said: said.update(encoder=said["conversion"])),
        "cannot be read (ValueError: a 'RowModel')",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_numbers_that_are_not_of_these_models_are_refused(demo, tmp_path, name):
    run = copied(demo, tmp_path)
    alter, wanted = DAMAGED[name]
    edit(run, NUMBERS, alter)
    with pytest.raises(ValueError) as refused:
        Scorer.for_batches(run)
    said = str(refused.value)
    assert wanted in said and str(tmp_path) in said and "\n" not in said
    assert "It was not used. Remove it: the models themselves are then read." in said
    assert not Scorer.load(run).in_numbers
    assert keep_numbers(run.folder) == "" and sound_numbers(run)  # made anew at the end of a run


def test_numbers_cut_short_are_refused(demo, tmp_path):
    run = copied(demo, tmp_path)
    text = (run / NUMBERS).read_text()
    (run / NUMBERS).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="numbers.json is damaged"):
        Scorer.for_batches(run)


@pytest.mark.parametrize("name", [name for name, (_, wanted) in ALTERED.items() if wanted != SAME])
def test_what_is_not_loaded_is_not_scored_by_its_numbers(demo, tmp_path, name):
    run = copied(demo, tmp_path)
    alter, wanted = ALTERED[name]
    alter(run)
    with pytest.raises(ValueError) as refused:
        Scorer.for_batches(run)
    said = str(refused.value)
    assert wanted in said or "numbers.json is not of the model" in said
