"""The package as others get it: in step with its notebooks, and complete without the checkout."""

import filecmp
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import QUICK, ROOT

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


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "An environment with the wheel, which finds what it requires where the tests do."
    place = tmp_path_factory.mktemp("installed") / "venv"
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
    packages = next((place / "lib").glob("python*")) / "site-packages"
    (packages / "requirements.pth").write_text("\n".join(site.getsitepackages()))
    return place


def test_the_wheel_carries_the_notebooks(wheel):
    names = ZipFile(wheel).namelist()
    for stage in STAGES:
        assert f"clickstream_conv/notebooks/{stage}.ipynb" in names
    assert "clickstream_conv/log/dialects.py" in names
    assert not [name for name in names if name.startswith(("tests/", "data/", "nbs/"))]


def test_the_wheel_runs_in_an_empty_folder(installed, tmp_path):
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
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
    done = run(
        installed / "bin" / "clickstream-conv",
        "run",
        "--sessions",
        1500,
        *QUICK,
        cwd=tmp_path,
        env=home,
    )
    assert (
        "1,500 sessions" in done.stdout
        and (tmp_path / "runs" / "demo" / "models" / "conversion.skops").is_file()
    )


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
