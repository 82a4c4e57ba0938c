"""One story told in three formats, read whole, in pieces and by the contract of a run: the same events, or the same refusal; and the figures that plain Python comes to."""

import csv
import json
import os
import random
import re
import time
from collections import defaultdict
from datetime import datetime, UTC
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from everywhere import set_everywhere

from clickstream_conv.log import csv_files as readers
from clickstream_conv.log.checking import check_events
from clickstream_conv.log.mapped import apply_mapping, read_log
from clickstream_conv.log.mapping_files import mapping_from_text
from clickstream_conv.log.partitions import check_partitions, spill, summed_up
from clickstream_conv.log.tables import read_pieces
from clickstream_conv.scoring import scorer as scoring
from clickstream_conv.scoring import sorted_log
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.sources.own import contract_for, source_of
from clickstream_conv.sources.source import Source

SECONDS = float(
    os.environ.get("ONE_READING_SECONDS", 15)
)  # how long the random test looks for a story that is not read alike
FIRST = int(os.environ.get("ONE_READING_SEED", 0))
START = 1_709_283_600  # 2024-03-01 09:00 UTC, in seconds
AUTUMN = 1_729_981_800  # 2024-10-26 22:30 UTC: an hour and a half before clocks in Berlin show an hour twice
BERLIN = ZoneInfo("Europe/Berlin")
WORDS = {"look": "view", "put": "cart", "pay": "purchase", "scroll": "other"}
FORMATS = ("csv", "jsonl", "parquet")
PRICES = (None, 5.0, 2.5, 19.9, 899.0, 1299.0, 1299.5, 12345.67)


# The story: rows of a log, each a dict


def choices(rng):
    "What kind of log it is."
    pick = rng.choice
    who = pick(["both", "both", "session", "visitor"])
    return dict(
        who=who,
        order=pick([False, False, True]),
        event_id=pick([False, False, False, True]),
        lines=pick([False, False, True]),
        order_id=pick([False, True]),
        order_revenue=pick([False, False, True]),
        quantity=pick([False, True]),
        duplicates=pick(["auto", "keep", "reject"]),
        resolution=pick(["s", "ms"]),
        price=pick(["plain", "plain", "1,299.00", "1.299,00", "stated ,"]),
        time=pick(["iso", "iso", "s", "ms", "dotted", "minutes"]),
        currency=pick([None, None, "one", "two", "convert"]),
        depth=pick(["number", "word", "mixed", "-1"]),
        shuffled=pick([False, False, True]),
        files=pick([1, 1, 2, 3]),
        faults=pick([0, 0.05, 0.3]),
        ids=pick(["word", "number", "float"]),
        max_rejected=pick([1.0, 1.0, 0.05]),
        typed=pick([False, True]),
        newest=pick([False, False, False, True]),
        autumn=pick([False, False, False, True]),
    )


def price_of(rng):
    return rng.choice(PRICES)


def random_story(rng):
    "Rows in the order of time, and the kind of log."
    kind = choices(rng)
    rows, orders = [], 0
    for n in range(rng.randint(1, 14)):
        visitor, t = (
            rng.randint(1, 6),
            (AUTUMN if kind["autumn"] else START)
            + rng.randint(0, 9) * (600 if kind["autumn"] else 3600),
        )
        for _ in range(rng.randint(1, 6)):
            t += rng.choice([0, 0, 1, 40, 600, 2400])
            ms = (
                rng.choice([0, 0, 250])
                if kind["resolution"] == "ms" and kind["time"] in ("iso", "ms")
                else 0
            )
            word = rng.choice(["look", "look", "put", "pay", "scroll"])
            row = dict(
                sid=n + 1,
                who=visitor,
                t=t * 1000 + ms,
                what=word,
                item=rng.choice(["a", "b", "c", None]),
                price=price_of(rng),
                order=None,
                worth=None,
                pieces=rng.choice([None, 1, 2, 3]),
                depth=rng.randint(-1, 5),
                code=rng.choice(["EUR", "EUR", "USD"])
                if kind["currency"] in ("two", "convert")
                else "EUR",
                id=None,
            )
            if word == "pay" and kind["order_id"]:
                if orders and rng.random() < 0.3:
                    row["order"] = f"T{rng.randint(1, orders)}"
                elif rng.random() < 0.9:
                    orders += 1
                    row["order"] = f"T{orders}"
                else:
                    row["order"] = "(not set)"
            if word == "pay" and rng.random() < 0.7:
                row["worth"] = rng.choice([10.0, 1299.0, 99.5])
            rows.append(row)
            if word == "pay" and kind["lines"] and rng.random() < 0.5:
                rows.append(row | dict(item=rng.choice("ab"), price=price_of(rng)))
    for place, row in enumerate(rows):
        row["id"] = f"e{place}"
    rows.sort(key=lambda row: row["t"])
    rows = with_noise(rows, kind, rng)
    if kind["shuffled"]:
        rng.shuffle(rows)
    elif kind["newest"]:
        rows.reverse()
    for place, row in enumerate(rows):
        row["n"] = row.get("n", place)
    return kind, rows


def with_noise(rows, kind, rng):
    "Repeats, events that were sent again, words for nobody and values that are none."
    found = []
    for row in rows:
        found.append(row)
        if rng.random() < 0.1:
            found.append(dict(row))
        if kind["event_id"] and rng.random() < 0.2:
            found.append(row | dict(price=price_of(rng)))
        if rng.random() < kind["faults"]:
            fault = rng.choice(
                [
                    dict(sid=None),
                    dict(who=None),
                    dict(who="NULL"),
                    dict(sid="(not set)"),
                    dict(t=None),
                    dict(t="never"),
                    dict(what="teleport"),
                    dict(what=None),
                    dict(price="abc"),
                    dict(price=-5.0),
                    dict(pieces=0),
                    dict(pieces=2.5),
                ]
            )
            place = rng.choice([0, 1])
            found.insert(len(found) - place, row | fault)
    return found


# How it is written


def time_in(kind, t):
    if not isinstance(t, int):
        return t
    moment = datetime.fromtimestamp(t / 1000, BERLIN if kind["autumn"] else UTC)
    forms = dict(iso="%Y-%m-%d %H:%M:%S", dotted="%d.%m.%Y %H:%M:%S", minutes="%Y-%m-%d %H:%M")
    if kind["time"] == "s":
        return str(t // 1000)
    if kind["time"] == "ms":
        return str(t)
    text = moment.strftime(forms[kind["time"]])
    return (
        text + f".{t % 1000:03}" if kind["time"] == "iso" and kind["resolution"] == "ms" else text
    )


def price_in(kind, price):
    if not isinstance(price, float):
        return price
    text = f"{price:,.2f}" if kind["price"] == "1,299.00" else f"{price:.2f}"
    if kind["price"] == "1.299,00":
        return f"{price:,.2f}".translate(str.maketrans(",.", ".,"))
    return text.replace(".", ",") if kind["price"] == "stated ," else text


def depth_in(kind, row):
    if kind["depth"] == "word":
        return "deep" if row["depth"] > 2 else "flat"
    if kind["depth"] == "mixed":
        return "deep" if row["depth"] > 4 else str(row["depth"])
    return str(row["depth"])


def id_in(kind, value):
    if not isinstance(value, int):
        return value
    return (
        f"x{value}"
        if kind["ids"] == "word"
        else f"{value}.0"
        if kind["ids"] == "float"
        else str(value)
    )


def written(kind, rows):
    "The columns of the log, every value as text or nothing."
    found = []
    for row in rows:
        one = {} if kind["who"] == "visitor" else dict(sid=id_in(kind, row["sid"]))
        if kind["who"] != "session":
            one["who"] = id_in(kind, row["who"])
        one |= dict(
            t=time_in(kind, row["t"]),
            what=row["what"],
            item=row["item"],
            price=price_in(kind, row["price"]),
            depth=depth_in(kind, row),
        )
        if kind["order"]:
            one["n"] = str(row["n"])
        if kind["event_id"]:
            one["id"] = row["id"]
        if kind["order_id"]:
            one["order"] = row["order"]
        if kind["order_revenue"]:
            one["worth"] = price_in(kind, row["worth"])
        if kind["quantity"]:
            one["pieces"] = None if row["pieces"] is None else str(row["pieces"])
        if kind["currency"]:
            one["code"] = row["code"]
        found.append(one)
    return found


def number_or(value):
    "A number where the text is one."
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def as_table(rows, typed, kind):
    "A table as a program holds it: numbers as numbers, times as times, where all values of a column are."
    table = pl.DataFrame(
        {name: [row[name] for row in rows] for name in rows[0]},
        schema=dict.fromkeys(rows[0], pl.String),
    )
    if not typed:
        return table
    for name in set(table.columns) & {"sid", "who", "price", "worth", "pieces", "depth", "n"}:
        if name in ("price", "worth") and kind["price"] not in ("plain",):
            continue
        numbers = [number_or(value) for value in table[name]]
        if all(number is not None or value is None for number, value in zip(numbers, table[name])):
            table = table.with_columns(pl.Series(name, numbers, dtype=pl.Float64))
    if kind["time"] == "iso" and all(value != "never" for value in table["t"]):
        table = table.with_columns(
            pl.col("t").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
        )
    return table


def write(rows, kind, folder, form):
    "The log in one format; the path to give to a reader."
    folder.mkdir()
    size = -(-len(rows) // kind["files"])
    parts = [rows[place : place + size] for place in range(0, len(rows), size)]
    for number, part in enumerate(parts):
        path = folder / f"log-{number}.{form}"
        if form == "csv":
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, part[0].keys())
                writer.writeheader()
                writer.writerows(part)
        elif form == "jsonl":
            path.write_text("".join(json.dumps(typed_line(row, kind)) + "\n" for row in part))
        else:
            as_table(part, kind["typed"], kind).write_parquet(path)
    return folder if len(parts) > 1 else folder / f"log-0.{form}"


def typed_line(row, kind):
    "A line of JSON; numbers as numbers where the log is typed."
    if not kind["typed"]:
        return row
    numbers = {"n", "pieces", "depth"} | ({"price", "worth"} if kind["price"] == "plain" else set())
    return {
        name: number if name in numbers and (number := number_or(value)) is not None else value
        for name, value in row.items()
    }


def mapping_text(kind):
    "The mapping of such a log."
    columns = dict(t="t", event="what", item_id="item", price="price")
    if kind["who"] != "visitor":
        columns["session_id"] = "sid"
    if kind["who"] != "session":
        columns["visitor_id"] = "who"
    beside = dict(
        order=("order", "n"),
        event_id=("event_id", "id"),
        order_id=("order_id", "order"),
        order_revenue=("order_revenue", "worth"),
        quantity=("quantity", "pieces"),
    )
    columns |= dict(name for key, name in beside.items() if kind[key])
    if kind["currency"]:
        columns["currency"] = "code"
    given = dict(
        columns=columns,
        events={event: [word] for word, event in WORDS.items()},
        event_context=["depth"],
        duplicates=kind["duplicates"],
        resolution=kind["resolution"],
    )
    if kind["price"] == "stated ,":
        given["decimal"] = ","
    if kind["depth"] == "-1":
        given["missing_number"] = [-1]
    if kind["lines"]:
        given["lines"] = dict(of="rows")
    if kind["currency"] == "convert":
        given["convert"] = dict(EUR=1, USD=0.5)
    if kind["autumn"]:
        given["time_zone"] = "Europe/Berlin"
    if kind["time"] == "minutes":
        given["time_format"] = "%Y-%m-%d %H:%M"
    return json.dumps(given)


# What plain Python makes of it


def fits(kind, row):
    "Whether a row counts, and why not."
    who = row["who"] if kind["who"] == "visitor" else row["sid"]
    if not isinstance(who, int):
        return False
    if not isinstance(row["t"], int) or row["what"] not in WORDS:
        return False
    price, pieces = row["price"], row["pieces"] if kind["quantity"] else None
    if price == "abc" or isinstance(price, float) and price < 0:
        return False
    return pieces is None or pieces > 0 and pieces == int(pieces)


def once(kind, rows):
    "The rows that count: events that were sent again and repeats left out, as far as the mapping says so."
    rejects = (
        kind["duplicates"] == "reject"
        or kind["duplicates"] == "auto"
        and kind["resolution"] == "ms"
    )
    seen, sent, kept = set(), set(), []
    for row, text in zip(rows, written(kind, rows)):
        if not fits(kind, row):
            continue
        who = row["who"] if kind["who"] == "visitor" else row["sid"]
        whole = tuple(
            (
                name,
                1
                if name == "pieces" and value is None
                else float(value)
                if name == "pieces"
                else value,
            )
            for name, value in text.items()
        )
        again = (
            who,
            row["what"],
            row["id"],
            *(
                (row["item"], row["price"], row["pieces"] if kind["quantity"] else None)
                if kind["lines"]
                else ()
            ),
        )
        if kind["event_id"] and again in sent:
            continue
        sent.add(again)
        if rejects and whole in seen:
            continue
        seen.add(whole)
        kept.append(row | dict(by=who))
    return kept


def worth_of(kind, lines):
    "What an event is worth; nothing where that is unknown."
    said = [row["worth"] for row in lines if kind["order_revenue"] and row["worth"] is not None]
    0.5 if kind["currency"] == "convert" and lines[0]["code"] == "USD" else 1.0
    first = [
        row["worth"] * rates(kind, row)
        for row in lines
        if kind["order_revenue"] and row["worth"] is not None
    ]
    if said:
        return first[0]
    own = [
        row
        for row in lines
        if row["item"] is not None
        or row["price"] is not None
        or kind["quantity"]
        and row["pieces"] is not None
    ]
    if not own or any(row["price"] is None for row in own):
        return None
    return sum(
        row["price"] * rates(kind, row) * ((row["pieces"] or 1) if kind["quantity"] else 1)
        for row in own
    )


def rates(kind, row):
    return 0.5 if kind["currency"] == "convert" and row["code"] == "USD" else 1.0


def events_of(kind, rows):
    "Events: whose, when, whether it is a purchase that counts, and its worth."
    clock = (
        (lambda row: row["t"] // 60_000 * 60_000)
        if kind["time"] == "minutes"
        else (lambda row: row["t"])
    )
    place = {id(row): number for number, row in enumerate(rows)}
    in_time = sorted(
        rows, key=lambda row: (clock(row), row["n"] if kind["order"] else 0, place[id(row)])
    )
    first, groups = {}, defaultdict(list)

    def has_order(row):
        return kind["order_id"] and row["what"] == "pay" and row["order"] not in (None, "(not set)")

    for row in in_time:
        if has_order(row):
            first.setdefault(row["order"], (clock(row), row["by"]))
    products = {
        (row["order"], row["item"])
        for row in rows
        if has_order(row) and first[row["order"]] == (clock(row), row["by"])
    }
    for row in in_time:
        key = ("row", id(row))
        is_line = (
            row["item"] is not None
            or row["price"] is not None
            or kind["quantity"]
            and row["pieces"] is not None
        )
        if kind["lines"] and is_line:
            key = (
                "event",
                row["by"],
                row["what"],
                clock(row),
                row["id"] if kind["event_id"] else None,
            )
        if has_order(row):
            mine, same = first[row["order"]][1] == row["by"], first[row["order"]][0] == clock(row)
            key = ("again", row["by"], row["order"], clock(row))
            if mine and (
                same or row["item"] is not None and (row["order"], row["item"]) not in products
            ):
                key = ("order", row["by"], row["order"])
        groups[key].append(row)
    return [
        dict(
            by=lines[0]["by"],
            t=clock(lines[0]),
            buys=lines[0]["what"] == "pay" and key[0] != "again",
            worth=worth_of(kind, lines),
        )
        for key, lines in groups.items()
    ]


def reckoned(kind, rows, newest_first=False):
    "Sessions, buying sessions, orders and revenue; None where two currencies cannot be added up."
    kept = once(kind, rows)
    if newest_first:
        kept.reverse()
    if (
        kind["currency"] == "two"
        and len({row["code"] for row in kept if row["price"] is not None}) > 1
    ):
        return None
    events = sorted(events_of(kind, kept), key=lambda event: (str(event["by"]), event["t"]))
    sessions, buying, last = 0, set(), {}
    for event in events:
        new = (
            event["by"] not in last
            or kind["who"] == "visitor"
            and event["t"] - last[event["by"]] > 30 * 60_000
        )
        sessions += new
        last[event["by"]] = event["t"]
        if event["buys"]:
            buying.add(sessions)
    bought = [event["worth"] for event in events if event["buys"]]
    return (
        sessions,
        len(buying),
        len(bought),
        round(sum(worth for worth in bought if worth is not None), 6),
    )


# How it is read


def outcome(read):
    "What reading gives, or the sentence that refuses it."
    try:
        return read()
    except ValueError as error:
        return re.sub(
            r"'(-?\d+)\.0'", r"'\1'", str(error)
        )  # a number of JSON is shown as its piece holds it


def plain(events):
    return events.drop("_file", strict=False).sort("session_id", "step")


def whole(path, mapping, max_rejected, name):
    found = read_log(path, mapping, max_rejected, name)
    return plain(found.events), found


def in_partitions(path, mapping, folder, size, partitions, max_rejected, name):
    rules, rows, first = spill(
        read_pieces(path, **mapping.reading(), size=size), mapping, folder, partitions, name
    )
    parts = list(check_partitions(folder, rules, mapping.context(), name, first))
    return plain(pl.concat([part.events for part in parts])), summed_up(
        parts, rows, rules, max_rejected, name
    )


def by_contract(path, contract, folder, size, memory, max_rejected, name):
    "As score reads it."
    source = source_of(contract, LogCard("mine", "mine"))
    with pytest.MonkeyPatch.context() as small:
        set_everywhere(small, readers, "PIECE", size)
        set_everywhere(small, sorted_log, "MEMORY", memory)
        log = scoring.sort_log(source, str(path), False, folder, name)
        parts = list(log.parts)
    return plain(pl.concat([part.events for part in parts])), summed_up(
        parts, log.rows, log.rules, max_rejected, name
    )


def difference(one, other):
    "Where two tables of events differ."
    if one.shape != other.shape or one.columns != other.columns:
        return f"{one.shape} {one.columns} and {other.shape} {other.columns}"
    if one.schema != other.schema:
        return f"{one.schema} and {other.schema}"
    columns = [name for name in one.columns if not one[name].equals(other[name])]
    rows = [place for place in range(len(one)) if one.row(place) != other.row(place)][:3]
    return f"{columns}: {[(one.row(place), other.row(place)) for place in rows]}"


def same_events(one, other, what):
    "The same events, or the same refusal."
    if isinstance(one, str) or isinstance(other, str):
        assert one == other, f"{what}: {one} | {other}"
    else:
        assert one[0].equals(other[0]), f"{what}: {difference(one[0], other[0])}"


def same(one, other, what):
    "The same events for the same reasons, or the same refusal."
    same_events(one, other, what)
    if isinstance(one, str):
        return
    assert one[1].reasons() == other[1].reasons(), (
        f"{what}: {one[1].reasons()} and {other[1].reasons()}"
    )
    ours, theirs = vars(one[1].orders), vars(other[1].orders)
    for name in ("orders", "pieces", "unpriced", "again", "merged"):
        assert ours[name] == theirs[name], f"{what}: {ours} and {theirs}"
    assert one[1].notes[-len(other[1].notes) :] == other[1].notes or not other[1].notes, (
        f"{what}: {one[1].notes} and {other[1].notes}"
    )


def without_examples(found):
    "A refusal without what is peculiar to a format."
    return re.sub(r"e\.g\..*?(?=\. (State|Mend)|$)", "", found) if isinstance(found, str) else found


def check_story(seed, folder):
    "Tell a story, read it in every way, and compare."
    rng = random.Random(seed)
    kind, rows = random_story(rng)
    mapping, text = mapping_from_text(mapping_text(kind)), written(kind, rows)
    size, partitions, memory, found = (
        rng.choice([60, 200, 700, 5_000]),
        rng.randint(1, 7),
        rng.choice([1e-6, 1e-5, 1e-4, 1.0]),
        {},
    )
    for form in FORMATS:
        path = write(text, kind, folder / form, form)
        one = outcome(lambda: whole(path, mapping, kind["max_rejected"], "log"))
        same(
            one,
            outcome(
                lambda: in_partitions(
                    path,
                    mapping,
                    folder / f"{form} parts",
                    size,
                    partitions,
                    kind["max_rejected"],
                    "log",
                )
            ),
            f"{form} in pieces",
        )
        found[form] = (path, one)
    for form, (_, one) in found.items():
        same_events(without_examples(found["csv"][1]), without_examples(one), f"{form} beside csv")
    learned = found[rng.choice(FORMATS)][1]
    if isinstance(learned, str):
        return check_refusal(kind, rows, learned)
    contract = contract_for(Source("mine", "mine", mapping), learned[1].rules)
    for form, (path, one) in found.items():
        scored = outcome(
            lambda: by_contract(
                path, contract, folder / f"{form} scored", size, memory, kind["max_rejected"], "log"
            )
        )
        if one is learned:
            same(one, scored, f"{form} by the contract of a run")
        else:
            same_events(one, scored, f"{form} by the contract of a run")
    check_halves(kind, rows, contract, learned, folder)
    check_figures(kind, rows, learned)


def check_refusal(kind, rows, said):
    "Two currencies are refused wherever plain Python cannot add them up."
    if reckoned(kind, rows) is None:
        assert "currencies" in said or "allowed" in said or "every row" in said, said


def check_figures(kind, rows, learned):
    "What plain Python reckons."
    events, checked = learned
    newest = checked.rules.newest_first
    if kind["autumn"] and kind["time"] not in ("s", "ms") or newest and kind["files"] > 1:
        return  # an hour is there twice; files may differ
    expected = reckoned(kind, rows, newest)
    bought = events.filter(pl.col("event") == "purchase")
    own = (
        events["session_id"].n_unique(),
        bought["session_id"].n_unique(),
        len(bought),
        round(bought["value"].sum(), 6),
    )
    assert own == expected, f"figures {own}, reckoned {expected}"
    assert (checked.orders.orders, round(checked.orders.revenue, 6)) == expected[2:]


def check_halves(kind, rows, contract, learned, folder):
    "Scored in two halves by visitor, sessions are read as in the whole; but for orders, of which the first report counts."
    if kind["order_id"] or kind["files"] > 1 or learned[1].rules.newest_first:
        return

    def odd(row):
        return (row["who"] if kind["who"] == "visitor" else row["sid"]) in (1, 3, 5, 7, 9, 11, 13)

    halves = [[row for row in rows if odd(row)], [row for row in rows if not odd(row)]]
    found = []
    for number, half in enumerate(halves):
        if not half:
            continue
        path = write(written(kind, half), kind, folder / f"half {number}", "csv")
        scored = outcome(
            lambda: by_contract(
                path, contract, folder / f"half {number} scored", 300, 1e-5, 1.0, "log"
            )
        )
        if isinstance(scored, str) or scored[1].rules.newest_first:
            return
        found.append(scored[0])
    together = plain(pl.concat(found))
    assert together.equals(learned[0]), f"in halves: {difference(together, learned[0])}"


def test_random_stories_are_read_alike(tmp_path):
    "As many as there is time for."
    end, seed = time.monotonic() + SECONDS, FIRST
    while time.monotonic() < end:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            check_story(seed, folder)
        except Exception as error:
            raise AssertionError(f"story {seed}: {error}") from error
        seed += 1
    assert seed > FIRST + 1


# What the random stories have found, each with its right value

TWICE = "columns: {session_id: s, t: t, event: e, item_id: i, price: p}\n"


def test_a_row_is_no_repeat_of_one_that_was_set_aside(tmp_path):
    "A price that cannot be read is nothing, and so is one that is not there: the second row is the event."
    rows = ["s,t,e,i,p"] + [
        f"s{n},2024-03-01 10:{n:02}:00.250,view,a,{price}"
        for n in range(30)
        for price in (["abc", ""] if n == 7 else [""])
    ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    found = read_log(tmp_path / "log.csv", mapping_from_text(TWICE + "resolution: ms\n"))
    assert len(found.events) == 30 and found.reasons() == {"unparsable price": 1}


def test_an_event_that_is_sent_again_after_a_broken_one_counts(tmp_path):
    rows = ["s,t,e,i,p,id"] + [
        f"s{n},2024-03-01 10:{n:02}:00,purchase,a,{price},e{n}"
        for n in range(30)
        for price in (["abc", "5", "5"] if n == 7 else ["5"])
    ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    found = read_log(
        tmp_path / "log.csv", mapping_from_text(TWICE.replace("price: p", "price: p, event_id: id"))
    )
    assert (found.orders.orders, found.orders.revenue) == (30, 150.0)
    assert found.reasons() == {"unparsable price": 1, "sent again (event_id)": 1}


def test_files_that_hold_their_times_differently_are_read_in_pieces(tmp_path):
    "Times in the first file, text in the second: one form for both."
    (tmp_path / "log").mkdir()
    text = pl.DataFrame(
        dict(
            s=[f"s{n}" for n in range(40)],
            t=[f"2024-03-01 10:{n:02}:00.250" for n in range(40)],
            e="view",
        )
    )
    text.head(20).with_columns(pl.col("t").str.to_datetime("%Y-%m-%d %H:%M:%S%.f")).write_parquet(
        tmp_path / "log/a.parquet"
    )
    text.slice(20).write_parquet(tmp_path / "log/b.parquet")
    mapping = mapping_from_text("columns: {session_id: s, t: t, event: e}\n")
    events, total = in_partitions(
        tmp_path / "log", mapping, tmp_path / "parts", 200, 3, 0.05, "log"
    )
    assert (
        events.equals(whole(tmp_path / "log", mapping, 0.05, "log")[0])
        and len(events) == 40
        and not total.reasons()
    )


def test_a_word_that_is_a_number_is_one_word_in_every_format(tmp_path):
    "A column of words in which 1.0 stands in JSON: numbers in one piece, words in another."
    rows = [
        dict(
            s=f"s{n}", t=f"2024-03-01 10:{n:02}:00", e="view", d="deep" if n == 30 else float(n % 3)
        )
        for n in range(40)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "log.csv").write_text(
        "s,t,e,d\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)
    )
    mapping = mapping_from_text("columns: {session_id: s, t: t, event: e}\nevent_context: [d]\n")
    ways = [
        whole(tmp_path / "log.csv", mapping, 0.05, "log")[0],
        whole(tmp_path / "log.jsonl", mapping, 0.05, "log")[0],
        in_partitions(tmp_path / "log.jsonl", mapping, tmp_path / "parts", 200, 3, 0.05, "log")[0],
    ]
    for events in ways:
        assert events["d"].value_counts().sort("d").rows() == [
            ("0", 13),
            ("1", 13),
            ("2", 13),
            ("deep", 1),
        ]


def test_the_order_that_is_named_in_a_note_does_not_depend_on_partitions(tmp_path):
    rows = ["s,t,e,i,p,o"] + [
        f"s{n},2024-03-01 1{again}:{n:02}:00,purchase,a,5,T{n}"
        for n in range(30)
        for again in (0, 1)
    ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    mapping = mapping_from_text(TWICE.replace("price: p", "price: p, order_id: o"))
    one = whole(tmp_path / "log.csv", mapping, 0.05, "log")[1]
    for partitions in (1, 2, 7):
        assert (
            in_partitions(
                tmp_path / "log.csv",
                mapping,
                tmp_path / f"{partitions}",
                300,
                partitions,
                0.05,
                "log",
            )[1].notes
            == one.notes
        )


def test_the_form_of_times_is_what_all_pieces_show(tmp_path):
    "The first pieces hold no time, then days of which day and month cannot be told apart: the twenty-eighth tells."
    days = [
        "",
        "",
        "02/01/2024",
        "02/01/2024",
        "03/01/2024",
        "04/01/2024",
        "05/01/2024",
        "28/01/2024",
        "29/01/2024",
        "30/01/2024",
    ]
    rows = ["s,t,e"] + [f"s{n},{day and day + ' 10:00:00'},view" for n, day in enumerate(days * 3)]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    mapping = mapping_from_text("columns: {session_id: s, t: t, event: e}\n")
    events, total = in_partitions(
        tmp_path / "log.csv", mapping, tmp_path / "parts", 60, 3, 1.0, "log"
    )
    assert events.equals(
        whole(tmp_path / "log.csv", mapping, 1.0, "log")[0]
    ) and total.reasons() == {"no time": 6}
    assert events["t"].min() == 1_704_189_600_000_000  # 2 January, 10:00


def test_a_log_without_numbers_of_rows_tells_first_reports_apart(tmp_path):
    "Rows from a program have no numbers: which of two visits reports an order first is told by their order, however they fall into partitions."
    raw = pl.DataFrame(
        dict(
            s=[f"s{n}" for n in range(60)],
            t="2024-03-01 10:00:00",
            e="purchase",
            i="a",
            p="5",
            o=[f"T{n % 20}" for n in range(60)],
        )
    )
    mapping = mapping_from_text(TWICE.replace("price: p", "price: p, order_id: o"))
    one = plain(check_events(apply_mapping(raw, mapping), mapping.rules).events)
    for partitions in (1, 2, 7):
        rules, rows, first = spill(
            [raw.head(25), raw.slice(25)], mapping, tmp_path / f"{partitions}", partitions
        )
        parts = list(check_partitions(tmp_path / f"{partitions}", rules, (), first=first))
        assert plain(pl.concat([part.events for part in parts])).equals(one)
        assert one.filter(pl.col("event") == "purchase")["session_id"].str.strip_prefix("s").cast(
            pl.Int64
        ).sort().to_list() == list(range(20))
