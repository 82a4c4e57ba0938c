"""What is done by the clock: each file is executed as far as that goes without its scheduler."""

import importlib.util
import json
import os
import subprocess
import sys
import types

import pytest
import yaml
from conftest import here, SCRIPT

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.changes import simulate_change
from clickstream_conv.monitoring import model_registry as registry
from clickstream_conv.monitoring.watch import watch_log
from clickstream_conv.pipeline.again import describe_data
from clickstream_conv.sources.prepare import prepare

needs_program = pytest.mark.skipif(
    not SCRIPT.is_file(), reason="clickstream-conv is not installed as a program"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A folder with a version in use, the log that it was learned from, and a new day."
    folder = tmp_path_factory.mktemp("it's a 100% shop")
    (folder / "logs").mkdir()
    log = folder / "logs" / "log.parquet"
    simulate_change("steady", sessions=1_500, start="2026-01-05", days=60).write_parquet(log)
    prepare(Run(folder / "run"), "demo", str(log))
    quick_conversion(Run(folder / "run"))
    told = dict(parameters=dict(source="demo", path=str(log)), data=describe_data([log]))
    (folder / "run" / "run.json").write_text(json.dumps(told))
    registry.use_version(
        folder / "models", registry.register_run(folder / "models", folder / "run")
    )
    (folder / "new").mkdir()
    day = simulate_change("mix", sessions=400, start="2026-03-09", days=7, at="2026-03-09")
    day.write_parquet(folder / "new" / "day.parquet")
    return folder


def printed(kind, folder):
    "What the command prints."
    done = here("schedule", kind, "--folder", folder, "--log", "logs/*.parquet", cwd=folder)
    assert done.returncode == 0, done.said
    return done.stdout


def done_by_cron(line, folder, hour, weekday=1):
    "Execute a line as cron does: %, unless behind a backslash, ends a command; sh has few variables."
    *_, command = line.split(maxsplit=5)
    assert "%" not in command.replace("\\%", "")
    (folder / "bin").mkdir(exist_ok=True)
    clock = folder / "bin" / "date"
    forms = {"+%H": f"{hour:02}", "+%u%H": f"{weekday}{hour:02}"}
    cases = " ".join(f"'{form}') echo {said};;" for form, said in forms.items())
    clock.write_text(f"#!/bin/sh\n[ $1 = -u ] || exit 1\ncase $2 in {cases} *) exit 1;; esac\n")
    clock.chmod(0o755)
    about = dict(os.environ, PATH=os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]))
    given = dict(cwd="/", env=about, capture_output=True, text=True, timeout=120)
    return subprocess.run(["sh", "-c", command.replace("\\%", "%")], **given)


@needs_program
def test_lines_of_cron_do_what_they_say_in_their_hour_alone(shop):
    lines = printed("cron", shop).splitlines()[1:]
    for line, wrong in zip(lines, ((5, 1), (5, 2))):
        idle = done_by_cron(line, shop, *wrong)
        assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", "")
    watch, retrain = (done_by_cron(line, shop, hour) for line, hour in zip(lines, (4, 5)))
    assert watch.returncode == 0 and "new:" in watch.stdout, watch.stderr
    assert retrain.returncode == 0 and "nothing to do: 0001" in retrain.stdout, retrain.stderr
    assert (shop / "watch" / "metrics" / "watch.json").is_file()


@needs_program
def test_the_steps_of_the_workflow_run(shop):
    "What is due twice is told once: the watch has looked at these days before."
    watch_log(shop / "models" / "current", str(shop / "new"), shop / "watch")
    workflow = yaml.safe_load(printed("github", shop))
    crons = [one["cron"] for one in workflow[True]["schedule"]]  # YAML 1.1 reads on as true
    for (name, job), cron in zip(workflow["jobs"].items(), crons):
        assert cron in job["if"]
        for step in job["steps"]:
            words = ["bash", "-e", "-c", step["run"]]
            given = dict(cwd=step["working-directory"], capture_output=True, text=True, timeout=120)
            done = subprocess.run(words, **given)
            assert done.returncode == 0, done.stderr
            assert {"watch": "nothing new", "retrain": "nothing to do"}[name] in done.stdout


class StandIn:
    "A DAG or a task that remembers what it was told."

    made = []

    def __init__(self, dag_id="", **about):
        self.dag_id, self.about = dag_id, about
        StandIn.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def stand_in_for_airflow(monkeypatch):
    "The two names of Airflow that the file uses, where Airflow itself is not installed."
    operators = types.ModuleType("airflow.operators.bash")
    operators.BashOperator = StandIn
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    sys.modules["airflow"].DAG = StandIn
    monkeypatch.setitem(sys.modules, "airflow.operators", types.ModuleType("airflow.operators"))
    monkeypatch.setitem(sys.modules, "airflow.operators.bash", operators)


@needs_program
def test_the_dags_are_made_and_their_commands_run(shop, tmp_path, monkeypatch):
    "Of a stand-in for Airflow: what is tested is the file, and not Airflow."
    stand_in_for_airflow(monkeypatch)
    file = tmp_path / "dags.py"
    file.write_text(printed("airflow", shop))
    spec = importlib.util.spec_from_file_location("dags", file)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    dags = [one for one in StandIn.made if one.dag_id]
    assert [one.dag_id for one in dags] == ["clickstream_conv_watch", "clickstream_conv_retrain"]
    assert all(vars(module)[one.dag_id] is one for one in dags)
    for dag in dags:
        assert dag.about["start_date"].utcoffset().total_seconds() == 0
        assert dag.about["catchup"] is False
    task = StandIn.made[-1].about
    given = dict(cwd=task["cwd"], capture_output=True, text=True, timeout=120)
    done = subprocess.run(["bash", "-c", task["bash_command"]], **given)
    assert done.returncode == 0 and "nothing to do" in done.stdout, done.stderr


def test_a_schedule_that_is_not_known_is_refused(tmp_path):
    assert "there are: cron, github, airflow" in here("schedule", "at", cwd=tmp_path).said
    done = here("schedule", "airflow", "--out", "{{ x }}", cwd=tmp_path)
    assert done.returncode == 1 and "cannot stand in a schedule" in done.said
