"""Whatever is wrong with what is given, one line says what and what to do."""

import ast
import os
import resource
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import command, EARLY, HEADER, here, log_lines, metrics, QUICK, warm, write_log
from everywhere import set_everywhere

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


def refused(done, *words):
    "One line on the error stream that holds these words; exit code 1."
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and done.stdout == "" and last.startswith("clickstream-conv: "), (
        done.said
    )
    for word in words:
        assert word in last, last


def stage_failed(done, folder, stage, *words):
    "The line names stage, cell and log, and the log is there."
    refused(done, f"{stage} failed: ", f"{stage}.failed.ipynb", *words)
    assert (folder / "out" / "notebooks" / f"{stage}.failed.ipynb").is_file()


def with_column(place, change, every=1):
    "The rows of a log with one of their fields changed."

    def changed(n, line):
        fields = line.split(",")
        if n % every == 0:
            fields[place] = change(fields[place], n)
        return ",".join(fields)

    return [changed(n, line) for n, line in enumerate(log_lines())]


def clocks(text, n):
    return text if n % 2 else text[8:10] + "/" + text[5:7] + "/" + text[:4] + text[10:]


BAD_LOGS = {
    "empty file": (None, [], ["log.csv is empty"]),
    "header only": (HEADER, [], ["log.csv", "row"]),
    "missing column": (
        HEADER.replace("price", "amount"),
        log_lines(),
        ["no column 'price'", "amount"],
    ),
    "wrong delimiter": (
        HEADER.replace(",", "~"),
        [line.replace(",", "~") for line in log_lines()],
        ["no column 'sid'"],
    ),
    "mixed time formats": (
        HEADER,
        with_column(2, clocks),
        ["unparsable time", "e.g. row 2: '01/03/2024 10:00:00'"],
    ),
    "negative prices": (
        HEADER,
        with_column(6, lambda text, n: "-" + text, every=2),
        ["negative price", "e.g."],
    ),
    "unknown events": (HEADER, with_column(3, lambda text, n: "wave", every=2), ["wave"]),
}


@pytest.mark.parametrize("name", BAD_LOGS)
def test_a_log_that_cannot_be_read(name, tmp_path):
    header, lines, words = BAD_LOGS[name]
    stage_failed(
        warm(*write_log(tmp_path, lines, header), cwd=tmp_path), tmp_path, "02_sources", *words
    )


def test_each_message_is_its_own(tmp_path):
    said = [words[0] for _, _, words in BAD_LOGS.values()]
    assert len(set(said)) == len(said)


def test_binary_junk(tmp_path):
    words = write_log(tmp_path, [])
    (tmp_path / "log.csv").write_bytes(PNG)
    stage_failed(warm(*words, cwd=tmp_path), tmp_path, "02_sources", "log.csv is a PNG picture")


def test_one_class_only(tmp_path):
    stage_failed(
        warm(*write_log(tmp_path, log_lines(buying=0)), cwd=tmp_path),
        tmp_path,
        "05_classification",
        "one class",
    )


def test_fewer_buyers_than_folds(tmp_path):
    done = warm(*write_log(tmp_path, log_lines(buying=4)), "-p", "folds=5", cwd=tmp_path)
    stage_failed(done, tmp_path, "05_classification", "at least", "converted")


def test_a_last_line_cut_short_is_rejected_and_counted(tmp_path):
    words = write_log(tmp_path, log_lines())
    whole = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(whole[:-12])
    done = warm(*words, "--until", "02", cwd=tmp_path)
    assert done.returncode == 0 and "1 rejected (line broken: 1)" in done.stdout, done.said


def test_ids_as_floats_are_read_with_a_note(tmp_path):
    lines = [
        ",".join([f"{sid[1:]}.0", *rest])
        for sid, *rest in (line.split(",") for line in log_lines())
    ]
    done = warm(*write_log(tmp_path, lines), "--until", "02", cwd=tmp_path)
    assert done.returncode == 0, done.said
    assert "note: column 'session_id' held ids as floats" in done.stdout
    assert metrics(tmp_path / "out")["source.json"]["sessions"] == 240


def test_a_full_disk(tmp_path):
    "No file may grow past a size that the table of events needs: the simulated disk is full at that moment."

    def limit():
        return resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = command("run", "--sessions", 3000, "--out", "out", cwd=tmp_path, preexec_fn=limit)
    refused(done, "02_sources failed", "cannot write", "events.parquet", "make room")
    assert not (tmp_path / "out" / "events.parquet").exists() and not list(
        (tmp_path / "out").glob(".*.part")
    )
    assert (
        command(
            "run", "--sessions", 3000, "--out", "out", "--until", "02", "--no-report", cwd=tmp_path
        ).returncode
        == 0
    )


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(command("run", "--out", "file/run", cwd=tmp_path), "file", "Not a directory")


AS_ANYBODY = (
    (
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    )
    if os.geteuid() == 0
    else ()
)


@pytest.mark.skipif(
    bool(AS_ANYBODY) and not shutil.which("setpriv"),
    reason="root may write anywhere, and there is no setpriv to give that up",
)
def test_a_read_only_folder(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    refused(
        command("run", "--out", "locked/run", cwd=tmp_path, before=AS_ANYBODY),
        "locked",
        "Permission denied",
    )


def test_a_folder_that_takes_no_files(tmp_path):
    refused(
        here("run", "--out", "/proc/self", cwd=tmp_path), "/proc/", "not empty and holds no run"
    )
    refused(here("run", "--out", "/proc/self/run", cwd=tmp_path), "/proc/")


def test_a_folder_of_someone_else(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    for fresh in ((), ("--fresh",)):
        refused(
            here("run", "--out", "photos", *fresh, cwd=tmp_path),
            "photos",
            "not empty and holds no run",
        )
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_folder_of_another_source(demo, tmp_path):
    done = command(*write_log(tmp_path, log_lines()), "--out", demo[0] / "run", cwd=tmp_path)
    refused(done, "holds a run of demo, not of mine", "--fresh")


WRONG_WORDS = {
    "source": (("--source", "rees64"), ["no source 'rees64'", "did you mean rees46?"]),
    "parameter": (("-p", "resample=5"), ["no parameter 'resample'", "did you mean resamples?"]),
    "pair": (("-p", "resamples"), ["-p takes name=value"]),
    "outcome": (("--outcome", "churn"), ["offers no outcome 'churn'"]),
    "option": (("--sesions", "5"), ["--sesions"]),
    "number": (("--seed", "abc"), ["seed must be int", "found 'abc'"]),
    "landmarks": (("--landmarks", "1,two"), ["landmarks must be list of int"]),
    "no landmark": (("--landmarks", "0,1"), ["landmarks must be 1 to 10,000", "found 0"]),
    "no sessions": (("--sessions", "0"), ["sessions must be 1 to 100,000,000"]),
    "missing file": (
        ("--source", "rees46", "--path", "nowhere.csv"),
        ["no such file", "nowhere.csv"],
    ),
    "missing mapping": (("--source", "nowhere.yaml", "--path", "log.csv"), ["nowhere.yaml"]),
    "missing config": (("--config", "nowhere.yaml"), ["nowhere.yaml is no file"]),
    "stage": (("--until", "99"), ["no stage '99' to end with"]),
    "by hand": (("--source", "retailrocket"), ["Get it by hand", "--path"]),
}


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_wrong_words_are_refused_before_anything_is_made(name, tmp_path):
    words, expected = WRONG_WORDS[name]
    done = here("run", *words, cwd=tmp_path)
    refused(done, *expected)
    assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["columns: {session_id: sid", "columns: [sid]", "colums: {session_id: sid}", "- sid"]
)
def test_a_bad_mapping(text, tmp_path):
    write_log(tmp_path, log_lines())
    (tmp_path / "mine.yaml").write_text(text)
    refused(here("run", "--source", "mine.yaml", "--path", "log.csv", cwd=tmp_path), "mine.yaml")


def test_a_test_share_that_leaves_nothing(tmp_path):
    refused(
        here("run", "--out", "out", "--sessions", 500, "--test-share", 1.5, cwd=tmp_path),
        "test_share must be 0.001 to 0.999",
        "found 1.5",
    )
    assert not (tmp_path / "out").exists()


def test_maps_that_cannot_be_proposed(tmp_path):
    refused(here("map", "nowhere.csv", cwd=tmp_path), "no such file")
    (tmp_path / "photo.csv").write_bytes(PNG)
    refused(here("map", "photo.csv", cwd=tmp_path), "PNG picture")
    refused(here("fetch", "retailrocket", cwd=tmp_path), "Get it by hand")
    refused(here("sources", "rees64", cwd=tmp_path), "did you mean rees46")


def test_a_disk_that_fills_while_the_report_is_written(tmp_path, monkeypatch):
    "One sentence instead of a list of every file that could not be copied; the pages of before stay."
    from clickstream_conv.report import docs as report_docs
    from clickstream_conv.report import site as report_site

    for name in ("new", "site"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)

    def full(source, target):
        Path(target).mkdir()
        raise shutil.Error(
            [
                (f"{source}/{n}.html", f"{target}/{n}.html", "[Errno 28] No space left on device")
                for n in range(500)
            ]
        )

    monkeypatch.setattr(report_docs.shutil, "copytree", full)
    with pytest.raises(ValueError) as error:
        report_site._put(tmp_path / "new", tmp_path / "site")
    assert str(error.value).startswith(
        f"cannot write the pages in {tmp_path / 'site'}: [Errno 28] No space left on device. What was there before is kept; make room"
    )
    assert (tmp_path / "site" / "index.html").read_text() == "site" and sorted(
        path.name for path in tmp_path.iterdir()
    ) == ["new", "site"]


@pytest.mark.parametrize("megabytes", [600, 1200])
def test_too_little_memory(megabytes, tmp_path):
    "Whether a library cannot be loaded or a stage dies: what ran out is said, and what to do."

    def limit():
        return resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    refused(
        command(
            "run", "--sessions", 300, "--out", "out", *EARLY, *QUICK, cwd=tmp_path, preexec_fn=limit
        ),
        "memory ran out",
        "--memory 4",
    )


@pytest.mark.parametrize("deaths, said", [(1, ""), (2, "ended all at once")])
def test_a_kernel_that_ends_before_it_answers_is_started_once_more(
    deaths, said, tmp_path, monkeypatch
):
    "Another process may have taken the port that it was given; what ends twice is said."
    from clickstream_conv.pipeline import (
        notebooks as pipeline_notebooks,
    )

    dies = f"import os; with_this = len(os.listdir({str(tmp_path)!r})); with_this < {deaths} and (open(os.path.join({str(tmp_path)!r}, str(with_this)), 'w'), os._exit(1)); "
    monkeypatch.setattr(pipeline_notebooks, "LAUNCH", dies + pipeline_notebooks.LAUNCH)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('he' + 're')")])
    executed, wrong = pipeline_notebooks.execute(notebook, {}, tmp_path.with_name(f"out-{deaths}"))
    assert (
        (said in wrong if said else wrong == "")
        and (b"here" in executed) == (not said)
        and len(list(tmp_path.iterdir())) == deaths
    )


@pytest.mark.parametrize("given", ["nan", "-1", "2"])
def test_options_of_score_are_in_range(given, tmp_path):
    refused(
        here(
            "score",
            "--run",
            "nowhere",
            "--events",
            "nowhere.csv",
            "--max-rejected",
            given,
            cwd=tmp_path,
        ),
        "max",
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (("app", "--port", "99999"), "port must be 1 to 65,535"),
        (("bench", "--limit", "inf"), "limit must be 1 to"),
        (("bench", "--sizes", "99999999999999999999"), "sizes must be 1 to"),
    ],
)
def test_options_of_other_commands_are_in_range(words, said, tmp_path):
    refused(here(*words, cwd=tmp_path), said)


def test_every_number_that_can_be_given_has_a_range():
    from clickstream_conv.pipeline.parameters import (
        declared_parameters,
        RANGES,
        read_notebook,
        STAGES,
    )

    declared = {
        name: parameter
        for stage in STAGES
        for name, parameter in declared_parameters(read_notebook(stage)).items()
    }
    numbers = {
        name: parameter.default
        for name, parameter in declared.items()
        if parameter.kind in ("int", "float") or name == "landmarks"
    }
    assert set(numbers) <= set(RANGES)
    for name, default in numbers.items():
        for number in default if isinstance(default, list) else [default]:
            assert number in RANGES[name], name


OURS = "raise ValueError(\"no column 'price' in log.csv. Map it with price: amount\")"
LIBRARYS = 'import json; json.loads("{")'


@pytest.mark.parametrize(
    "line, said",
    [
        (OURS, "Map it with price: amount"),
        (LIBRARYS, "please report it"),
        ("int('x')", "please report it"),
        ("{}['size']", "please report it"),
    ],
)
def test_an_error_of_a_library_does_not_pass_as_ours(line, said, monkeypatch, capsys):
    "What this package raises is written for readers; whatever comes up from below is a fault to be reported, though it be a ValueError."
    from clickstream_conv.pipeline import (
        command_line as pipeline_command_line,
    )
    from clickstream_conv.pipeline import (
        ending as pipeline_ending,
    )
    from clickstream_conv.pipeline import (
        notebooks as pipeline_notebooks,
    )

    code = compile(
        "\n" * 9 + line, pipeline_command_line.__file__, "exec"
    )  # as if it stood in the package
    monkeypatch.setattr(
        pipeline_notebooks.linecache,
        "getline",
        lambda file, number: (
            line if file == pipeline_command_line.__file__ and number == 10 else ""
        ),
    )
    set_everywhere(monkeypatch, pipeline_ending, "stages_until", lambda until: exec(code))
    assert pipeline_command_line.command(["run"]) == 1
    assert said in capsys.readouterr().err


OWN_ERRORS = {  # kinds of errors of the package, and who catches them
    "Away": "the program that asks a service by the client",
    "Refused": "the same",
    "BrokenRecord": "the reader of records, which tells line and column",
    "Interrupted": "the download, which goes on where it stopped",
    "NotPlain": "the scorer and its visits, which go on by way of frames",
    "Problem": "the service, which tells it as an answer over HTTP",
    "NoVisits": "the proposal, which asks whether rows are finished sessions",
    "StageFailed": "the command line, which tells it as a refusal",
}


def test_what_a_user_can_cause_is_a_plain_refusal():
    "Anything but a ValueError by its very name is told as a fault of the program."
    found = set()
    for path in (Path(__file__).resolve().parents[1] / "clickstream_conv").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base) for base in node.bases]
                if any(base.endswith(("Error", "Exception")) for base in bases):
                    found.add(node.name)
    assert found == {*OWN_ERRORS}
