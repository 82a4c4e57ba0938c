"""A frame made from an array or a list states which way its rows lie: with as many rows as columns a library has to guess."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKERS = (
    "pl.DataFrame",
    "pl.LazyFrame",
    "pl.from_numpy",
    "pl.from_records",
    "polars.DataFrame",
    "polars.LazyFrame",
    "polars.from_numpy",
    "polars.from_records",
)


def by_columns(given):
    "Whether an expression is a dict as it stands, so that its keys say what is a column."
    if isinstance(given, ast.BinOp) and isinstance(given.op, ast.BitOr):
        return by_columns(given.left) or by_columns(given.right)
    made = (
        isinstance(given, ast.Call) and isinstance(given.func, ast.Name) and given.func.id == "dict"
    )
    listed = (
        given.elt
        if isinstance(given, ast.ListComp)
        else given.elts[0]
        if isinstance(given, ast.List) and given.elts
        else None
    )
    return (
        made
        or isinstance(given, (ast.Dict, ast.DictComp))
        or listed is not None
        and by_columns(listed)
    )


def unstated(code):
    "Lines of code on which a frame is made from what may be an array or a list, and the orientation is left to a guess."
    lines = []
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) not in MAKERS:
            continue
        given = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "data")]
        stated = any(word.arg == "orient" for word in call.keywords)
        if given and not stated and not by_columns(given[0]):
            lines.append(f"{call.lineno}: {ast.unparse(call)}")
    return lines


def code_of(path):
    "The Python of a file; of a notebook its code cells, lines for the shell left out."
    if path.suffix == ".py":
        return [path.read_text()]
    cells = [
        "".join(cell["source"])
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    return [
        "\n".join(line for line in cell.splitlines() if not line.startswith(("%", "!")))
        for cell in cells
        if not cell.startswith("%%")
    ]


FILES = sorted(
    path
    for folder, kind in (("clickstream_conv", "*.py"), ("tests", "*.py"), ("nbs", "*.ipynb"))
    for path in (ROOT / folder).rglob(kind)
    if not any(
        part.startswith((".", "_")) and part != "__init__.py"
        for part in path.relative_to(ROOT).parts
    )
)


@pytest.mark.parametrize(
    "code, found",
    [
        ("pl.DataFrame(x.T, schema=names)", 1),
        ("pl.DataFrame([[1, 2], [3, 4]])", 1),
        ("pl.DataFrame(rows)", 1),
        ("pl.LazyFrame(data=rows)", 1),
        ("pl.from_numpy(x)", 1),
        ("pl.DataFrame(x, orient='row')", 0),
        ("pl.DataFrame({'a': x})", 0),
        ("pl.DataFrame(dict(a=x) | more)", 0),
        ("pl.DataFrame(schema=kinds)", 0),
        ("pd.DataFrame(x)", 0),
    ],
)
def test_the_check_finds_what_it_should(code, found):
    assert len(unstated(code)) == found


def test_every_frame_states_which_way_its_rows_lie():
    assert len(FILES) > 60
    found = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := [line for cell in code_of(path) for line in unstated(cell)])
    }
    assert not found, found
