"""Models take what a log may hold: a column of which nothing is known, in the whole log or in a fold, is no reason to stop."""

import numpy as np
import pandas as pd
import pytest

from clickstream_conv.explain.contributions import Explainer
from clickstream_conv.models.families import BinnedRegressor
from clickstream_conv.models.fitting import make_model


@pytest.fixture(scope="module")
def rows():
    "Session rows of a log without prices, as of a shop that logs none."
    rng = np.random.default_rng(0)
    views = rng.integers(1, 9, 400).astype(float)
    came = (rng.random(400) < views / 12).astype(int)
    return pd.DataFrame(
        dict(
            session_id=np.arange(400).astype(str),
            visitor=np.arange(400).astype(str),
            landmark=3,
            converted=came,
            n_view=views,
            mean_price=np.nan,
            device=rng.choice(["mobile", "desktop"], 400),
        )
    )


@pytest.mark.parametrize(
    "family", ["logistic regression", "random forest", "xgboost", "gradient boosting", "neural net"]
)
def test_every_family_takes_a_column_without_any_value(rows, family):
    settings = dict(exact=False) if family == "gradient boosting" else {}
    model = make_model(family, rows, **settings).fit(rows, rows["converted"])
    p = model.predict_proba(rows)[:, 1]
    assert np.isfinite(p).all() and np.ptp(p) > 0
    if family == "neural net":
        return  # its weights of a constant column are as they were drawn
    np.testing.assert_allclose(
        model.predict_proba(rows.assign(mean_price=5.0))[:, 1],
        p,
        err_msg="what was never seen says nothing",
    )


def test_a_column_without_any_value_changes_no_answer_of_gradient_boosting(rows):
    answers = []
    for table in (rows, rows.drop(columns="mean_price")):
        model = make_model("gradient boosting", table, exact=False)
        model.named_steps["model"].set_params(max_features=1.0)
        answers.append(model.fit(table, table["converted"]).predict_proba(table)[:, 1])
    np.testing.assert_allclose(*answers)


def test_such_a_model_is_explained(rows):
    model = make_model("gradient boosting", rows, exact=False).fit(rows, rows["converted"])
    found = Explainer(model, rows.head(50)).contributions(rows.head(20))
    odds = np.log(
        model.predict_proba(rows.head(20))[:, 1] / model.predict_proba(rows.head(20))[:, 0]
    )
    np.testing.assert_allclose(found.sum(axis=1), odds, atol=1e-6)
    assert (found["mean_price"] == 0).all()


def test_a_model_of_amounts_takes_it_too():
    X = np.column_stack([np.arange(100.0), np.full(100, np.nan)])
    assert np.isfinite(BinnedRegressor(max_iter=5).fit(X, X[:, 0]).predict(X)).all()


@pytest.mark.parametrize("converted, others", [(1, 1), (1, 4), (1, 30), (3, 6), (6, 4)])
@pytest.mark.parametrize(
    "family", ["logistic regression", "random forest", "xgboost", "gradient boosting", "neural net"]
)
def test_every_family_learns_from_a_handful_of_rows(rows, family, converted, others):
    "A log of a few sessions is told that it is too small for use, and not that the program is at fault."
    few = pd.concat(
        [rows[rows["converted"] == 1].head(converted), rows[rows["converted"] == 0].head(others)]
    )
    for settings in [{}, dict(exact=False)] if family == "gradient boosting" else [{}]:
        p = make_model(family, few, **settings).fit(few, few["converted"]).predict_proba(rows)[:, 1]
        assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
