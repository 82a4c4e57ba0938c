"""Change a value of a module, and wherever it was imported from there."""

import sys


def set_everywhere(
    change,  # pytest's monkeypatch
    home,  # The module that defines the name
    name,  # The name
    value,  # What it is to be
):
    "Modules import names by value, so that a change in one of them is seen by no other."
    before = getattr(home, name)
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").startswith("clickstream_conv")
        if ours and getattr(module, name, None) is before:
            change.setattr(module, name, value)
