"""Others asked for a run's test rows: what they are given, that it runs alone, and what is said of them."""

import builtins
import dis
import inspect
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.features.sessions import load_sessions
from clickstream_conv.pipeline.project_commands import app
from clickstream_conv.scale.others import give_rows, Rival
from clickstream_conv.scale.quality import compare_rivals, OWN, RIVALS
from clickstream_conv.scale.recurrent import PARTS_OF_NET, sequences


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run(str(tmp_path_factory.mktemp("run")))
    quick_conversion(made, sessions=700)
    return made


@pytest.fixture(scope="module")
def given(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    give_rows(run, folder)
    return folder


def the_answer(folder, limit):
    import pandas as pd

    test = pd.read_parquet(f"{folder}/test.parquet")
    return dict(seconds=0.0, p=(0.01 + 0.9 * test["converted"]).tolist())


def fails(folder, limit):
    raise RuntimeError("no weights")


def test_what_all_are_given_are_the_rows_of_the_run(run, given):
    for name, part in (("learn", "train"), ("test", "test")):
        rows, theirs = load_sessions(run, part), pd.read_parquet(given / f"{name}.parquet")
        keys = pd.read_parquet(given / f"{name}-keys.parquet")
        assert theirs["n_view"].tolist() == rows["n_view"].tolist()
        assert keys["session_id"].tolist() == rows["session_id"].astype(str).tolist()
        assert not {"session_id", "visitor", "revenue", "part"} & {*theirs.columns}


def test_who_knows_better_is_said_to_be_better(run):
    "A difference is other less own: who knows the outcome is far below, with an interval that says so."
    rivals = {
        "oracle": Rival("oracle", "pandas", the_answer),
        "broken": Rival("broken", "pandas", fails),
        "absent": Rival("absent", "no_such_package", fails),
    }
    found = compare_rivals(run.folder, resamples=40, rivals=rivals)["by"]
    oracle = found["oracle"]
    assert oracle["difference_high"] < 0 and oracle["roc_auc"] == 1
    assert oracle["difference"] == pytest.approx(oracle["log_loss"] - found[OWN]["log_loss"])
    assert "no weights" in found["broken"]["skipped"]
    assert found["absent"]["skipped"] == "no Python at hand has no_such_package"


def test_what_is_sent_runs_alone(given):
    "Everything the net calls, but for PyTorch, in a Python that does not look for this package."
    sources = "\n\n".join(inspect.getsource(one) for one in PARTS_OF_NET)
    code = (
        f"{sources}\nimport json\nimport pandas as pd\n"
        f"events = pd.read_parquet({str(given / 'events.parquet')!r})\n"
        f"keys = pd.read_parquet({str(given / 'test-keys.parquet')!r})\n"
        "made = sequences(events, keys, {'event': ['view', 'cart']})\n"
        "print(json.dumps([one['row'].tolist() for one in made]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    rows = json.loads(done.stdout)
    keys = pd.read_parquet(given / "test-keys.parquet")
    assert sorted(np.concatenate(rows)) == list(range(len(keys)))


def test_a_net_sees_no_event_after_the_landmark(given):
    "The place of a landmark is that of its event, and the events are in their order."
    events = pd.read_parquet(given / "events.parquet")
    keys = pd.read_parquet(given / "test-keys.parquet")
    shuffled = events.sample(frac=1, random_state=0)
    for one in sequences(shuffled, keys, {"event": ["view", "cart"]})[:50]:
        mine = keys.loc[one["row"]]
        assert (one["at"] + 1).tolist() == mine["landmark"].tolist()
        own = events[events["session_id"] == mine["session_id"].iat[0]].sort_values("step")
        assert one["numbers"][:, 0].tolist() == pytest.approx(own["price"].head(len(one["words"])))


def test_the_command_says_and_keeps_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "clickstream_conv.scale.quality.RIVALS", {"oracle": Rival("oracle", "pandas", the_answer)}
    )
    done = CliRunner().invoke(
        app, ["bench", "--quality", str(run.folder), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "quality.json").read_text())
    said = kept[str(run.folder)]["by"]["oracle"]
    assert (
        f"{said['difference']:+.4f}" in done.output
        and "beside the run's model: better" in done.output
    )


def test_boosting_of_scikit_learn_is_asked_here(run):
    name = "HistGradientBoosting"
    found = compare_rivals(run.folder, resamples=20, rivals={name: RIVALS[name]})["by"][name]
    assert 0.5 < found["roc_auc"] < 1 and found["seconds"] > 0


@pytest.mark.parametrize("name", RIVALS)
def test_what_is_sent_names_nothing_that_is_not_sent(name):
    "Each function imports what it uses: a linter that takes such an import for a second one would break it elsewhere."
    rival = RIVALS[name]
    sent = {one.__name__: one for one in (*rival.parts, rival.work)}
    known = {*sent, *dir(builtins), "json", "__name__"}
    for function in sent.values():
        assert names_of(function.__code__) <= known, function.__name__


def names_of(code):
    "The global names that code reads, that of what is within it too."
    own = {
        one.argval
        for one in dis.get_instructions(code)
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    within = [names_of(part) for part in code.co_consts if hasattr(part, "co_code")]
    return own.union(*within) - {"__module__", "__qualname__"}
