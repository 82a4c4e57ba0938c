"""Families of models and metrics stand in one place each: one entry, and every face reads it."""

import ast
import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesClassifier
from test_layers import MODULES, name_of

from clickstream_conv.base.models_kept import load_known, save_model
from clickstream_conv.base.pictures import COLOURS
from clickstream_conv.base.runs import Run
from clickstream_conv.base.statistics import ties_in_order
from clickstream_conv.classification.comparing import comparison
from clickstream_conv.classification.headlines import conversion_headlines
from clickstream_conv.explain.contributions import check_adds_up, Explainer, way_of
from clickstream_conv.features.of_kinds import KIND_PARTS
from clickstream_conv.judging.card_text import figure_lines
from clickstream_conv.judging.figures import (
    AT_THRESHOLD,
    cost_by,
    FIGURES,
    figures,
    Metric,
    METRICS,
    rank_within,
    register_metrics,
)
from clickstream_conv.judging.intervals import paired_difference
from clickstream_conv.judging.landmarks import by_landmark
from clickstream_conv.judging.slices import by_slice
from clickstream_conv.models.calibration import calibrate
from clickstream_conv.models.families import (
    FAMILIES,
    Family,
    family_of,
    FOREST,
    register_families,
)
from clickstream_conv.models.fitting import fit, make_model, probability
from clickstream_conv.models.kept import load_model
from clickstream_conv.models.search import compare, search
from clickstream_conv.models.styles import style_of
from clickstream_conv.regression.figures import REVENUE_FIGURES, WeightedRevenue
from clickstream_conv.regression.models import (
    fit_revenue,
    HURDLE,
    make_regressor,
    revenue_families,
)
from clickstream_conv.sources.source import Outcome

CONVERSION = [*FAMILIES["conversion"]]
REVENUE = [*revenue_families()]
OUTCOME = Outcome("purchase", "the session buys", "event", "event", "purchase")
HOME_OF_METRICS = {"judging.figures", "regression.figures"}
HOME_OF_FAMILIES = {"models.families", "regression.models"}


@pytest.fixture(scope="module")
def rows():
    "Session rows of a small log: numbers, words and gaps."
    rng = np.random.default_rng(0)
    views = rng.integers(1, 9, 300).astype(float)
    came = (rng.random(300) < views / 12).astype(int)
    return pd.DataFrame(
        dict(
            session_id=np.arange(300).astype(str),
            visitor=np.arange(300).astype(str),
            landmark=3,
            converted=came,
            revenue=came * (5 + views) * np.exp(0.3 * rng.standard_normal(300)),
            n_view=views,
            mean_price=np.where(rng.random(300) < 0.1, np.nan, rng.lognormal(3, 1, 300)),
            device=rng.choice(["mobile", "desktop"], 300),
            kinds_log_odds=0.5 * views - 3 + 0.3 * rng.standard_normal(300),
            **{part: rng.standard_normal(300) for part in KIND_PARTS},
        )
    )


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def lists_of(path):
    "The constants of each list, tuple, set and dictionary of a module, but for the list of its exports."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exports = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    tree.body = [node for node in tree.body if node not in exports]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
            yield node.lineno, [word.arg for word in node.keywords]
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            yield node.lineno, [one.value for one in node.elts if isinstance(one, ast.Constant)]
        if isinstance(node, ast.Dict):
            yield node.lineno, [one.value for one in node.keys if isinstance(one, ast.Constant)]


def listed(names, homes, allowed=()):
    "Where a module that is not their home lists some of these names."
    found = []
    for path in MODULES:
        if name_of(path) in homes:
            continue
        for line, values in lists_of(path):
            here = [value for value in values if isinstance(value, str) and value in names]
            if here and (name_of(path), *sorted(here)) not in allowed:
                found.append((name_of(path), line, here))
    return found


PACKAGES = {  # names of packages, of which one is called as a family is
    ("base.models_kept", "xgboost"),
    ("pipeline.stages", "xgboost"),
    ("scale.benchmark", "xgboost"),
}


def test_no_module_lists_families_of_its_own():
    names = {*CONVERSION, *REVENUE}
    assert listed(names, HOME_OF_FAMILIES, PACKAGES) == []


@pytest.mark.parametrize("name", CONVERSION)
def test_a_family_is_made_kept_loaded_and_explained(name, rows, run):
    model = fit(make_model(name, rows, seed=0), rows)
    p = probability(model, rows)
    assert np.isfinite(p).all() and np.ptp(p) > 0
    save_model(run, "lesson", model, about={})
    assert probability(load_model(run, "lesson"), rows).tolist() == p.tolist()
    explainer = Explainer(model, rows.head(40)).prepare()
    assert check_adds_up(explainer, rows.head(30)) < 1e-3


@pytest.mark.parametrize("name", [name for name in CONVERSION if not family_of(name).members])
def test_a_family_says_how_it_is_explained_and_what_it_needs(name, rows):
    family = family_of(name)
    last = fit(make_model(name, rows), rows)[-1]
    inner = last[-1] if hasattr(last, "steps") else last
    assert way_of(inner) in family.explained.values()
    assert {*family.space} <= {*family.defaults} <= {*family.parameters()}
    if family.weights:
        weighted = fit(make_model(name, rows, "class weights"), rows)
        assert (
            probability(weighted, rows).mean()
            > probability(fit(make_model(name, rows), rows), rows).mean()
        )
    if family.space:
        found, tried = search(
            name, [(rows.head(200), rows.tail(100))], cost_by("log_loss"), 600.0, trials=1
        )
        assert found == family.defaults and len(tried) == 1


@pytest.mark.parametrize("name", [name for name in CONVERSION if family_of(name).trusted])
def test_what_a_family_does_not_say_is_not_built(name, rows, run):
    save_model(run, "lesson", fit(make_model(name, rows), rows), about={})
    with pytest.raises(ValueError, match="asks for types that a model of ours never needs"):
        load_known(run, "lesson")


def test_a_model_of_another_release_says_so(run, monkeypatch):
    "A type that this release has no more is no attack: the run is to be made again."
    gone = types.ModuleType("clickstream_conv.gone")
    gone.Gone = type("Gone", (BaseEstimator,), dict(__module__="clickstream_conv.gone"))
    monkeypatch.setitem(sys.modules, "clickstream_conv.gone", gone)
    save_model(run, "gone", gone.Gone(), about={})
    monkeypatch.delitem(sys.modules, "clickstream_conv.gone")
    with pytest.raises(ValueError, match="made by another release.*Gone.*[Mm]ake") as refused:
        load_model(run, "gone")
    assert "never needs" not in str(refused.value)


@pytest.mark.parametrize("name", REVENUE)
def test_a_family_of_revenue_is_made_kept_and_loaded(name, rows, run):
    part = rows[rows["revenue"] > 0] if name.startswith(HURDLE) else rows
    model = fit_revenue(make_regressor(name, rows), part)
    save_model(run, "lesson", model, about={})
    assert load_model(run, "lesson").predict(rows).tolist() == model.predict(rows).tolist()


def test_families_of_a_task_look_different():
    for task in ("conversion", "revenue", "amount"):
        own = [name for name in FAMILIES[task] if style_of(name)["color"] != COLOURS["model"]]
        colours = [style_of(name)["color"] for name in own]
        assert len(set(colours)) == len(colours), task
    assert style_of("xgboost") == style_of("xgboost (out of fold)")


def test_every_family_is_told_in_a_line():
    for known in FAMILIES.values():
        for name, family in known.items():
            assert name == family.name and family.title and "\n" not in family.title
    complexity = [family.complexity for family in FAMILIES["conversion"].values()]
    assert len(set(complexity)) == len(complexity)


SECOND_OPINION = {  # computed anew, by scikit-learn, on purpose
    "audit.model_figures",
    "audit.revenue",
    "audit.threshold",
}
PURPOSES = {"f1", "recall", "precision"}  # what a threshold is for, called as its figure is
COUNTED = {  # figures of a threshold, made beside their counts
    ("judging.at_threshold", "f1", "precision", "recall", "share_flagged"),
    ("judging.at_threshold", "precision", "recall", "share_flagged"),
    ("judging.thresholds", "f1", "precision", "profit_per_1000"),
    ("regression.choosing", "mae", "total_ratio"),
    ("scale.spark", "log_loss", "roc_auc"),
    ("classification.headlines", "average_precision", "log_loss"),
}


def metrics_listed():
    "Where a module lists two metrics or more that is not their home."
    names = {name for known in METRICS.values() for name in known}
    found = listed(names, HOME_OF_METRICS | SECOND_OPINION, COUNTED)
    return [one for one in found if len(one[2]) > 1 and not {*one[2]} <= PURPOSES]


def test_no_module_lists_metrics_of_its_own():
    assert metrics_listed() == []


def test_what_may_list_metrics_still_does():
    "An entry of the list above that is no longer needed is to go."
    names = {name for known in METRICS.values() for name in known}
    there = {(name, *sorted(here)) for name, _, here in listed(names, HOME_OF_METRICS)}
    assert there >= COUNTED
    assert {name for name, *_ in there} >= SECOND_OPINION


@pytest.mark.parametrize("kind, name", [(k, n) for k, known in METRICS.items() for n in known])
def test_a_metric_has_a_title_a_unit_and_a_direction(kind, name):
    metric = METRICS[kind][name]
    assert metric.name == name and metric.kind == kind
    assert metric.title and metric.unit and metric.higher in (True, False, None)
    assert metric.chooses in (True, False) and (metric.higher is not None or kind != "probability")


def answers(n=400, seed=1):
    "Outcomes, probabilities with many ties, and whole weights."
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    p = np.round(0.1 + 0.2 * y + 0.5 * rng.random(n), 2)
    return y, p, rng.integers(0, 4, n)


@pytest.mark.parametrize("name", [*FIGURES, *(n for n, m in AT_THRESHOLD.items() if m.of)])
def test_a_weight_is_a_row_written_several_times(name):
    y, p, weight = answers()
    weighted = figures(y, p, weight, threshold=0.4)[name]
    written = figures(np.repeat(y, weight), np.repeat(p, weight), threshold=0.4)[name]
    assert weighted == pytest.approx(written, rel=1e-12)


@pytest.mark.parametrize("y", [0, 1])
def test_a_figure_without_meaning_is_no_number_and_no_error(y):
    "Rows of one class, as a slice or a draw of visitors may have them."
    with np.errstate(all="raise"):
        found = figures(np.full(5, y), np.full(5, 0.1), threshold=0.5)
    assert {*FIGURES} <= {*found} and np.isnan(found["roc_auc"])


def test_pairs_within_groups_take_weights_too():
    y, p, weight = answers()
    groups = np.arange(len(y)) % 3
    of = METRICS["within"]["roc_auc_within"].of
    weighted = of(rank_within(y, p, groups), weight.astype(float))
    again = (np.repeat(one, weight) for one in (y, p, groups))
    assert weighted == pytest.approx(of(rank_within(*again), np.ones(weight.sum())), rel=1e-12)


@pytest.mark.parametrize("name", [*REVENUE_FIGURES])
def test_a_weight_of_revenue_is_a_row_written_several_times(name):
    y, p, weight = answers()
    worth = y * np.round(20 * p + 1)
    of = REVENUE_FIGURES[name].of

    def value(y, p, weight):
        return of(WeightedRevenue(y, p, weight, ties_in_order(p), ties_in_order(y)))

    written = (np.repeat(one, weight) for one in (worth, p))
    ones = np.ones(weight.sum())
    expected = value(*written, ones)
    assert value(worth, p, weight.astype(float)) == pytest.approx(expected, rel=1e-12)


@pytest.fixture
def skill():
    "A metric of a reader's own, known while a test runs."
    own = Metric(
        "skill",
        "Brier skill",
        "share",
        True,
        lambda rows: 1 - rows.mean(rows.ranked.brier) / rows.mean((rows.ranked.y - 0.5) ** 2),
        shown=("card", "groups", "sentence"),
    )
    register_metrics(own)
    yield own
    del FIGURES["skill"]


def test_a_metric_never_replaces_another(skill):
    "Neither one of the package nor one's own, and a refused call adds nothing."
    new = replace(skill, name="new")
    for name in ("skill", "log_loss"):
        with pytest.raises(ValueError, match=f"a metric '{name}' of kind 'probability' already"):
            register_metrics(new, replace(skill, name=name, title="another"))
    with pytest.raises(ValueError, match="a metric 'new' of kind"):
        register_metrics(new, new)
    assert "new" not in FIGURES and FIGURES["skill"] is skill
    with pytest.raises(ValueError, match=r"METRICS\['revenue'\].pop\('gini'\)"):
        register_metrics(replace(skill, name="gini", kind="revenue"))


def test_a_new_metric_is_seen_everywhere(skill, rows):
    y, p, _ = answers(len(rows))
    judged = rows.assign(converted=y)
    found = by_landmark(judged, {"toy": p}, resamples=10)
    assert {"skill", "skill_low", "skill_high"} <= {*found.columns}
    assert found["skill_low"][0] <= found["skill"][0] <= found["skill_high"][0]
    assert {"skill", "skill_high"} <= {
        *by_slice(judged, p, np.full(len(p), 0.3), ["device"], 10).columns
    }
    assert "| Brier skill |" in figure_lines(found.to_dict("records"))[0] + " "
    assert cost_by("skill")(y, p) == -found["skill"][0]
    share = paired_difference(y, p, np.full(len(p), 0.3), rows["visitor"], "skill", 10)
    assert share["difference"] > 0
    said = conversion_headlines(OUTCOME, "toy", found)
    assert any(f"Brier skill {found['skill'][0]:.3f}" in one.text for one in said)


@pytest.fixture
def extra_trees():
    "A family of a reader's own, known while a test runs."
    own = Family(
        "extra trees",
        "trees with splits drawn at random",
        lambda size, seed, trees, least: ExtraTreesClassifier(
            trees, min_samples_leaf=least, random_state=seed
        ),
        dict(trees=30, least=5),
        dict(least=("int", 2, 20, True)),
        complexity=2,
        trusted=("sklearn.tree._tree.Tree",),
        explained={ExtraTreesClassifier: FOREST},
        color="#332288",
    )
    register_families(own)
    yield own
    del FAMILIES["conversion"]["extra trees"]


def test_a_family_never_replaces_another(extra_trees):
    "Neither one of the package nor one's own, and a refused call adds nothing."
    new, known = replace(extra_trees, name="new"), FAMILIES["conversion"]["xgboost"]
    for name in ("extra trees", "xgboost"):
        with pytest.raises(ValueError, match=f"a family '{name}' for 'conversion' already"):
            register_families(new, replace(extra_trees, name=name, title="another"))
    with pytest.raises(ValueError, match="a family 'new' for 'conversion' already"):
        register_families(new, new)
    assert "new" not in FAMILIES["conversion"] and FAMILIES["conversion"]["xgboost"] is known
    with pytest.raises(ValueError, match=r"FAMILIES\['revenue'\].pop\('tweedie'\)"):
        register_families(replace(extra_trees, name="tweedie", task="revenue"))


def test_a_new_family_is_seen_everywhere(extra_trees, rows, run):
    name = extra_trees.name
    pairs = [(rows.head(200), rows.tail(100)), (rows.tail(200), rows.head(100))]
    judged, times = compare(pairs, [name, "logistic regression"], ("none", "SMOTE"), progress=False)
    compared = comparison(judged, times, resamples=10)
    assert {name, f"{name}, SMOTE"} <= {*compared.index}
    best, _ = search(name, pairs, cost_by("log_loss"), 600.0, trials=2)
    assert {*best} == {"trees", "least"}
    model = calibrate(make_model(name, rows, **best), rows, "sigmoid", folds=2)
    save_model(run, "lesson", model, about={})
    p = probability(load_model(run, "lesson"), rows)
    assert p.tolist() == probability(model, rows).tolist()
    explainer = Explainer(model, rows.head(40)).prepare()
    assert check_adds_up(explainer, rows.head(20)) < 1e-3
    assert style_of(name)["color"] == extra_trees.color
