"""What breaks without a word when a name or a file moves: code in strings, names of notebooks, methods that are added elsewhere, constants that a test changes."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_layers import imports_of, MODULES, name_of

ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "nbs").rglob("*.ipynb"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md")]
IMPORT = re.compile(r"from (clickstream_conv(?:\.\w+)*) import (?:\(([^)]*)\)|([\w, ]+))")
NUMBERED = re.compile(r"(?<![\w.-])\d\d[a-z]?_[a-z][a-z_]+\b")
METHODS = {  # module: folders of which it brings all methods that are added to others' classes
    "scoring.scorer": ("scoring",),
}


def text_of(path):
    "What stands in a file, or in the cells of a notebook."
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def is_there(module, name):
    "Whether a module has a name, or is a folder with such a module."
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    if hasattr(found, name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *TESTS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_what_code_in_strings_imports_is_there(path):
    "A linter does not see the code that a text sends to another process."
    wanted = {
        (module, name.split()[0])
        for module, several, one in IMPORT.findall(text_of(path).replace("\\n", "\n"))
        for name in re.sub(r"#.*", "", several or one).split(",")
        if name.strip()
    }
    assert [pair for pair in sorted(wanted) if not is_there(*pair)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_message_names_notebooks_that_are_there(path):
    stems = {notebook.stem for notebook in NOTEBOOKS}
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [name for text in texts for name in NUMBERED.findall(text) if name not in stems] == []


def added_in(folder):
    "The class and the name of each method that modules of a folder add to a class of others."
    for path in MODULES:
        if not f"{name_of(path)}.".startswith(f"{folder}."):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                "patch" in ast.unparse(one) for one in node.decorator_list
            ):
                yield ast.unparse(node.args.args[0].annotation), node.name


@pytest.mark.parametrize("module", METHODS)
def test_whoever_takes_a_class_gets_all_of_its_methods(module):
    "In a process of its own, in which nothing else was imported."
    wanted = [pair for folder in METHODS[module] for pair in added_in(folder)]
    code = f"""
import gc, importlib, json, sys
importlib.import_module("clickstream_conv.{module}")
classes = {{}}
for one in gc.get_objects():
    if isinstance(one, type) and str(one.__module__).startswith("clickstream_conv."):
        classes[one.__name__] = one
wanted = json.loads(sys.argv[1])
print(json.dumps([pair for pair in wanted if not hasattr(classes.get(pair[0]), pair[1])]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(wanted)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert len(wanted) > 5 and json.loads(done.stdout) == []


def reached_from(path):
    "Every module of ours that a notebook's cells import, and what these import in turn."
    code = [
        "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    named = set(re.findall(r"clickstream_conv\.([a-z_]+\.[a-z_]+)", "\n".join(code)))
    files, reached = {name_of(one): one for one in MODULES}, set()
    while named:
        module = named.pop()
        if module in files and module not in reached:
            reached.add(module)
            text = files[module].read_text(encoding="utf-8")
            named |= set(re.findall(r"^import clickstream_conv\.([a-z_.]+)", text, re.M))
            named |= {other for other, _ in imports_of(files[module])}
    return reached, code


def called_on(name, code):
    "The methods that a text of code calls on a name; what stands in a message is no call."
    calls = [node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {
        one.attr
        for one in calls
        if isinstance(one, ast.Attribute) and getattr(one.value, "id", "") == name
    }


METHOD_OF = {  # method that one module adds to the class of another: both
    method: (owner, name_of(path))
    for path in MODULES
    for owner, method in added_in(name_of(path))
    if f"class {owner}" not in path.read_text(encoding="utf-8")
}


@pytest.mark.parametrize(
    "path",
    [one for one in NOTEBOOKS if one.parent.name in ("scoring", "explain", "app", "guides")],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_a_notebook_imports_the_methods_that_it_calls(path):
    "Tested after others in one process it would find them, and opened alone it would not."
    reached, code = reached_from(path)
    lessons = "\n".join(
        text for text in code if not text.startswith("#| export") and "%%" not in text
    )
    own = {name for text in code for name in re.findall(r"^def (\w+)", text, re.M)}
    called = (called_on("scorer", lessons) & METHOD_OF.keys()) - own
    assert {name for name in called if METHOD_OF[name][1] not in reached} == set()


def changed_in(path):
    "Modules of ours of which a test file sets a name, and the name."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = {
        alias.asname or alias.name: f"{node.module}.{alias.name}".removeprefix("clickstream_conv.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clickstream_conv")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            module, name = (*node.args, None, None)[:2]
            if isinstance(module, ast.Name) and isinstance(name, ast.Constant):
                yield aliases.get(module.id, ""), name.value


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_a_constant_is_changed_wherever_it_was_imported(path):
    "Modules import by value: what several of them have is changed by set_everywhere."
    taken = {pair for module in MODULES for pair in imports_of(module)}
    passed_on = {(name_of(module), name) for module in MODULES for _, name in imports_of(module)}
    assert [pair for pair in changed_in(path) if pair in taken or pair in passed_on] == []


LINKED = re.compile(r"\]\((?!https?:|#|mailto:|attachment:)([^)#\s]+)(?:#[^)\s]*)?\)")
IN_ORDER = re.compile(r"Next: \[[^\]]*\]\(([^)#]+)")


def prose_of(path):
    "What a page or a notebook says between its code."
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [one for one in json.loads(text)["cells"] if one["cell_type"] == "markdown"]
        text = "\n".join("".join(one["source"]) for one in cells)
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)


@pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_link_leads_somewhere(path):
    targets = set(LINKED.findall(prose_of(path)))
    assert [one for one in sorted(targets) if not (path.parent / one).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_next_is_what_comes_next(path):
    "Within its folder a notebook sends its reader to the one that follows; only the last leads on."
    folder = sorted(path.parent.glob("[0-9]*.ipynb"))
    if path in folder[:-1] and path.parent != ROOT / "nbs":
        after = folder[folder.index(path) + 1].name
        assert set(IN_ORDER.findall(prose_of(path))) <= {after}
