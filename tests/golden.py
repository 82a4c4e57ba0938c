"""Golden figures: what a few runs say, kept so that a change of the code that changes none of them can be told from one that does.

Made anew by: python tests/golden.py demo=FOLDER rees46=FOLDER ... (folders of finished runs)
"""

import hashlib
import json
import math
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import polars as pl

KEPT = Path(__file__).parent / "fixtures" / "golden.zip"
TABLES = (
    "events.parquet",
    "rejected.parquet",
    "sessions.parquet",
    "sessions-read.parquet",
    "out_of_fold.parquet",
)
LIBRARIES = (
    "numpy",
    "pandas",
    "polars",
    "scikit-learn",
    "scipy",
    "shap",
    "xgboost",
)  # whose releases may move a last digit
DIGITS = 9  # of numbers in tables


def libraries():
    "The releases that figures depend on."
    return {name: version(name) for name in LIBRARIES}


def table_digest(path):
    "Rows, columns and the sha256 of a table's text."
    frame = pl.read_parquet(path, glob=False)
    text = (
        frame.with_columns(pl.col(pl.List).cast(pl.List(pl.String)).list.join("|"))
        if any(kind == pl.List for kind in frame.dtypes)
        else frame
    )
    return dict(
        rows=len(frame),
        columns=frame.columns,
        sha256=hashlib.sha256(text.write_csv(float_precision=DIGITS).encode()).hexdigest(),
    )


def figures_of(run):
    "Everything that a run found: its figures and sentences, and its tables by their digests."
    run = Path(run)
    figures = {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((run / "metrics").glob("*.json"))
    }
    tables = {name: table_digest(run / name) for name in TABLES if (run / name).is_file()}
    return dict(figures=figures, tables=tables)


def differences(one, other, where=""):
    "Where two figures differ, in words; numbers may differ by the last digits of a sum."
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [
            f"{where}/{key}: only in one of the two" for key in sorted(one.keys() ^ other.keys())
        ]
        return missing + [
            said
            for key in one.keys() & other.keys()
            for said in differences(one[key], other[key], f"{where}/{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            said
            for place, (a, b) in enumerate(zip(one, other))
            for said in differences(a, b, f"{where}/{place}")
        ]
    numbers = [
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other)
    ]
    if all(numbers) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12):
        return []
    return [] if one == other else [f"{where}: {str(one)[:120]!r} and {str(other)[:120]!r}"]


def kept():
    "The golden figures: of each run, and the releases that they were made by."
    with zipfile.ZipFile(KEPT) as archive:
        return {Path(name).stem: json.loads(archive.read(name)) for name in archive.namelist()}


def write(runs):
    "Keep the figures of some runs as the golden ones."
    with zipfile.ZipFile(KEPT, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, found in {
            "libraries": libraries(),
            **{name: figures_of(folder) for name, folder in runs.items()},
        }.items():
            archive.writestr(
                zipfile.ZipInfo(f"{name}.json"),
                json.dumps(found, sort_keys=True),
                zipfile.ZIP_DEFLATED,
                9,
            )


if __name__ == "__main__":
    write(dict(word.split("=", 1) for word in sys.argv[1:]))
