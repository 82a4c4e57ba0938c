"""A log of finished sessions: what its run, its card and its report say of a rival without events, of twins, of what was left out, and of who was learned from."""

import random

import polars as pl
import pytest
from conftest import EARLY, QUICK, warm

from clickstream_conv.audit.audit import audit, differing_lines
from clickstream_conv.base.findings import sampled_as
from clickstream_conv.judging.verdict import gate, Verdict
from clickstream_conv.report import (
    actions as report_actions,
)
from clickstream_conv.report import answer as report_answer
from clickstream_conv.report import (
    front as report_front,
)
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import twins_across

MAPPING = """\
ready_made: true
label: bought
session_context: [looks, read_for, device, paid]
suspects: [paid]
"""


def finished_lines(sessions=1_600):
    "Sessions of which those with many pages buy more; paid knows the outcome; every 40th row is written twice."
    rng, lines = random.Random(1), []
    for _i in range(sessions):
        pages = rng.randint(1, 30)
        bought = int(rng.random() < pages / 45)
        paid = rng.randint(1, 90) if bought and rng.random() < 0.6 else 0
        lines.append(
            f"{pages},{rng.randint(5, 900_000)},{rng.choice(('phone', 'desk'))},{paid},{bought}"
        )
    return lines + lines[::40]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A run of finished sessions, as far as its model."
    folder = tmp_path_factory.mktemp("finished")
    (folder / "visits.csv").write_text(
        "\n".join(["looks,read_for,device,paid,bought", *finished_lines()]) + "\n"
    )
    (folder / "visits.yaml").write_text(MAPPING)
    done = warm(
        "run",
        "--source",
        "visits.yaml",
        "--path",
        "visits.csv",
        "--out",
        "out",
        *EARLY,
        *QUICK,
        cwd=folder,
    )
    assert done.returncode == 0, done.said
    return folder, done.said


def test_the_rival_of_finished_sessions_is_the_base_rate(finished):
    "There are no events to count, so nothing is said to be better than counting them."
    folder, said = finished
    figures = report_answer.read_figures(folder / "out")
    card = (folder / "out" / "model_card.md").read_text()
    for text in (said, card, report_actions.verdict_of(figures).text):
        assert "the model is better than the base rate (one probability for all sessions)" in text
    page = report_front.front_page(figures, {})
    assert not any("counting" in text or "event counts" in text for text in (said, card, page))
    assert {row["model"] for row in figures["classification"]["by_landmark"]} >= {"base rate"}
    assert "Predicts whether" in card and "from what is known of a session when it is over" in card


def test_the_verdict_names_the_rival_where_it_is_not_beaten():
    level = dict(difference=0.001, difference_low=-0.002, difference_high=0.004)
    assert (
        gate(Verdict([]), level, [], rival="base rate")
        .reasons[0]
        .startswith(
            "the model is not shown to be better than the base rate: its log-loss less that of the base rate"
        )
    )
    assert (
        gate(Verdict([]), level, [])
        .reasons[0]
        .startswith("the model is not shown to be better than counting events")
    )
    missing = gate(Verdict([]), level, [], rival="base rate").missing
    assert (
        report_actions.first_step(dict(model_card=dict(missing=missing)))
        == "Collect more sessions, or columns that tell more of them"
    )


def test_twins_across_the_parts_are_counted(finished):
    "On the report, the card and in the terminal, with the figure of the others."
    folder, said = finished
    table = pl.read_parquet(folder / "out" / "sessions-read.parquet")
    values = ["looks", "read_for", "device", "paid", "converted"]
    learned = set(table.filter(pl.col("part") == "train").select(values).rows())
    judged = table.filter(pl.col("part") == "test").select(values).rows()
    count = sum(row in learned for row in judged)
    assert count >= 5 and count == len(twins_across(table))
    sentence = f"{count} of {len(judged):,} test sessions say the same as a training session"
    page, card = (
        report_front.front_page(report_answer.read_figures(folder / "out"), {}),
        (folder / "out" / "model_card.md").read_text(),
    )
    assert all(sentence in text for text in (said, card, page))
    others = f"ithout the {count} test sessions that say the same as a training session: ROC-AUC"
    assert (
        all(others in text for text in (said, card, page))
        and f"on the other {len(judged) - count:,}" in said
    )


def test_a_suspect_was_left_out_and_only_may_know(finished):
    "One sentence, on each surface."
    folder, said = finished
    page, card = (
        report_front.front_page(report_answer.read_figures(folder / "out"), {}),
        (folder / "out" / "model_card.md").read_text(),
    )
    for text in (said, page, card):
        assert "eft out of the model: paid, which may be computed from the outcome" in text
        assert (
            "was computed from the outcome" not in text
            and "since computed from" not in text
            and "Leave it out" not in text
        )
        assert "The model was made without it" in text


def test_who_was_learned_from_is_known(finished):
    folder, said = finished
    page = report_front.front_page(report_answer.read_figures(folder / "out"), {})
    part = page.split("Who was learned from, and who was judged")[1].split("##")[0]
    assert (
        "Split by session; learned from" in part
        and "Not known" not in part
        and "The log knows no visitors" in part
    )


def test_the_right_reason_and_the_right_word(finished):
    "Moments of finished sessions are none; where no visitor is known, none is drawn."
    folder, said = finished
    assert "moments are not compared: of finished sessions only the end is known" in said
    page, card = (
        report_front.front_page(report_answer.read_figures(folder / "out"), {}),
        (folder / "out" / "model_card.md").read_text(),
    )
    assert (
        "in other samples of sessions" in page
        and "samples of visitors" not in page
        and "bootstrap over sessions" in card
    )
    assert "at the same moment" not in page


def test_what_is_drawn_again():
    assert sampled_as(dict(visitors=12, split_details=dict(visitors=dict(new=1)))) == "visitors"
    assert sampled_as(dict(visitors=None, split_details=dict(visitors={}))) == "sessions"
    assert sampled_as({}) == "visitors"  # of a run that was made before this was kept


def test_the_audit_holds_the_base_rate(finished):
    "Other people's code finds the same rival."
    lines = audit(finished[0] / "out")
    assert not differing_lines(lines) and any(
        "less that of base rate" in line.item for line in lines
    )


def test_scores_of_finished_sessions_say_what_their_ids_are(finished):
    "The line of the file, in the terminal and in the notes; sessions without ids are recognised by what they say."
    folder, _ = finished
    done = warm(
        "score", "--run", "out", "--events", "visits.csv", "--out", "scores.csv", cwd=folder
    )
    assert done.returncode == 0, done.said
    notes = (folder / "scores-notes.txt").read_text()
    scores = pl.read_csv(folder / "scores.csv", schema_overrides=dict(session_id=pl.String))
    assert scores["session_id"][0] == "2" and len(scores) == 1_640
    for text in (done.stdout, notes):
        assert (
            "session_id is the line of its row in visits.csv, since the sessions have no ids of their own"
            in text
        )
    table = pl.read_parquet(folder / "out" / "sessions-read.parquet")
    seen = ["looks", "read_for", "device"]
    count = len(
        table.join(
            table.filter(pl.col("part") == "train").select(seen).unique(), on=seen, how="semi"
        )
    )
    assert (
        f"the model has learned from {count:,} of the 1,640 scored sessions (sessions that say the same, since the log names none)"
        in notes
    )
    scorer = Scorer.load(folder / "out")
    told = scorer.score_sessions(pl.read_csv(folder / "visits.csv").drop("bought").head(3))
    assert (
        "session_id is the number of its row, counted from 1, since the sessions have no ids of their own"
        in told.sentences
    )
