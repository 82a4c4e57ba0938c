"""What is loaded where it is not needed costs every process time and memory: asking a model loads no library that draws, trains or makes pages."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

OF_RUNS = (  # libraries that make a run, its pictures and its pages
    "imblearn",
    "mapie",
    "matplotlib",
    "optuna",
    "papermill",
    "plotly",
    "seaborn",
    "shap",
    "sphinx",
    "statsmodels",
)
OF_NOTEBOOKS = ("IPython", "ipywidgets", "jupyter_core", "nbformat", "streamlit", "tqdm.notebook")
ELSEWHERE = ("clickstream_conv.demo.simulate", "requests")  # the demo shop, and the network
ONCE_LOADED = ("pandas", "scipy", "sklearn", "skops", "xgboost")  # needed once there is a model


def loaded_by(code, *arguments):
    "Which of all these a process of its own has loaded after some code."
    every = (*OF_RUNS, *OF_NOTEBOOKS, *ELSEWHERE, *ONCE_LOADED)
    told = (
        f"import json, sys; print(json.dumps([name for name in {every!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", ["scoring", "scoring.scorer", "scoring.live"])
def test_the_scorer_is_light_to_import(module):
    assert loaded_by(f"import clickstream_conv.{module}") == []


def test_help_is_light():
    code = """
from clickstream_conv.pipeline.command_line import command
assert command(["--help"]) == 0
assert command(["score", "--help"]) == 0
"""
    assert loaded_by(code) == []


def test_what_a_model_is_built_of_needs_the_base_alone():
    "A stored model may hold any estimator of the package: loading it imports the module, and must not ask for an extra."
    code = """
import ast, importlib
from pathlib import Path
import clickstream_conv
home = Path(clickstream_conv.__file__).parent
found = []
for path in sorted(home.rglob("*.py")):
    classes = [one for one in ast.parse(path.read_text()).body if isinstance(one, ast.ClassDef)]
    bases = {ast.unparse(base) for one in classes for base in one.bases}
    if bases & {"BaseEstimator", "EventTransformer"}:
        name = ".".join(path.relative_to(home.parent).with_suffix("").parts)
        importlib.import_module(name)
        found.append(name)
assert len(found) > 10, found
"""
    needed = set(loaded_by(code)) - {*ONCE_LOADED, "clickstream_conv.demo.simulate"}
    assert needed == set()
