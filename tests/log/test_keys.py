"""Every key of a mapping stands in the tables of the language, and nothing else."""

import json
import re
from pathlib import Path

from clickstream_conv.log.mapping import KEYS, NAMES

PAGE = Path(__file__).resolve().parents[2] / "nbs" / "log" / "29_lines.ipynb"


def rows_of_tables():
    "The first column of each row of the tables of keys, and the second."
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    (page,) = (
        "".join(cell["source"])
        for cell in cells
        if "".join(cell["source"]).startswith("## All that a mapping may say")
    )
    return re.findall(r"^\| (`.+?) \| (.+) \|$", page, re.MULTILINE)


def test_the_tables_hold_all_keys():
    named = [key for first, _ in rows_of_tables() for key in re.findall(r"`(\w+)`", first)]
    assert sorted(named) == sorted(KEYS)


def test_columns_are_all_named():
    (row,) = (second for first, second in rows_of_tables() if first == "`columns`")
    assert re.findall(r"`(\w+)`", row) == list(NAMES)
