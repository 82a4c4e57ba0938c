"A run says what it rests on, gives its figures again, and is told from another; DVC sees what changed."

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import here, log_lines, record, SCRIPT, warm, write_log

from clickstream_conv.base.runs import read_json, Run, sha256_of
from clickstream_conv.base.trust import write_record
from clickstream_conv.pipeline.lineage import lineage_of, needed_packages
from clickstream_conv.pipeline.parameters import package_folder
from clickstream_conv.pipeline.run_diff import compare_runs, PARTS_OF_DIFFERENCE
from clickstream_conv.pipeline.verify import afterwards, beforehand, prepare_repetition

FIRST = ("--until", "02_sources", "--no-report")  # the shortest run that there is
SOURCE = "metrics/source.json"


def made(folder, lines, *more):
    "A short run of a small log of one's own."
    words = write_log(folder, lines)
    done = warm(*words[: words.index("--landmarks")], *FIRST, *more, cwd=folder)
    assert done.returncode == 0, done.said
    return folder / "out"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    "A short run that no test changes, in the folder of its log."
    folder = tmp_path_factory.mktemp("kept")
    return made(folder, log_lines())


@pytest.fixture
def run_of_log(kept, tmp_path):
    "A copy of that run in another folder, without its log."
    return shutil.copytree(kept, tmp_path / "received")


def rewrite(folder, change):
    "The record of a run, changed as an honest run would have written it."
    said = read_json(Run(folder), "run.json")
    change(said)
    said.pop("seal")
    write_record(Run(folder), said)


# ---- what is written down


def test_a_run_writes_down_data_code_parameters_and_environment(kept):
    about, found = record(kept), lineage_of(kept)
    assert [Path(one["path"]).name for one in about["data"]] == ["log.csv", "mine.yaml"]
    assert all(one["sha256"] == sha256_of(one["path"]) for one in about["data"])
    text = (package_folder() / "log" / "mapping.py").read_bytes()
    assert about["code"]["modules"]["log/mapping.py"] == hashlib.sha256(text).hexdigest()[:16]
    assert found["environment"]["packages"] == needed_packages()
    assert found["mixed"] == [] and found["database"] == {}
    assert found["parameters"]["test_share"] == 0.25
    assert found["figures"][SOURCE]["sessions"] == 240


def test_a_stage_keeps_the_environment_in_which_it_ran(run_of_log):
    def earlier(said):
        said["stages"]["03_eda"] = said["stages"]["02_sources"] | dict(
            environment="other", files={}
        )

    rewrite(run_of_log, earlier)
    assert lineage_of(run_of_log)["mixed"] == ["02_sources"]
    _, said = compare_runs(run_of_log, run_of_log)
    assert any("not all stages of one run ran" in line for _, line in said)


def test_of_a_database_query_and_rows_are_kept(tmp_path):
    with sqlite3.connect(tmp_path / "shop.sqlite") as base:
        base.execute("CREATE TABLE events (sid, who, at, what, sku, kind, price)")
        rows = [line.split(",") for line in log_lines()]
        base.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    base.close()
    write_log(tmp_path, [])
    mapping = (tmp_path / "mine.yaml").read_text().replace("t: when", "t: at")
    query = "SELECT * FROM events WHERE sid <> 's0'"
    (tmp_path / "mine.yaml").write_text(f'{mapping}query: "{query}"\n')
    words = ("run", "--source", "mine.yaml", "--path", "sqlite:///shop.sqlite", "--out", "out")
    done = here(*words, *FIRST, cwd=tmp_path)
    assert done.returncode == 0, done.said
    found = lineage_of(tmp_path / "out")["database"]
    assert found["query"] == query and found["address"].endswith("/shop.sqlite")
    assert (found["sessions"], found["rejected"]) == (239, 0)
    said = beforehand(prepare_repetition(tmp_path / "out"))
    assert said[0] == ("input", "shop.sqlite, mine.yaml: the same by sha256")


# ---- the same figures once more


def test_a_received_run_gives_its_figures_again(kept, run_of_log, tmp_path):
    done = warm("verify", "received", cwd=tmp_path)
    assert done.returncode == 0, done.said
    assert "log.csv, mine.yaml: the same by sha256" in done.stdout
    assert "the same, clickstream-conv" in done.stdout and "packages" in done.stdout
    assert f"{len(lineage_of(kept)['figures'][SOURCE]):,} figures of 1 files" in done.stdout


def test_a_figure_that_was_edited_is_named(run_of_log, tmp_path):
    figures = run_of_log / SOURCE
    figures.write_text(figures.read_text().replace('"sessions": 240', '"sessions": 250', 1))
    done = warm("verify", "received", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found["equal"]
    assert found["figures"] == {SOURCE: {"sessions": [250, 240]}}
    said = afterwards(found["figures"], lineage_of(run_of_log))
    assert (SOURCE, "sessions was 250, is 240") in said and said[-1][0] == "differ"
    assert "metrics/source.json is not what the stage left" in str(found["before"])


def test_another_log_is_refused_by_its_hash(kept, tmp_path):
    shutil.copytree(kept.parent, tmp_path / "all")
    moved = tmp_path / "all" / "log.csv"
    wanted = sha256_of(moved)
    moved.write_text(moved.read_text() + "s999,v9,2024-03-05 10:00:00,look,p1,k1,5.50\n")
    done = warm("verify", kept, "--path", moved, cwd=tmp_path)
    assert done.returncode == 1
    assert all(word in done.stderr for word in ("log.csv", wanted, sha256_of(moved)))
    assert done.stdout == ""  # nothing was computed


def test_a_log_that_is_gone_is_asked_for_by_its_hash(kept, run_of_log, tmp_path):
    gone, wanted = tmp_path / "gone", [one["sha256"] for one in record(kept)["data"]]

    def moved(said):
        for one in said["data"]:
            one["path"] = str(gone / Path(one["path"]).name)
        said["stages"]["02_sources"]["parameters"] |= dict(
            path=str(gone / "log.csv"), source=str(gone / "mine.yaml")
        )

    rewrite(run_of_log, moved)
    done = warm("verify", "received", cwd=tmp_path)
    assert done.returncode == 1 and wanted[0] in done.stderr and "--path" in done.stderr
    at = ("--path", kept.parent / "log.csv")
    done = warm("verify", "received", *at, cwd=tmp_path)
    assert done.returncode == 1 and wanted[1] in done.stderr and "--source" in done.stderr
    at += ("--source", shutil.copy(kept.parent / "mine.yaml", tmp_path / "theirs.yaml"))
    done = warm("verify", "received", *at, cwd=tmp_path)
    assert done.returncode == 0, done.said  # what the file is called is no figure


def test_other_code_and_another_environment_are_said_first(run_of_log):
    def other(said):
        said["code"]["modules"]["log/mapping.py"] = "0" * 16
        said["stages"]["02_sources"]["fingerprint"]["notebook"] = "0" * 16
        for one in said["environments"].values():
            one["packages"]["numpy"] = "1.26.0"

    rewrite(run_of_log, other)
    said = dict(beforehand(prepare_repetition(run_of_log))[::-1])
    assert said["code"] == "files of the package that differ (1): log/mapping.py"
    assert said["environment"].startswith("numpy was 1.26.0, is ")
    assert ("code", "notebooks of stages that differ (1): 02_sources") in beforehand(
        prepare_repetition(run_of_log)
    )


def test_a_run_of_an_earlier_release_is_compared_by_what_it_kept(run_of_log):
    def earlier(said):
        for name in ("code", "environment", "environments", "database"):
            said.pop(name)
        said["stages"]["02_sources"].pop("environment")
        said["versions"]["numpy"] = "1.26.0"

    rewrite(run_of_log, earlier)
    said = beforehand(prepare_repetition(run_of_log))
    assert said[1][1].startswith("the same, clickstream-conv")
    assert said[2][1].startswith("numpy was 1.26.0, is ") and len(said) == 3


@pytest.mark.parametrize(
    "status, said", [("failed", "02_sources is failed"), ("running", "02_sources is running")]
)
def test_a_run_that_did_not_end_is_refused(run_of_log, tmp_path, status, said):
    rewrite(run_of_log, lambda record: record["stages"]["02_sources"].update(status=status))
    for words in (
        ("verify", "received"),
        ("diff", "received", "received"),
        ("dvc", "--run", "received"),
    ):
        done = here(*words, cwd=tmp_path)
        assert done.returncode == 1 and said in done.stderr


@pytest.mark.parametrize("words", [("verify", "no"), ("diff", "no", "no"), ("dvc", "--run", "no")])
def test_what_is_no_run_is_refused(tmp_path, words):
    (tmp_path / "no").mkdir()
    done = here(*words, cwd=tmp_path)
    assert done.returncode == 1 and "holds no run" in done.stderr


# ---- two runs


def test_what_changed_is_said_in_order(kept, tmp_path):
    other = made(tmp_path, log_lines(buying=60), "--test-share", "0.3")
    done = here("diff", kept, other, cwd=tmp_path)
    assert done.returncode == 0, done.said
    parts = [line.split()[0] for line in done.stdout.splitlines()]
    assert list(dict.fromkeys(parts)) == list(PARTS_OF_DIFFERENCE)
    assert "log.csv was" in done.stdout and "test_share was 0.25, is 0.3" in done.stdout
    assert "buying_sessions was 80, is 60" in done.stdout
    found = json.loads(here("diff", kept, other, "--json", cwd=tmp_path).stdout)
    assert list(found) == list(PARTS_OF_DIFFERENCE) and set(found["data"]) == {"log.csv"}
    assert found["code"] == found["environment"] == {}
    assert found["figures"][SOURCE]["buying_sessions"] == [80, 60]


def test_a_run_does_not_differ_from_its_copy(kept, run_of_log, tmp_path):
    found = json.loads(here("diff", kept, "received", "--json", cwd=tmp_path).stdout)
    assert not any(found.values())


# ---- DVC


def test_what_dvc_is_told_stays_in_its_folder(kept, tmp_path):
    shutil.copytree(kept.parent, tmp_path, dirs_exist_ok=True)
    rewrite(tmp_path / "out", lambda said: None)
    done = here("dvc", "--run", "out", cwd=tmp_path)
    assert done.returncode == 0 and "lies outside of" in done.stdout  # the log of the copied run
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    assert stages["run"]["cmd"].endswith("--no-report --until 02_sources")
    outs = {name for out in stages["run"]["outs"] for name in out}
    assert {
        "out/run.json",
        "out/metrics",
        "out/events.parquet",
    } <= outs and "out/run.lock" not in outs
    parameters = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert parameters["test_share"] == 0.25
    assert not any(isinstance(value, bool) for value in parameters.values())
    (tmp_path / "below").mkdir()
    done = here("dvc", "--run", "../out", cwd=tmp_path / "below")
    assert done.returncode == 1 and "does not lie below" in done.stderr


DVC = os.environ.get("CLICKSTREAM_CONV_DVC") or shutil.which("dvc")


@pytest.mark.skipif(
    not (DVC and shutil.which("git")),
    reason="dvc and git are needed: install dvc in an environment of its own, and name it in CLICKSTREAM_CONV_DVC",
)
def test_dvc_makes_the_run_and_shows_what_changed(tmp_path):
    places = os.pathsep.join([str(SCRIPT.parent), os.environ["PATH"]])
    about = dict(os.environ, PATH=places, DVC_NO_ANALYTICS="1", HOME=str(tmp_path))

    def told(*words):
        given = dict(cwd=tmp_path, env=about, capture_output=True, text=True, timeout=120)
        done = subprocess.run(words, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr * (words[1] == "repro")

    params, traps = tmp_path / "params.yaml", tmp_path / "traps.yaml"
    made(tmp_path, log_lines())
    assert here("dvc", "--run", "out", cwd=tmp_path).returncode == 0
    traps.write_text("text: 'true'\nbare: true\n")
    for words in ("init -q", "config user.email a@b.example", "config user.name a"):
        told("git", *words.split())
    told(DVC, "init", "-q")
    before = record(tmp_path / "out")
    assert "nothing to do" in told(DVC, "repro") and record(tmp_path / "out") == before
    told("git", "add", ".")
    told("git", "commit", "-qm", "first")
    params.write_text(params.read_text().replace("test_share: 0.25", "test_share: 0.4"))
    traps.write_text("text: 1\nbare: 1\n")
    changed = json.loads(
        told(DVC, "params", "diff", "--json", "--targets", params.name, traps.name)
    )
    assert {name: list(found) for name, found in changed.items()} == {
        "params.yaml": ["test_share"],
        "traps.yaml": ["text"],  # a bare true that becomes 1 is shown nowhere
    }
    assert "parameters changed (test_share)" in told(DVC, "repro")
    files = json.loads(told(DVC, "diff", "--json"))["modified"]
    assert "out/metrics/source.json" in {one["path"] for one in files}
    assert lineage_of(tmp_path / "out")["parameters"]["test_share"] == 0.4
