"""The app's form begins with the proposal of the command `map`: what both make of a log is the same, to the last order."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "log"))
from test_map import PROPOSED

from clickstream_conv.app.mapping_form import (
    ABSENT,
    column_table,
    mapped_source,
    read_upload,
    word_table,
)
from clickstream_conv.app.uploads import first_look, questions_of
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.rules import Rules
from clickstream_conv.sources.log_card import LogCard

CASES = Path(__file__).parent / "cases"
FILES = [name for name in PROPOSED if (CASES / name).is_file() and PROPOSED[name]]


@dataclass
class Asked:
    "What the form asks of a run: its card, the rules by which its log was read, and how that was."

    rules: Rules = field(default_factory=lambda: Rules(time_zone="UTC"))
    card: LogCard = LogCard("run", "a log of events", resolution="s")

    def source(self):
        raise ValueError("the log of another shop")


def form(path, run):
    "An upload, its two tables and the mapping that they make."
    data = path.read_bytes()
    look = first_look(data, path.name, run)
    columns = column_table(look, run.card)
    event = dict(zip(columns["name"], columns["column"]))["event"]
    words = word_table(data, path.name, look, event)
    return data, look, columns, words


def figures(upload):
    "Sessions, buying sessions, orders and revenue of an upload."
    bought = upload.events.filter(upload.events["event"] == "purchase")
    return (
        upload.events["session_id"].n_unique(),
        bought["session_id"].n_unique(),
        round(bought["value"].sum(), 2),
    )


@pytest.mark.parametrize("name", FILES)
def test_the_form_begins_with_the_proposal_of_map(name):
    run, path = Asked(), CASES / name
    data, look, columns, words = form(path, run)
    source = look.source or mapped_source(look, columns, words, run.card)
    sessions, buying, _, _, revenue = PROPOSED[name]
    assert (
        look.proposal.splitlines()[1:] == propose(path).splitlines()[1:]
    )  # the first line names the file, which the app calls otherwise where its name is odd
    assert figures(read_upload(data, path.name, source, run)) == (sessions, buying, revenue)


def test_the_form_shows_the_questions():
    run = Asked()
    _, look, columns, _ = form(CASES / "reports" / "03_line_total" / "log.csv", run)
    assert look.notes == questions_of(look.proposal) and any(
        note.startswith("which zone?") for note in look.notes
    )
    why = dict(zip(columns["name"], columns["why"]))
    assert why["line_total"].startswith("? ")


def test_times_without_a_zone_are_those_of_the_run():
    "The zone of the run's own log is proposed and shown; a zone that the file's times name is kept."
    run = Asked(Rules(time_zone="Europe/Berlin"))
    data, look, columns, words = form(CASES / "reports" / "03_line_total" / "log.csv", run)
    assert any(
        note.startswith("time_zone: Europe/Berlin: the times name no zone") for note in look.notes
    )
    here = read_upload(data, "log.csv", mapped_source(look, columns, words, run.card), run)
    there = read_upload(
        data,
        "log.csv",
        mapped_source(
            *form(CASES / "reports" / "03_line_total" / "log.csv", Asked())[1:], Asked().card
        ),
        Asked(),
    )
    assert (there.events["t"] - here.events["t"]).unique().to_list() == [3_600_000_000]


def test_a_tracker_keeps_the_zone_that_it_states():
    "Snowplow writes UTC, whatever the run's own log was in."
    path = CASES / "vendors" / "snowplow_header.tsv.gz"
    looks = [
        (run, first_look(path.read_bytes(), path.name, run))
        for run in (Asked(), Asked(Rules(time_zone="Europe/Berlin")))
    ]
    first, second = (
        read_upload(path.read_bytes(), path.name, look.source, run).events["t"].to_list()
        for run, look in looks
    )
    assert first == second


def test_another_column_takes_nothing_from_the_proposal_that_was_about_the_first(tmp_path):
    "A form of time, or a decimal mark, is about one column."
    rows = [
        f's{n // 2},2024-03-01 09:{n:02d}:00,{1709283600 + 60 * n},{("view", "purchase")[n % 2]},"{n},50",{n}.25'
        for n in range(20)
    ]
    (tmp_path / "log.csv").write_text("sid,when,ticks,event,price,cost\n" + "\n".join(rows) + "\n")
    run = Asked()
    data, look, columns, words = form(tmp_path / "log.csv", run)
    other = columns.assign(column=columns["column"].replace({"when": "ticks", "price": "cost"}))
    source = mapped_source(look, other, words, run.card)
    upload = read_upload(data, "log.csv", source, run)
    assert (
        upload.events["price"].to_list() == [n + 0.25 for n in range(20)]
        and upload.events["t"][0] == 1709283600 * 1_000_000
    )
    without = columns.assign(column=columns["column"].where(columns["name"] != "price", ABSENT))
    assert (
        read_upload(data, "log.csv", mapped_source(look, without, words, run.card), run)
        .events["price"]
        .null_count()
        == 20
    )
