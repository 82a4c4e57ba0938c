"""Several notebooks in one process: each finds what it would find in a process of its own."""

import json

import nbformat
import pytest

from clickstream_conv.pipeline import notebooks
from clickstream_conv.pipeline.notebooks import execute, Kernel


def a_notebook(code):
    cell = nbformat.v4.new_code_cell("size = 1", metadata=dict(tags=["parameters"]))
    return nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell(code)])


@pytest.fixture
def run(tmp_path):
    "Runs code as a notebook: what it printed, as JSON; the cell; what went wrong."
    with Kernel() as kernel:

        def said(code, folder="one", size=1, **variables):
            made, wrong = execute(
                a_notebook(code), {"size": size}, tmp_path / folder, kernel=kernel, **variables
            )
            cell = json.loads(made)["cells"][-1]
            printed = "".join(text for one in cell["outputs"] for text in one.get("text", ""))
            return json.loads(printed) if printed else None, cell, wrong

        yield said


PROCESS = "import json, os; print(json.dumps([os.getpid(), os.getcwd(), os.environ.get('JOURNAL'), sorted(globals())]))"


def test_nothing_of_one_notebook_is_found_by_the_next(run, tmp_path):
    (first, *_), cell, _ = run("secret = 1; " + PROCESS, JOURNAL="a")
    (second, place, journal, names), again, _ = run(PROCESS, "two", JOURNAL="b")
    assert first == second, "another process, so nothing was tried"
    assert place == str(tmp_path / "two") and journal == "b" and "secret" not in names
    assert cell["execution_count"] == again["execution_count"]


def test_parameters_are_those_of_the_notebook(run):
    shown = "print(size)"
    assert [run(shown, size=size)[0] for size in (3, 5)] == [3, 5]


def test_pictures_of_one_notebook_are_closed_before_the_next(run):
    run("import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt; plt.figure()")
    assert run("import matplotlib.pyplot as plt; print(len(plt.get_fignums()))")[0] == 0


def test_after_an_error_the_next_notebook_has_a_new_process(run):
    (first, *_), _, _ = run(PROCESS)
    assert "ZeroDivisionError" in run("size / 0")[2]
    (second, *_), _, wrong = run(PROCESS)
    assert first != second and not wrong
    assert "ended all at once" in run("import os; os._exit(1)")[2]
    assert run(PROCESS)[0][0] not in (first, second)


def test_a_process_that_has_taken_much_is_not_used_again(run, monkeypatch):
    "What it has taken is its own: a large process that started it does not count."
    monkeypatch.setattr(notebooks, "MOST_USED", 500)
    held = bytearray(700 << 20)
    (first, *_), _, _ = run(PROCESS)
    (second, *_), _, _ = run(PROCESS + "; held = bytearray(600 << 20)")
    (third, *_), _, _ = run(PROCESS)
    assert first == second != third and len(held)
