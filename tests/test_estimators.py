"""What is fitted is an estimator: scikit-learn's own checks hold where they apply, and where they do not it is said why."""

import importlib
import inspect
import warnings

import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator
from test_layers import MODULES, name_of

from clickstream_conv.base.learner import Learner
from clickstream_conv.features.columns import RankNormal
from clickstream_conv.models.families import BinnedClassifier, BinnedRegressor, Forest
from clickstream_conv.models.fitting import Weighted
from clickstream_conv.models.network import Network
from clickstream_conv.regression.intervals import Column
from clickstream_conv.regression.models import LogNormal, Logs

BY_ROW = "rows set aside are drawn one by one, so a weight of two is not the same row twice"
NOT_LEARNED = "it learns nothing, so it looks at no y, and its columns may hold anything"
CHECKED = {  # estimator: checks that it is not to pass, and why
    BinnedClassifier(max_iter=10): {},  # a few trees show as much as a hundred
    BinnedRegressor(max_iter=10): {},
    Forest(10): {
        "check_sample_weight_equivalence_on_dense_data": BY_ROW,
        "check_sample_weight_equivalence_on_sparse_data": BY_ROW,
    },
    RankNormal(): {},
    Network(): {"check_sample_weight_equivalence_on_dense_data": BY_ROW},
    Weighted(LogisticRegression()): {},
    Logs(): {},
    LogNormal(): {},
    Column(): dict.fromkeys(
        (
            "check_supervised_y_no_nan",
            "check_supervised_y_2d",
            "check_regressors_train",
            "check_estimators_nan_inf",
        ),
        NOT_LEARNED,
    ),
}
OF_SESSION_ROWS = {  # these take session rows: frames whose columns have names and kinds
    "Behaviour",
    "Blend",
    "Calibrated",
    "ConstantQuantiles",
    "Cycle",
    "EventEncoder",
    "EventTransformer",
    "Explainer",
    "OneFeatureRule",
    "Resample",
    "Segmenter",
    "SessionColumns",
    "WordColumns",
    "Worth",
}
OF_EVENTS = {  # these take events
    "DwellOdds",
    "EventWords",
    "PageRates",
    "PathOdds",
    "PriceLevels",
    "VisitorKinds",
    "Learner",  # what these derive from
}
OF_PROBABILITIES = {"CalibrationMap"}  # takes one column of probabilities


def estimators():
    "Every class of an estimator in the package, by name."
    found = {}
    for path in MODULES:
        module = importlib.import_module(f"clickstream_conv.{name_of(path)}")
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and issubclass(thing, (BaseEstimator, Learner)):
                if thing.__module__ == module.__name__ and not name.startswith("_"):
                    found[name] = thing
    return found


def test_every_estimator_is_checked_or_it_is_said_why_not():
    of_others = OF_SESSION_ROWS | OF_EVENTS | OF_PROBABILITIES
    assert set(estimators()) == {type(one).__name__ for one in CHECKED} | of_others


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda one: type(one).__name__)
def test_it_passes_the_checks_of_scikit_learn(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            estimator, on_fail=None, expected_failed_checks=CHECKED[estimator]
        )
    failed = [
        f"{one['check_name']}: {one['exception']}" for one in results if one["status"] == "failed"
    ]
    assert failed == []
    assert sum(one["status"] == "passed" for one in results) > 30


@pytest.mark.parametrize("name", sorted(OF_SESSION_ROWS | OF_EVENTS | OF_PROBABILITIES))
def test_it_keeps_its_parameters_as_given(name):
    estimator = estimators()[name]()
    for parameter, value in estimator.get_params(deep=False).items():
        assert getattr(estimator, parameter) is value
    assert type(clone(estimator)) is type(estimator)
