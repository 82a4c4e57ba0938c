"""What a threshold does is said once: every surface of a run shows the same figures, and scores flag the same sessions."""

import html
import json
import re

import numpy as np
import polars as pl
import pytest
from conftest import warm

from clickstream_conv.app.overview import overview_of
from clickstream_conv.app.predictions import flagged_sentence, own_events, read_kept
from clickstream_conv.base.runs import read_json, Run
from clickstream_conv.features.sessions import load_sessions
from clickstream_conv.judging.flags import counted_flags, flags_in_words
from clickstream_conv.judging.thresholds import one_per_session
from clickstream_conv.models.fitting import probability
from clickstream_conv.pipeline.ending import told_in_brief
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.scoring.written import notes_path
from clickstream_conv.whatif.audience import audience

SAID = re.compile(r"([\d.]+% \([\d.]+% to [\d.]+%\)) of ([\d,]+) sessions are flagged")


@pytest.fixture(scope="module")
def run(demo):
    return Run(str(demo[0] / "run"))


@pytest.fixture(scope="module")
def kept(run):
    return read_json(run, "metrics/classification.json")["at_threshold"]


@pytest.fixture(scope="module")
def scorer(run):
    return Scorer.load(run.folder)


@pytest.fixture(scope="module")
def events(run):
    return own_events(run, 10**9)


def text_of(page):
    "The words of a page, without its marks."
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture(scope="module")
def surfaces(demo, run, scorer, events, tmp_path_factory):
    "Name of a surface: what it says."
    folder = tmp_path_factory.mktemp("scored")
    events.write_parquet(folder / "log.parquet")
    words = ("--run", str(run.folder), "--events", str(folder / "log.parquet"))
    done = warm("score", *words, "--out", str(folder / "scored.csv"), cwd=folder)
    assert not done.returncode, done.said
    scores = scorer.score(events).scores
    numbers = overview_of(run).numbers
    site = run / "site"
    return {
        "terminal": demo[1].said,
        "model card": (run / "model_card.md").read_text(encoding="utf-8"),
        "sentences": (run / "sentences.json").read_text(encoding="utf-8"),
        "first page": text_of((site / "index.html").read_text(encoding="utf-8")),
        "page 05": text_of((site / "05_classification.html").read_text(encoding="utf-8")),
        "card's page": text_of((site / "model_card.html").read_text(encoding="utf-8")),
        "score in the terminal": done.said,
        "notes beside scores": notes_path(folder / "scored.csv").read_text(encoding="utf-8"),
        "scorer": " ".join(scorer.tested_flags()),
        "upload in the app": flagged_sentence(scores, scorer),
        "app's first page": json.dumps(numbers),
    }


def test_every_surface_says_the_same_of_the_threshold(surfaces, kept, scorer):
    truth = flags_in_words(kept["test"])
    assert SAID.search(truth)
    lacking = {name for name, text in surfaces.items() if truth not in " ".join(text.split())}
    # what to do is not said of a model that is not fit for use
    assert lacking == (set() if scorer.fit_for_use else {"first page"})


def test_no_surface_says_something_else_of_it(surfaces, kept):
    known = {SAID.search(flags_in_words(done)).groups() for done in kept.values()}
    other = {
        name: [found for found in SAID.findall(text) if found not in known]
        for name, text in surfaces.items()
    }
    assert {name: found for name, found in other.items() if found} == {}


def test_scores_flag_the_sessions_that_the_figures_count(scorer, events, kept):
    scores = scorer.score(events).scores
    test = kept["test"]
    assert scores["flagged"].count() == test["decided"]
    assert scores["flagged"].sum() == test["flagged"]
    bought = events.filter(pl.col("event") == "purchase")["session_id"].unique().implode()
    assert scores.filter("flagged", pl.col("session_id").is_in(bought)).height == test["found"]


def test_the_lab_reaches_the_sessions_that_are_flagged(scorer, kept):
    row = audience(scorer, [scorer.threshold]).iloc[0]
    assert row["contacted"] == kept["test"]["flagged"]
    assert np.isclose(row["share_reached"], kept["test"]["recall"])


def test_a_flag_is_raised_at_the_first_trained_landmark_while_at_risk(run, scorer, events):
    table = load_sessions(run, "test")
    rows = table.assign(p=probability(scorer.conversion, table))
    over = rows[rows["p"] >= scorer.threshold].groupby("session_id")["landmark"].min()
    once = one_per_session(table, rows["p"]).set_index("session_id")["highest"]
    scores = scorer.score(events).scores.drop_nulls("flagged").to_pandas().set_index("session_id")
    assert scores["flagged_at"].dropna().astype(int).to_dict() == over.to_dict()
    assert np.allclose(scores["highest"], once.loc[scores.index], rtol=1e-9)
    assert set(scores.index) == set(once.index)


@pytest.mark.parametrize("landmarks", ["now", "every", [1], [3, 8]])
def test_whenever_it_is_asked_the_flag_is_the_same(scorer, events, landmarks):
    last = scorer.score(events).scores.select("session_id", at="flagged_at")
    scores = scorer.score(events, landmarks).scores.join(last, on="session_id")
    by_then = pl.when(pl.col("at") <= pl.col("landmark")).then("at")
    decided = scores.filter(pl.col("flagged").is_not_null())
    assert len(decided)
    assert decided["flagged_at"].to_list() == decided.select(by_then).to_series().to_list()
    assert (decided["flagged"] == decided["flagged_at"].is_not_null()).all()


def test_a_visit_that_goes_on_is_flagged_as_in_a_file(scorer, events):
    scores = scorer.score(events, "every").scores
    flagged = scores.filter("flagged")["session_id"].unique(maintain_order=True).head(3).to_list()
    others = scores.filter(~pl.col("flagged"))["session_id"].unique(maintain_order=True).head(3)
    for name in [*flagged, *others]:
        visit = scorer.session(name)
        own = events.filter(pl.col("session_id") == name).drop("step").to_dicts()
        live = [visit.add(event) for event in own]
        expected = scores.filter(pl.col("session_id") == name)
        for column in ("flagged", "flagged_at", "fit_for_use"):
            assert [one[column] for one in live] == expected[column].to_list(), (name, column)
        assert np.allclose(
            [one["highest"] for one in live], expected["highest"].to_numpy(), rtol=1e-9
        )


def test_an_event_that_comes_late_is_asked_about_anew(scorer, events):
    name = scorer.score(events).scores.filter("flagged", pl.col("events") > 3)["session_id"][0]
    own = events.filter(pl.col("session_id") == name).sort("step").drop("step").to_dicts()
    visit = scorer.session(name)
    for event in [own[0], *own[2:], own[1]]:
        visit.add(event)
    expected = scorer.score(events.filter(pl.col("session_id") == name), "now").scores
    assert visit.answers[-1]["flagged_at"] == expected["flagged_at"][0]
    assert visit.answers[-1]["highest"] == pytest.approx(expected["highest"][0], rel=1e-9)


def test_every_scored_file_says_whether_the_model_may_be_used(scorer, events):
    said = {True: "yes", False: "no", None: "not judged"}[scorer.fit_for_use]
    for landmarks in ("last", "every"):
        assert set(scorer.score(events, landmarks).scores["fit_for_use"]) == {said}
    assert scorer.fit_for_use is not None


def test_every_page_of_the_report_says_that_a_model_is_not_fit_for_use(run, scorer):
    assert scorer.fit_for_use is False, "a run of so few sessions is not fit for use"
    pages = {
        page.name: text_of(page.read_text(encoding="utf-8"))
        for page in (run / "site").glob("*.html")
    }
    assert len(pages) > 8
    assert [name for name, text in pages.items() if "Do not use this model yet" not in text] == []


def test_a_terminal_is_told_ten_lines_and_the_rest_stands_in_a_file(demo, run, scorer):
    lines = (run / "summary.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line not in demo[1].stdout] == []
    brief = told_in_brief(run.folder, lines)
    labels = [label for label, _ in brief]
    assert scorer.fit_for_use is False and labels[0] == "do not use"
    assert len(brief) <= 10 and labels[-2:] == ["more", "open"]
    assert {"log", "convert", "revenue", "segments", "why"} <= set(labels)
    assert "flag" not in labels  # what to do is not said of a model that is not fit for use
    assert dict(brief)["more"].startswith(f"{len(lines) - 1} sentences in all: ")


@pytest.mark.parametrize("log", ["rees46", "eshop", "shoppers"])
def test_on_real_logs_too_scores_flag_what_the_figures_count(log, request):
    "Sessions; of an outcome about the next event the rows that have one; of finished sessions each."
    run = Run(str(request.getfixturevalue(log)[0] / "run"))
    scorer = Scorer.load(run.folder)
    unit, test = (
        scorer.outcome.decided_by,
        read_json(run, "metrics/classification.json")["at_threshold"]["test"],
    )
    if not scorer.card.kind.has_events:
        scores = scorer.score_sessions(read_kept(run, 10**9)).scores
    elif unit == "rows":
        scores = scorer.score(own_events(run, 10**9), list(scorer.landmarks)).scores
        scores = scores.filter(pl.col("landmark") < pl.col("events"))
    else:
        scores = scorer.score(own_events(run, 10**9)).scores
    assert {"rees46": "sessions", "eshop": "rows", "shoppers": "sessions"}[log] == unit
    assert counted_flags(scores, unit) == (test["flagged"], test["decided"])
    assert flags_in_words(test, unit) in " ".join(scorer.tested_flags())
