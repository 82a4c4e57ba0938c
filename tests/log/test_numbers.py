"""Numbers as logs write them: marks, losses, weights, missing ones, currencies, refunds, and numbers of the context."""

import polars as pl
import pytest
from reading import everywhere, figures, proposed, refusal, REPORTS

from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, write_mapping
from clickstream_conv.log.proposals import propose

PLAIN = "columns: {session_id: session, t: time, event: event, price: price}\n"
HEAD = "session;time;event;price"


def log_of(folder, prices):
    "A log of a view and a purchase a session, at these prices; semicolons keep commas in a price."
    rows = [
        f"s{n};2024-03-01 10:{n % 60:02}:0{i};{event};{price}"
        for n, price in enumerate(prices)
        for i, event in enumerate(("view", "purchase"))
    ]
    path = folder / "log.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


# ---- decimal marks and marks between thousands


def test_thousands_are_never_decimals(tmp_path):
    "Case 01: 899.00, 1,299.00, 49.90 and 2,150.50."
    log = REPORTS / "01_thousands" / "log.csv"
    text = propose(log)
    assert 'decimal: "."\nthousands: ","' in text
    checked = everywhere(log, text, tmp_path)
    assert sorted(checked.events["price"].unique()) == [49.9, 899.0, 1299.0, 2150.5]
    assert checked.rejected.is_empty() and figures(checked.events) == (12, 4, 4, 4, 6899.0)
    unstated = "\n".join(
        line for line in text.splitlines() if not line.startswith(("decimal", "thousands"))
    )
    (tmp_path / "unstated").mkdir()
    assert everywhere(log, unstated, tmp_path / "unstated").events.equals(checked.events)
    assert checked.rules.marks["price"] == ".,"


@pytest.mark.parametrize(
    "prices, revenue, marks",
    [
        (["1.299,00", "899,00"], 2198.0, ",."),
        (["1'299.50", "12"], 1311.5, ".'"),
        (["1 299,50", "12"], 1311.5, ", "),
        (["1\u00a0299,50", "12,5"], 1312.0, ", "),
        (["1,299,000", "12"], 1299012.0, ".,"),
        (["1.299", "12,5"], 1311.5, ",."),
        (["1.299", "12.5"], 13.799, ".,"),
        (["12", "7"], 19.0, ".,"),
        (["1’299.50", "7"], 1306.5, ".'"),
    ],
)
def test_each_column_tells_its_marks(tmp_path, prices, revenue, marks):
    log = log_of(tmp_path, prices)
    checked = everywhere(log, PLAIN, tmp_path)
    assert checked.rules.marks["price"] == marks and checked.rejected.is_empty()
    assert figures(checked.events)[4] == pytest.approx(revenue, abs=0.01)
    assert proposed(log).events.equals(checked.events)


def test_marks_are_told_by_all_pieces(tmp_path):
    "Only the last of many rows tells that 1,299 is no decimal."
    log = log_of(tmp_path, ["1,299"] * 30 + ["899.00"])
    assert figures(everywhere(log, PLAIN, tmp_path).events)[4] == 30 * 1299 + 899


def test_what_nothing_tells_is_asked(tmp_path):
    log = log_of(tmp_path, ["1,299", "2,150", "12"])
    assert 'decimal: "."  # ? numbers such as 1,299 may be 1299 or 1.299' in propose(log)
    refusal(
        lambda: read_log(log, mapping_from_text(PLAIN)),
        "log.csv: column 'price'",
        "may be 1299 or 1.299",
        "State the mark",
    )
    refusal(
        lambda: everywhere(log, PLAIN + 'decimal: "."\nthousands: ""\n', tmp_path),
        "rows break the contract",
        "'1,299'",
    )
    for text, total in (('decimal: "."', 3461.0), ('decimal: ","\nthousands: ""', 15.449)):
        (folder := tmp_path / str(total)).mkdir()
        assert figures(everywhere(log, PLAIN + text + "\n", folder).events)[4] == pytest.approx(
            total, abs=0.01
        )
    assert "# ? numbers such as 1.299 may be 1.299 or 1299" in propose(
        log_of(tmp_path, ["1.299", "2.150", "12"])
    )


def test_a_column_in_two_ways_loses_no_digit_in_silence(tmp_path):
    refusal(
        lambda: read_log(log_of(tmp_path, ["1.5", "2,5"]), mapping_from_text(PLAIN)),
        "its values do not tell",
    )
    checked = read_log(
        log_of(tmp_path, ["1.5"] * 20 + ["2,5"]), mapping_from_text(PLAIN), max_rejected=0.1
    )
    assert checked.reasons() == {"unparsable price": 2}


def test_rules_of_numbers_are_checked_and_written_back():
    text = (
        PLAIN
        + 'thousands: "\'"\ndecimal: ","\nmissing_number: [-1, 999]\nnobody: {visitor_id: [NA, 0]}\ntime_format: ns\n'
    )
    mapping = mapping_from_text(text)
    assert mapping.rules.nobody == {"visitor_id": ["NA", "0"]} and mapping.rules.missing_number == [
        -1.0,
        999.0,
    ]
    assert mapping_from_text(write_mapping(mapping)) == mapping
    assert mapping_from_text(PLAIN + 'thousands: ""').rules.thousands == ""
    assert (
        mapping_from_text(write_mapping(mapping_from_text(PLAIN + 'thousands: ""'))).rules.thousands
        == ""
    )
    refusal(lambda: mapping_from_text(PLAIN + "thousands: x"), "thousands is 'x'")
    refusal(lambda: mapping_from_text(PLAIN + "decimal: ','\nthousands: ','"), "both ','")
    refusal(lambda: mapping_from_text(PLAIN + "missing_number: [none]"), "missing_number")
    refusal(
        lambda: mapping_from_text(PLAIN + "kinds: {page: text}"),
        "unknown context column in kinds 'page'",
    )


# ---- losses

LOSSY = REPORTS / "02_dear_orders_rejected"


def test_dear_orders_are_read(tmp_path):
    "Case 02: four of the six orders cost more than a thousand."
    checked = everywhere(LOSSY / "log.csv", LOSSY / "m.yaml", tmp_path)
    assert figures(checked.events) == (30, 6, 6, 6, 1299.0 + 2150 + 1050 + 3499 + 2 * 19.9)


def test_a_log_that_loses_its_purchases_is_refused(tmp_path):
    "Case 02, and a mapping that says that nothing stands between thousands: 4 rows of 96 are few, 4 of 6 purchases are not."
    text = (LOSSY / "m.yaml").read_text() + '\nthousands: ""\n'
    words = (
        "log.csv: 4 of 6 purchase rows would be lost",
        "unparsable price in column 'price'",
        "'1,299.00'",
        "max_rejected",
    )
    refusal(lambda: read_log(LOSSY / "log.csv", mapping_from_text(text)), *words)
    (tmp_path / "a").mkdir()
    from reading import in_partitions

    refusal(
        lambda: in_partitions(LOSSY / "log.csv", mapping_from_text(text), tmp_path / "a"), *words
    )
    (tmp_path / "b").mkdir()
    checked = everywhere(LOSSY / "log.csv", text, tmp_path / "b", max_rejected=0.7)
    assert checked.reasons() == {"unparsable price": 4}


def test_a_kind_of_event_may_lose_a_row_of_few_but_not_most(tmp_path):
    rows = [f"s{n};2024-03-01 10:{n % 60:02}:00;view;1.0" for n in range(300)]
    carts = [f"s{n};2024-03-01 11:{n % 60:02}:00;cart;{'?' if n < 6 else '1.0'}" for n in range(20)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([HEAD, *rows, *carts]))
    refusal(
        lambda: read_log(path, mapping_from_text(PLAIN)),
        "6 of 20 cart rows would be lost",
        "unparsable price",
    )
    path.write_text("\n".join([HEAD, *rows, *carts[5:8]]))
    assert read_log(path, mapping_from_text(PLAIN)).reasons() == {"unparsable price": 1}


def test_events_without_a_name_in_the_mapping_are_said(tmp_path):
    text = "columns: {session_id: s, t: t, event: e}\nevents: {view: [look]}\n"
    rows = [f"s{n},2024-03-01 10:{n:02}:00,look" for n in range(59)] + [
        "s1,2024-03-01 11:00:00,order done"
    ] * 2
    (tmp_path / "log.csv").write_text("\n".join(["s,t,e", *rows]))
    note = (
        "2 rows were rejected because the mapping does not name their event, e.g. 'order done' (2)"
    )
    assert note in everywhere(tmp_path / "log.csv", text, tmp_path).notes


# ---- weights, missing numbers, refunds, currencies


def test_a_weight_is_no_number_of_pieces(tmp_path):
    "Case 05: never 2 pieces for 2.5 kg."
    case = REPORTS / "05_weight"
    refusal(
        lambda: read_log(case / "log.csv", load_mapping(case / "m.yaml")),
        "40 of 40 rows",
        "quantity is no whole number",
    )
    rows = (case / "log.csv").read_text().splitlines()
    mixed = [rows[0], *(row.replace(",2.5", ",2") for row in rows[1:])]
    (tmp_path / "log.csv").write_text("\n".join(mixed))
    checked = everywhere(tmp_path / "log.csv", case / "m.yaml", tmp_path, max_rejected=0.9)
    assert set(checked.reasons()) == {"quantity is no whole number"}
    assert checked.events["quantity"].unique().to_list() == [2]


def test_a_number_may_mean_that_there_is_none(tmp_path):
    log = log_of(tmp_path, ["-1", "5", "7.5"])
    assert (
        "# ? 2 rows have the price -1; if that means that there is none: missing_number: [-1]"
        in propose(log)
    )
    text = PLAIN + "missing_number: [-1]\nevent_context: {depth: price}\n"
    checked = everywhere(log, text, tmp_path)
    assert checked.rejected.is_empty() and checked.events["price"].to_list() == [
        None,
        None,
        5.0,
        5.0,
        7.5,
        7.5,
    ]
    assert checked.events["depth"].to_list() == checked.events["price"].to_list()


def test_refunds_are_told_from_broken_rows(tmp_path):
    "Case 26: three of nine purchases are given back; they are no loss, and revenue is gross."
    case = REPORTS / "26_refunds"
    checked = everywhere(case / "log.csv", case / "m.yaml", tmp_path)
    assert checked.reasons() == {"refund": 3}
    assert "3 rows are refunds (negative price); revenue is gross" in checked.notes
    assert figures(checked.events)[4] == round(19.9 * 6, 2)


CURRENCIES = REPORTS / "24_two_currencies" / "log.csv"


def test_two_currencies_are_not_added_up(tmp_path):
    "Case 24: refused, converted at stated rates, or one of them kept."
    text = propose(CURRENCIES)
    assert "currency: currency  # EUR, JPY" in text and "context" not in text
    from reading import in_partitions

    words = (
        "log.csv: prices are in 2 currencies (EUR: 20 rows, JPY: 20 rows)",
        "convert: {EUR: 1, JPY: ...}",
        "currency: EUR",
    )
    refusal(lambda: read_log(CURRENCIES, mapping_from_text(text)), *words)
    refusal(
        lambda: in_partitions(CURRENCIES, mapping_from_text(text), tmp_path, max_rejected=1.0),
        *words,
    )
    (tmp_path / "a").mkdir()
    one = everywhere(CURRENCIES, text + "currency: eur\n", tmp_path / "a")
    assert one.reasons() == {"other currency": 20} and one.events["price"].unique().to_list() == [
        19.9
    ]
    assert "prices are in EUR" in one.notes
    (tmp_path / "b").mkdir()
    both = everywhere(CURRENCIES, text + "convert: {EUR: 1, JPY: 0.006}\n", tmp_path / "b")
    assert sorted(both.events["price"].unique().round(6)) == [19.2, 19.9]
    assert (
        "prices were converted at the stated rates: EUR x 1 (20 rows), JPY x 0.006 (20 rows)"
        in both.notes
    )
    refusal(
        lambda: read_log(CURRENCIES, mapping_from_text(text + "convert: {EUR: 1}\n")),
        "currency without a rate",
    )
    refusal(lambda: mapping_from_text(PLAIN + "convert: {EUR: 1}"), "need the column of currencies")


# ---- numbers of the context


def test_a_number_of_the_context_is_one_from_csv_as_from_parquet(tmp_path):
    "The same table as CSV, Parquet and JSON lines; codes stay text, and all pieces are asked."
    depth = [n / 2 for n in range(40)]
    table = pl.DataFrame(
        dict(
            s=[f"s{n // 2}" for n in range(40)],
            t=[f"2024-03-01 10:00:{n:02}" for n in range(40)],
            e=["view", "purchase"] * 20,
            depth=depth,
            shop=[f"{n % 9:03}" for n in range(40)],
            viewed=[*map(str, range(39)), "far"],
        )
    )
    text = "columns: {session_id: s, t: t, event: e}\nevent_context: [depth, shop, viewed]\n"
    table.write_csv(tmp_path / "log.csv")
    table.write_parquet(tmp_path / "log.parquet")
    table.write_ndjson(tmp_path / "log.jsonl")
    read = {}
    for name in ("log.csv", "log.parquet", "log.jsonl"):
        (folder := tmp_path / name.replace(".", "_")).mkdir()
        read[name] = everywhere(tmp_path / name, text, folder)
    first = read["log.csv"]
    assert (
        first.rules.kinds["depth"] == "number"
        and first.rules.kinds["shop"] == first.rules.kinds["viewed"] == "text"
    )
    in_time = first.events.sort("t")
    assert in_time["depth"].to_list() == depth and in_time["shop"][0] == "000"
    for other in read.values():
        assert other.events.equals(first.events) and other.rules.kinds == first.rules.kinds
    stated = read_log(tmp_path / "log.csv", mapping_from_text(text + "kinds: {depth: text}\n"))
    assert stated.events.sort("t")["depth"][1] == "0.5"


def test_a_decimal_comma_in_the_context(tmp_path):
    rows = [f"s{n};2024-03-01 10:00:{n:02};view;{n},5;1.299,00" for n in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["s;t;e;depth;score_x", *rows]))
    text = "columns: {session_id: s, t: t, event: e}\nevent_context: [depth, score_x]\n"
    checked = everywhere(tmp_path / "log.csv", text, tmp_path)
    assert checked.events["depth"].sort().to_list() == [n + 0.5 for n in range(20)]
    assert checked.events["score_x"].unique().to_list() == [1299.0]
