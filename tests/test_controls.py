"""No control of the what-if lab answers for a value that it does not show: whatever is typed, slid or chosen, all of its faces show what was asked with, and a message beside it says where that is not what was typed."""

import math

import ipywidgets as widgets
import pytest
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st

from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.whatif import audience, builder, counterfactuals, sliders
from clickstream_conv.whatif.contradictions import apply_changes
from clickstream_conv.whatif.scenario import just_before_purchase, scenario_of
from clickstream_conv.whatif.sessions import find_sessions, small_run
from clickstream_conv.whatif.widgets import Dial, NumberField

ASKED = {
    audience: ["audience"],
    builder: ["path_of", "find_sessions"],
    counterfactuals: ["ways_over"],
    sliders: ["nudge"],
}
NO_ANSWER = {"Chosen by", "Events", "File"}  # how, which event is edited, where a scenario is kept
QUIET = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PLACES = ("far below", "below", "low", "inside", "high", "above", "far above")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "Every panel, and what each was last asked with."
    folder = small_run(str(tmp_path_factory.mktemp("run") / "demo"), sessions=400).folder
    scorer, asked = Scorer.load(folder), {}
    with pytest.MonkeyPatch.context() as changed:
        for module, names in ASKED.items():
            for name in names:
                changed.setattr(module, name, listening(getattr(module, name), name, asked))
        scenario = scenario_of(scorer, find_sessions(scorer, False, (3, 6))["session_id"][0])
        panels = dict(
            audience=audience.Audience(scorer),
            builder=builder.SessionBuilder(scorer, scenario),
            ways=counterfactuals.Counterfactuals(scorer, scenario),
            sliders=sliders.Sliders(scorer),
        )
        yield dict(scorer=scorer, asked=asked, panels=panels)


def listening(real, name, asked):
    "A function that keeps what it was asked with; searches for ways answer once, they are slow."
    answers = []

    def listen(scorer, *given):
        if not (name == "audience" and given[0] is None):  # the curve is of all thresholds
            asked[name] = given
        if name != "ways_over":
            return real(scorer, *given)
        answers.append(real(scorer, *given) if not answers else answers[0])
        return answers[0]

    return listen


def controls(lab, panel):
    "Each control of a panel, by its label: the control, and how to know what was used."
    return CONTROLS[panel](lab, lab["panels"][panel])


def of_audience(lab, panel):
    return {
        "Threshold": (panel.threshold, lambda: lab["asked"]["audience"][0][0]),
        "Gain": (panel.gain, lambda: lab["asked"]["audience"][1]),
        "Cost": (panel.cost, lambda: lab["asked"]["audience"][2]),
    }


def of_ways(lab, panel):
    return {
        "Session": (panel.session, lambda: lab["asked"]["ways_over"][0]),
        "Threshold": (panel.threshold, lambda: lab["asked"]["ways_over"][1]),
        "Changes at most": (panel.changes, lambda: lab["asked"]["ways_over"][2]),
        "Common enough": (panel.least, lambda: lab["asked"]["ways_over"][3]),
    }


def of_sliders(lab, panel):
    def used(name):
        row, changes = lab["asked"]["nudge"]
        return apply_changes(row, changes, lab["scorer"].card)[name].iloc[0]

    return {
        "Events seen": (panel.landmark, lambda: used("landmark")),
        "Session": (panel.session, lambda: used("session_id")),
    } | {name_of(one): (one, lambda c=c: used(c)) for c, one in panel.sliders.items()}


def of_builder(lab, panel):
    def event(name):
        step = panel.steps.index
        told = lab["asked"]["path_of"][0].steps[step][name]
        return 0.0 if name == "pause" and step == 0 else told

    found = {
        "Converted": (panel.converted, lambda: lab["asked"]["find_sessions"][0]),
        "Fewest": (panel.least, lambda: lab["asked"]["find_sessions"][1][0]),
        "Most": (panel.most, lambda: lab["asked"]["find_sessions"][1][1]),
        "Context": (panel.wish, lambda: next(iter(lab["asked"]["find_sessions"][2].items()), None)),
        "Real session": (panel.session, lambda: lab["asked"]["path_of"][0]),
        "Hour (UTC)": (panel.hour, lambda: lab["asked"]["path_of"][0].start // 3_600_000_000 % 24),
    }
    found |= {name_of(one): (one, lambda c=c: event(c)) for c, one in panel.edits.items()}
    for c, one in panel.context.items():
        found[name_of(one)] = (one, lambda c=c: lab["asked"]["path_of"][0].context[c])
    return found


CONTROLS = dict(audience=of_audience, builder=of_builder, sliders=of_sliders, ways=of_ways)


def name_of(one):
    "The label of a control."
    return getattr(one, "field", one).description


def inside(box):
    "All widgets of a panel."
    for one in getattr(box, "children", ()):
        yield one
        yield from inside(one)


def shows(one):
    "What the faces of a number show; a slider stands somewhere, and is hidden where nothing is known."
    assert one.field.value == "" or float(one.field.value) == one.value
    if isinstance(one, Dial) and one.value is not None:
        apart = abs(one._scale(one.slider.value) - one._scale(one.value))
        assert apart <= 0.51 * one.slider.step
        assert (one.slider.min, one.slider.max) == pytest.approx(
            (one._scale(one.limits.low), one._scale(one.limits.high))
        )
    if isinstance(one, Dial):
        assert (one.slider.layout.visibility == "hidden") == (one.value is None)
    return None if one.field.value == "" else float(one.field.value)


def numbers(lab, panel):
    "The number fields of a panel that can be typed into."
    found = {
        name: (one, used)
        for name, (one, used) in controls(lab, panel).items()
        if isinstance(one, NumberField)
    }
    if panel == "builder":
        lab["panels"][panel].steps.index = 1  # nothing is waited for before the first event
    return found


def typed_at(place, share, limits):
    "A number somewhere around limits."
    low, high, wide = limits.low, limits.high, limits.high - limits.low
    return {
        "far below": -999_999.0 * max(1, wide),
        "below": low - 4,
        "low": low,
        "inside": float(f"{low + share * wide:.6g}"),
        "high": high,
        "above": high + 0.5,
        "far above": 999_999.0 * max(1, wide),
    }[place]


@pytest.mark.parametrize("panel", CONTROLS)
def test_every_control_is_looked_at(lab, panel):
    "A control that is added is to be added here, or said to answer nothing."
    quiet = (widgets.HTML, widgets.Button, widgets.Box, widgets.FloatSlider, widgets.FloatLogSlider)
    there = {
        one.description for one in inside(lab["panels"][panel].panel) if not isinstance(one, quiet)
    }
    assert there - NO_ANSWER == {*controls(lab, panel)}
    dials = [one for one, _ in controls(lab, panel).values() if isinstance(one, Dial)]
    handles = (widgets.FloatSlider, widgets.FloatLogSlider)
    assert sum(isinstance(one, handles) for one in inside(lab["panels"][panel].panel)) == len(dials)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("panel", CONTROLS)
@QUIET
@given(share=st.floats(0, 1))
def test_a_typed_number_is_used_as_it_is_shown(lab, panel, place, share):
    "At the limits, beyond them and inside, in every field."
    for name, (one, used) in numbers(lab, panel).items():
        number = typed_at(place, share, one.limits)
        one.field.value = repr(number)
        assert shows(one) == used() == one.value, name
        assert one.limits.low <= one.value <= one.limits.high, name
        told = f"{repr(number)[:20]} was typed" in one.note.value
        assert told == (one.value != number), name
        assert one.note in one.box.children
        assert_all_agree(lab, panel)


@pytest.mark.parametrize("panel", CONTROLS)
def test_what_is_no_number_changes_nothing_and_is_said(lab, panel):
    for name, (one, used) in numbers(lab, panel).items():
        one.field.value = repr(one.limits.low)
        for text in ("cheap", "nan", "1,5", "<b>"):
            one.field.value = text
            assert shows(one) == used() == one.limits.low, (name, text)
            assert "is no number" in one.note.value and "<b>" not in one.note.value
        one.field.value = "  "
        assert one.value == used() == shows(one), name
        assert ("Nothing was typed" in one.note.value) == (not one.optional)
        for text, end in (("inf", one.limits.high), ("-inf", one.limits.low)):
            one.field.value = text
            assert shows(one) == used() == end, (name, text)


@pytest.mark.parametrize("panel", ["audience", "sliders", "ways"])
@QUIET
@given(data=st.data())
def test_a_slider_that_is_moved_moves_the_field_and_the_answer(lab, panel, data):
    for name, (one, used) in numbers(lab, panel).items():
        if not isinstance(one, Dial):
            continue
        one.field.value = repr(one.limits.low)
        at = data.draw(st.floats(one.limits.low, one.limits.high))
        one.slider.value = at
        assert shows(one) == used() == one.value, name
        assert abs(one._scale(at) - one._scale(one.value)) <= 0.51 * one.slider.step, name


@pytest.mark.parametrize("panel", CONTROLS)
def test_a_chosen_entry_is_used(lab, panel):
    "The first, the last and one in between of every menu, and all numbers after each."
    for name, (menu, used) in controls(lab, panel).items():
        if isinstance(menu, NumberField):
            continue
        for place in sorted({0, len(menu.options) // 2, len(menu.options) - 1}):
            menu.index = place = min(place, len(menu.options) - 1)
            if (panel, name) != ("sliders", "Events seen"):  # the menu of sessions begins anew
                assert (menu.index, menu.label) == (place, menu._options_labels[place]), name
            shown, asked = menu.value, used()
            if name in ("Session", "Real session") and panel != "sliders":
                given = lab["panels"][panel].given if panel == "ways" else asked
                shown = (
                    given
                    if shown is None
                    else just_before_purchase(scenario_of(lab["scorer"], shown))
                )
            assert asked == shown, (name, place)
            assert_all_agree(lab, panel)


@pytest.mark.parametrize("panel", CONTROLS)
def test_no_menu_is_drawn_empty(lab, panel):
    "Also where nothing is wished, or nothing is known."
    for name, (menu, _) in controls(lab, panel).items():
        assert isinstance(menu, NumberField) or menu.index is not None, name


def assert_all_agree(lab, panel):
    "All numbers show what was used, to the six digits that a real session is shown with."
    for name, (one, used) in controls(lab, panel).items():
        if not isinstance(one, NumberField):
            continue
        shown, asked = shows(one), used()
        if shown is None:
            assert asked is None or math.isnan(asked), name
        else:
            assert asked == pytest.approx(shown, rel=1e-5), name


def test_every_event_of_a_real_session_is_shown_as_it_is_asked_with(lab):
    "Also a pause or a price beyond the usual limits, and none before the first event."
    panel = lab["panels"]["builder"]
    real = scenario_of(lab["scorer"], find_sessions(lab["scorer"], None, (4, 9))["session_id"][0])
    panel.show(real.changed(2, pause=999_999.5).changed(3, price=5e9).changed(1, pause=7.0))
    for place in range(len(real)):
        panel.steps.index = place
        assert_all_agree(lab, "builder")
    panel.empty.click()
    assert [one.value for name, one in panel.edits.items() if name != "pause"] == [None] * (
        len(panel.edits) - 1
    )
    panel.show(real)


def test_the_menu_of_real_sessions_names_none_once_it_is_changed(lab):
    panel = lab["panels"]["builder"]
    panel.least.set(1), panel.most.set(500)
    panel.session.index = 1
    assert panel.session.value is not None
    panel.remove.click()
    assert panel.session.value is None
