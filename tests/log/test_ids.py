"""Ids: words that mean nobody, and ids that went through a float."""

import polars as pl
from reading import CASES, everywhere, figures, in_partitions, refusal, REPORTS

from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, write_mapping
from clickstream_conv.log.proposals import propose

NULL = REPORTS / "04_null_visitor" / "log.csv"
VISITS = "columns: {visitor_id: visitor, t: time, event: event, item_id: item, price: price}\n"


def test_null_is_nobody(tmp_path):
    "Case 04: fourteen rows of the visitor NULL are nobody's. Unstated they are too many to lose; stated they are set aside."
    words = ("14 of 40 rows break the contract", "no visitor_id in column 'visitor_id'", "'NULL'")
    refusal(lambda: read_log(NULL, mapping_from_text(VISITS)), *words)
    refusal(lambda: in_partitions(NULL, mapping_from_text(VISITS), tmp_path), *words)
    (tmp_path / "a").mkdir()
    checked = everywhere(NULL, VISITS, tmp_path / "a", max_rejected=0.6)
    assert checked.reasons() == {"no visitor_id": 14} and set(checked.rejected["value"]) == {"NULL"}
    assert (
        figures(checked.events) == (12, 2, 2, 2, 39.8)
        and "NULL" not in checked.events["visitor_id"]
    )
    assert (
        "14 rows have the visitor 'NULL' (2 purchases among them), which means nobody"
        in checked.notes
    )
    text = propose(NULL)
    assert (
        'nobody: {visitor_id: ["NULL"]}  # ? 14 rows have the visitor_id NULL; without sessions'
        in text
    )
    (tmp_path / "b").mkdir()
    assert everywhere(NULL, text, tmp_path / "b").events.equals(checked.events)


def test_a_mapping_may_say_that_null_is_somebody(tmp_path):
    checked = everywhere(NULL, VISITS + "nobody: []\n", tmp_path)
    assert checked.rejected.is_empty() and checked.events["visitor_id"].n_unique() == 13


def test_a_word_of_most_rows_is_nobody(tmp_path):
    "Research case 03: NA has 300 of 400 rows, others have 2."
    case = CASES / "research" / "03_na_visitor"
    checked = everywhere(case / "log.csv", case / "human.yaml", tmp_path)
    assert checked.rejected.is_empty() and checked.events["session_id"].n_unique() == 200
    assert (
        checked.events["visitor_id"].null_count() == 300
        and checked.events["visitor_id"].n_unique() == 51
    )
    assert any(
        note.startswith("300 rows have the visitor 'NA'") and note.endswith("which means nobody")
        for note in checked.notes
    )
    assert 'nobody: {visitor_id: ["NA"]}  # 300 rows have the visitor_id NA' in propose(
        case / "log.csv"
    )
    assert checked.rules.placeholders["visitor_id"] != checked.rules.placeholders["session_id"]


def test_the_split_of_nobody_is_that_of_an_empty_column(tmp_path):
    "Research case 03: 150 sessions to learn from and 50 to judge by, none left out for NA."
    from clickstream_conv.base.runs import Run
    from clickstream_conv.sources.prepare import prepare

    case = CASES / "research" / "03_na_visitor"
    card = prepare(Run(str(tmp_path / "run")), str(case / "human.yaml"), str(case / "log.csv"))
    assert card.parts["train"] + card.parts["test"] >= 197 and card.parts["test"] >= 48
    in_parts = prepare(
        Run(str(tmp_path / "parts")), str(case / "human.yaml"), str(case / "log.csv"), memory=1
    )
    assert in_parts.parts == card.parts


def words_log(folder, words, ordinary=40):
    "A log of these visitors beside ordinary ones with two rows each."
    names = [f"u{n}" for n in range(ordinary) for _ in range(2)] + words
    rows = [
        f"s{n},{name},2024-03-{1 + n // 600:02} 10:{n // 60 % 10:02}:{n % 60:02},view"
        for n, name in enumerate(names)
    ]
    (folder / "log.csv").write_text("\n".join(["session,visitor,time,event", *rows]) + "\n")
    return folder / "log.csv"


SESSIONS = "columns: {session_id: session, visitor_id: visitor, t: time, event: event}\n"


def test_words_that_always_mean_nobody(tmp_path):
    words = ["NULL", "null", "None", "nan", "\\N", "undefined", "(not set)"]
    checked = everywhere(words_log(tmp_path, words), SESSIONS, tmp_path)
    assert checked.events["visitor_id"].n_unique() == 41 and checked.events[
        "visitor_id"
    ].null_count() == len(words)
    assert "1 row has the visitor 'undefined', which means nobody" in checked.notes


def test_words_that_may_be_somebody(tmp_path):
    "guest has as many rows as others, 0 has many more; one that is stated needs no evidence."
    log = words_log(tmp_path, ["guest"] * 3 + ["0"] * 50 + ["deleted"] * 4)
    found = everywhere(log, SESSIONS, tmp_path).events["visitor_id"]
    assert found.null_count() == 50 and {"guest", "deleted"} <= set(found) and "0" not in found
    stated = read_log(log, mapping_from_text(SESSIONS + "nobody: {visitor_id: [deleted, 0]}\n"))
    assert stated.events["visitor_id"].null_count() == 54 and "guest" in stated.events["visitor_id"]
    assert "# ? 12 rows have the visitor_id guest" in propose(
        words_log(tmp_path, ["guest"] * 12 + ["u1"] * 4)
    )


def test_a_session_0_is_a_session(tmp_path):
    "Visitors may be nobody where sessions of the same name are none."
    rows = [f"{n},0,2024-03-01 10:{n:02}:0{i},view" for n in range(50) for i in range(2)]
    (tmp_path / "log.csv").write_text(
        "\n".join(["session,visitor,time,event", *rows, "50,u1,2024-03-01 12:00:00,view"])
    )
    checked = everywhere(tmp_path / "log.csv", SESSIONS, tmp_path)
    assert checked.events["session_id"].n_unique() == 51 and checked.events[
        "visitor_id"
    ].drop_nulls().to_list() == ["u1"]


def test_nobody_is_checked_and_written_back():
    mapping = mapping_from_text(SESSIONS + "nobody: [NA, 0, -1, null]\n")
    assert mapping.rules.nobody == dict(session_id=["NA", "0", "-1"], visitor_id=["NA", "0", "-1"])
    assert mapping_from_text(write_mapping(mapping)) == mapping
    refusal(
        lambda: mapping_from_text(SESSIONS + "nobody: {item_id: [NA]}"),
        "unknown column of nobody 'item_id'",
    )
    refusal(lambda: mapping_from_text(SESSIONS + "nobody: [no]"), "Put it in quotes")


def test_ids_of_two_months(tmp_path):
    "Case 08: 100 in one file is 100.0 in the next."
    case = REPORTS / "08_ids_of_two_months"
    checked = everywhere(case / "logs", case / "m.yaml", tmp_path)
    assert checked.events["visitor_id"].n_unique() == 6 and checked.rejected.is_empty()
    (tmp_path / "one").mkdir()
    visit = everywhere(case / "one_visit.csv", case / "m.yaml", tmp_path / "one").events
    assert visit["session_id"].n_unique() == 1 and visit["event"].to_list() == [
        "view",
        "cart",
        "purchase",
    ]


def test_ids_of_two_months_in_a_table(tmp_path):
    "The same where one file holds whole numbers and the next floats."
    rows = dict(
        time=[f"2024-03-01 10:0{n}:00" for n in range(3)],
        event=["view"] * 3,
        item=["a"] * 3,
        price=[1.0] * 3,
    )
    pl.DataFrame(dict(visitor=[100, 101, 100]) | rows).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(dict(visitor=[100.0, 101.0, None]) | rows).write_parquet(tmp_path / "b.parquet")
    mapping = load_mapping(REPORTS / "08_ids_of_two_months" / "m.yaml")
    events, _ = in_partitions(tmp_path / "*.parquet", mapping, tmp_path, max_rejected=0.5)
    whole = read_log(tmp_path / "*.parquet", mapping, max_rejected=0.5)
    assert (
        sorted(events["visitor_id"].unique())
        == sorted(whole.events["visitor_id"].unique())
        == ["100", "101"]
    )
