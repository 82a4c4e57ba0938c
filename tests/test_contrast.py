"""Colours of pictures are seen on a dark page: texts at 4.5 to 1, marks at 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""

import json
import re

import numpy as np
import pytest

from clickstream_conv.app.page_parts import IN_THE_DARK
from clickstream_conv.base.pictures import COLOURS, KINDS, LOOK, STYLE
from clickstream_conv.report.look import look_file

MARKS_ONLY = COLOURS["not converted"]  # fills bars, and names nothing
TEXTS = {"text": LOOK["text.color"], "ticks": LOOK["xtick.color"], "dotted": COLOURS["chance"]}
LINES = {f"kind {i}": colour for i, colour in enumerate(KINDS)} | {
    name: style["color"] for name, style in STYLE.items()
}
BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722])
GREY = np.array([0.213, 0.715, 0.072])  # of the filter hue-rotate (CSS Filter Effects, section 10)


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def luminance(channels):
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ BRIGHTNESS


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def filtered(colour):
    "A colour as the filter of the stylesheet shows it; half a turn of the hue mirrors it at its grey."
    style = look_file("tables.css")
    inverts, brightens = (
        float(re.search(rf"{name}\(([.\d]+)\)", style)[1]) for name in ("invert", "brightness")
    )
    turned = inverts + rgb(colour) * (1 - 2 * inverts)
    mirrored = np.clip(2 * (GREY @ turned) - turned, 0, 1)
    return np.clip(mirrored * brightens, 0, 1)


@pytest.mark.parametrize("name, colour", {**TEXTS, **LINES}.items())
def test_what_is_named_in_a_still_picture_is_read_on_a_dark_page(name, colour):
    assert contrast(filtered(colour), filtered("#FFFFFF")) >= 4.5


def test_bars_without_a_name_are_seen_on_a_dark_page():
    assert contrast(filtered(MARKS_ONLY), filtered("#FFFFFF")) >= 3


def swapped():
    "Colours of a chart on a dark page, as the site's script swaps them."
    script = look_file("charts.js")
    swap = json.loads(re.search(r"const swap = (\{.*?\});", script)[1])
    listed = re.search(r"#\(\?:([0-9a-f|]+)\)/gi", script)[1].split("|")
    assert {f"#{one}" for one in listed} == set(swap), "what is swapped is not what is looked for"
    return swap


@pytest.mark.parametrize("name, colour", {**TEXTS, **LINES}.items())
def test_marks_of_charts_are_seen_on_a_dark_page(name, colour):
    of_site = swapped().get(colour.lower(), colour)
    assert contrast(rgb(of_site), rgb("#14181e")) >= (4.5 if name in TEXTS else 3)


@pytest.mark.parametrize("name, colour", {**TEXTS, "model": COLOURS["model"]}.items())
def test_marks_of_the_app_are_seen_on_a_dark_page(name, colour):
    shown = {light.lower(): dark for light, dark in IN_THE_DARK.items()}
    of_app = shown.get(colour.lower(), colour)
    assert contrast(rgb(of_app), rgb("#0E1117")) >= (4.5 if name in TEXTS else 3)


def test_no_two_kinds_look_alike_on_a_dark_page():
    swap = swapped()
    assert len({swap.get(colour.lower(), colour.lower()) for colour in KINDS}) == len(KINDS)
