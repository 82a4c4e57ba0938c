"""Figures, sentences and tables of five runs, as they were before the code was last rearranged."""

import golden
import pytest

RUNS = ("demo", "rees46", "eshop", "shoppers", "vendor")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_says_what_it_said(name, request):
    "A figure that changes changes here first; where it is meant to, make the golden ones anew and say why in the commit."
    folder, done = request.getfixturevalue(name)
    assert done.returncode == 0, done.said
    known = golden.kept()
    if known["libraries"] != golden.libraries():
        pytest.skip(f"made by other releases: {known['libraries']}")
    assert golden.differences(known[name], golden.figures_of(folder / "run")) == []


def test_a_difference_is_found():
    "Of a number in its tenth digit not, of one in its sixth yes; what stands in one only; a sentence."
    one = dict(figures={"a.json": dict(auc=0.7812345678, says="a")}, tables={})
    assert (
        golden.differences(
            one, dict(figures={"a.json": dict(auc=0.78123456781, says="a")}, tables={})
        )
        == []
    )
    other = dict(figures={"a.json": dict(auc=0.781235, says="b", more=1)}, tables={})
    assert len(golden.differences(one, other)) == 3
