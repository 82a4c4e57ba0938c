"""`map` sees that the rows of a file are finished sessions, and says at once where a run would refuse what it proposes."""

from pathlib import Path

import pytest

from clickstream_conv.app.uploads import first_look
from clickstream_conv.log.mapping_files import mapping_from_text
from clickstream_conv.log.proposals import propose
from clickstream_conv.pipeline.command_line import command
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.understood import check_log, refusal_of

CASES = Path(__file__).resolve().parents[1] / "cases"


def read_so(tmp_path, log):
    "A log read by the mapping that is proposed for it."
    (tmp_path / "proposed.yaml").write_text(propose(log))
    return check_log(log, find_source(str(tmp_path / "proposed.yaml")))


def test_finished_sessions_are_proposed_as_such(real_log, tmp_path):
    "The public log of online shoppers: its label, its context, and the column that may know the outcome."
    log = real_log("uci-online-shoppers.csv")
    text = propose(log)
    mapping = mapping_from_text(text)
    assert (mapping.ready_made, mapping.label, mapping.suspects, len(mapping.session_context)) == (
        True,
        "Revenue",
        ("pagevalues",),
        17,
    )
    assert (
        "each row is taken for a finished session, since Revenue says how it ended" in text
        and "# read so, they hold 10,000 finished sessions, 1,441 of which converted" in text
    )
    lines, refusal = read_so(tmp_path, log)
    assert (
        not refusal
        and "sessions: 12,330; the log names no visitors; 1,908 converted (15.5%)" in lines
    )


def test_an_id_and_what_was_paid_are_told_from_context(tmp_path):
    log = tmp_path / "visits.csv"
    log.write_text(
        "visit_id,seconds,device,note,amount,is_bought\n"
        + "".join(
            f"v{n},{n * 7 % 90},{'phone' if n % 2 else 'desk'},text {n},{9.5 if n % 3 == 0 else 0},{'yes' if n % 3 == 0 else 'no'}\n"
            for n in range(120)
        )
    )
    mapping = mapping_from_text(propose(log))
    assert (mapping.label, mapping.revenue, mapping.columns) == (
        "is_bought",
        "amount",
        {"session_id": "visit_id"},
    )
    assert set(mapping.session_context.values()) == {"seconds", "device"}
    assert "revenue: orders 40, worth 380.00 in all, 9.50 on average" in read_so(tmp_path, log)[0]


def test_where_no_name_says_how_a_session_ended_the_refusal_tells_the_way(tmp_path):
    log = tmp_path / "rows.csv"
    log.write_text(
        "looks,device,sunny\n"
        + "".join(f"{n % 9},{'phone' if n % 2 else 'desk'},{n % 3 == 0}\n" for n in range(60))
    )
    with pytest.raises(
        ValueError,
        match=r"If each row is a finished session .* write ready_made: true, label: \(that column\)",
    ):
        propose(log)


def all_buy(folder):
    "A log in which every session buys."
    rows = [
        f"s{s},2024-03-{1 + s % 20:02} 10:00:{i:02},{event},p{i}"
        for s in range(40)
        for i, event in enumerate(("view", "cart", "purchase"))
    ]
    (folder / "log.csv").write_text("\n".join(["session_id,time,event,item", *rows]) + "\n")
    return folder / "log.csv"


def test_map_warns_of_what_a_check_would_refuse(tmp_path, capsys):
    log = all_buy(tmp_path)
    assert command(["map", str(log)]) == 0
    said = capsys.readouterr()
    assert (
        "warning: by this mapping as it stands a run would refuse the log: log.csv: all 40 sessions buy"
        in said.err
        and "warning:" not in said.out
    )
    (tmp_path / "mine.yaml").write_text(said.out)
    assert command(["map", str(log), "--check", str(tmp_path / "mine.yaml")]) == 1
    assert "all 40 sessions buy" in capsys.readouterr().err


def test_a_log_that_can_be_used_is_not_warned_of(tmp_path):
    log = CASES / "reports" / "03_line_total" / "log.csv"
    assert refusal_of(propose(log), log) == read_so(tmp_path, log)[1]
    assert refusal_of("columns: {session_id: nothing}\nevents: {view: [a]}\n", log) != ""


class Run:
    "What the app asks of a run of events."

    card = LogCard("run", "a log of events", resolution="s")
    rules = None

    def source(self):
        raise ValueError("the log of another shop")


def test_the_app_says_that_a_run_of_events_cannot_read_finished_sessions():
    log = CASES / "finished" / "visits.csv"
    look = first_look(log.read_bytes(), "visits.csv", Run())
    assert look.source is None and "each row looks like a finished session" in look.notes[0]
