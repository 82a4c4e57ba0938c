"""The lowest releases that settings.ini allows: they install, and a demo run goes through all of its stages with them."""

import configparser
import json
import os
import subprocess
import sys

import pytest
from conftest import QUICK, ROOT

UNREACHABLE = (
    "Failed to fetch",
    "dns error",
    "Could not connect",
    "error sending request",
)  # what uv says without a package index


def run(*words, cwd):
    "A command in an environment that knows nothing of this checkout."
    foreign = (
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "PYTHONDONTWRITEBYTECODE",
    )  # the last: uv compiles nothing, so each process would
    clean = {name: value for name, value in os.environ.items() if name not in foreign}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        timeout=900,
    )


def lowest_of(requirements):
    "Name and lowest release of each requirement."
    for word in requirements:
        name, _, bounds = word.partition(">=")
        yield name, bounds.split(",")[0]


@pytest.fixture(scope="module")
def lowest(tmp_path_factory):
    "An environment with the lowest release of everything that the package asks for directly."
    place = tmp_path_factory.mktemp("lowest") / "venv"
    made = run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    assert made.returncode == 0, made.stderr
    done = run(
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--python",
        place / "bin" / "python",
        "--resolution",
        "lowest-direct",
        f"{ROOT}[run]",
        cwd=place.parent,
    )
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return place


def test_the_lowest_releases_are_the_declared_ones(lowest):
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    asked_for = " ".join(settings["DEFAULT"][key] for key in ("requirements", "run_requirements"))
    wanted = dict(lowest_of(asked_for.split()))
    asked = "import json, sys; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    have = json.loads(run(lowest / "bin" / "python", "-c", asked, *wanted, cwd=lowest).stdout)
    assert all(
        (have[name] + ".0.0").startswith(release + ".") for name, release in wanted.items()
    ), have


def test_the_demo_runs_with_the_lowest_releases(lowest, tmp_path):
    done = run(lowest / "bin" / "clickstream-conv", "run", "--sessions", 1000, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "1,000 sessions" in done.stdout
        and (tmp_path / "runs" / "demo" / "site" / "index.html").is_file()
    )
    events, scores = tmp_path / "runs" / "demo" / "events.parquet", tmp_path / "scores.csv"
    scored = run(
        lowest / "bin" / "clickstream-conv",
        "score",
        "--run",
        "runs/demo",
        "--events",
        events,
        "--out",
        scores,
        cwd=tmp_path,
    )
    assert scored.returncode == 0, scored.stdout + scored.stderr
    assert len(scores.read_text().splitlines()) == 1_001
