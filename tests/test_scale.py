"""The same answers on Spark, and from files that are never in memory as a whole."""

import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import polars as pl
import pytest

from clickstream_conv.base.models_kept import save_model
from clickstream_conv.base.runs import read_json, Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.features.outcomes import KEYS
from clickstream_conv.features.sessions import build_sessions, learn_by_fold, load_sessions
from clickstream_conv.models.fitting import make_model, probability
from clickstream_conv.models.kept import load_model
from clickstream_conv.monitoring.bins import bin_counts, bins_of, MISSING, NEW_WORDS, OTHERS
from clickstream_conv.scale import (
    cluster as scale_cluster,
)
from clickstream_conv.scale import (
    out_of_memory as scale_out_of_memory,
)
from clickstream_conv.scale import (
    spark as scale_spark,
)
from clickstream_conv.scale import spark_session as spark_sessions
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_card, load_events
from clickstream_conv.sources.prepare import prepare


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A small run with a session table and a model."
    made = Run(str(tmp_path_factory.mktemp("run")))
    prepare(made, sessions=600)
    build_sessions(made)
    quick_conversion(made, sessions=600)
    return made


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    "A run whose session rows lie in several files, with a sample beside them."
    made = Run(str(tmp_path_factory.mktemp("parted")))
    prepare(made, sessions=1_500, memory=1.0)
    build_sessions(made, most_rows=900)
    return made


pytestmark = pytest.mark.filterwarnings(
    "ignore:PySpark does not yet fully support pandas:FutureWarning"
)


@pytest.fixture(scope="module")
def spark():
    "Executors in processes of their own."
    if reason := spark_sessions.why_no_spark():
        pytest.skip(reason)
    session = spark_sessions.spark_session()
    yield session
    spark_sessions.stop_spark(session)


# What is missing, and the way out


def test_no_pyspark(monkeypatch):
    monkeypatch.setattr(spark_sessions, "find_spec", lambda name: None)
    assert 'pip install "clickstream-conv[spark]"' in spark_sessions.why_no_spark()
    with pytest.raises(ValueError, match="pyspark is not installed"):
        spark_sessions.spark_session()


@pytest.mark.parametrize(
    "said, reason",
    (
        ('openjdk version "11.0.2" 2019-01-15', "has version 11"),
        ('java version "1.8.0_202"', "has version 8"),
        ("nothing of the kind", "has version unknown"),
        (None, "no Java in JAVA_HOME"),
    ),
)
def test_no_java(monkeypatch, tmp_path, said, reason):
    monkeypatch.setattr(spark_sessions, "find_spec", lambda name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if said:
        (program := tmp_path / "bin" / "java").parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
        program.chmod(0o755)
    assert (
        reason in spark_sessions.why_no_spark()
        and "Java 17 or later" in spark_sessions.why_no_spark()
    )


# On Spark


def in_order(frame):
    return frame.sort(*KEYS).with_columns(
        pl.col(c).cast(pl.Float64) for c, kind in frame.schema.items() if kind.is_numeric()
    )


def assert_same(found, expected):
    found, expected = in_order(found), in_order(expected.select(found.columns))
    assert len(found) == len(expected) and found.select(pl.all().is_null()).equals(
        expected.select(pl.all().is_null())
    )
    for name, kind in expected.schema.items():
        if kind.is_numeric():
            np.testing.assert_allclose(
                found[name].drop_nulls(),
                expected[name].drop_nulls(),
                rtol=1e-9,
                atol=1e-9,
                err_msg=name,
            )
        else:
            assert found[name].to_list() == expected[name].to_list(), name


@pytest.mark.parametrize("partitions", (1, 7))
def test_the_session_table_is_the_same(spark, run, tmp_path, partitions):
    "Events in no order, both parts, learned by fold, written and read back."
    events = load_events(run, "all")
    encoder, others = learn_by_fold(load_events(run), load_card(run))
    frame = spark.createDataFrame(events.sample(fraction=1, shuffle=True, seed=1).to_arrow())
    rows = scale_spark.session_table_on(
        frame, load_card(run), encoder, others, out=str(tmp_path / "rows"), partitions=partitions
    )
    assert_same(pl.from_arrow(rows.toArrow()), pl.read_parquet(run / "sessions.parquet"))
    assert {path.name for path in (tmp_path / "rows").iterdir()} >= {"part=train", "part=test"}


def test_few_sessions_in_many_partitions(spark, run):
    "Most partitions are empty."
    some = load_events(run, "test").filter(
        pl.col("session_id").is_in(
            load_events(run, "test")["session_id"].unique().sort()[:3].to_list()
        )
    )
    scores = pl.from_arrow(
        scale_spark.score_on_spark(
            spark.createDataFrame(some.to_arrow()), run, partitions=16
        ).toArrow()
    )
    assert_same(scores, Scorer.load(run).score(some).scores)


def test_bins_are_counted_the_same(spark):
    "Numbers and counts with null and NaN, words with null, rare ones and ones that training never saw."
    rng, rows = np.random.default_rng(0), 400
    price, clicks = rng.lognormal(3, 1, rows), rng.poisson(2, rows)
    known = pl.DataFrame(dict(price=price, clicks=clicks, brand=rng.choice(list("aabbcde"), rows)))
    binned = [
        bins_of(column, most_words=2) if column.dtype == pl.String else bins_of(column)
        for column in known
    ]
    row = pl.int_range(pl.len())
    news = known.select(
        price=pl.when(row % 7 == 0).then(None).when(row % 5 == 0).then(np.nan).otherwise("price"),
        clicks=pl.when(row % 6 > 0).then(pl.col("clicks") + 1),
        brand=pl.when(row % 9 == 0).then(pl.lit("z")).when(row % 4 > 0).then("brand"),
    )
    mine = bin_counts(news, binned)
    of_word = dict(zip(binned[2].labels, mine["brand"]))
    assert news["price"].is_nan().any() and mine["price"][-1] > news["price"].null_count() > 0
    assert mine["clicks"][-1] > 0 and min(of_word[b] for b in (OTHERS, NEW_WORDS, MISSING)) > 0
    theirs = bin_counts(spark.createDataFrame(news.to_arrow()), binned)
    assert {name: found.tolist() for name, found in theirs.items()} == {
        name: found.tolist() for name, found in mine.items()
    }


@pytest.mark.parametrize("landmarks", ("last", [1, 3]), ids=str)
def test_scores_are_the_same(spark, run, landmarks):
    events = load_events(run, "test")
    scores = pl.from_arrow(
        scale_spark.score_on_spark(
            spark.createDataFrame(events.reverse().to_arrow()), str(run.folder), landmarks
        ).toArrow()
    )
    assert_same(scores, Scorer.load(run).score(events, landmarks).scores)


def test_foreign_columns_are_refused_before_any_work(spark, run):
    with pytest.raises(ValueError, match="the events have no .*price"):
        scale_spark.score_on_spark(
            spark.createDataFrame(load_events(run, "test").drop("price").to_arrow()), run
        )
    with pytest.raises(ValueError, match="no folder"):
        scale_spark.score_on_spark(spark.range(1), str(run / "nowhere"))


def test_everything_beside_one_machine(spark, run):
    found = scale_spark.spark_beside_one_machine(spark, run, trees=30)
    assert (
        found.loc[["session rows", "scores of the kept model"], "largest_difference"].max() <= 1e-9
    )
    assert not scale_spark.differs_too_much(
        found, "learned on Spark", "another seed on one machine"
    )


def test_kinds_of_visitors_are_learned_as_the_run_learned_them(spark, tmp_path):
    "A run with kinds of visitors has their columns, and so have the rows that Spark makes of its events."
    made = Run(str(tmp_path))
    prepare(made, sessions=600)
    build_sessions(made, kinds=2)
    quick_conversion(made, sessions=600)
    assert "kinds_log_odds" in load_sessions(made, "train")
    found = scale_spark.spark_beside_one_machine(spark, made, trees=5)
    assert found.loc["session rows", "largest_difference"] <= 1e-9


def test_a_model_grown_on_spark_is_kept_like_any_other(spark, run):
    train, test = load_sessions(run, "train"), load_sessions(run, "test")
    there = scale_spark.fit_on_spark(
        spark.createDataFrame(pl.from_pandas(train).to_arrow()), train, trees=5
    )
    save_model(run, "grown", there, about={})
    assert (probability(load_model(run, "grown"), test) == probability(there, test)).all()
    assert there["model"].n_estimators == 5
    assert there["model"].n_features_in_ == len(there["columns"].get_feature_names_out())


def test_nothing_is_left_behind():
    "Neither processes nor files, and nothing is printed."
    if reason := spark_sessions.why_no_spark():
        pytest.skip(reason)
    code = """if True:
        import psutil
        from clickstream_conv.scale.spark_session import _spark_home, spark_session, stop_spark
        session = spark_session()
        assert session.range(5).count() == 5
        work = _spark_home() / "work" / session.sparkContext.applicationId
        for _ in range(2): stop_spark(session)
        stop_spark(None)
        assert not [p for p in psutil.Process().children(recursive=True) if "java" in p.name()] and not work.exists()"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


# What is sent along


def test_a_packed_run_holds_models_and_no_log(run):
    packed = scale_spark.packed_run(run)
    names = zipfile.ZipFile(BytesIO(packed)).namelist()
    assert "models/conversion.skops" in names and not [name for name in names if "events" in name]
    assert "sessions.parquet" not in names
    events = load_events(run, "test")
    assert (
        scale_spark.unpacked_scorer(packed)
        .score(events)
        .scores.equals(Scorer.load(run).score(events).scores)
    )


# From files


@pytest.mark.parametrize("size", (100, 10_000))
def test_streamed_is_as_in_memory(parted, size):
    files, sample = scale_out_of_memory.row_files(parted), load_sessions(parted, "train")
    assert len(files) > 1 and len(sample) < sum(
        len(scale_out_of_memory.training_rows(pl.read_parquet(f))) for f in files
    )
    every = pl.concat(
        [scale_out_of_memory.training_rows(pl.read_parquet(f)) for f in files]
    ).to_pandas()
    plain = dict(trees=20, rows=1.0, columns=1.0)
    streamed = scale_out_of_memory.fit_out_of_memory(files, sample, size=size, **plain)
    held = make_model("xgboost", sample, **plain)
    columns = held["columns"].fit(sample)
    expected = (
        held["model"]
        .fit(columns.transform(every), every["converted"])
        .predict_proba(columns.transform(every))[:, 1]
    )
    assert np.abs(probability(streamed, every) - expected).mean() < 0.01
    assert not list((parted / "sessions").glob(".pages-*"))


def test_nothing_to_learn_from(parted):
    files, sample = scale_out_of_memory.row_files(parted), load_sessions(parted, "train")
    with pytest.raises(ValueError, match="no files"):
        scale_out_of_memory.fit_out_of_memory([], sample)
    with pytest.raises(ValueError, match="none of the rows"):
        scale_out_of_memory.fit_out_of_memory(
            files, sample, wanted=lambda rows: rows.head(0), trees=2
        )


def test_a_run_keeps_a_model_of_all_rows(parted):
    fitted = scale_out_of_memory.conversion_out_of_memory(parted, trees=20)
    about = read_json(parted, "models/manifest.json")["conversion"]
    assert about["model"].startswith("xgboost") and set(about["threshold"]) >= {"value", "purpose"}
    events = load_events(parted, "test")
    scores = Scorer.load(parted).score(events).scores
    assert scores["probability"].drop_nulls().is_between(0, 1).all()
    rows = load_sessions(parted, "test")
    assert (probability(load_model(parted, "conversion"), rows) == probability(fitted, rows)).all()


def test_visitors_held_back_are_whole():
    rows = pl.DataFrame(dict(visitor=[f"v{i % 500}" for i in range(2_000)]))
    held = scale_out_of_memory.held_back(rows, 0.2)
    assert 0.1 < held.mean() < 0.3
    assert not set(rows.filter(held)["visitor"]) & set(rows.filter(~held)["visitor"])


def test_partitions_grow_with_the_log_and_shrink_with_memory():
    assert (
        scale_cluster.partitions_on_cluster(10**9, memory=16)
        > scale_cluster.partitions_on_cluster(10**9, memory=64)
        > scale_cluster.partitions_on_cluster(1, memory=64)
    )
    assert "num-executors 3" in scale_cluster.submit_command(executors=3)
