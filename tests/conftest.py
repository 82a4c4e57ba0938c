"""What the tests of the command line share."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CLICKSTREAM_CONV_DATA", ROOT.parent / "shared" / "data"))
SCRIPT = Path(sys.executable).with_name("clickstream-conv")
COMMAND = (
    [str(SCRIPT)]
    if SCRIPT.is_file()
    else [sys.executable, "-c", "from clickstream_conv.pipeline.command_line import main; main()"]
)
FASTER = (
    "folds=2",
    "kinds=0",
    "resamples=20",
    "families=logistic regression",
    "imbalances=none",
    "shuffles=5",
    "revenue_models=['hurdle, log-normal']",
    "stability_draws=3",
    "cluster_rows=800",
    "explained=100",
    "shuffled=200",
)
QUICK = tuple(word for one in FASTER for word in ("-p", one))
EARLY = (
    "--until",
    "05_classification",
    "--no-report",
)  # for what is decided before the later stages
FEW_PICTURES = (
    "-p",
    "least=100000",
)  # no group is shown, for what another stage than 03_eda decides
MAPPING = """\
columns: {session_id: sid, visitor_id: who, t: when, event: what, item_id: sku, category: kind, price: price}
events: {view: [look], cart: [add], purchase: [buy]}
time_format: "%Y-%m-%d %H:%M:%S"
"""
HEADER = "sid,who,when,what,sku,kind,price"
LONGEST = (
    "test_run",
    "test_guides",
    "test_site",
    "test_app",
    "test_wheel",
    "test_bad_input",
    "test_scale",
    "test_lowest",
    "test_watch",
    "test_texts",
    "test_odd_inputs",
    "test_batches",
    "test_whatif",
    "test_databases",
    "test_reading",
    "test_serving",
    "test_engines",
    "test_live",
    "test_fairness",
    "test_retrain",
    "test_habits",
    "test_files",
    "test_lineage",
    "test_split",
    "test_audit",
)  # files of tests


def pytest_collection_modifyitems(items):
    "The longest files first, so that no process of pytest-xdist is left with one of them at the end."
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def command(*words, cwd, before=(), **options):
    "Run clickstream-conv, after the words of another program if need be; what it says on both streams is in .said."
    done = subprocess.run(
        [*before, *COMMAND, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )
    done.said = done.stdout + done.stderr
    assert "Traceback" not in done.said, done.said
    return done


def here(*words, cwd):
    "The command line in this process, for what it refuses before anything is run: no libraries to load each time."
    from clickstream_conv.pipeline import command_line as pipeline

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = pipeline.command([str(word) for word in words])
    done = subprocess.CompletedProcess([*words], code, out.getvalue(), errors.getvalue())
    done.said = done.stdout + done.stderr
    return done


AS_BEGUN, IDLE = {**os.environ}, []  # the environment, and processes of stages that wait for a run


def warm(*words, cwd):
    "The command line in this process, its stages in processes that have run others: where how one begins and ends is no matter."
    from clickstream_conv.pipeline import stages, workers

    begin = workers._started

    def taken():
        while IDLE:
            if (process := IDLE.pop()).poll() is None:
                return process
        with contextlib.chdir(ROOT), patch.dict(os.environ, AS_BEGUN, clear=True):
            return begin()

    kept = patch.object(stages, "dismiss", IDLE.append)  # what has failed is ended all the same
    with patch.object(workers, "_started", taken), kept:
        done = here(*words, cwd=cwd)
    assert "Traceback" not in done.said, done.said
    return done


def start(*words, cwd):
    "Start clickstream-conv and do not wait for it."
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def record(folder):
    "What run.json says; nothing while there is none."
    path = Path(folder) / "run.json"
    return json.loads(path.read_text()) if path.is_file() else {"stages": {}}


def metrics(folder):
    "All figures of a run."
    return {
        path.name: json.loads(path.read_text())
        for path in sorted((Path(folder) / "metrics").glob("*.json"))
    }


def log_lines(sessions=240, buying=80):
    "The rows of a small log, a session a minute; each buyer looks, adds and buys."
    lines = []
    for s in range(sessions):
        steps = (
            ["look", "look", "add", "buy"]
            if s * buying // sessions != (s + 1) * buying // sessions
            else ["look", "look", "look"]
        )
        for i, what in enumerate(steps):
            lines.append(
                f"s{s},v{s},2024-03-{1 + s // 60:02} {10 + s % 10}:{s % 60:02}:{i * 7:02},{what},p{(s * 7 + i) % 9},k{(s + i) % 3},{5 + (s * 3 + i) % 20}.50"
            )
    return lines


def write_log(folder, lines, header=HEADER, name="log.csv"):
    "A log and its mapping file; the words of the command line that read them."
    (folder / name).write_text("\n".join([header, *lines]) + "\n" if header else "\n".join(lines))
    (folder / "mine.yaml").write_text(MAPPING)
    return (
        "run",
        "--source",
        "mine.yaml",
        "--path",
        name,
        "--out",
        "out",
        "--landmarks",
        "1,2",
        *EARLY,
        *FEW_PICTURES,
        *QUICK,
    )


def made_once(factory, name, *words, before=lambda folder: None, after=lambda run: None):
    "A run that all processes of pytest-xdist share, and how it went: the first that asks makes it, the others wait."
    place = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder, told = place / name, place / f"{name}.json"
    with FileLock(place / f"{name}.lock"):
        if not told.is_file():
            folder.mkdir(exist_ok=True)
            before(folder)
            done = command("run", *QUICK, *words, "--out", "run", cwd=folder)
            if done.returncode == 0:
                after(folder / "run")
            told.write_text(
                json.dumps(
                    dict(
                        args=done.args,
                        returncode=done.returncode,
                        stdout=done.stdout,
                        stderr=done.stderr,
                    )
                )
            )
    done = subprocess.CompletedProcess(**json.loads(told.read_text()))
    done.said = done.stdout + done.stderr
    return folder, done


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A finished run of the demo shop that no test changes, with the numbers that a larger one keeps:
    its folder's parent, and how it went.
    """
    from clickstream_conv.scoring.kept_numbers import keep_numbers

    return made_once(tmp_path_factory, "demo-run", "--sessions", 3000, after=keep_numbers)


@pytest.fixture(scope="session")
def run(demo):
    "The folder of that run."
    assert demo[1].returncode == 0, demo[1].said
    return demo[0] / "run"


@pytest.fixture(scope="session")
def real_log():
    "The path of a real log, or a skipped test."

    def found(name):
        if not (DATA / name).is_file():
            pytest.skip(f"no {name} in {DATA}; set CLICKSTREAM_CONV_DATA to the folder that has it")
        return DATA / name

    return found


@pytest.fixture(scope="session")
def rees46(tmp_path_factory, real_log):
    "A finished run of a real log that no test changes: its folder's parent, and how it went."
    return made_once(
        tmp_path_factory,
        "rees46-run",
        "--source",
        "rees46",
        "--path",
        str(real_log("rees46-2019-10-sample.csv")),
    )


@pytest.fixture(scope="session")
def eshop(tmp_path_factory, real_log):
    "A finished run of a log without purchases, whose outcome is a proxy; at the landmarks of its case study."
    return made_once(
        tmp_path_factory,
        "eshop-run",
        "--source",
        "uci-eshop",
        "--path",
        str(real_log("uci-eshop-clothing-2008.csv")),
        "--landmarks",
        "1,3,8",
        "-p",
        "kinds=auto",
    )


@pytest.fixture(scope="session")
def shoppers(tmp_path_factory, real_log):
    "A finished run of a log of finished sessions."
    log = str(real_log("uci-online-shoppers.csv"))
    return made_once(
        tmp_path_factory,
        "shoppers-run",
        "--source",
        "uci-shoppers",
        "--path",
        log,
        "-p",
        "families=gradient boosting",
    )


@pytest.fixture(scope="session")
def vendor(tmp_path_factory):
    "The events of a small export of Google Analytics 4."
    return made_once(
        tmp_path_factory,
        "vendor-run",
        "--source",
        "ga4",
        "--path",
        str(ROOT / "tests" / "cases" / "vendors" / "ga4_plain.parquet"),
        "--until",
        "02_sources",
        "--no-report",
    )


def got_axe(folder):
    "The script of axe-core in a folder, or why it is not there."
    if not shutil.which("npm"):
        return None, "there is no npm to get axe-core with"
    words = ("--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core")
    got = subprocess.run(["npm", "install", *words], capture_output=True, text=True, timeout=300)
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    return (
        script if script.is_file() else None,
        f"npm could not get axe-core: {got.stderr.strip()[-200:]}",
    )


@pytest.fixture(scope="session")
def axe_if_there(tmp_path_factory):
    "The script of axe-core, or None; and why."
    return got_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="session")
def axe(axe_if_there):
    "The script of axe-core."
    script, why = axe_if_there
    if script is None:
        pytest.skip(why)
    return script
