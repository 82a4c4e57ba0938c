"""A run as a folder of MLflow, which is asked in an environment of its own."""

import os
import subprocess
import sysconfig
from importlib.util import find_spec

import pandas as pd
import pytest
from conftest import here, ROOT

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.monitoring import model_registry as registry
from clickstream_conv.scoring.as_mlflow import save_for_mlflow
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_events

MLFLOW = os.environ.get("CLICKSTREAM_CONV_MLFLOW", "")
ASKED = """\
import sys
sys.path += [{root!r}, {site!r}]
import pandas as pd
from clickstream_conv.pipeline.command_line import command
if command(["models", "mlflow", "--registry", "models", "--out", "model"]):
    sys.exit(1)
import mlflow
model = mlflow.pyfunc.load_model("model")
for name in ("numbers", "categories", "texts"):
    model.predict(pd.read_pickle(name)).to_pickle(name + ".answers")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "A folder with a version in use, and events of sessions that it has not seen."
    folder = tmp_path_factory.mktemp("mlflow")
    quick_conversion(Run(folder / "run"), sessions=1_500)
    registry.use_version(
        folder / "models", registry.register_run(folder / "models", folder / "run")
    )
    events = load_events(Run(folder / "run"), "test").drop("visitor", "part").head(2_000)
    return folder, events.to_pandas()


def frames(events):
    "The same events as numbers, as categories and whole numbers with a gap, and as texts."
    moments = pd.to_datetime(events["t"], unit="us", utc=True)
    odd = events.assign(t=moments, event=events["event"].astype("category"))
    odd["quantity"] = odd["quantity"].astype("Int64").mask(odd.index == 3)
    texts = events.assign(t=moments.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    return dict(numbers=events, categories=odd, texts=texts)


@pytest.mark.skipif(
    not MLFLOW,
    reason="mlflow-skinny is needed in an environment of its own: name its python in CLICKSTREAM_CONV_MLFLOW",
)
def test_mlflow_answers_as_the_scorer_does(models):
    folder, events = models
    for name, frame in frames(events).items():
        frame.to_pickle(folder / name)
    script = folder / "asked.py"
    script.write_text(ASKED.format(root=str(ROOT), site=sysconfig.get_paths()["purelib"]))
    about = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = dict(cwd=folder, env=about, capture_output=True, text=True, timeout=180)
    done = subprocess.run([MLFLOW, str(script)], **given)
    assert done.returncode == 0, done.stdout + done.stderr
    scorer = Scorer.load(folder / "run")
    for name, frame in frames(events).items():
        answers = pd.read_pickle(folder / f"{name}.answers")
        assert len(answers) > 50
        pd.testing.assert_frame_equal(answers, scorer.score(frame).scores)
    left = {one.name for one in (folder / "model").rglob("*") if one.is_file()}
    assert not any(one.endswith((".parquet", ".pkl", ".py")) for one in left), left
    again = Scorer.load(folder / "model" / "data" / "run").score(events).scores
    pd.testing.assert_frame_equal(again, scorer.score(events).scores)


def test_what_cannot_be_written_is_said(models):
    folder, _ = models
    (folder / "there").mkdir(exist_ok=True)
    done = here("models", "mlflow", "--out", "there", cwd=folder)
    assert done.returncode == 1 and "is there already" in done.said
    done = here("models", "mlflow", "0009", "--out", "new", cwd=folder)
    assert done.returncode == 1 and "has no version '0009'; there are: 0001" in done.said
    if find_spec("mlflow") is None:
        with pytest.raises(ValueError, match="needs mlflow, which is not installed"):
            save_for_mlflow(folder / "run", folder / "new")
    assert not (folder / "new").exists()
