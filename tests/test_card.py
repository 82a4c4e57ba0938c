"""The card of a log: read whole or refused, kept as it was read, and asked of its kind in few places."""

import ast
import json
import zipfile
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.sources.card import load_card
from clickstream_conv.sources.kinds import EVENT_LOG, FINISHED_SESSIONS
from clickstream_conv.sources.log_card import LogCard, SOMETIMES
from clickstream_conv.sources.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clickstream_conv"
FILE = "metrics/source.json"
HEAD = "visit,shown,device,bought"
READS_THE_FILE = {  # modules that may read ready_made by its name, and why: they may only become fewer
    "base/trust.py",  # judges what the file says
    "sources/log_card.py",  # makes the kind of it
    "report/numbers.py",  # reads figures as they are kept, of earlier releases too
    "report/doubts.py",  # likewise
}
ASKS_THE_KIND = {  # module: how often it asks whether there are events; it may only become less
    "app/page_parts.py": 1,
    "app/upload_pages.py": 3,
    "audit/lines.py": 1,
    "clustering/behaviour.py": 2,
    "features/sessions.py": 1,
    "leaks/guard.py": 1,
    "models/calibration.py": 1,
    "regression/targets.py": 1,
    "report/numbers.py": 1,
    "scoring/answers.py": 1,
    "scoring/loading.py": 1,
    "scoring/scorer.py": 1,
    "serving/event_questions.py": 1,
    "sources/card.py": 1,
    "sources/log_card.py": 3,
    "sources/prepare.py": 1,
    "whatif/contradictions.py": 1,
    "whatif/counterfactuals.py": 1,
    "whatif/switches.py": 1,
}


def finished_log(folder):
    "A table of finished sessions, and how it is read."
    rows = [f"v{i},{i % 7},{('desk', 'phone')[i % 2]},{int(i % 4 == 0)}" for i in range(240)]
    (folder / "visits.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "visits.yaml").write_text(
        "ready_made: true\ncolumns: {session_id: visit}\n"
        "session_context: [shown, device]\nlabel: bought\n"
    )
    return dict(source=str(folder / "visits.yaml"), path=str(folder / "visits.csv"))


@pytest.fixture(scope="module", params=["events", "in partitions", "finished"])
def made(request, tmp_path_factory):
    "A run with its log, and the card as it was made."
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    asked = dict(sessions=300)
    if request.param == "in partitions":
        asked["memory"] = 1.0
    if request.param == "finished":
        asked = finished_log(folder)
    run = Run(str(folder / "run"))
    return run, prepare(run, **asked), request.param


def test_a_card_is_kept_as_it_was_read(made):
    run, card, log = made
    read = load_card(run)
    assert read.kind == (FINISHED_SESSIONS if log == "finished" else EVENT_LOG)
    assert read.kept() == json.loads((run / FILE).read_text())
    assert read.kept() == json.loads(json.dumps(card.kept()))
    again = Run(str(run.folder.parent / "again"))
    write_json(again, FILE, read.kept())
    assert (again / FILE).read_bytes() == (run / FILE).read_bytes()


def test_a_card_says_what_its_kind_of_log_can_say(made):
    run, card, log = made
    kept = card.kept()
    of_events, seed = log != "finished", "seed" in kept
    assert kept["ready_made"] is not of_events
    assert {"events", "visitors", "first", "last"} <= set(kept) or not of_events
    assert (seed, "memory" in kept) == (of_events, log == "in partitions")
    assert card.count == (card.events if of_events else card.sessions) > 0


def test_the_card_of_an_earlier_release_is_kept_as_it_was(tmp_path):
    kept = sorted((ROOT / "tests" / "fixtures").glob("run-*.zip"))
    assert kept
    for archive in kept:
        folder = tmp_path / archive.stem
        zipfile.ZipFile(archive).extractall(folder)
        found = next(folder.rglob("source.json"))
        card = LogCard.from_kept(json.loads(found.read_text()), str(found))
        assert card.kept() == json.loads(found.read_text())


def change(**values):
    "A card that says something else."
    return lambda kept: kept | values


def without(name):
    "A card that says nothing of a field."
    return lambda kept: {key: value for key, value in kept.items() if key != name}


ALTERED = {
    "misspelt": (change(sesions=3), "says 'sesions', which no card of this release says"),
    "title gone": (without("title"), "it says nothing of title"),
    "parts gone": (without("parts"), "it says nothing of parts"),
    "visitors gone": (without("visitors"), "it says nothing of visitors"),
    "a count in words": (change(sessions="many"), "sessions is 'many' and should be int"),
    "a count that is a yes": (change(rejected=True), "rejected is 'True' and should be int"),
    "parts a list": (change(parts=[3, 1]), "parts is '[3, 1]' and should be dict"),
    "kind in words": (change(ready_made="no"), "ready_made is 'no' and should be a bool"),
    "clock unknown": (change(resolution="fortnight"), "should be one of us, ms, s, day, none"),
    "outcome of no kind": (
        lambda kept: kept | dict(outcome=kept["outcome"] | dict(kind="some day")),
        "the outcome makes no sense",
    ),
    "outcome with more": (
        lambda kept: kept | dict(outcome=kept["outcome"] | dict(moon="full")),
        "the outcome makes no sense",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_card_that_is_not_whole_is_refused(name, tmp_path):
    alter, says = ALTERED[name]
    run = Run(str(tmp_path / "run"))
    write_json(run, FILE, alter(LogCard("demo", "the demo shop").kept()))
    with pytest.raises(ValueError) as refused:
        load_card(run)
    text = str(refused.value)
    assert says in text and str(run / FILE) in text
    assert "Repeat the command that made the run" in text or "Make the run again" in text


def test_every_field_is_kept_or_left_out_for_a_reason():
    names = {one.name for one in fields(LogCard)}
    assert set(SOMETIMES) < names
    kept = LogCard("demo", "the demo shop").kept()
    left_out = set(SOMETIMES) - set(EVENT_LOG.always)
    assert set(kept) == (names | {"ready_made"}) - {"kind"} - left_out


def test_what_a_kind_does_not_allow_is_refused_with_the_way_out():
    events, over = LogCard("a", "shop A"), LogCard("b", "shop B", kind=FINISHED_SESSIONS)
    events.needs_events("Do this")
    over.needs_finished("Do that")
    with pytest.raises(ValueError, match=r"^this run learned from the events of shop A\. Do that$"):
        events.needs_finished("Do that")
    wanted = r"^this run learned from shop B: finished sessions, no events\. Do this$"
    with pytest.raises(ValueError, match=wanted):
        over.needs_events("Do this")


def modules():
    "Each module of the package outside reading a log, and its code."
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("log/") and not path.name.startswith("_"):
            yield name, ast.parse(path.read_text())


def names_the_field(node):
    "Whether code reads ready_made by its name: x['ready_made'] or x.get('ready_made')."
    if isinstance(node, ast.Subscript):
        given = node.slice
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get" and node.args:
        given = node.args[0]
    else:
        return False
    return isinstance(given, ast.Constant) and given.value == "ready_made"


def test_nobody_reads_the_kind_of_a_log_from_the_file():
    "A card has a kind; the word in the file is read where the file is."
    found = {
        name for name, tree in modules() if any(names_the_field(node) for node in ast.walk(tree))
    }
    assert found == READS_THE_FILE


def test_few_ask_which_kind_a_log_is():
    "Words come from the kind, a refusal is one call, and two ways stand in a table by kind."
    found = Counter(
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "has_events"
    )
    assert dict(found) == ASKS_THE_KIND
