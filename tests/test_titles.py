"""What a title or a sentence calls the best, the first or the lowest is that in its table, also where baselines, ties and rare groups come in between."""
import numpy as np
import pandas as pd
import polars as pl
import pytest

from clickstream_conv import classification, clustering, eda, regression, report
from clickstream_conv.pictures import BASELINE


def compared(**log_loss):
    "Figures of models, as classification.comparison makes them."
    return pd.DataFrame({name: dict(log_loss=value, roc_auc=1 - value, log_loss_low=value - 0.01, log_loss_high=value + 0.01, roc_auc_low=0.5, roc_auc_high=1.0, seconds=1.0) for name, value in log_loss.items()}).T


def test_a_baseline_that_leads_is_named_first():
    table = compared(**{BASELINE: 0.150, "random forest": 0.152, "xgboost": 0.170})
    alt = classification.plot_comparison(table).alt
    assert alt.startswith(f"{BASELINE}, the baseline, has the best log-loss; random forest is the best of the models")
    assert classification.plot_comparison(table.drop(index=BASELINE)).alt.startswith("random forest has the best log-loss")
    assert classification.plot_comparison(table, "roc_auc").alt.startswith(f"{BASELINE}, the baseline, has the best roc-auc")


def told(**noise):
    "What models say of sessions, each with the truth and some noise."
    rng = np.random.default_rng(1)
    came = rng.random(4_000) < 0.2
    truth = np.where(came, 0.4, 0.15)
    said = {name: np.clip(truth + rng.normal(0, size, 4_000), 0.01, 0.99) for name, size in noise.items()}
    judged = pd.DataFrame(dict(converted=came.astype(int), visitor=np.arange(4_000).astype(str), **said, **{BASELINE: np.full(4_000, came.mean())}))
    return judged, pd.DataFrame({name: classification.figures(judged["converted"], judged[name]) for name in judged.columns[2:]}).T


def test_of_models_that_tie_the_simplest_is_kept_and_the_tie_is_said():
    judged, table = told(**{"neural net": 0.020, "gradient boosting": 0.021, "xgboost": 0.020, "logistic regression": 0.09})
    chosen, why = classification.simplest_as_good(table, judged)
    assert chosen == "xgboost" and "a tie within chance" in why, why
    assert "a tie within chance with" in classification.plot_comparison(table.assign(log_loss_low=0, log_loss_high=1, seconds=1.0), judged=judged).alt


def test_a_simpler_model_that_gives_up_much_is_not_kept_even_where_chance_allows_it():
    judged, table = told(**{"xgboost": 0.02, "logistic regression": 0.09})
    few = judged.sample(60, random_state=0)
    small = pd.DataFrame({name: classification.figures(few["converted"], few[name]) for name in few.columns[2:]}).T
    chosen, _ = classification.simplest_as_good(small, few)
    lead = small.loc[BASELINE, "log_loss"] - small.loc[chosen, "log_loss"]
    assert lead >= 0.9 * (small.loc[BASELINE, "log_loss"] - small["log_loss"].min())


def test_without_draws_nothing_is_called_a_tie():
    judged, table = told(**{"xgboost": 0.02, "logistic regression": 0.02})
    best = classification.best_model(table, "log_loss")
    assert classification.simplest_as_good(table, judged, resamples=0)[0] == best


def test_the_rare_beginnings_together_are_not_a_beginning():
    events = ["vvv"] * 60 + ["vvc"] * 40 + [f"v{first}{second}" for first in "cr" for second in "cr"] * 10
    names = dict(v="view", c="cart", r="remove")
    rows = [dict(session_id=f"{s:03}", visitor_id=f"{s:03}", step=i + 1, t=(1_000 * s + i) * 1_000_000, event=names[mark], item_id="p", category="k", price=1.0, quantity=1) for s, path in enumerate(events) for i, mark in enumerate(path)]
    rows += [dict(rows[0], session_id=f"{s:03}", visitor_id=f"{s:03}", step=4, t=(1_000 * s + 4) * 1_000_000, event="purchase") for s in [*range(3), *range(100, 140)]]
    log = pl.DataFrame(rows, orient="row").sort("session_id", "step")
    begun = eda.paths(eda.walk(log), eda.session_facts(log))
    assert begun["value"].iloc[-1] == eda.OTHERS and begun["share"].idxmax() == len(begun) - 1
    said = eda.paths_finding(begun)
    assert f"most often after {begun['value'].iloc[0]} " in said and "after the rarer ones together in" in said, said


def test_the_first_row_of_the_chart_is_the_one_that_the_title_names():
    found = pd.DataFrame(dict(column=["page_values", "channel", "hour"], values=9, missing=0, information=[0.3, 0.1, 0.01], noise=0.02, expected=0.0, share=[0.6, 0.2, 0.0], above_noise=[True, True, False]))
    honest = found[found["column"] != "page_values"]
    picture = eda.plot_relevance(found, ("page_values",), title=eda.relevance_finding(honest, "purchase"))
    rows = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert rows == ["channel", "hour", "page_values"] and "channel tells most" in picture.alt
    many = pd.concat([honest] * 12, ignore_index=True).assign(column=lambda t: [f"c{i}" for i in t.index])
    kept = eda.plot_relevance(pd.concat([found, many], ignore_index=True), ("page_values",), most=5)
    assert [label.get_text() for label in kept.figure.axes[0].get_yticklabels()] == ["channel", "hour", "c0", "c1", "page_values"]


@pytest.mark.parametrize("one, two, word", [(9, 3, "longer"), (3, 9, "shorter"), (4, 4, "as long")])
def test_sessions_that_convert_are_not_always_longer(one, two, word):
    spans = pd.DataFrame([dict(measure=measure, group=group, q50=value) for group, value in zip(eda.GROUPS, (one, two)) for measure in ("events", "before")])
    assert eda.lengths_finding(spans).startswith(f"Sessions that convert are {word}: {one} events against {two}")


def test_a_value_that_is_called_no_is_a_value():
    mix = pd.DataFrame(dict(column=["newsletter", "newsletter", "with a cart"], value=["no", "yes", "yes"], first_half=[0.2, 0.8, 0.1], second_half=[0.5, 0.5, 0.12], change=[0.3, -0.3, 0.02], p=0.001))
    assert "newsletter no went from 20 % to 50 %" in eda.mix_finding(mix)
    assert "sessions with a cart went from 10 % to 12 %" in eda.mix_finding(mix[mix["column"] == "with a cart"])


def segments(**rates):
    "Segments of a part with their conversion."
    return [dict(segment=name, conversion=rate, conversion_low=rate / 2, conversion_high=2 * rate, sessions=100, share=1 / len(rates)) for name, rate in rates.items()]


def test_the_card_says_where_another_segment_is_the_lowest():
    of = dict(view=5, worth=dict(training=segments(carts=0.40, looks=0.035, changes=0.028), test=segments(carts=0.40, looks=0.029, changes=0.036)),
              chance=dict(training=dict(p=0.005), test=dict(p=0.005)), ratio=dict(test=dict(ratio=11.1, low=7.6, high=18.6)))
    says = report.answer_clustering(dict(clustering=of)).says
    assert "'changes' in 3.6" in says and "the highest and the lowest of the training part" in says and "Lowest here: 'looks', 2.9" in says, says
    same = {**of, "worth": dict(training=of["worth"]["training"], test=segments(carts=0.40, looks=0.036, changes=0.029))}
    assert "Lowest here" not in report.answer_clustering(dict(clustering=same)).says


def test_the_sentence_on_segments_does_too():
    rates = pd.DataFrame(segments(carts=0.40, looks=0.029, changes=0.036)).set_index("segment")
    words, figures, names = clustering.otherwise_there(rates, "carts", "changes")
    assert words == "; lowest in the test part: 'looks', 2.9% (1.5% to 5.8%)"
    assert [figure.value for figure in figures] == [0.029] and names == ("looks",)
    assert clustering.otherwise_there(rates, "carts", "looks") == ("", (), ())


def test_a_baseline_that_leads_the_models_of_revenue_is_named_first():
    table = pd.DataFrame({regression.SIMPLEST: dict(gini=0.6), "hurdle, log-normal": dict(gini=0.5), "tweedie": dict(gini=0.4)}).T
    assert regression.leader_in_words(table) == f"{regression.SIMPLEST}, a baseline, is best by normalised Gini; hurdle, log-normal is the best of the models"
    assert regression.leader_in_words(table.drop(index=regression.SIMPLEST)) == "hurdle, log-normal is best by normalised Gini"
