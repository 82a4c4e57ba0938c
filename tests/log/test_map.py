"""`map` knows the trackers, proposes lines, orders and keys for other logs, asks where two readings differ, and refuses what holds no visits."""

import gzip
import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from clickstream_conv.base.runs import Run
from clickstream_conv.log.headers import names_of_file
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import mapping_from_text
from clickstream_conv.log.no_visits import head_of_log
from clickstream_conv.log.proposals import propose
from clickstream_conv.log.readings import figures_of_text
from clickstream_conv.log.recognition import known_by, recognised
from clickstream_conv.log.trackers import shipped_mappings
from clickstream_conv.pipeline.command_line import command
from clickstream_conv.sources.own import find_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.source import Source
from clickstream_conv.sources.understood import check_log

CASES = Path(__file__).resolve().parents[1] / "cases"
TRACKERS = {  # file of tests/cases/vendors: its tracker
    "ga4_plain.jsonl.gz": "ga4",
    "ga4_plain.parquet": "ga4",
    "ga4_wrapped.parquet": "ga4",
    "ga4_traps.jsonl.gz": "ga4",
    "ga4_consent.jsonl.gz": "ga4",
    "ga4_intraday.jsonl.gz": "ga4",
    "ga4_nogeo.jsonl.gz": "ga4",
    "ga4_emptyitems.jsonl.gz": "ga4",
    "ga4_nocategory.jsonl.gz": "ga4",
    "ga4_noquantity.jsonl.gz": "ga4",
    "ga4_noitems.jsonl.gz": "ga4",
    "ga4_mp.jsonl.gz": "ga4",
    "ga4_brokenline.jsonl.gz": "ga4",
    "ga4_autoevents.jsonl.gz": "ga4",
    "ga4_folder": "ga4",
    "snowplow_header.tsv.gz": "snowplow",
    "snowplow_sdk.jsonl.gz": "snowplow-sdk",
    "adobe_joined.tsv.gz": "adobe",
    "matomo_live.json.gz": "matomo",
    "mixpanel.jsonl.gz": "mixpanel",
    "amplitude.json.gz": "amplitude",
    "segment.jsonl.gz": "segment",
    "posthog.jsonl.gz": "posthog",
    "posthog.parquet": "posthog",
    "adobe_hit_data.tsv": "adobe",
    "adobe_quotes.tsv": "adobe",
    "adobe_escaped.tsv": "adobe",
    "snowplow_enriched.tsv": "snowplow",
    "meta_capi.json": "meta-capi",
    "amplitude_export.zip": "amplitude",
    "yandex_visits.tsv": "yandex-visits",
    "shopify_events.jsonl.gz": "shopify",
    "piwikpro.csv.gz": "piwik-pro",
    "ga360.jsonl.gz": "ga360",
    "ga360_kaggle.csv.gz": "ga360",
}
PLAIN_GA4 = (24, 3, 3, 15, 159.25)  # sessions, buying sessions, orders, pieces, revenue
STORY = (24, 5, 5, 16, 299.15)
FIGURES = {  # those that are not the story's
    **dict.fromkeys([name for name in TRACKERS if name.startswith("ga4_")], PLAIN_GA4),
    "ga4_traps.jsonl.gz": STORY,
    "ga4_emptyitems.jsonl.gz": (24, 3, 3, 8, 159.25),
    "ga4_noquantity.jsonl.gz": (24, 3, 3, 6, 159.25),
    "ga4_noitems.jsonl.gz": (24, 0, 0, 0, 0.0),
    "ga4_mp.jsonl.gz": (24, 0, 0, 0, 0.0),
    **dict.fromkeys(
        ["adobe_joined.tsv.gz", "adobe_hit_data.tsv", "adobe_quotes.tsv", "adobe_escaped.tsv"],
        (24, 5, 5, 17, 299.15),
    ),
    "matomo_live.json.gz": (24, 5, 5, 16, 318.75),
    "piwikpro.csv.gz": (24, 5, 5, 0, 299.15),
}


def figures(path, text):
    "Sessions, buying sessions, orders, pieces and revenue of a log by a mapping's text."
    mapping = mapping_from_text(text)
    mapping = replace(
        mapping, names=mapping.names or names_of_file(path.parent, mapping.names_file)
    )
    read = read_log(path, mapping, 1.0)
    bought = read.events.filter(pl.col("event") == "purchase")
    return (
        read.events["session_id"].n_unique(),
        bought["session_id"].n_unique(),
        read.orders.orders,
        read.orders.pieces,
        round(read.orders.revenue, 2),
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_is_known_and_its_mapping_reads_it(name):
    path = CASES / "vendors" / name
    text = propose(path)
    assert recognised(head_of_log(path).raw) == TRACKERS[name]
    assert text.startswith("# recognised as ") and all(
        column in text.splitlines()[0] for column in known_by(TRACKERS[name])
    )
    assert figures(path, text) == FIGURES.get(name, STORY)


def test_each_tracker_says_by_what_it_is_known():
    assert set(TRACKERS.values()) <= {name for name in shipped_mappings() if known_by(name)}


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("reports", "research")
        for path in sorted((CASES / folder).glob("*/*.csv"))
    ],
    ids=lambda path: path.parent.name + "/" + path.name,
)
def test_no_ordinary_log_is_taken_for_a_tracker(path):
    try:
        raw = head_of_log(path).raw
    except ValueError:
        return  # refused before anything is recognised
    assert recognised(raw) == ""


def test_context_that_a_file_lacks_is_left_out_and_said():
    text = propose(CASES / "vendors" / "ga4_nogeo.jsonl.gz")
    assert "session_context: {device: device.category, channel: traffic_source.medium}" in text
    assert "# not in these rows, so left out: {country: geo.country}" in text


def test_words_that_a_tracker_does_not_know_are_listed():
    assert "# ? not mapped: session_start (24 rows), first_visit (12 rows)" in propose(
        CASES / "vendors" / "ga4_autoevents.jsonl.gz"
    )


def test_purchases_without_a_session_are_asked_about():
    "GA4 by the Measurement Protocol: all purchases come without ga_session_id."
    text = propose(CASES / "vendors" / "ga4_mp.jsonl.gz")
    assert (
        "3 rows set aside, most often: no session_id" in text
        and "# ? no purchase is counted in these rows" in text
    )
    assert any(
        "3 purchases among them" in line
        for line in check_log(CASES / "vendors" / "ga4_mp.jsonl.gz", find_source("ga4"))[0]
    )


PROPOSED = {  # log: sessions, buying sessions, orders, pieces, revenue by the proposal as it stands
    "reports/03_line_total/log.csv": (12, 4, 4, 12, 238.8),
    "reports/12_session_id_not_unique/ga4_flat.csv": (24, 8, 8, 8, 159.2),
    "reports/12_session_id_not_unique/visit_number.csv": (24, 8, 8, 8, 159.2),
    "reports/15_two_equal_order_lines/log.csv": (30, 6, 9, 9, 179.1),
    "reports/16_thank_you_page_reloaded/log.csv": (12, 4, 4, 4, 79.6),
    "research/05_not_a_repeat/log.csv": (40, 40, 41, 41, 430.5),
    "research/09_cosmetics/2019-Dec.csv": (60, 10, 15, 15, 39.3),
    "research/10_gstore/train.csv": (60, 5, 5, 0, 189.3),
    "research/15_trivago/train.csv": (40, 20, 20, 20, 0.0),
    "research/21_retailrocket/events.csv": (60, 6, 6, 12, 0.0),
    "research/24_session_of_weeks/log.csv": (210, 30, 30, 30, 150.0),
    "research/26_pipe_skus/log.csv": (20, 20, 20, 60, 0.0),
    "vendors/ga4_flat.csv": STORY,
    "vendors/matomo_llva.csv": (24, 5, 5, 16, 318.75),
    "vendors/adobe_products.csv": (24, 4, 5, 23, 331.25),
    "vendors/ga360_flat.csv": (24, 5, 5, 16, 259.25),
}


@pytest.mark.parametrize("name", PROPOSED)
def test_a_proposal_as_it_stands_gives_the_right_figures(name):
    path = CASES / name
    text = propose(path)
    found = figures(path, text)
    assert found[:3] == PROPOSED[name][:3] and found[4] == PROPOSED[name][4], text
    assert found[3] == PROPOSED[name][3] or name == "research/10_gstore/train.csv", text
    head = figures_of_text(head_of_log(path).raw, text)
    assert f"# read so, they hold {head.sentence()}" in text


QUESTIONS = {  # log: both numbers of a question
    "reports/03_line_total/log.csv": r"line_total: revenue  # \? .*238\.80; if it is the price of a piece, price: revenue, 716\.40",
    "reports/12_session_id_not_unique/ga4_flat.csv": r"session_id: \[user_pseudo_id, ga_session_id\]  # \? 12 of 12 .*24 sessions.*by itself 12 sessions",
    "reports/12_session_id_not_unique/visit_number.csv": r"session_id: \[visitor, visit_id\]  # \? 3 of 3 .*24 sessions.*by itself 3 sessions",
    "research/04_coveo_actions/browsing_train.csv": r"event: \{first: \[product_action, event_type\]\}  # \? so 4 sessions buy; by event_type alone 0",
    "research/12_price_bucket/merged.csv": r"# \? price holds only whole numbers, 3 to 87: if they are classes of prices",
    "research/19_tmall/user_log_format1.csv": r"# \? may be: event: action_type, codes \(0: 24 rows, 1: 12 rows",
    "research/24_session_of_weeks/log.csv": r"visitor_id: user_session  # \? 30 of 30 sessions .* up to 27 days.*210 sessions.*as they are 30 sessions",
    "vendors/adobe_products.csv": r"# \? 3 purchases are several rows of one time, one for each product: 5 orders; without this line 9",
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_where_two_readings_differ_both_numbers_are_shown(name):
    text = propose(CASES / name)
    assert re.search(QUESTIONS[name], text), text


REFUSED = {  # log: the reason
    "vendors/shopify_orders.csv": "holds orders and no visits",
    "research/14_amazon_m2/sessions_train.csv": "no column looks like the id of a session or a visitor; it has: prev_items, next_item, locale",
    "research/16_hm/transactions_train.csv": "every row is a purchase",
    "research/18_criteo/criteo_attribution_dataset.tsv": "timestamp is called like a time, but its values, e.g. 0, are in no form that is known",
    "research/22_instacart/orders.csv": "no column is a time, and none says what happened",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_visits_is_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=re.escape(REFUSED[name])):
        propose(CASES / name)


def test_a_log_of_purchases_alone_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text(
        "sid,time,event,sku\n"
        + "".join(f"s{n},2024-03-01 09:{n:02d}:00,purchase,p{n % 3}\n" for n in range(20))
    )
    with pytest.raises(ValueError, match="every row is a purchase, as event says"):
        propose(tmp_path / "log.csv")


def test_a_log_without_purchases_is_told_of_a_proxy(tmp_path):
    (tmp_path / "log.csv").write_text(
        "sid,time,event,sku\n"
        + "".join(f"s{n // 2},2024-03-01 09:{n:02d}:00,view,p{n % 3}\n" for n in range(20))
    )
    text = propose(tmp_path / "log.csv")
    assert "# ? no purchase is recognised" in text and "something like one can be predicted" in text


def test_one_event_a_session_is_said_and_without_times_refused(tmp_path):
    assert "# ? each value of sessionId stands in one row" in propose(
        CASES / "research" / "10_gstore" / "train.csv"
    )
    (tmp_path / "log.csv").write_text(
        "session_id,event,sku\n"
        + "".join(f"s{n},{('view', 'buy')[n % 2]},p{n % 3}\n" for n in range(20))
    )
    with pytest.raises(ValueError, match="each value of session_id stands in one row"):
        propose(tmp_path / "log.csv")


def test_a_list_of_events_in_each_row(tmp_path):
    "The form of OTTO's log, made by hand: a user a line, who buys in the second of two visits."
    start = 1_709_283_600_000
    with open(tmp_path / "log.jsonl", "w") as file:
        for user in range(6):
            visits = [start + user * 1_000 + day * 86_400_000 * 2 for day in range(2)]
            events = [{"aid": user, "ts": t, "type": "clicks"} for t in visits]
            events += [
                {"aid": user + item, "ts": visits[1] + 60_000, "type": "orders"}
                for item in range(2)
                if user % 2
            ]
            file.write(json.dumps({"session": user, "events": events}) + "\n")
    text = propose(tmp_path / "log.jsonl")
    assert "rows: events" in text and "visitor_id: session  # ?" in text
    assert figures(tmp_path / "log.jsonl", text)[:4] == (12, 3, 3, 6)


def test_a_file_for_each_event():
    text = propose(CASES / "research" / "11_synerise" / "data")
    assert (
        "they hold 60 sessions, 3 with a purchase, 3 orders" in text
        and "purchase: [product_buy]" in text
        and "event: {file:" in text
    )


def test_a_folder_for_each_event(tmp_path):
    for word, minute in (("view", 0), ("purchase", 5)):
        (tmp_path / "log" / f"event={word}").mkdir(parents=True)
        (tmp_path / "log" / f"event={word}" / "part-0.csv").write_text(
            "visitor,time,sku\n"
            + "".join(f"u{n},2024-03-0{n + 1} 09:0{minute}:00,p{n}\n" for n in range(4))
        )
    assert figures(tmp_path / "log", propose(tmp_path / "log"))[:3] == (4, 4, 4)


def test_products_in_a_list(tmp_path):
    rows = [
        {
            "sid": f"s{n // 2}",
            "time": f"2024-03-01 09:{n:02d}:00",
            "event": ("view", "purchase")[n % 2],
            "basket": [{"sku": "p", "price": 2.5, "qty": 2}, {"sku": "q", "price": 1.0, "qty": 1}]
            if n % 2
            else [],
        }
        for n in range(8)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = propose(tmp_path / "log.jsonl")
    assert "lines: {of: basket, item_id: sku, price: price, quantity: qty}" in text
    assert figures(tmp_path / "log.jsonl", text) == (4, 4, 4, 12, 24.0)


def test_revenue_that_stands_in_each_row_of_an_order_counts_once(tmp_path):
    lines = "".join(
        f"s{n},2024-03-01 09:{n:02d}:00,view,p,,,\ns{n},2024-03-01 10:{n:02d}:00,purchase,p,5,o{n},12\ns{n},2024-03-01 10:{n:02d}:00,purchase,q,6,o{n},12\n"
        for n in range(5)
    )
    (tmp_path / "log.csv").write_text("sid,time,event,sku,price,order_id,revenue\n" + lines)
    text = propose(tmp_path / "log.csv")
    assert (
        "order_revenue: revenue  # ? orders are worth 60.00 so; by the sum of prices 55.00" in text
    )
    assert figures(tmp_path / "log.csv", text) == (5, 5, 5, 10, 60.0)


AFTERWARDS = (
    "transaction_status",
    "orderCoupon",
    "visitConverted",
    "purchaseRevenueGroup",
    "totalRevenueBand",
    "financial_status",
)


def test_what_is_known_only_after_a_purchase_is_no_context(tmp_path):
    names = ",".join(AFTERWARDS)
    lines = "".join(
        f"s{n // 2},2024-03-01 09:{n:02d}:00,{('view', 'purchase')[n % 4 == 3]},p{n % 3},{('a', 'b')[n // 2 % 2]},{('', 'gift')[n % 4 == 3]}{f',{n // 2 % 2}' * len(AFTERWARDS)}\n"
        for n in range(40)
    )
    (tmp_path / "log.csv").write_text(
        f"sid,time,event,sku,device,wrapping,{names}\n"
        + lines
        + lines.replace("gift", "none").replace("s1", "z1")
    )
    text = propose(tmp_path / "log.csv")
    context = mapping_from_text(text)
    assert set(context.context()) == {"device"}, text
    assert "wrapping (filled only where somebody buys)" in text
    assert all(
        re.search(rf"{name} \(.*(purchase|order)", text) or f"{name}  #" in text
        for name in AFTERWARDS
    ), text


def test_a_word_of_the_log_does_not_end_its_comment(tmp_path):
    rows = [
        {
            "anonymousId": f"a{n // 2}",
            "messageId": f"m{n}",
            "type": "track",
            "event": ("Order Completed", "x\ncolumns: {session_id: evil}")[n % 2],
            "timestamp": f"2024-03-01T09:{n:02d}:00.000Z",
            "context": {"sessionId": 1},
            "properties": {},
        }
        for n in range(8)
    ]
    with gzip.open(tmp_path / "log.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    text = propose(tmp_path / "log.jsonl.gz")
    assert (
        "# ? not mapped: x columns: {session_id: evil} (4 rows)" in text
        and figures(tmp_path / "log.jsonl.gz", text)[0] == 4
    )


def test_one_screen_says_what_was_understood():
    lines, refusal = check_log(CASES / "vendors" / "ga4_traps.jsonl.gz", find_source("ga4"))
    assert refusal == ""
    assert (
        lines[0] == "ga4_traps.jsonl.gz, from 2024-09-02 08:16 to 2024-09-08 21:02 (UTC)"
        and lines[1] == "sessions: 24 of 12 visitors; 5 with a purchase (20.8%)"
    )
    assert lines[3] == "orders: 5, with 16 pieces, worth 299.15 in all, 59.83 on average"
    assert lines[5] == "set aside: nothing" and lines[6].startswith("largest visitors: ")


def test_a_log_that_a_run_would_refuse_is_shown_all_the_same(tmp_path):
    (tmp_path / "log.csv").write_text(
        "sid,time,event\n"
        + "".join(f"s{n},2024-03-01 09:{n:02d}:00,{('view', '?')[n % 2]}\n" for n in range(10))
    )
    mapping = mapping_from_text(
        "columns: {session_id: sid, t: time, event: event}\nevents: {view: [view]}"
    )
    lines, refusal = check_log(tmp_path / "log.csv", Source("mine", "mine", mapping))
    assert "set aside: 5 rows, 50.0%: unknown event name (5)" in lines or any(
        line.startswith("set aside: 5 rows, 50.0%") for line in lines
    )
    assert refusal.startswith(
        "log.csv: 5 of 10 rows break the contract, 50.0% and more than the 5% allowed."
    ) and refusal.endswith("(on the command line: --max-rejected 0.5)")


def visits(first="view", then="purchase", label="x", names="s", minutes=20):
    "Twenty sessions of two events, as lines of a CSV file: sid, time, event, label, price."
    moments = [(f"{names}{n},2024-03-01 09:{n:02d}", n) for n in range(minutes)]
    return "".join(
        f"{start}:00,{first},{label},5\n{start}:30,{then},{label if label != 'EUR' else 'JPY'},5\n"
        for start, _ in moments
    )


ORDERED = "outcome: {name: order, says: it orders, kind: any later, column: label, equals: y}\n"
PRICED = "columns: {session_id: sid, t: time, event: event, price: price, currency: label}\n"
PLAIN = "columns: {session_id: sid, t: time, event: event}\n"
RUN_REFUSES = {  # what a run refuses after reading: the log, the mapping, words of the refusal
    "lost rows": (
        visits(then="?"),
        f"{PLAIN}events: {{view: [view]}}\n",
        "20 of 40 rows break the contract",
    ),
    "all buy": (visits(), PLAIN, "all 20 sessions buy"),
    "purchases only": (visits("purchase"), PLAIN, "every row is a purchase"),
    "true at the first event": (
        visits(label="y") + visits(then="view", label="n", names="n"),
        f"{PLAIN}event_context: {{label: label}}\n{ORDERED}",
        "is true at the first event of 20 of the 20 sessions",
    ),
    "an outcome of no column": (visits(), PLAIN + ORDERED, "needs a column 'label'"),
    "two currencies": (visits(label="EUR"), PRICED, "prices are in 2 currencies"),
    "one session": (visits(then="view", minutes=1), PLAIN, "the log holds 1 session"),
}


@pytest.mark.parametrize("what", RUN_REFUSES)
def test_a_check_refuses_what_a_run_refuses(what, tmp_path, capsys, monkeypatch):
    "In the same words, whether the run reads whole or in partitions; after the one screen, and with exit code 1."
    rows, mapping, words = RUN_REFUSES[what]
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("sid,time,event,label,price\n" + rows)
    Path("m.yaml").write_text(mapping)
    with pytest.raises(ValueError) as whole:
        prepare(Run("whole"), "m.yaml", "log.csv")
    with pytest.raises(ValueError) as parted:
        prepare(Run("parted"), "m.yaml", "log.csv", memory=1.0)
    assert words in str(whole.value) and str(whole.value) == str(parted.value)
    assert command(["map", "log.csv", "--check", "m.yaml"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("log.csv, from 2024-03-01") and "largest sessions: " in told.out
    assert told.err == f"clickstream-conv: a run would refuse this log: {whole.value}\n"
    assert ("worth a sum in 2 currencies that nobody can add up" in told.out) == (
        what == "two currencies"
    )


def test_a_check_lets_go_what_a_run_lets_go(tmp_path, capsys):
    "The share that --max-rejected allows is the same option."
    log = str(CASES / "research" / "09_cosmetics" / "2019-Dec.csv")
    assert (
        command(["map", log, "--check", "rees46"]) == 1
        and "1 of 17 purchase rows would be lost, 5.9% and more than the 5% allowed"
        in capsys.readouterr().err
    )
    assert command(["map", log, "--check", "rees46", "--max-rejected", "0.06"]) == 0
    told = capsys.readouterr().out
    assert (
        "orders: 15, with 15 pieces, worth 39.30 in all, 2.62 on average (each purchase event counts as an order, since no order_id is mapped)"
        in told
    )
    assert (
        prepare(Run(tmp_path), "rees46", log, max_rejected=0.06).notes[-1]
        == "each purchase event counts as an order, since no order_id is mapped"
    )
    assert "# each purchase event counts as an order, since no order_id is mapped" in propose(
        Path(log)
    )


def test_sessions_of_weeks_are_told_the_way_out(capsys):
    folder = CASES / "research" / "24_session_of_weeks"
    assert command(["map", str(folder / "log.csv"), "--check", str(folder / "human.yaml")]) == 1
    said = capsys.readouterr().err
    assert (
        "all 30 sessions buy" in said
        and "map it to visitor_id and leave session_id out: then a silence of gap_minutes ends a visit"
        in said
    )


def test_sessions_that_last_for_days_are_warned_about(tmp_path):
    log = "".join(
        f"s{n},2024-03-{day:02d} 09:{n:02d}:00,{event}\n"
        for n in range(20)
        for day, event in ((1 + n, "view"), (4 + n, ("purchase", "view")[n % 2]))
    )
    (tmp_path / "log.csv").write_text("sid,time,event\n" + log)
    (tmp_path / "m.yaml").write_text("columns: {session_id: sid, t: time, event: event}\n")
    source = find_source(str(tmp_path / "m.yaml"))
    lines, _ = check_log(tmp_path / "log.csv", source)
    warning = "20 of 20 sessions last longer than a day, up to 3 days: if its id stays with a visitor over several visits"
    assert any(line.startswith(f"warning: {warning}") for line in lines), lines
    assert any(
        line.startswith(warning)
        for line in prepare(
            Run(tmp_path / "run"), str(tmp_path / "m.yaml"), str(tmp_path / "log.csv")
        ).warnings
    )


def test_a_check_reads_a_database_and_a_known_source_as_a_run_does(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("shop.sqlite") as shop:
        shop.execute("create table events (sid text, time text, event text)")
        shop.executemany(
            "insert into events values (?, ?, ?)",
            [
                (
                    f"s{n // 2}",
                    f"2024-03-{1 + n // 2:02d} 09:0{n % 2}:00",
                    ("view", ("purchase", "cart")[n // 2 % 2])[n % 2],
                )
                for n in range(40)
            ],
        )
    Path("m.yaml").write_text("columns: {session_id: sid, t: time, event: event}\ntable: events\n")
    assert command(["map", "sqlite:///shop.sqlite", "--check", "m.yaml"]) == 0
    told = capsys.readouterr().out
    assert "sessions: 20; the log names no visitors; 10 with a purchase (50.0%)" in told
    assert (
        "orders: 10, of which no row names a product, so that pieces are unknown, of unknown worth (each purchase event counts"
        in told
    )
    assert (
        command(["map", "nowhere.csv", "--check", "uci-shoppers"]) == 1
        and "no such file: nowhere.csv" in capsys.readouterr().err
    )


def test_orders_are_told_by_their_ids():
    "With ids nothing is said; where some purchases lack one, how many."
    lines, _ = check_log(CASES / "vendors" / "ga4_traps.jsonl.gz", find_source("ga4"))
    assert "order_id" not in lines[3]


def test_rows_that_begin_with_a_number_sign_are_no_comments(tmp_path):
    (tmp_path / "log.csv").write_text(
        "sid,time,event,sku\n"
        + "".join(
            f"#{1000 + n // 2},2024-03-01 09:{n:02d}:00,{('view', 'purchase')[n % 2]},p{n % 3}\n"
            for n in range(20)
        )
    )
    text = propose(tmp_path / "log.csv")
    assert "comment:" not in text and figures(tmp_path / "log.csv", text)[:3] == (10, 10, 10)


def test_how_the_files_are_written_stands_in_every_proposal():
    "A web server's log has a pattern; a wrapped object its list; a feed without a header its names."
    assert "line_pattern: " in propose(CASES / "vendors" / "access.log")
    assert "records: data" in propose(CASES / "vendors" / "meta_capi.json")
    assert (
        figures(CASES / "vendors" / "meta_capi.json", propose(CASES / "vendors" / "meta_capi.json"))
        == STORY
    )


def test_what_cannot_be_read_yet_says_why():
    text = propose(CASES / "reports" / "24_two_currencies" / "log.csv")
    assert "# ? so far it cannot be read: " in text and "which cannot be added up" in text


def test_purchases_that_only_an_address_tells(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user,time,url\n"
        + "".join(
            f"u{n // 2},2024-03-01 09:{n:02d}:00,{('/item/3', '/thank-you?o=7')[n % 4 == 3]}\n"
            for n in range(20)
        )
    )
    text = propose(tmp_path / "log.csv")
    assert "# ? 5 rows have a url that may follow a purchase" in text
    rules = re.search(r"event_rules: (.*)", text)[0]
    kept = re.sub(r"(?ms)^events:.*?(?=^\w)|^  event: .*?$", "", text)
    assert figures(tmp_path / "log.csv", kept + rules + "\n")[:3] == (10, 5, 5)


HALF_HOURS = [
    (f"u{n}", f"2024-03-01 {9 + n % 10:02d}:{minute:02d}:00", event)
    for n in range(20)
    for minute, event in ((0, "view"), (5, ("purchase", "view")[n % 2]))
]


def tracker_without(tmp_path, name, session):
    "A tracker's log in which no row has the id of its session."
    messages = [json.loads(line) for line in gzip.open(CASES / "vendors" / name, "rt")]
    for message in messages:
        session(message)
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, messages)) + "\n")
    return path


@pytest.mark.parametrize(
    "name, session",
    [
        ("segment.jsonl.gz", lambda message: message["context"].pop("sessionId", None)),
        ("segment.jsonl.gz", lambda message: message["context"].update(sessionId="")),
        ("posthog.jsonl.gz", lambda message: message["properties"].pop("$session_id", None)),
        ("snowplow_sdk.jsonl.gz", lambda message: message.update(domain_sessionid=None)),
    ],
)
def test_a_tracker_without_sessions_falls_to_the_visitor(name, session, tmp_path):
    "An id that the file lacks, or that is empty, made 0 sessions of the log."
    path = tracker_without(tmp_path, name, session)
    text = propose(path)
    mapping = mapping_from_text(text)
    assert (
        "session_id" not in mapping.columns
        and figures(path, text)[0] == 24
        and figures(path, text)[1] >= 5
    )
    assert mapping.rules.gap_minutes == 30


def test_a_session_id_that_most_rows_lack_falls_to_the_visitor(tmp_path):
    rows = [(f"s{place // 2}" if place < 8 else "", *row) for place, row in enumerate(HALF_HOURS)]
    (tmp_path / "log.csv").write_text(
        "session_id,user_id,time,event\n" + "".join(",".join(row) + "\n" for row in rows)
    )
    text = propose(tmp_path / "log.csv")
    assert figures(tmp_path / "log.csv", text)[:3] == (20, 10, 10)
    assert (
        "32 of 40 rows have no session_id: cut at a silence of gap_minutes 20 sessions, 10 with a purchase"
        in text
    )
    assert (
        "by session_id 4 sessions, 2 with a purchase" in text
        and "# not mapped: session_id (an id)" in text
    )


def test_rows_without_a_session_are_asked_about_with_both_numbers():
    text = propose(CASES / "vendors" / "ga4_mp.jsonl.gz")
    assert "# ? 3 rows have no session id: as it is 24 sessions, 0 with a purchase" in text
    assert (
        "Without session_id, and visits cut at a silence of gap_minutes: 24 sessions, 3 with a purchase, 3 orders worth 159.25"
        in text
    )


def zone_question(path):
    "What a proposal says of the zone."
    return [
        line
        for line in propose(path).splitlines()
        if "zone" in line and not line.startswith("# not mapped")
    ]


def test_times_without_a_zone_are_asked_about(tmp_path):
    "With the hours that they show; where the log or its tracker names the zone, that one is proposed."
    log = tmp_path / "log.csv"
    log.write_text("user_id,time,event\n" + "".join(",".join(row) + "\n" for row in HALF_HOURS))
    (asked,) = zone_question(log)
    assert asked.startswith(
        "# ? which zone? The times name none and are read as UTC: most events at 9 h (10.0%), 10 h (10.0%), 11 h (10.0%); from 0 to 6 h 0.0%."
    )
    assert asked.endswith("such as time_zone: Europe/Berlin")
    log.write_text(
        "user_id,time,event,timezone\n"
        + "".join(",".join(row) + ",Asia/Tokyo\n" for row in HALF_HOURS)
    )
    (stated,) = zone_question(log)
    assert stated.startswith(
        "time_zone: Asia/Tokyo  # ? the times name no zone, and timezone names this one in every row: most events at 9 h"
    )
    read = read_log(log, mapping_from_text(propose(log)))
    assert (
        read.rules.time_zone == "Asia/Tokyo"
        and str(pl.from_epoch(read.events["t"], "us")[0]) == "2024-03-01 00:00:00"
    )
    log.write_text(
        "user_id,time,event\n"
        + "".join(f"{who},{time.replace(' ', 'T')}Z,{event}\n" for who, time, event in HALF_HOURS)
    )
    assert zone_question(log) == []


def test_a_tracker_says_its_zone():
    assert zone_question(CASES / "vendors" / "snowplow_header.tsv.gz") == [
        "time_zone: UTC  # Snowplow's times are UTC"
    ]
    counter, asked = zone_question(CASES / "vendors" / "yandex_visits.tsv")
    assert (
        counter.startswith("time_zone: Europe/Moscow")
        and "are read as Europe/Moscow: most events at 18 h" in asked
    )
    assert zone_question(CASES / "vendors" / "piwikpro.csv.gz")[0].startswith(
        "# ? which zone? The times name none and are read as UTC"
    )
    assert zone_question(CASES / "vendors" / "ga4_traps.jsonl.gz") == []


def test_orders_and_amounts_are_counted_as_they_are():
    "Twenty orders without a price, and three refunds, are no part of a sum or of a range, and are said."
    proposed = propose(CASES / "research" / "23_unpriced_purchase" / "log.csv")
    assert "40 orders worth 400.00, 20 of them of unknown worth" in proposed
    log = next(
        path for path in (CASES / "reports" / "26_refunds").iterdir() if path.suffix == ".csv"
    )
    assert "96 of 99 are numbers, 19.9 to 19.9; 3 below 0" in propose(log)
