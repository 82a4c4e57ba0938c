"""The package as others get it: in step with its notebooks, and complete without the checkout."""

import filecmp
import json
import os
import re
import shutil
import site
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import FEW_PICTURES, log_lines, QUICK, ROOT, write_log
from packaging.requirements import Requirement

STAGES = (
    "02_sources",
    "03_eda",
    "04_features",
    "05_classification",
    "06_regression",
    "07_clustering",
    "09_explain",
)
LARGEST = 1_500_000  # bytes of a committed notebook


def run(*words, cwd, **options):
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    "A copy of the checkout to build in."
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(
            ".git",
            "data",
            "runs",
            "build",
            "dist",
            "*.egg-info",
            "__pycache__",
            ".*_cache",
            ".hypothesis",
            ".venv",
            "venv",
        ),
    )
    return copy


@pytest.fixture(scope="module")
def wheel(checkout):
    "The built wheel."
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        checkout / "dist",
        checkout,
        cwd=checkout,
    )
    return next((checkout / "dist").glob("*.whl"))


def with_wheel(wheel, place):
    "An environment with the wheel and nothing that it requires, and where its packages lie."
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        place / "bin" / "python",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=place.parent,
    )
    return next((place / "lib").glob("python*")) / "site-packages"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "An environment with the wheel, which finds what it requires where the tests do."
    place = tmp_path_factory.mktemp("installed") / "venv"
    packages = with_wheel(wheel, place)
    (packages / "requirements.pth").write_text("\n".join(site.getsitepackages()))
    return place


def required_by(requirements, known=()):
    "Names of the distributions that requirements ask for, and of those that these ask for, without extras."
    names = {*known}
    for one in map(Requirement, requirements):
        if one.name in names or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        names |= {one.name}
        names = required_by(distribution(one.name).requires or [], names)
    return names


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    "An environment with the wheel and what it requires without any extra: links to what the tests have of it."
    place = tmp_path_factory.mktemp("base") / "venv"
    packages = with_wheel(wheel, place)
    metadata = next(packages.glob("clickstream_conv-*.dist-info")) / "METADATA"
    lines = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    for name in required_by(line.partition(": ")[2] for line in lines):
        for file in distribution(name).files:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top))
    return place


def test_the_wheel_carries_the_notebooks(wheel):
    names = ZipFile(wheel).namelist()
    for stage in STAGES:
        assert f"clickstream_conv/notebooks/{stage}.ipynb" in names
    assert "clickstream_conv/notebooks/guides/glossary.ipynb" in names  # a report takes it along
    assert "clickstream_conv/log/dialects.py" in names
    assert not [name for name in names if name.startswith(("tests/", "data/", "nbs/"))]


@pytest.fixture(scope="module")
def made(installed, tmp_path_factory):
    "The folder in which the wheel has made a run, and how that went."
    place = tmp_path_factory.mktemp("made")
    words = ("run", "--sessions", 1000, *FEW_PICTURES, *QUICK)
    return place, run(installed / "bin" / "clickstream-conv", *words, cwd=place, env=alone(place))


def alone(place):
    "An environment of a process that knows nothing of this checkout, nor of downloads that are there."
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**rest, "XDG_CACHE_HOME": str(place / "cache")}


def test_the_wheel_runs_in_an_empty_folder(installed, made, tmp_path):
    home = alone(tmp_path)
    where = run(
        installed / "bin" / "python",
        "-c",
        "import clickstream_conv as c; from clickstream_conv.sources.download import cache_folder as f; print(c.__file__, f(), sep='\\n')",
        cwd=tmp_path,
        env=home,
    ).stdout.splitlines()
    assert Path(where[0]).is_relative_to(installed) and where[1] == str(
        tmp_path / "cache" / "clickstream-conv"
    )
    place, done = made
    assert (
        "1,000 sessions" in done.stdout
        and (place / "runs" / "demo" / "models" / "conversion.skops").is_file()
    )


ASKED = """
import json, sys
import polars as pl
from clickstream_conv.scoring.scorer import Scorer
scorer = Scorer.load("runs/demo")
events = pl.read_parquet("runs/demo/events.parquet").drop("visitor", "part")
first = events["session_id"].unique(maintain_order=True).head(40).implode()
scores = scorer.score(events.filter(pl.col("session_id").is_in(first)), "now").scores
one = scores.filter(pl.col("status") != "converted already").row(0, named=True)
visit = scorer.session(one["session_id"])
for event in events.filter(pl.col("session_id") == one["session_id"]).to_dicts():
    answer = visit.add(event)
same = [name for name in ("probability", "revenue", "segment") if one[name] == answer[name]]
print(json.dumps([len(scores), one["probability"], same, sorted({*sys.modules} & {*sys.argv[1:]})]))
"""


def test_the_base_answers(base, made, tmp_path):
    "Without any extra: a log's sessions and a visit that goes on, a file of scores, and what a log is understood as."
    place, home = made[0], alone(tmp_path)
    extras = ("matplotlib", "mapie", "shap", "sphinx", "papermill", "ipykernel", "streamlit")
    asked = run(base / "bin" / "python", "-c", ASKED, *extras, cwd=place, env=home).stdout
    rows, probability, same, loaded = json.loads(asked)
    assert rows == 40 and 0 < probability < 1 and loaded == []
    assert same == ["probability", "revenue", "segment"]
    command, scores = base / "bin" / "clickstream-conv", tmp_path / "scores.csv"
    log = ("--run", "runs/demo", "--events", "runs/demo/events.parquet")
    run(command, "score", *log, "--out", scores, cwd=place, env=home)
    assert len(scores.read_text().splitlines()) == 1_001
    write_log(tmp_path, log_lines())
    told = run(command, "map", "log.csv", "--check", "mine.yaml", cwd=tmp_path, env=home).stdout
    assert "sessions: 240 of 240 visitors; 80 with a purchase" in told


@pytest.mark.parametrize(
    "words, extra", [(["run"], "run"), (["audit", "runs/demo"], "run"), (["app"], "app")]
)
def test_what_lacks_an_extra_names_it(base, made, words, extra):
    done = subprocess.run(
        [str(base / "bin" / "clickstream-conv"), *words],
        cwd=made[0],
        env=alone(made[0]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith(f'Install it: pip install "clickstream-conv[{extra}]"\n')
    assert len(done.stderr.splitlines()) == 1


def plain(name):
    "A distribution's name as all tools compare it."
    return re.sub(r"[-_.]+", "-", name).lower()


ALONE = {"mlflow": ["mlflow-skinny"]}  # what stands in an environment of its own, and is not here


def test_extras_are_those_of_the_settings():
    "Every library that an extra brings is asked for by name, so that none is missed in the middle of a run."
    from clickstream_conv.base.extras import EXTRAS

    homes = ALONE | packages_distributions()
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    for extra, modules in EXTRAS.items():
        wanted = map(Requirement, settings["DEFAULT"][f"{extra}_requirements"].split())
        brought = {home for module in modules for home in homes[module]}
        assert {plain(one.name) for one in wanted} == {*map(plain, brought)}, extra


def test_package_and_notebooks_are_in_step(checkout):
    run(
        "nbdev_export",
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )
    packages = [folder / "clickstream_conv" for folder in (ROOT, checkout)]
    names = {
        path.relative_to(package).as_posix()
        for package in packages
        for path in package.rglob("*.py")
    }
    assert "log/dialects.py" in names
    different = filecmp.cmpfiles(
        ROOT / "clickstream_conv", checkout / "clickstream_conv", names, shallow=False
    )
    assert different[1:] == ([], []), "run nbdev_export"


def test_notebooks_are_small_and_clean(checkout):
    before = {
        path.relative_to(ROOT / "nbs").as_posix(): path.read_bytes()
        for path in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    assert {name: len(text) for name, text in before.items() if len(text) > LARGEST} == {}
    run(
        "nbdev_clean",
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )
    assert [
        name for name, text in before.items() if (checkout / "nbs" / name).read_bytes() != text
    ] == [], "run nbdev_clean"


def test_the_readme_is_the_home_notebook(checkout):
    from clickstream_conv.report.reading import readme_text

    assert (checkout / "README.md").read_text(encoding="utf-8") == readme_text(
        checkout / "nbs" / "index.ipynb"
    ), "run: clickstream-conv readme"
