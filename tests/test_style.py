"""How notebooks and code read: ruff holds what it knows, and this what it does not."""

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from fastcore.docments import docments

ROOT = Path(__file__).resolve().parents[1]
EVERY = sorted((ROOT / "nbs").glob("**/*.ipynb"))
NOTEBOOKS = sorted((ROOT / "nbs").glob("*/[0-9]*.ipynb"))
MODULES = sorted(
    path for path in (ROOT / "clickstream_conv").glob("*/*.py") if path.name != "__init__.py"
)
MOST_LINES = 40  # of code in an exported cell
MOST_IN_A_ROW = 3  # exported cells without anything between them
DENSEST = 11  # syntax nodes a line of an exported cell, over a notebook
WITHOUT = ("self", "cls", "return", "args", "kwargs", "X", "y")  # known to everybody


def cells_of(path):
    "The cells of a notebook: kind and text."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def is_exported(kind, text):
    "Whether a cell goes into the package."
    return kind == "code" and re.match(r"#\|\s*export\b", text) is not None


def code_lines(text):
    "Lines that are neither blank nor comments."
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def longest_row(path):
    "The most exported cells that follow each other."
    longest = row = 0
    for kind, text in cells_of(path):
        row = row + 1 if is_exported(kind, text) else 0
        longest = max(longest, row)
    return longest


def density(path):
    "Syntax nodes a line: what a reader must take in."
    exported = [text for kind, text in cells_of(path) if is_exported(kind, text)]
    defining = [text for text in exported if re.search(r"^(def|class|@)", text, re.M)]
    lines = sum(len(code_lines(text)) for text in defining)
    nodes = sum(1 for text in defining for _ in ast.walk(ast.parse(text)))
    return nodes / lines if lines else 0


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_linter_finds_nothing(words):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "nbs", "tests", "setup.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_an_exported_cell_is_read_at_a_glance():
    long = [
        f"{path.parent.name}/{path.name}: {text[:80]!r}"
        for path in NOTEBOOKS
        for kind, text in cells_of(path)
        if is_exported(kind, text) and len(code_lines(text)) > MOST_LINES
    ]
    assert long == [], "\n".join(long)


def test_what_is_exported_is_shown():
    assert [
        f"{path.parent.name}/{path.name}" for path in NOTEBOOKS if longest_row(path) > MOST_IN_A_ROW
    ] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_statements_are_plain(path):
    assert density(path) <= DENSEST


def public_functions(module):
    "Functions of a module, and methods of its classes, that others may call."
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isfunction(thing) and thing.__module__ == module.__name__:
            yield name, thing
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            for method, function in vars(thing).items():
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{method}", function


def is_explained(function, parameter, about):
    "Whether a comment says what a parameter is; of a command its help, of *rest and **rest its line."
    if about.docment or parameter in WITHOUT:
        return True
    if any(getattr(part, "help", None) for part in getattr(about.anno, "__metadata__", ())):
        return True
    source = inspect.getsource(function)
    return re.search(rf"^\s*\*+{parameter}\b[^\n]*# \w", source, re.M) is not None


def undocumented(path):
    "Parameters of a module that no comment explains, and functions without a docstring."
    module = import_module(f"clickstream_conv.{path.parent.name}.{path.stem}")
    for name, function in public_functions(module):
        if not function.__doc__:
            yield f"{module.__name__}.{name} has no docstring"
        for parameter, about in docments(function, full=True).items():
            if not is_explained(function, parameter, about):
                yield f"{module.__name__}.{name}: {parameter}"


def test_every_parameter_says_what_it_is():
    "A comment beside each, a docstring for the whole."
    missing = [said for path in MODULES for said in undocumented(path)]
    assert missing == [], "\n".join(missing)


def statements_of(path):
    "The parsed code of a notebook, a cell each."
    for kind, text in cells_of(path):
        if kind == "code":
            try:
                yield ast.parse(text)
            except SyntaxError:
                continue  # a command of IPython


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_one_thing_a_line(path):
    "No lambda has a name, no statement is a conditional expression, no argument is assigned in a call."
    for node in (node for code in statements_of(path) for node in ast.walk(code)):
        assert not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda))
        assert not (isinstance(node, ast.Expr) and isinstance(node.value, ast.IfExp))
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            assert not any(isinstance(one, ast.NamedExpr) for one in given)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_line_is_long(path):
    "Comments for a program count too, which the linter lets pass."
    code = [text for kind, text in cells_of(path) if kind == "code"]
    assert [line for text in code for line in text.splitlines() if len(line) > 119] == []


def test_a_table_of_the_app_goes_through_one_door():
    "Streamlit reads Markdown in the cells of a table, in its index and in its titles; words of a log stand in all three."
    shown = {
        path.name: path.read_text().count("st.table(")
        for path in sorted((ROOT / "clickstream_conv" / "app").glob("*.py"))
        if "st.table(" in path.read_text()
    }
    assert shown == {"page_parts.py": 1}


SPACED = re.compile(
    r"(\d|^)[ \u00a0]%(?=[.,;:)<]|\s(?![\d(])|$)"
)  # a number, a blank, and the sign; no remainder of a division


def test_per_cent_are_written_in_one_way():
    "3.1%, in every text of the package: sentences, titles, axes and docstrings."
    found = [
        f"{path.name}: {node.value.strip()[:80]}"
        for path in sorted((ROOT / "clickstream_conv").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and SPACED.search(node.value)
    ]
    assert found == [], "\n".join(found)


def _shown(output: dict) -> str:
    "What a kept output shows, as text; pictures aside."
    kept = {**output.get("data", {}), "text": output.get("text", "")}
    texts = ["".join(part) for kind, part in kept.items() if kind.startswith("text")]
    return "\n".join(texts)


def test_kept_outputs_and_readme_write_per_cent_in_one_way():
    "An output in an older way of writing is of an older build."
    found = [
        f"{path.name}: {hit.group()}"
        for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
        for cell in json.loads(path.read_text())["cells"]
        for output in cell.get("outputs", [])
        for hit in SPACED.finditer(_shown(output))
    ]
    found += [f"README: {hit.group()}" for hit in SPACED.finditer((ROOT / "README.md").read_text())]
    assert found == [], "\n".join(found)


def test_memory_is_asked_in_one_way():
    "On Linux the figure of `resource` goes on from that of the process which started this one."
    asking = {
        path.relative_to(ROOT).as_posix()
        for folder, kind in (("clickstream_conv", "*.py"), ("tests", "*.py"))
        for path in (ROOT / folder).rglob(kind)
        if ".getrusage(" in path.read_text()
    }
    assert asking - {"tests/test_style.py"} == {"clickstream_conv/base/memory.py"}
