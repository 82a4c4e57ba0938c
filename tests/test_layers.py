"""The order of the house: a folder imports from folders above it, a notebook from notebooks before it, and nobody from what is private."""

import ast
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from clickstream_conv.report.reference import FOLDERS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clickstream_conv"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("_"))
LONGEST = 400  # lines of code a module may have
LATER = {  # a function's import of a later folder
    ("log.proposals", "leaks.from_outcome"),
    ("log.mapping", "features.catalogue"),  # names that no context may have
}


def name_of(path):
    "A module as imports write it, such as log.values."
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@cache
def imports_of(path, later=False):
    "Module and name of everything that a module takes from the package when it is loaded; later: also in its functions."
    return tuple(_imports_of(path, later))


def _imports_of(path, later):
    here, tree = name_of(path).split("."), ast.parse(path.read_text())
    for node in ast.walk(tree) if later else tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level:
            module = ".".join([*here[: len(here) - node.level], *filter(None, [module])])
        elif module.startswith("clickstream_conv."):
            module = module.removeprefix("clickstream_conv.")
        else:
            continue
        for alias in node.names:
            yield module, alias.name


def notebook_of(name):
    "Folder and file name of a module's notebook."
    folder, _, module = name.partition(".")
    found = [
        path
        for path in (ROOT / "nbs" / folder).glob("[0-9]*.ipynb")
        if re.sub(r"^\d+[a-z]?_", "", path.stem) == module
    ]
    assert len(found) == 1, f"{name} comes from {len(found)} notebooks"
    return folder, found[0].name


def exported(path):
    "Names that a module exports."
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_above(path):
    "Folders in the order of FOLDERS, notebooks of a folder by their number: so there can be no circle."
    order = [*FOLDERS]
    folder, file = notebook_of(name_of(path))
    for module, name in imports_of(path, later=True):
        if module == name_of(path) or (name_of(path), module) in LATER:
            continue
        theirs, before = notebook_of(module)
        assert (order.index(theirs), before if theirs == folder else "") < (
            order.index(folder),
            file,
        ), f"{name_of(path)} imports {name} from {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_imports_what_is_private(path):
    assert [
        (module, name) for module, name in imports_of(path, later=True) if name.startswith("_")
    ] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_can_be_read_in_a_sitting(path):
    lines = [
        line
        for line in path.read_text().splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    assert len(lines) <= LONGEST


def test_every_folder_of_notebooks_has_its_place():
    folders = {path.parent.name for path in (ROOT / "nbs").glob("*/[0-9]*.ipynb")}
    assert (
        folders
        == {*FOLDERS}
        == {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    )


def test_the_numbered_notebooks_are_stories():
    "They define no module: what they call lies in the folders."
    for path in (ROOT / "nbs").glob("[0-9]*.ipynb"):
        code = [
            "".join(cell["source"])
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "code"
        ]
        assert not any(re.search(r"^#\|\s*(default_exp|export)", text, re.M) for text in code), (
            path.name
        )


def test_functions_and_classes_have_one_home():
    "The same public name in two modules is two things that a reader must tell apart."
    homes = defaultdict(set)
    for path in MODULES:
        for name in exported(path):
            if not name.isupper() and not re.fullmatch(r"[A-Z0-9_]+", name):
                homes[name].add(name_of(path))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
