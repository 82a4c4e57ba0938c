"""The types that are written down hold, as far as a type checker can tell; ty.toml says which rules are left out, and why."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("ty", reason="ty is not installed")

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clickstream_conv"
LEFT_OUT = ("missing-attribute", "not-subscriptable", "invalid-argument-type")
SET_ELSEWHERE = {  # attributes that a function of another module sets
    ("Network", "network_"),
    ("Scorer", "_explainer"),
}
HAS_NO = re.compile(r"(?:Object of type|Class) `(?P<kind>\w+)` has no attribute `(?P<name>\w+)`")
UNRESOLVED = re.compile(r"Unresolved attribute `(?P<name>\w+)` on type `(?P<kind>\w+)`")
NO_ITEM = re.compile(r"Cannot subscript object of type `(?P<kind>\w+)`")
OTHER = re.compile(r"Expected `(?:dict|str|list|int|float)\b.*, found `(?P<kind>\w+)`")


def remarks(*options):
    "What the type checker says of the package, a line each."
    words = [sys.executable, "-m", "ty", "check", str(PACKAGE), "--output-format", "concise"]
    done = subprocess.run(
        [*words, "--python", sys.prefix, *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ": error[" in line or ": warning[" in line]


def own_classes():
    "Classes of the package, and what @patch adds to each or to a class that it is made from: methods, and attributes that they set."
    classes, added, above = set(), defaultdict(set), {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes.add(node.name)
                above[node.name] = [ast.unparse(base) for base in node.bases]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.args:
                first = node.args.args[0]
                if first.arg in ("self", "cls") and first.annotation is not None:
                    kind = ast.unparse(first.annotation)
                    added[kind] |= {node.name, *attributes_set(node)}
    for kind in classes:
        waiting = [*above[kind]]
        while waiting:
            base = waiting.pop()
            added[kind] |= added[base]
            waiting += above.get(base, [])
    return classes, added


def attributes_set(function):
    "Names of the attributes that a method sets on its object."
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr


def test_types_hold():
    assert remarks() == []


def test_objects_of_our_own_are_asked_for_what_they_have():
    "Methods that @patch adds are known here; everything else that a class lacks is a fault."
    classes, added = own_classes()
    found = []
    for line in remarks(*(word for rule in LEFT_OUT for word in ("--error", rule))):
        said = next(
            (one for form in (HAS_NO, UNRESOLVED, NO_ITEM, OTHER) if (one := form.search(line))),
            None,
        )
        if said is None or said["kind"] not in classes:
            continue
        name = said.groupdict().get("name")
        if name in added[said["kind"]] or (said["kind"], name) in SET_ELSEWHERE:
            continue
        found.append(line)
    assert found == []


def test_a_wrong_type_is_found(tmp_path):
    "The checker is awake: what these tests look for is said of code that has it."
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def count() -> int:\n    return 'three'\n", encoding="utf-8")
    words = [sys.executable, "-m", "ty", "check", str(wrong), "--output-format", "concise"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert "invalid-explicit-return" in done.stdout
