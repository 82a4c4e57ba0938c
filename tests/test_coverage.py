"""Intervals and p-values are counted against what is known; the command says what it counted and ends accordingly."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import command, here


def test_the_command_counts_and_ends_accordingly(tmp_path):
    "A small count: the table, the file and the exit code agree."
    from clickstream_conv.audit.truth import JUDGED
    from clickstream_conv.audit.worlds import QUESTIONS, WORLDS

    done = command(
        "coverage",
        "--sizes",
        "1000:2",
        "--fresh",
        2000,
        "--draws",
        2,
        "--family",
        "logistic regression",
        "--jobs",
        1,
        "--out",
        "counted.json",
        cwd=tmp_path,
    )
    kept = json.loads((tmp_path / "counted.json").read_text())
    assert done.returncode == (1 if kept["faults"] else 0), done.said
    assert [row["figure"] for row in kept["coverage"]] == list(JUDGED)
    assert len(kept["level"]) == len(QUESTIONS) * len(WORLDS)
    for row in kept["coverage"]:
        assert (
            row["logs"] == 2
            and row["share"] == row["covered"] / 2
            and row["low"] <= row["share"] <= row["high"]
        )
        assert row["enough"] == (row["share"] >= 0.9)
    for title in (*JUDGED.values(), *QUESTIONS, *WORLDS):
        assert title in done.stdout, title
    for fault in kept["faults"]:
        assert fault in done.stdout
    for row in kept["beside"]:
        assert row["fresh_sessions"] > 1500
        assert row["covered"] == (row["low"] <= row["truth"] <= row["high"])


@pytest.mark.parametrize(
    "words, said",
    [
        (("--sizes", "4000"), "4000:32,16000:16; found '4000'"),
        (("--sizes", "0:2"), "sessions must be 1 to"),
        (("--fresh", "10"), "fresh must be 1,000 to"),
        (("--draws", "0"), "draws must be 1 to"),
    ],
)
def test_what_cannot_be_counted_is_refused(tmp_path, words, said):
    "A wrong option is named before anything is drawn."
    done = here("coverage", *words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.said, done.said


def test_too_few_and_too_many_are_faults():
    "An interval that holds the truth in 8 of 10 logs is a fault, 9 of 10 is not; a p-value that is too often small is one."
    from clickstream_conv.audit.coverage import faults_of_coverage
    from clickstream_conv.audit.truth import coverage_of, JUDGED
    from clickstream_conv.audit.worlds import level_by_question, QUESTIONS

    def beside(covered):
        "Ten logs, so many of them with the truth inside."
        ends = [dict(low=0.0, high=1.0 if seed < covered else 0.4, truth=0.5) for seed in range(10)]
        return pd.DataFrame(
            [
                dict(
                    figure=name,
                    size=100,
                    seed=seed,
                    covered=seed < covered,
                    fresh_sessions=1,
                    **one,
                )
                for name in JUDGED
                for seed, one in enumerate(ends)
            ]
        )

    uniform = {question: np.linspace(0.0025, 0.9975, 200) for question in QUESTIONS}
    level = level_by_question(pd.DataFrame(dict(world="one", seed=range(200), **uniform)))
    assert level["below"].tolist() == [10] * len(QUESTIONS) and level["level"].all()
    fine = dict(coverage=coverage_of(beside(9)), level=level)
    assert not faults_of_coverage(fine)
    short = coverage_of(beside(8))
    assert short["below"].tolist() == [2] * len(JUDGED)
    assert len(faults_of_coverage(fine | dict(coverage=short))) == len(JUDGED)
    often = level_by_question(
        pd.DataFrame(
            dict(world="one", seed=range(200), **uniform | dict(drift=uniform["drift"] / 3))
        )
    )
    assert faults_of_coverage(fine | dict(level=often)) == [
        "drift, one: p < 0.05 in 30 of 200 logs without an effect"
    ]


def test_fresh_sessions_are_of_the_days_of_the_test_part():
    "They begin with the test part, on the same days, and none of them is in the log."
    import polars as pl

    from clickstream_conv.audit.truth import fresh_log, from_then_on
    from clickstream_conv.demo.simulate import simulate

    log, fresh = simulate(2_000, 0), fresh_log(2_000)
    starts = log.group_by("session_id").agg(pl.col("t").min())["t"].sort()
    cut = int(starts.quantile(0.75, "higher"))
    late = from_then_on(fresh, cut).group_by("session_id").agg(pl.col("t").min())
    assert late["t"].min() >= cut and len(late) >= 2_000
    assert abs(late["t"].max() - starts.max()) < 86_400_000_000
    assert abs(late["t"].mean() - starts.filter(starts >= cut).mean()) < 2 * 86_400_000_000
    assert not set(late["session_id"]) & set(log["session_id"])
