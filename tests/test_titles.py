"""Every share, ratio and AUC in a title carries its interval, and what a title or a sentence calls the best, the first or the lowest is that in its table, also where baselines, ties and rare groups come in between."""

import ast
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from clickstream_conv.app import details as app
from clickstream_conv.audit import lines as audit_lines
from clickstream_conv.audit import segments as audit_segments
from clickstream_conv.base.pictures import BASELINE, DOTS
from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification import (
    comparing as classification_comparing,
)
from clickstream_conv.classification import (
    threshold as classification_threshold,
)
from clickstream_conv.clustering import (
    headlines as clustering_headlines,
)
from clickstream_conv.clustering import worth as clustering_worth
from clickstream_conv.eda import clock as eda_clock
from clickstream_conv.eda import (
    drift as eda_drift,
)
from clickstream_conv.eda import (
    facts as eda_facts,
)
from clickstream_conv.eda import funnel as eda_funnel
from clickstream_conv.eda import (
    lengths as eda_lengths,
)
from clickstream_conv.eda import (
    moves as eda_moves,
)
from clickstream_conv.eda import (
    relevance as eda_relevance,
)
from clickstream_conv.eda import shares as eda_shares
from clickstream_conv.eda import (
    visits as eda_visits,
)
from clickstream_conv.judging import at_threshold
from clickstream_conv.judging import figures as judging_figures
from clickstream_conv.judging import (
    learning_curve as judging_learning_curve,
)
from clickstream_conv.regression import (
    choosing as regression_choosing,
)
from clickstream_conv.regression import (
    levels as regression_levels,
)
from clickstream_conv.regression import (
    models as regression_models,
)
from clickstream_conv.report import actions as report_actions
from clickstream_conv.report import answers as report_answers


def compared(**log_loss):
    "Figures of models, as classification_comparing.comparison makes them."
    return pd.DataFrame(
        {
            name: dict(
                log_loss=value,
                roc_auc=1 - value,
                log_loss_low=value - 0.01,
                log_loss_high=value + 0.01,
                roc_auc_low=0.5,
                roc_auc_high=1.0,
                seconds=1.0,
            )
            for name, value in log_loss.items()
        }
    ).T


def test_a_baseline_that_leads_is_named_first():
    table = compared(**{BASELINE: 0.150, "random forest": 0.152, "xgboost": 0.170})
    alt = classification_comparing.plot_comparison(table).alt
    assert alt.startswith(
        f"{BASELINE}, the baseline, has the best log-loss; random forest is the best of the models"
    )
    assert classification_comparing.plot_comparison(table.drop(index=BASELINE)).alt.startswith(
        "random forest has the best log-loss"
    )
    assert classification_comparing.plot_comparison(table, "roc_auc").alt.startswith(
        f"{BASELINE}, the baseline, has the best roc-auc"
    )


def told(**noise):
    "What models say of sessions, each with the truth and some noise."
    rng = np.random.default_rng(1)
    came = rng.random(4_000) < 0.2
    truth = np.where(came, 0.4, 0.15)
    said = {
        name: np.clip(truth + rng.normal(0, size, 4_000), 0.01, 0.99)
        for name, size in noise.items()
    }
    judged = pd.DataFrame(
        dict(
            converted=came.astype(int),
            visitor=np.arange(4_000).astype(str),
            **said,
            **{BASELINE: np.full(4_000, came.mean())},
        )
    )
    return judged, pd.DataFrame(
        {
            name: judging_figures.figures(judged["converted"], judged[name])
            for name in judged.columns[2:]
        }
    ).T


def test_of_models_that_tie_the_simplest_is_kept_and_the_tie_is_said():
    judged, table = told(
        **{
            "neural net": 0.020,
            "gradient boosting": 0.021,
            "xgboost": 0.020,
            "logistic regression": 0.09,
        }
    )
    chosen, why = classification_comparing.simplest_as_good(table, judged)
    assert chosen == "xgboost" and "a tie within chance" in why, why
    assert (
        "a tie within chance with"
        in classification_comparing.plot_comparison(
            table.assign(log_loss_low=0, log_loss_high=1, seconds=1.0), judged=judged
        ).alt
    )


def test_a_simpler_model_that_gives_up_much_is_not_kept_even_where_chance_allows_it():
    judged, table = told(**{"xgboost": 0.02, "logistic regression": 0.09})
    few = judged.sample(60, random_state=0)
    small = pd.DataFrame(
        {name: judging_figures.figures(few["converted"], few[name]) for name in few.columns[2:]}
    ).T
    chosen, _ = classification_comparing.simplest_as_good(small, few)
    lead = small.loc[BASELINE, "log_loss"] - small.loc[chosen, "log_loss"]
    assert lead >= 0.9 * (small.loc[BASELINE, "log_loss"] - small["log_loss"].min())


def test_without_draws_nothing_is_called_a_tie():
    judged, table = told(**{"xgboost": 0.02, "logistic regression": 0.02})
    best = classification_comparing.best_model(table, "log_loss")
    assert classification_comparing.simplest_as_good(table, judged, resamples=0)[0] == best


def test_the_rare_beginnings_together_are_not_a_beginning():
    events = (
        ["vvv"] * 60
        + ["vvc"] * 40
        + [f"v{first}{second}" for first in "cr" for second in "cr"] * 10
    )
    names = dict(v="view", c="cart", r="remove")
    rows = [
        dict(
            session_id=f"{s:03}",
            visitor_id=f"{s:03}",
            step=i + 1,
            t=(1_000 * s + i) * 1_000_000,
            event=names[mark],
            item_id="p",
            category="k",
            price=1.0,
            quantity=1,
        )
        for s, path in enumerate(events)
        for i, mark in enumerate(path)
    ]
    rows += [
        dict(
            rows[0],
            session_id=f"{s:03}",
            visitor_id=f"{s:03}",
            step=4,
            t=(1_000 * s + 4) * 1_000_000,
            event="purchase",
        )
        for s in [*range(3), *range(100, 140)]
    ]
    log = pl.DataFrame(rows, orient="row").sort("session_id", "step")
    begun = eda_visits.paths(eda_moves.session_walks(log), eda_facts.session_facts(log))
    assert (
        begun["value"].iloc[-1] == eda_visits.OTHERS and begun["share"].idxmax() == len(begun) - 1
    )
    said = eda_visits.paths_finding(begun)
    assert (
        f"most often after {begun['value'].iloc[0]} " in said
        and "after the rarer ones together in" in said
    ), said


def test_the_first_row_of_the_chart_is_the_one_that_the_title_names():
    found = pd.DataFrame(
        dict(
            column=["page_values", "channel", "hour"],
            values=9,
            missing=0,
            information=[0.3, 0.1, 0.01],
            noise=0.02,
            expected=0.0,
            share=[0.6, 0.2, 0.0],
            above_noise=[True, True, False],
        )
    )
    honest = found[found["column"] != "page_values"]
    picture = eda_relevance.plot_relevance(
        found, ("page_values",), title=eda_relevance.relevance_finding(honest, "purchase")
    )
    rows = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert rows == ["channel", "hour", "page_values"] and "channel tells most" in picture.alt
    many = pd.concat([honest] * 12, ignore_index=True).assign(
        column=lambda t: [f"c{i}" for i in t.index]
    )
    kept = eda_relevance.plot_relevance(
        pd.concat([found, many], ignore_index=True), ("page_values",), most=5
    )
    assert [label.get_text() for label in kept.figure.axes[0].get_yticklabels()] == [
        "channel",
        "hour",
        "c0",
        "c1",
        "page_values",
    ]


@pytest.mark.parametrize("one, two, word", [(9, 3, "longer"), (3, 9, "shorter"), (4, 4, "as long")])
def test_sessions_that_convert_are_not_always_longer(one, two, word):
    spans = pd.DataFrame(
        [
            dict(measure=measure, group=group, q50=value)
            for group, value in zip(eda_lengths.GROUPS, (one, two))
            for measure in ("events", "before")
        ]
    )
    assert eda_lengths.lengths_finding(spans).startswith(
        f"Sessions that convert are {word}: {one} events against {two}"
    )


def test_a_value_that_is_called_no_is_a_value():
    mix = pd.DataFrame(
        dict(
            column=["newsletter", "newsletter", "with a cart"],
            value=["no", "yes", "yes"],
            first_half=[0.2, 0.8, 0.1],
            second_half=[0.5, 0.5, 0.12],
            change=[0.3, -0.3, 0.02],
            p=0.001,
        )
    )
    assert "newsletter no went from 20% to 50%" in eda_drift.mix_finding(mix)
    assert "sessions with a cart went from 10% to 12%" in eda_drift.mix_finding(
        mix[mix["column"] == "with a cart"]
    )


def segments(**rates):
    "Segments of a part with their conversion."
    return [
        dict(
            segment=name,
            conversion=rate,
            conversion_low=rate / 2,
            conversion_high=2 * rate,
            sessions=100,
            share=1 / len(rates),
        )
        for name, rate in rates.items()
    ]


def test_the_card_says_where_another_segment_is_the_lowest():
    of = dict(
        view=5,
        worth=dict(
            training=segments(carts=0.40, looks=0.035, changes=0.028),
            test=segments(carts=0.40, looks=0.029, changes=0.036),
        ),
        chance=dict(training=dict(p=0.005), test=dict(p=0.005)),
        ratio=dict(test=dict(ratio=11.1, low=7.6, high=18.6)),
    )
    says = report_answers.answer_clustering(dict(clustering=of)).says
    assert (
        "'changes' in 3.6" in says
        and "the highest and the lowest of the training part" in says
        and "Lowest in the test part: 'looks', 2.9" in says
    ), says
    same = {
        **of,
        "worth": dict(
            training=of["worth"]["training"], test=segments(carts=0.40, looks=0.036, changes=0.029)
        ),
    }
    assert (
        "Lowest in the test part"
        not in report_answers.answer_clustering(dict(clustering=same)).says
    )


def test_what_to_do_says_of_which_sessions_a_segment_is_a_share():
    of = dict(
        view=5,
        worth=dict(
            training=segments(carts=0.40, looks=0.035), test=segments(carts=0.40, looks=0.029)
        ),
        chance=dict(training=dict(p=0.005), test=dict(p=0.005)),
        ratio=dict(test=dict(ratio=11.1, low=7.6, high=18.6)),
    )
    acts = [
        one.text
        for one, _ in report_actions.actions(dict(clustering=of, model_card=dict(fit_for_use=True)))
    ]
    assert any("of the test sessions that reach 5 events, of which 40%" in text for text in acts), (
        acts
    )
    whole = [
        one.text
        for one, _ in report_actions.actions(
            dict(clustering=of | dict(view=0), model_card=dict(fit_for_use=True))
        )
    ]
    assert any("of the test sessions, of which 40%" in text for text in whole), whole


def test_the_app_shows_the_segments_as_the_report_does(tmp_path):
    "In the order of the training part: the lowest is not picked afterwards."
    of = dict(
        view=5,
        worth=dict(
            training=segments(carts=0.40, looks=0.035, changes=0.028),
            test=segments(carts=0.40, looks=0.029, changes=0.036),
        ),
        chance=dict(training=dict(p=0.005), test=dict(p=0.005)),
        ratio=dict(test=dict(ratio=11.1, low=7.6, high=18.6)),
    )
    run = Run(str(tmp_path))
    write_json(run, "metrics/clustering.json", of)
    assert app.segments_of(run)["segment"].tolist() == ["carts", "looks", "changes"]
    assert app.segments_answer(run) == report_answers.answer_clustering(dict(clustering=of))


def test_figures_of_few_conversions_are_called_so():
    "Beside their intervals, as the card says it of a model."
    row = dict(group="known", judged=True, rows=900, sessions=300, converted_sessions=21)
    for name in ("roc_auc_within", "roc_auc", "average_precision", "log_loss", "total_ratio"):
        row |= {name: 0.7, f"{name}_low": 0.6, f"{name}_high": 0.8}
    few, enough = (
        classification_threshold._of_visitors(row | dict(converted_sessions=count))
        for count in (21, 100)
    )
    assert (
        few.text.endswith(
            "conversions predicted over observed 0.700 (0.600 to 0.800); 21 of 300 sessions convert, fewer than the 100 that a judgement needs"
        )
        and few.level == "caution"
    )
    assert enough.text.endswith("100 of 300 sessions convert") and enough.level == "finding"


def test_the_sentence_on_segments_does_too():
    rates = pd.DataFrame(segments(carts=0.40, looks=0.029, changes=0.036)).set_index("segment")
    words, figures, names = clustering_headlines.otherwise_there(rates, "carts", "changes")
    assert words == "; lowest in the test part: 'looks', 2.9% (1.5% to 5.8%)"
    assert [figure.value for figure in figures] == [0.029] and names == ("looks",)
    assert clustering_headlines.otherwise_there(rates, "carts", "looks") == ("", (), ())


def test_a_baseline_that_leads_the_models_of_revenue_is_named_first():
    table = pd.DataFrame(
        {
            regression_models.SIMPLEST: dict(gini=0.6),
            "hurdle, log-normal": dict(gini=0.5),
            "tweedie": dict(gini=0.4),
        }
    ).T
    assert (
        regression_choosing.leader_in_words(table)
        == f"{regression_models.SIMPLEST}, a baseline, is best by normalised Gini; hurdle, log-normal is the best of the models"
    )
    assert (
        regression_choosing.leader_in_words(table.drop(index=regression_models.SIMPLEST))
        == "hurdle, log-normal is best by normalised Gini"
    )


NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"
FIGURE = rf"(?:{NUMBER}\s?%|[-+]?\d+\.\d+)"  # a share, or a number with decimals: a ratio, a loss, an AUC
INTERVAL = rf"(?:{FIGURE}|{NUMBER}) \((?:{FIGURE}|{NUMBER}) to (?:{FIGURE}|{NUMBER})\)"
NO_ESTIMATE = {  # what stands in titles without an interval, and why it has none
    r"p (?:=|<|<=) [\d.]+": "a p-value",
    r"9[05]% (?:interval|range)s?": "how sure an interval is, which was chosen",
    r"top 10 ?%": "how many are contacted or counted, which was chosen",
    r"at (?:under [\d.]+|[\d.]+ to [\d.]+|[\d.]+ and more)(?=,| times)": "a band of prices",
    rf"{FIGURE} of what there is to know": "information less what chance gives; columns are told from noise by shuffling",
    rf"off by {FIGURE} points on average, {FIGURE} by chance alone": "a calibration error, which is above 0 by chance alone: its chance level stands beside it",
    rf"{FIGURE} points, {FIGURE} by chance alone": "the same",
    rf"at a distance of {FIGURE}, where {FIGURE} of sessions have near neighbours": "where a curve of these sessions bends",
    rf"Two directions hold {FIGURE} of what sets sessions apart": "a property of the plane that is drawn",
    rf"^Probability {FIGURE}, against {FIGURE} for the usual session": "what the model says of a session",
}


def without_interval(title):
    "Figures of a title that have no interval and should have one."
    left = re.sub(INTERVAL, "", title)
    for words in NO_ESTIMATE:
        left = re.sub(words, "", left)
    return re.findall(FIGURE, left)


def titles_of(notebook):
    "The titles of the pictures in an executed notebook."
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    still = [
        output["metadata"]["image/png"]["title"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    charts = [
        output["data"]["application/vnd.plotly.v1+json"]
        for output in outputs
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    return still + [chart["layout"]["title"]["text"].replace("<br>", " ") for chart in charts]


def pictured(run):
    "Notebook: the titles of its pictures, of a finished run."
    return {
        path.stem: titles_of(json.loads(path.read_text()))
        for path in sorted((run[0] / "run" / "notebooks").glob("*.ipynb"))
    }


@pytest.mark.parametrize("log", ["demo", "rees46"])
def test_every_figure_in_the_title_of_a_picture_carries_its_interval(log, request):
    walked = pictured(request.getfixturevalue(log))
    wrong = {
        (name, title): found
        for name, titles in walked.items()
        for title in titles
        if (found := without_interval(title))
    }
    assert walked and not wrong, "\n".join(
        f"{name}: {title} -> {found}" for (name, title), found in wrong.items()
    )


def test_the_walk_sees_the_pictures_of_every_stage(demo):
    walked = pictured(demo)
    told = {name for name, titles in walked.items() if titles and all(titles)}
    assert {
        "03_eda",
        "05_classification",
        "06_regression",
        "07_clustering",
        "09_explain",
    } <= told, {name: len(titles) for name, titles in walked.items()}
    shown = [title for titles in walked.values() for title in titles]
    assert len(shown) >= 25 and sum(len(re.findall(INTERVAL, title)) for title in shown) >= 15
    for words in (
        "Contacting the top 10%",
        "The most promising tenth brings",
        "sessions, log-loss changes by",
        "normalised Gini",
    ):
        assert any(words in title and re.search(INTERVAL, title) for title in shown), words


def test_a_figure_without_an_interval_would_be_seen():
    assert without_interval("The most promising tenth brings 56% of the revenue") == ["56%"]
    assert without_interval("log-loss goes from 0.2105 to 0.2281") == ["0.2105", "0.2281"]
    assert (
        without_interval(
            "Contacting the top 10% reaches, of those who convert, 75% (60% to 90%) by xgboost"
        )
        == []
    )


def drawn_again(figure, visitors, resamples=400):
    "The middle 95% of a figure over draws of visitors, by counting: a function of the places that were drawn."
    rng, places = (
        np.random.default_rng(3),
        pd.Series(range(len(visitors))).groupby(np.asarray(visitors)).apply(np.array),
    )
    values = [
        figure(np.concatenate(places.sample(len(places), replace=True, random_state=rng).tolist()))
        for _ in range(resamples)
    ]
    return np.nanquantile(values, (0.025, 0.975))


def test_the_interval_of_what_is_reached_is_that_of_plain_counting():
    rng = np.random.default_rng(0)
    who = rng.integers(0, 400, 2_000)
    p = rng.random(2_000)
    y = (rng.random(2_000) < p**3).astype(int)

    def reached(at):
        order = np.argsort(-p[at], kind="stable")[: len(at) // 10]
        return y[at][order].sum() / y[at].sum()

    found = at_threshold.reached_by(y, p, who, 0.1, 400)
    assert found["reached"] == pytest.approx(reached(np.arange(2_000)), abs=1e-9)
    low, high = drawn_again(reached, who)
    assert (
        low - 0.025 < found["reached_low"] < low + 0.005
        and high - 0.005 < found["reached_high"] < high + 0.025
    ), "no narrower than a share of independent answers"


def test_sessions_with_one_probability_are_reached_in_proportion():
    y = np.array([1, 0, 0, 0] * 10)
    assert at_threshold.reached_by(y, np.full(40, 0.2), np.arange(40), 0.1, 0)[
        "reached"
    ] == pytest.approx(0.1)


def test_the_interval_of_collected_revenue_is_that_of_plain_counting():
    rng = np.random.default_rng(1)
    who, p = rng.integers(0, 500, 2_000), rng.random(2_000)
    y = np.where(rng.random(2_000) < p / 2, rng.gamma(2.0, 20.0, 2_000), 0.0)

    def collected(at):
        order = np.argsort(-p[at], kind="stable")[: len(at) // 10]
        return y[at][order].sum() / y[at].sum()

    found = regression_levels.collected_by(y, p, who, 0.1, 400)
    assert found["collected"] == pytest.approx(collected(np.arange(2_000)), abs=1e-9)
    np.testing.assert_allclose(
        [found["collected_low"], found["collected_high"]], drawn_again(collected, who), atol=0.015
    )


def test_a_change_of_the_learning_curve_is_paired():
    rng = np.random.default_rng(2)
    came = rng.random(3_000) < 0.2
    table = pd.DataFrame(
        dict(
            session_id=np.arange(3_000).astype(str),
            visitor=np.arange(3_000).astype(str),
            landmark=1,
            converted=came.astype(int),
            hint=came + rng.normal(0, 1, 3_000),
        )
    )
    curve = judging_learning_curve.learning_curve(
        lambda part, seed: Hint(), [(table[:1_500], table[1_500:])], shares=(0.5, 1)
    )
    last = curve.iloc[-1]
    assert (
        last["log_loss_change_low"]
        < last["log_loss"] - curve["log_loss"].iloc[0]
        < last["log_loss_change_high"]
    )
    alone = curve["log_loss_high"] - curve["log_loss_low"]
    assert last["log_loss_change_high"] - last["log_loss_change_low"] < 0.5 * alone.min(), (
        "the same sessions are judged by both"
    )


class Hint:
    "A model that takes a share of a hint for the log-odds, by how much it learned from."

    def fit(self, table, y):
        self.level = np.log(y.mean() / (1 - y.mean()))
        self.trust = 0.5 + len(table) / 10_000
        return self

    def predict_proba(self, table):
        p = 1 / (1 + np.exp(-self.level - self.trust * (table["hint"].to_numpy() - 0.2)))
        return np.column_stack([1 - p, p])


def test_moves_of_one_visitor_hang_together():
    rng = np.random.default_rng(4)
    habit = rng.random(60)
    rows = [
        dict(
            session_id=f"{v}-{s}",
            visitor_id=str(v),
            step=i + 1,
            t=(v * 10_000 + s * 100 + i) * 1_000_000,
            event="view" if i == 0 or rng.random() < habit[v] else "cart",
            item_id="p",
            category="k",
            price=1.0,
            quantity=1,
        )
        for v in range(60)
        for s in range(20)
        for i in range(2)
    ]
    log = pl.DataFrame(rows, orient="row").sort("session_id", "step")
    moves = eda_moves.transitions(eda_moves.session_walks(log))
    one = moves[(moves["from"] == "k") & (moves["to"] == "cart")].iloc[0]
    carts = np.array(
        [
            [
                row["event"] == "cart"
                for row in rows
                if row["visitor_id"] == str(v) and row["step"] == 2
            ]
            for v in range(60)
        ]
    )
    draws = [carts[rng.integers(0, 60, 60)].sum() for _ in range(2_000)]
    left = moves.loc[moves["from"] == "k", "count"].sum()
    assert one["count"] == carts.sum() and one["share"] == pytest.approx(carts.sum() / left)
    width = (np.quantile(draws, 0.975) - np.quantile(draws, 0.025)) / left
    plain = 2 * 1.96 * np.sqrt(one["share"] * (1 - one["share"]) / left)
    assert one["high"] - one["low"] > 1.5 * plain and one["high"] - one["low"] == pytest.approx(
        width, rel=0.3
    )


def counted(converted, sessions):
    "Rows of two segments with their counts."
    rows = [
        dict(
            segment=name,
            converted=hits,
            sessions=of,
            conversion=hits / of,
            conversion_low=hits / of / 2,
            conversion_high=hits / of + 0.02,
            share=0.5,
        )
        for name, hits, of in zip(("buyers", "leavers"), converted, sessions)
    ]
    return rows


@pytest.mark.parametrize("old", [False, True])
def test_where_nobody_converts_there_is_no_ratio(old):
    "The counts stand there, and never a ratio made of the half that an interval adds; also of a run that was made before."
    ratio = (
        dict(ratio=118.2, low=7.4, high=1_893.1) if old else dict(ratio=None, low=7.4, high=None)
    )
    rows = counted((102, 0), (392, 225))
    of = dict(
        view=0,
        worth=dict(training=rows, test=rows),
        chance=dict(training=dict(p=0.005), test=dict(p=0.005)),
        ratio=dict(test=ratio),
    )
    found = report_answers.answer_clustering(dict(clustering=of))
    assert (
        found.figure == "102 of 392"
        and "sessions of 'buyers' convert, against 0 of 225 of 'leavers'" in found.says
    )
    assert not any(
        "118" in text or "times" in text for text in (found.figure, found.says, found.sure)
    )
    assert report_actions._act_segment(dict(clustering=of)) is not None
    words, figures = clustering_headlines.times_in_words(
        pd.DataFrame(rows).set_index("segment"), ratio, "buyers", "leavers", "test part"
    )
    assert words == "102 of 392 against 0 of 225" and [figure.value for figure in figures] == [
        102,
        392,
        0,
        225,
    ]


def test_a_ratio_is_that_of_the_shares_beside_it():
    "102 of 392 over 1 of 225; the half is for the interval alone, and without a conversion nothing is said."
    segment = np.repeat([0, 1], [392, 225])
    for others, expected in ((1, (102 / 392) / (1 / 225)), (0, float("nan"))):
        y = np.r_[np.arange(392) < 102, np.arange(225) < others].astype(float)
        found = clustering_worth.conversion_ratio(
            pd.DataFrame(dict(visitor=range(617), converted=y)), segment, 0, 1, resamples=40
        )
        assert found["ratio"] == pytest.approx(expected, nan_ok=True) and 1 < found["low"] < 20
        assert (
            np.isnan(found["high"]) if not others else found["low"] < found["ratio"] < found["high"]
        )
        rows = pd.DataFrame(dict(visitor=range(617), converted=y))
        lines = audit_segments.ratio_lines("times", found, rows, segment == 0, segment == 1, 40)
        assert all(not line.verdict.startswith(audit_lines.DIFFERENT) for line in lines), lines


def test_one_answer_to_one_question_wherever_the_page_speaks_of_it():
    "A picture of 03_eda that may ask whether groups differ is told the answer that the page gives."
    path = Path(__file__).resolve().parents[1] / "nbs" / "03_eda.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    asked = {}
    for module in (eda_clock, eda_funnel, eda_shares):
        for name, function in vars(module).items():
            if inspect.isfunction(function) and "told" in inspect.signature(function).parameters:
                asked[name] = list(inspect.signature(function).parameters)
    assert {"plot_clock", "plot_funnel_by", "plot_shares", "widest"} <= set(asked)
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in asked:
            given = {*asked[call.func.id][: len(call.args)], *(k.arg for k in call.keywords)}
            assert given & {"told", "title"}, ast.unparse(call)


def test_the_title_of_a_clock_tells_what_it_was_told():
    hours = pd.DataFrame(
        dict(column="hour", value=[9, 10], sessions=[400, 400], trials=[400, 400], hits=[10, 40])
    ).assign(share=lambda t: t["hits"] / t["trials"], low=0.01, high=0.2)
    alone = eda_clock.plot_clock([hours], 0.06).alt
    told = eda_clock.plot_clock([hours], 0.06, told=dict(hour=0.5)).alt
    assert "more than chance (p < 0.001)" in alone and "(p = 0.500)" in told


def long_titled_pictures():
    "Pictures whose titles are whole sentences, and how wide they are drawn, in inches."
    rng = np.random.default_rng(0)
    p = rng.gamma(1.0, 20.0, 400)
    y = np.where(rng.random(400) < 0.3, p, 0.0)
    rows = pd.DataFrame(dict(decile=range(1, 11), predicted=50.0, observed=55.0, low=40, high=70))
    what = "the price of what was put into the cart stands in for revenue, which the log has not"
    yield regression_levels.plot_totals(rows * 1_000, what), 6.6
    said = {"hurdle, log-normal": p}
    yield regression_levels.plot_revenue_gains(y, said, np.arange(400), what, 20), 6.2


def test_no_title_makes_a_picture_wider_than_it_is_drawn():
    for picture, inches in long_titled_pictures():
        width = int.from_bytes(picture.png[16:20], "big")
        assert width <= (inches + 0.2) * DOTS, picture.title
        assert picture.title.endswith("which the log has not)") and "  " not in picture.title
