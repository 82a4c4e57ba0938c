"""Times and order: the doubled hour, files that are newest first, clocks that are off, ticks of every kind."""

from datetime import datetime, UTC

import polars as pl
import pytest
from reading import CASES, everywhere, proposed, refusal, REPORTS

from clickstream_conv.base.runs import Run
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import mapping_from_text, write_mapping
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.values import find_time_format
from clickstream_conv.sources.prepare import prepare

PLAIN = "columns: {session_id: session, t: time, event: event}\n"


def moment(events, place=0):
    "A time of an event, in words."
    return datetime.fromtimestamp(events.sort("t")["t"][place] / 1e6, UTC).isoformat(
        sep=" ", timespec="milliseconds"
    )[:-6]


def words_of(events, session):
    "The events of a session, in order."
    return events.filter(pl.col("session_id") == session)["event"].to_list()


# ---- the doubled hour


def test_the_doubled_hour_of_autumn(tmp_path):
    "Case 06: the order of the file settles which hour is meant."
    case = REPORTS / "06_autumn_night"
    checked = everywhere(case / "log.csv", case / "m.yaml", tmp_path)
    assert words_of(checked.events, "night") == ["view", "cart", "checkout", "purchase", "view"]
    night = checked.events.filter(pl.col("session_id") == "night")["t"]
    assert (night.max() - night.min()) / 60e6 == pytest.approx(19 + 50 / 60)
    assert any(
        note.startswith(
            "5 rows lie in the hour that clocks in Europe/Berlin show twice in autumn: 5 were settled"
        )
        for note in checked.notes
    )


def autumn(folder, *clocks, session="night"):
    "A log with one session at these times of the night."
    rows = [
        f"{session},2024-10-27 {clock},{'purchase' if n == 1 else 'view'}"
        for n, clock in enumerate(clocks)
    ]
    (folder / "log.csv").write_text(
        "\n".join(["session,time,event", "a,2024-10-26 12:00:00,view", *rows]) + "\n"
    )
    return everywhere(folder / "log.csv", PLAIN + "time_zone: Europe/Berlin\n", folder)


def test_what_the_file_cannot_settle_is_counted(tmp_path):
    "No step back: the first of the two hours, and a note."
    checked = autumn(tmp_path, "02:10:00", "02:20:00", "03:30:00")
    assert words_of(checked.events, "night") == ["view", "purchase", "view"]
    assert any(
        "0 were settled by the order of the file, 2 are read as the first of the two" in note
        for note in checked.notes
    )


def test_a_file_without_an_order_settles_nothing(tmp_path):
    "Two steps back, or one from a later hour: the file is not in the order of time."
    checked = autumn(tmp_path, "02:40:00", "02:20:00", "02:30:00", "02:10:00")
    assert any("0 were settled" in note for note in checked.notes)
    (tmp_path / "b").mkdir()
    later = autumn(tmp_path / "b", "03:30:00", "02:20:00")
    assert words_of(later.events, "night") == ["purchase", "view"]


def test_a_zone_without_a_doubled_hour_says_nothing(tmp_path):
    (tmp_path / "log.csv").write_text(
        "session,time,event\na,2024-10-27 02:50:00,view\na,2024-10-27 02:10:00,view\n"
    )
    for zone in ("Asia/Tokyo", "UTC"):
        assert (
            read_log(tmp_path / "log.csv", mapping_from_text(PLAIN + f"time_zone: {zone}\n")).notes
            == []
        )


# ---- newest first


def test_a_file_that_is_newest_first(tmp_path):
    "Case 07: the same steps from both files, and a note on one."
    case, read = REPORTS / "07_newest_first", {}
    for name in ("newest_first", "oldest_first"):
        (tmp_path / name).mkdir()
        read[name] = everywhere(case / f"{name}.csv", case / "m.yaml", tmp_path / name)
    newest, oldest = read["newest_first"], read["oldest_first"]
    assert newest.events.equals(oldest.events)
    assert words_of(newest.events, "s02") == ["view", "view", "cart", "purchase"]
    assert newest.notes == [
        "the log is newest first: events of the same moment were put in the opposite order of the file"
    ]
    assert oldest.notes == []


def test_each_file_has_an_order_of_its_own(tmp_path):
    case = REPORTS / "07_newest_first"
    (tmp_path / "logs").mkdir()
    head, *rows = (case / "newest_first.csv").read_text().splitlines()
    (tmp_path / "logs" / "a.csv").write_text((case / "oldest_first.csv").read_text())
    (tmp_path / "logs" / "b.csv").write_text(
        "\n".join([head, *(row.replace("2024-03", "2024-05").replace("s", "r", 1) for row in rows)])
    )
    checked = everywhere(tmp_path / "logs", case / "m.yaml", tmp_path)
    assert (
        words_of(checked.events, "s02")
        == words_of(checked.events, "r02")
        == ["view", "view", "cart", "purchase"]
    )
    assert len(checked.notes) == 1 and checked.notes[0].startswith(
        "1 of the log's files are newest first, e.g. "
    )


def test_a_file_sorted_by_visit_and_newest_first_in_each(tmp_path):
    rows = [
        f"s{n:02},2024-03-{1 + n:02} 10:0{2 - place // 2}:00,{event}"
        for n in range(12)
        for place, event in enumerate(("purchase", "cart", "checkout", "view"))
    ]
    (tmp_path / "log.csv").write_text("\n".join(["session,time,event", *rows]))
    checked = everywhere(tmp_path / "log.csv", PLAIN, tmp_path)
    assert words_of(checked.events, "s03") == ["view", "checkout", "cart", "purchase"]


def test_order_by_several_columns(tmp_path):
    rows = [
        ("a", 2, 1, "purchase"),
        ("a", 1, 2, "cart"),
        ("a", 1, 1, "view"),
        ("a", 2, 10, "other"),
        ("a", 2, 9, "checkout"),
    ]
    text = "\n".join(
        [
            "session,time,batch,place,event",
            *(f"{s},2024-03-01 10:00:00,{b},{p},{e}" for s, b, p, e in rows),
        ]
    )
    (tmp_path / "log.csv").write_text(text)
    mapping = "columns: {session_id: session, t: time, event: event, order: [batch, place]}\n"
    checked = everywhere(tmp_path / "log.csv", mapping, tmp_path)
    assert checked.events["event"].to_list() == ["view", "cart", "purchase", "checkout", "other"]
    assert mapping_from_text(write_mapping(mapping_from_text(mapping))) == mapping_from_text(
        mapping
    )
    refusal(
        lambda: read_log(tmp_path / "log.csv", mapping_from_text(mapping.replace("batch", "bach"))),
        "no column 'bach'",
        "'batch'",
    )


# ---- clocks that are off


def test_dead_clocks_are_set_aside(tmp_path):
    "Case 17: an event of 1970 and one of 2098."
    case = REPORTS / "17_dead_clock"
    checked = everywhere(case / "log.csv", case / "m.yaml", tmp_path)
    assert checked.reasons() == {"time far from the log's own": 2} and len(checked.events) == 38
    assert set(checked.rejected["value"]) == {"1970-01-01 00:00:12", "2098-12-31 23:59:00"}
    assert any(
        note.startswith("2 rows were set aside for a time more than 10 years from the middle")
        for note in checked.notes
    )
    assert moment(checked.events)[:4] == moment(checked.events, -1)[:4] == "2024"
    for memory in (0, 1):
        card = prepare(
            Run(str(tmp_path / f"run{memory}")),
            str(case / "m.yaml"),
            str(case / "log.csv"),
            memory=memory,
        )
        assert (card.first_day, card.last_day) == ("2024-03-01", "2024-03-02")


def test_a_log_that_is_all_in_1970_is_said(tmp_path):
    rows = [
        f"s{n},1970-01-0{1 + n % 5} 10:{n:02}:00,{event}"
        for n in range(40)
        for event in ("view", "purchase")[: 1 + n % 2]
    ]
    (tmp_path / "log.csv").write_text("\n".join(["session,time,event", *rows]))
    (tmp_path / "m.yaml").write_text(PLAIN)
    card = prepare(Run(str(tmp_path / "run")), str(tmp_path / "m.yaml"), str(tmp_path / "log.csv"))
    assert card.rejected == 0
    assert any("where no shop was online" in warning for warning in card.warnings)


def test_clocks_that_are_not_few_are_left_alone(tmp_path):
    rows = [f"s{n},{'1970' if n % 4 == 0 else '2024'}-01-01 10:{n:02}:00,view" for n in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["session,time,event", *rows]))
    checked = everywhere(tmp_path / "log.csv", PLAIN, tmp_path)
    assert checked.rejected.is_empty() and checked.rules.plausible == []


# ---- ticks


def test_seconds_with_a_fraction(tmp_path):
    "Case 18: proposed, and read to the millisecond."
    case = REPORTS / "18_epoch_with_fraction"
    assert "t: time  # 40 of 40 look like times (s)" in propose(case / "log.csv")
    assert "resolution: ms" in propose(case / "log.csv")
    checked = everywhere(case / "log.csv", case / "m.yaml", tmp_path)
    assert checked.rejected.is_empty() and moment(checked.events) == "2024-03-01 09:00:00.123"
    assert proposed(case / "log.csv").events["t"].equals(checked.events["t"])


@pytest.mark.parametrize(
    "text, form, right",
    [
        ("1725264974.123456", "s", 1725264974123456),
        ("1725264974123.5", "ms", 1725264974123500),
        ("1725264974123456789", "ns", 1725264974123456),
        ("2024-09-02 08", "%Y-%m-%d %H", 1725264000000000),
    ],
)
def test_forms_of_times(tmp_path, text, form, right):
    (tmp_path / "log.csv").write_text(f"session,time,event\na,{text},view\na,{text},view\n")
    assert find_time_format(pl.Series("t", [text])) == form
    for rules in ("", f'time_format: "{form}"\n'):
        (folder := tmp_path / f"x{len(rules)}").mkdir()
        assert (
            everywhere(tmp_path / "log.csv", PLAIN + rules, folder).events["t"].to_list()
            == [right] * 2
        )


def test_ticks_of_a_local_clock(tmp_path):
    "Vendors' case: Mixpanel before 2023 counted seconds by a clock on the wall."
    log = CASES / "vendors" / "ticks_local.csv"
    text = "columns: {session_id: u, t: ts, event: e}\nevents: {view: [v], purchase: [p]}\ntime_format: s\n"
    zone = "time_zone: America/Los_Angeles\n"
    checked = everywhere(log, text + zone + "epoch_zone: local\n", tmp_path)
    assert moment(checked.events) == "2024-09-02 15:00:00.000"
    assert moment(read_log(log, mapping_from_text(text + zone)).events) == "2024-09-02 08:00:00.000"
    refusal(lambda: mapping_from_text(text + "epoch_zone: local\n"), "time_zone does not say where")
    refusal(lambda: mapping_from_text(text + zone + "epoch_zone: here\n"), "epoch_zone 'here'")
