"""Whom a threshold contacts: what the app's page counts is what the run counts, for every kind of outcome and of log."""

import shutil

import polars as pl
import pytest
from conftest import HEADER, log_lines, MAPPING, metrics

from clickstream_conv.app.threshold_page import (
    contacts_at,
    counting_in_words,
    judged_part,
    same_as_run,
)
from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.classification.threshold import does_at
from clickstream_conv.features.sessions import load_sessions
from clickstream_conv.judging.thresholds import first_crossings
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.prepare import prepare

NEXT = "outcome: {name: next, says: the next one is k1, kind: next, column: category, equals: k1}\n"
EVENTS = ("mine.yaml", "log.csv", MAPPING)
LOGS = {
    "events": EVENTS,
    "next": (*EVENTS[:2], MAPPING + NEXT),
    "finished": (
        "visits.yaml",
        "visits.csv",
        "ready_made: true\ncolumns: {session_id: visit}\nsession_context: [shown, device]\nlabel: bought\n",
    ),
}


@pytest.fixture(params=LOGS)
def small(request, tmp_path):
    "A model of a small log: the kind of log, and the model's run."
    mapping, log, text = LOGS[request.param]
    visits = [f"v{i},{i % 7},{('desk', 'phone')[i % 2]},{int(i % 4 == 0)}" for i in range(240)]
    lines = (
        ["visit,shown,device,bought", *visits]
        if request.param == "finished"
        else [HEADER, *log_lines()]
    )
    (tmp_path / log).write_text("\n".join(lines) + "\n")
    (tmp_path / mapping).write_text(text)
    run = Run(str(tmp_path / "run"))
    prepare(run, source=str(tmp_path / mapping), path=str(tmp_path / log))
    quick_conversion(run, folds=2)
    return request.param, run


def test_every_kind_of_run_is_counted_as_the_run_counts(small):
    kind, run = small
    scorer = Scorer.load(run.folder)
    part, table = judged_part(scorer), load_sessions(run, "test")
    p = scorer.chance(table)
    for threshold in (scorer.threshold, float(p.max()), float(p.min()), 0.5, 2.0):
        found = contacts_at(part, threshold)
        line = type("Line", (), dict(value=threshold))
        told = does_at(line, table, p, scorer.outcome, dict(gain=20.0, cost=1.0))
        assert str(found.done) == str(told)
        assert found.counts.loc["flagged"].sum() == found.reached["contacted"] == told["flagged"]
        assert found.reached["profit"] == 20 * told["found"] - told["flagged"]
        if kind != "next":
            crossed = first_crossings(table, p, threshold)
            assert crossed["contacted"].sum() == told["flagged"]
            assert len(crossed) == told["decided"]
        else:
            assert told["decided"] == len(table) > table["session_id"].nunique()
    said = counting_in_words(scorer, part)
    assert ("each row, a session at a landmark, is a decision" in said) == (kind == "next")
    assert ("finished sessions" in said) == (kind == "finished")
    assert "cannot be held against it" in same_as_run(part, scorer.threshold)


def test_the_threshold_of_a_run_gives_its_own_figures(demo):
    run = demo[0] / "run"
    scorer = Scorer.load(run)
    part, kept = judged_part(scorer), metrics(run)["classification.json"]["at_threshold"]["test"]
    done = contacts_at(part, scorer.threshold).done
    assert {name: done[name] for name in kept} == kept and "f1_high" in kept
    assert same_as_run(part, scorer.threshold) == ""


def test_a_run_without_visitors_is_refused_in_a_sentence(demo, tmp_path):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    table = pl.read_parquet(tmp_path / "run" / "sessions.parquet")
    (tmp_path / "run" / "sessions.parquet").unlink()
    with pytest.raises(ValueError, match="has no sessions.parquet|sessions.parquet"):
        judged_part(Scorer.load(tmp_path / "run"))
    table.drop("visitor").write_parquet(tmp_path / "run" / "sessions.parquet")
    with pytest.raises(ValueError, match="made by an earlier build; make it again"):
        judged_part(Scorer.load(tmp_path / "run"))
