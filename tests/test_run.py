"""A run on the demo shop and on real logs: what it leaves, what it says, and how it goes on after a stop."""

import json
import re
import shutil
import signal
import time

import polars as pl
import pytest
from conftest import command, EARLY, here, metrics, QUICK, record, start, warm

from clickstream_conv.base.pictures import BASELINE
from clickstream_conv.base.runs import Run
from clickstream_conv.features.sessions import build_sessions
from clickstream_conv.sources.prepare import prepare

STAGES = [
    "02_sources",
    "03_eda",
    "04_features",
    "05_classification",
    "06_regression",
    "07_clustering",
    "09_explain",
]
DEMO = ("run", "--sessions", 3000, "--out", "run", *QUICK)


def same_results(one, other):
    "Whether two runs found the same."
    tables, found = ("events.parquet", "rejected.parquet", "sessions.parquet"), metrics(one)
    return (
        all(pl.read_parquet(one / t).equals(pl.read_parquet(other / t)) for t in tables)
        and found == {name: metrics(other)[name] for name in found}
        and "classification.json" in found
    )


def wait_until(condition, process, seconds=120):
    "Wait for something that a running command brings about."
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def status(folder, stage):
    return record(folder)["stages"].get(stage, {}).get("status")


def test_a_run_leaves_its_files_and_says_what_it_found(demo):
    folder, done = demo
    assert done.returncode == 0, done.said
    left = {
        path.relative_to(folder / "run").as_posix()
        for path in (folder / "run").rglob("*")
        if path.is_file()
    }
    assert left - {"run.lock"} >= {
        "run.json",
        "events.parquet",
        "rejected.parquet",
        "sessions.parquet",
        "models/conversion.skops",
        "models/manifest.json",
        "metrics/source.json",
        "metrics/classification.json",
        *(f"notebooks/{stage}.ipynb" for stage in STAGES),
    }
    assert not [name for name in left if name.endswith((".part", ".failed.ipynb"))]
    assert f"results: {folder / 'run'}" in done.stdout and "3,000 sessions" in done.stdout
    for line in metrics(folder / "run")["classification.json"]["headline"]:
        assert line in done.stdout
    assert sorted(line.split(":")[0] for line in done.stderr.splitlines()) == STAGES
    about = record(folder / "run")
    assert (
        about["parameters"]["sessions"] == 3000
        and about["seeds"] == {"seed": 0}
        and about["versions"]["polars"]
    )
    assert all(about["stages"][stage]["status"] == "done" for stage in STAGES)


def test_executed_notebooks_tell_of_the_log_alone(demo):
    folder, _ = demo
    for stage in STAGES:
        notebook = json.loads((folder / "run" / "notebooks" / f"{stage}.ipynb").read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        assert not any(
            "test_eq(" in "".join(cell["source"]) or "\nclass " in "".join(cell["source"])
            for cell in code
        )


def test_the_same_command_again_does_nothing(demo):
    folder, _ = demo
    before = (folder / "run" / "run.json").read_text()
    again = command(*DEMO, cwd=folder)
    assert (
        again.returncode == 0
        and "nothing to do" in again.stderr
        and "3,000 sessions" in again.stdout
    )
    assert (folder / "run" / "run.json").read_text() == before


def families_tried(run):
    "The families of models with which a run tried the answers to a rare outcome, the baseline aside."
    kept = json.loads((run / "metrics" / "classification.json").read_text())["tried"]
    return {row["model"].split(",")[0] for row in kept} - {BASELINE}


def test_only_what_follows_a_change_runs_again(demo, tmp_path):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    before = record(tmp_path / "run")["stages"]
    two = ("-p", "families=logistic regression,random forest", "-p", "every_combination=true")
    again = warm(*DEMO, *EARLY, *two, cwd=tmp_path)
    after = record(tmp_path / "run")["stages"]
    said = again.stderr.splitlines()[0]
    assert said == "05_classification: parameters changed (families, every_combination)"
    assert families_tried(tmp_path / "run") == {"logistic regression", "random forest"}
    assert [stage for stage in STAGES if before[stage] != after.get(stage)] == [
        "05_classification",
        "06_regression",
        "09_explain",
    ]
    assert list(after) == [
        stage for stage in STAGES if stage not in ("06_regression", "09_explain")
    ]


def test_a_stage_whose_file_is_gone_runs_again(demo, tmp_path):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    gone = tmp_path / "run" / "sessions.parquet"
    gone.unlink()
    again = warm(*DEMO, "--until", "04", "--no-report", cwd=tmp_path)
    assert again.stderr.splitlines()[0] == "04_features: sessions.parquet is gone"
    assert pl.read_parquet(gone).equals(pl.read_parquet(demo[0] / "run" / "sessions.parquet"))


def test_a_killed_run_continues_and_equals_an_uninterrupted_one(demo, tmp_path):
    """It starts over, where only what is ours is removed; killed, it goes on where it was, ends early,
    and goes on; stages one after the other find what they find side by side.
    """
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    process = start(*DEMO, "--fresh", cwd=tmp_path)
    wait_until(lambda: status(tmp_path / "run", "04_features") == "running", process)
    process.kill()
    process.communicate()
    assert status(tmp_path / "run", "02_sources") == "done"
    early = warm(*DEMO, "--until", "04", "--jobs", 1, cwd=tmp_path)
    assert (
        early.returncode == 0
        and "04_features: was interrupted" in early.stderr.splitlines()
        and "02_sources: done" not in early.stderr
        and "ROC-AUC" not in early.stdout
    ), early.said
    assert (
        list(record(tmp_path / "run")["stages"]) == STAGES[:3]
        and (tmp_path / "run" / "thesis.txt").read_text() == "mine"
    )
    assert (
        not (tmp_path / "run" / "models" / "conversion.skops").exists()
        and (tmp_path / "run" / "site" / "index.html").is_file()
    )
    again = warm(*DEMO, *EARLY, "--jobs", 1, cwd=tmp_path)
    assert again.stderr.splitlines()[0] == "05_classification: not run yet" and same_results(
        tmp_path / "run", demo[0] / "run"
    )


def test_a_run_in_partitions_reads_and_computes_the_same(demo, tmp_path):
    "By the functions of its two stages; the next test runs the stages."
    run, whole = Run(tmp_path / "run"), demo[0] / "run"
    prepare(run, sessions=3000, memory=1)
    build_sessions(run, kinds=0)
    run = tmp_path / "run"
    assert pl.read_parquet(run / "events.parquet").equals(pl.read_parquet(whole / "events.parquet"))
    keys = ("part", "session_id", "landmark")
    assert (
        pl.read_parquet(run / "sessions.parquet")
        .sort(keys)
        .equals(pl.read_parquet(whole / "sessions.parquet").sort(keys))
    )
    assert len(pl.read_parquet(run / "sessions" / "*.parquet")) == len(
        pl.read_parquet(whole / "sessions.parquet")
    )


def test_a_tight_bound_learns_from_some_and_keeps_all(tmp_path):
    "And without the bound the log is read anew, as a whole; what was kept in partitions goes."
    done = command(
        "run",
        "--sessions",
        3000,
        "--memory",
        0.05,
        "-p",
        "most_rows=1500",
        "--out",
        "run",
        *EARLY,
        *QUICK,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.said
    run = tmp_path / "run"
    seen, kept = (
        pl.read_parquet(run / "events.parquet"),
        pl.read_parquet(run / "events" / "*.parquet"),
    )
    assert len(seen) < len(kept) and seen.join(kept, on=["session_id", "step"], how="semi").equals(
        seen
    )
    assert (
        "of the sessions, chosen by a hash of their name, to stay within 0.05 GB" in done.stdout
        and "models see" in done.stdout
    )
    assert not (run / ".spill").exists()
    whole = ("run", "--sessions", 3000, "--out", "run", "--until", "02", "--no-report", *QUICK)
    again = warm(*whole, cwd=tmp_path)
    assert (
        again.stderr.splitlines()[0] == "02_sources: parameters changed (memory)"
        and not list(run.glob("events/*"))
        and not list(run.glob("sessions/*"))
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_one_line(tmp_path, sent):
    process = start(*DEMO, cwd=tmp_path)
    wait_until(lambda: status(tmp_path / "run", "02_sources") == "running", process)
    process.send_signal(sent)
    said = process.communicate()[0].strip().splitlines()
    assert process.returncode == 130 and said == [
        "clickstream-conv: stopped; run the same command again to continue"
    ]


def test_two_runs_in_one_folder_are_kept_apart(tmp_path):
    process = start(*DEMO, cwd=tmp_path)
    wait_until(lambda: status(tmp_path / "run", "02_sources") == "running", process)
    second = command(*DEMO, cwd=tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert second.returncode == 1 and second.said.startswith(
        "clickstream-conv: another run is under way in "
    )


def test_command_line_over_yaml_over_defaults(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "sessions: 400\nseed: 5\nlandmarks: [1, 2]\nresamples: 20\nout: here\n"
    )
    process = start("run", "--config", "params.yaml", "--seed", 6, cwd=tmp_path)
    wait_until(lambda: status(tmp_path / "here", "02_sources") == "running", process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    found = record(tmp_path / "here")["parameters"]
    assert (
        found["sessions"],
        found["seed"],
        found["landmarks"],
        found["resamples"],
        found["max_rejected"],
    ) == (400, 6, [1, 2], 20, 0.05)


def test_rees46(rees46):
    folder, done = rees46
    assert done.returncode == 0, done.said
    assert (
        "17,434 events read, 1 rejected (line broken: 1), 5,066 sessions, 200 buying" in done.stdout
    )
    assert (
        "warning: buyers are few: 200 of 5,066" in done.stdout
        and "sessions (" in done.stdout
        and "are cut off: they were still active when the log ended, without a purchase so far"
        in done.stdout
    )
    assert record(folder / "run")["data"][0]["sha256"].startswith("3f27c30d")


def test_a_proposed_mapping_reads_rees46(rees46, real_log, tmp_path):
    "What follows from the events is what the run with the known mapping has shown."
    path = real_log("rees46-2019-10-sample.csv")
    proposed = command("map", path, cwd=tmp_path)
    (tmp_path / "mine.yaml").write_text(proposed.stdout)
    done = warm(
        "run", "--source", "mine.yaml", "--path", path, "--until", "02", "--no-report", cwd=tmp_path
    )
    assert done.returncode == 0, done.said
    found, known = (
        pl.read_parquet(tmp_path / "runs" / "mine" / "events.parquet"),
        pl.read_parquet(rees46[0] / "run" / "events.parquet"),
    )
    assert found.drop("category").equals(
        known.drop("category", "brand")
    )  # the known mapping takes the first part of a category
    assert (
        "17,434 events read, 1 rejected" in done.stdout
        and "5,066 sessions, 200 buying" in done.stdout
    )
    assert (tmp_path / "runs" / "mine" / "run.json").is_file()


def test_uci_eshop(eshop):
    folder, done = eshop
    assert done.returncode == 0, done.said
    assert "165,474 events read" in done.stdout and "24,026 sessions" in done.stdout
    named = [line for line in done.said.splitlines() if "next above average" in line]
    assert named and all("proxy" in line for line in named)
    found = metrics(folder / "run")["classification.json"]
    first = [
        row["roc_auc"]
        for row in found["by_landmark"]
        if row["landmark"] == 1 and row["model"] == found["model"]
    ]
    assert first[0] >= 0.61


def test_uci_shoppers(shoppers):
    _, done = shoppers
    assert done.returncode == 0, done.said
    assert "12,205 sessions read, 125 rejected (exact repeat: 125), 1,908 buying" in done.stdout
    found = re.search(
        r"left out of the model: page_values, .*ROC-AUC without: (\d\.\d+).*, with: (\d\.\d+)",
        done.stdout,
    )
    assert float(found[1]) >= 0.78 and float(found[2]) >= 0.93


def test_help_version_and_sources(tmp_path):
    for words in (
        (),
        ("--help",),
        ("run", "--help"),
        ("sources", "--help"),
        ("fetch", "--help"),
        ("map", "--help"),
        ("score", "--help"),
        ("app", "--help"),
        ("docs", "--help"),
        ("bench", "--help"),
        ("coverage", "--help"),
        ("verify", "--help"),
        ("diff", "--help"),
        ("dvc", "--help"),
    ):
        shown = (here if len(words) == 2 else command)(*words, cwd=tmp_path)
        assert shown.returncode == 0 and "Usage: clickstream-conv" in shown.stdout
        if len(words) == 2:
            assert f"Examples:\n    clickstream-conv {words[0]}" in shown.stdout
    assert command("--version", cwd=tmp_path).stdout.split()[0] == "clickstream-conv"
    listed = command("sources", cwd=tmp_path).stdout
    assert all(
        name in listed
        for name in (
            "demo",
            "uci-eshop",
            "uci-shoppers",
            "rees46",
            "yoochoose",
            "retailrocket",
            "ga4",
        )
    )
    assert "CC BY 4.0" in command("sources", "uci-eshop", cwd=tmp_path).stdout


def test_no_table_has_a_column_that_a_log_may_bring(demo):
    "Whatever a stage keeps, a context column cannot be called so."
    from clickstream_conv.log.mapping import is_reserved
    from clickstream_conv.log.values import COLUMNS

    (folder, _), context = demo, ("channel", "device", "returning", "page", "last_page")
    files = sorted((folder / "run").rglob("*.parquet"))
    assert len(files) >= 4
    for file in files:
        assert [
            c
            for c in pl.read_parquet_schema(file)
            if not (c in (*COLUMNS, *context) or is_reserved(c))
        ] == [], file.name
