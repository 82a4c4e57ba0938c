"""Make the fixture of a run folder anew: python tests/make_fixture.py

It leaves tests/fixtures/run-VERSION.zip, which holds the run's files but for its pages, its notebooks and the tables that only people and training read, and
beside them asked.parquet, a few events, and answers.json, what this release says of them. Later releases must give the same answers or refuse the run in a sentence.
Make one for each release, and keep the ones of earlier releases.
"""

import json
import shutil
import subprocess
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from clickstream_conv.base.runs import Run
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_events

FOLDER = Path(__file__).resolve().parent / "fixtures"
OPTIONS = (
    "folds=2",
    "resamples=20",
    "families=logistic regression",
    "imbalances=none",
    "shuffles=5",
    "revenue_models=['hurdle, log-normal']",
    "stability_draws=3",
    "cluster_rows=800",
    "explained=100",
    "shuffled=200",
    "landmarks=1,2,3,5",
)
LEFT_OUT = (
    "notebooks",
    "site",
    "events.parquet",
    "out_of_fold.parquet",
    "rejected.parquet",
    "run.lock",
    "models/manifest.lock",
)  # to stay small: nothing that scoring reads
ASKED = 60  # events that are asked about


def make_run(
    folder: Path,  # Where to make it
) -> Run:  # A finished run of the demo shop
    "A small run, made by the command as a user would."
    words = [word for option in OPTIONS for word in ("-p", option)]
    subprocess.run(
        [
            "clickstream-conv",
            "run",
            "--sessions",
            "1500",
            "--out",
            str(folder),
            "--no-report",
            *words,
        ],
        check=True,
    )
    return Run(str(folder))


def keep_answers(
    run: Run,  # A finished run
) -> None:
    "Put a few events into a run's folder, and what it says of them."
    events = load_events(run, "test").head(ASKED).drop("visitor", "part")
    events.write_parquet(run / "asked.parquet")
    answers = Scorer.load(run).score(events, "every").scores
    (run / "answers.json").write_text(
        json.dumps(answers.to_dicts(), indent=1) + "\n", encoding="utf-8"
    )


def pack(
    run: Run,  # A finished run
    target: Path,  # A zip file
) -> None:
    "Pack a run, without what only people and training read."
    for name in LEFT_OUT:
        place = run / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(run.folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(run.folder).as_posix())


def main() -> None:
    "Make the fixture of this release."
    FOLDER.mkdir(exist_ok=True)
    release = ".".join(version("clickstream-conv").split(".")[:2])
    with tempfile.TemporaryDirectory() as place:
        run = make_run(Path(place) / "run")
        keep_answers(run)
        pack(run, FOLDER / f"run-{release}.zip")
    print(FOLDER / f"run-{release}.zip")


if __name__ == "__main__":
    main()
