"""An upload is held against the whole test part of a run, or a random sample of it, and chance gives no alarm."""

import numpy as np
import polars as pl

from clickstream_conv.app.predictions import (
    beside_sentence,
    mean_difference,
    own_events,
    own_in_words,
    read_kept,
)
from clickstream_conv.base.runs import Run, write_table
from clickstream_conv.sources.log_card import LogCard


def drifting(sessions):
    "Probabilities of a test part that rise from its first session to its last, as in a log of a year with Christmas at its end."
    p = np.linspace(0.0, 0.5, sessions)
    return pl.DataFrame(
        dict(session_id=[f"s{i}" for i in range(sessions)], probability=p, flagged=p > 0.4)
    )


def test_a_sample_is_of_the_whole_test_part(tmp_path):
    "Its mean is that of all, not that of the first sessions; what is there whole stays whole."
    run, own = Run(str(tmp_path)), drifting(5_000)
    write_table(
        run,
        "sessions-read.parquet",
        pl.concat([own.with_columns(part=pl.lit("test")), own.with_columns(part=pl.lit("train"))]),
    )
    assert read_kept(run)["session_id"].to_list() == own["session_id"].to_list()
    drawn = read_kept(run, 1_000)
    assert len(drawn) == 1_000 and drawn["session_id"].is_in(own["session_id"].implode()).all()
    assert (
        abs(drawn["probability"].mean() - 0.25) < 0.015
        and own["probability"].head(1_000).mean() < 0.051
    )
    assert "no more than chance explains" in beside_sentence(
        own, drawn
    ) and "+0.0 points" in beside_sentence(own, read_kept(run))
    assert "more than chance explains" in beside_sentence(
        own.head(1_000), own
    ) and "no more" not in beside_sentence(own.head(1_000), own)


def test_events_of_drawn_sessions_come_whole(tmp_path):
    "Of a session that is drawn all events are there."
    run = Run(str(tmp_path))
    given = dict(
        session_id=[f"s{i}" for i in range(300) for _ in range(3)],
        step=[1, 2, 3] * 300,
        visitor=["v"] * 900,
        part=["test"] * 900,
    )
    write_table(run, "events.parquet", pl.from_dict(given))
    drawn = own_events(run, 50)
    assert drawn["session_id"].n_unique() == 50 and len(drawn) == 150
    assert set(drawn["session_id"]) != {f"s{i}" for i in range(50)}


def test_what_stands_beside_an_upload_is_said():
    own, card = drifting(400), LogCard("run", "a log", parts=dict(train=1_200, test=400))
    assert own_in_words(card, own) == "The run's test part stands here whole: 400 sessions."
    assert (
        own_in_words(LogCard("run", "a log", parts=dict(test=9_000)), own)
        == "Of the run's test part stand here 400 sessions, drawn at random from its 9,000."
    )


def test_sessions_of_one_kind_seldom_differ_more_than_chance():
    "One comparison in a hundred, of two hundred."
    rng = np.random.default_rng(0)
    draws = [[pl.Series(rng.beta(1, 6, n)) for n in (150, 4_000)] for _ in range(200)]
    alarms = sum(
        not low <= 0 <= high for _, low, high in (mean_difference(*pair) for pair in draws)
    )
    assert alarms <= 6
