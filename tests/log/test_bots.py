"""Programs in a log: counted by what they call themselves and by how they behave, set aside by one line of the mapping, alike everywhere."""

import polars as pl
import pytest
from reading import everywhere, refusal

from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.eda import facts as eda_facts
from clickstream_conv.eda import quality as eda_quality
from clickstream_conv.log.bots import BY_AGENT, BY_BEHAVIOUR, is_bot_agent
from clickstream_conv.log.contract import load_contract
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import mapping_from_text
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.card import load_card
from clickstream_conv.sources.prepare import prepare

BROWSERS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.68",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 OPR/111.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 330.0.0 FBAV/460",
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 8.0.0; CUBOT_P20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.110 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; CUBOT) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.88 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 9; Pixel Build/PQ3A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/77.0.3865.73 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/84.0.4147.111 Mobile DuckDuckGo/5 Safari/537.36",
    "Mozilla/5.0 (Linux; U; Android 4.1.2; zh-cn) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30 baiduboxapp/042_2.7.3",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)",
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 Chrome/76.0 TV Safari/537.36",
    "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; en) Presto/2.12.423 Version/12.16",
    "BlackBerry8520/5.0.0.681 Profile/MIDP-2.1",
    "okhttp/4.12.0",
    "ExampleApp/1 CFNetwork/1494.0.7 Darwin/23.4.0",
    "",
]
PROGRAMS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "AdsBot-Google (+http://www.google.com/adsbot.html)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; SemrushBot-SA/0.97)",
    "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) (Applebot/0.1)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
    "Python/3.11 aiohttp/3.9.5",
    "Scrapy/2.11.2 (+https://scrapy.org)",
    "Go-http-client/2.0",
    "Java/17.0.2",
    "Apache-HttpClient/4.5.14 (Java/17)",
    "facebookexternalhit/1.1",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0)",
    "Pingdom.com_bot_version_1.4",
    "ia_archiver",
    "Mozilla/5.0 (Linux; Android 7.0) Chrome-Lighthouse",
    "Mozilla/5.0 (Windows NT 6.1) BingPreview/1.0b",
    "CCBot/2.0 (https://commoncrawl.org/faq/)",
]


@pytest.mark.parametrize("agent", BROWSERS)
def test_ordinary_browsers_are_no_programs(agent):
    assert not pl.select(is_bot_agent(pl.lit(agent))).item()


@pytest.mark.parametrize("agent", PROGRAMS)
def test_programs_that_say_so_are_found(agent):
    assert pl.select(is_bot_agent(pl.lit(agent))).item()


MAPPING = """\
columns: {session_id: sid, visitor_id: who, t: at, event: what, item_id: sku, price: price, order_id: order, user_agent: ua}
time_format: s
resolution: s
"""
HEAD = "sid,who,at,what,sku,price,order,ua"
START = 1_709_283_600


def visit(sid, events, pause, agent="Firefox/127.0", bought=False, start=0):
    "A visit of so many events, so many seconds apart; the last one is an order of 20.00."
    last = events - 1 if bought else -1
    words = [("purchase", f"o-{sid}") if n == last else ("view", "") for n in range(events)]
    return [
        f"{sid},u-{sid},{START + start + n * pause},{word},p{n % 5},20.00,{order},{agent}"
        for n, (word, order) in enumerate(words)
    ]


def log_rows(people=200):
    "People who read, every third of them buying; one crawler by its agent, one that clicks at once, one that never rests and buys, and one of 250 events."
    rows = [
        row
        for n in range(people)
        for row in visit(f"s{n}", 4 + n % 3, 40, bought=n % 3 == 0, start=n * 3_600)
    ]
    rows += visit("crawler", 6, 60, "Mozilla/5.0 (compatible; Googlebot/2.1)", bought=True) + visit(
        "fast", 12, 0
    )
    return [*rows, *visit("steady", 25, 3, bought=True, start=90), *visit("many", 250, 60)]


def written(folder, rows, head=HEAD):
    "A log as a file."
    (folder / "log.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "log.csv"


@pytest.mark.parametrize("who", ["session_id", "visitor_id"])
def test_kept_and_counted_by_default(tmp_path, who):
    "With sessions of its own, and where visits are cut at silence."
    mapping = MAPPING if who == "session_id" else MAPPING.replace("session_id: sid, ", "")
    read = everywhere(written(tmp_path, log_rows()), mapping, tmp_path)
    assert read.rejected.is_empty() and read.orders.orders == 69
    assert [note for note in read.notes if "bots: drop" in note] == [
        "programs by their user agent: 6 rows, 1 purchase among them, kept (bots: drop sets them aside)",
        "like programs by their behaviour, or like a tracker that sends in bursts: 3 sessions with 287 rows, 1 purchase among them, kept (bots: drop sets them aside)",
    ]


@pytest.mark.parametrize("who", ["session_id", "visitor_id"])
def test_dropped_each_with_its_reason(tmp_path, who):
    "The same whole, in pieces and by the contract; excused, though they are a third of all rows and hold purchases."
    mapping = (
        MAPPING if who == "session_id" else MAPPING.replace("session_id: sid, ", "")
    ) + "bots: drop\n"
    read = everywhere(written(tmp_path, log_rows()), mapping, tmp_path)
    assert read.reasons() == {BY_BEHAVIOUR: 287, BY_AGENT: 6}
    assert (read.events["session_id"].n_unique(), read.orders.orders, read.orders.revenue) == (
        200,
        67,
        1340.0,
    )
    found = dict(read.rejected.group_by("reason").agg(pl.col("value").unique().sort()).iter_rows())
    assert found[BY_AGENT] == ["Mozilla/5.0 (compatible; Googlebot/2.1)"]
    assert found[BY_BEHAVIOUR] == [
        "20+ events without a pause over 5 s",
        "200 events or more",
        "faster than an event in 1 s (median, 10+ events)",
    ]
    assert any(
        "judged by whole sessions: a visit that goes on is scored until it meets the rule" in note
        for note in read.notes
    )


def test_the_rule_is_the_one_of_the_look_at_the_data(tmp_path):
    "What the EDA counts in a log is what is said at reading."
    read = read_log(written(tmp_path, log_rows()), mapping_from_text(MAPPING))
    facts = eda_facts.session_facts(
        read.events.with_columns(visitor=pl.col("visitor_id"), part=pl.lit("train"))
    )
    c = pl.col
    rule = (
        (c("events") >= eda_quality.MANY_EVENTS)
        | (c("events") >= eda_quality.ENOUGH) & (c("pause") < eda_quality.FAST)
        | (c("events") >= 2 * eda_quality.ENOUGH) & (c("longest_pause") < eda_quality.STEADY)
    )
    assert sorted(facts.filter(rule.fill_null(False))["session_id"]) == ["fast", "many", "steady"]


def test_lines_of_one_order_are_one_click(tmp_path):
    "Ten products bought at once are no ten clicks; nor are rows that are lines of their event."
    order = [f"s,u,{START + 90},purchase,p{n},2.00,o1,Firefox" for n in range(30)]
    lines = [f"s2,u2,{START + 30 * (n // 15)},view,p{n},2.00,,Firefox" for n in range(60)]
    people = [row for n in range(50) for row in visit(f"x{n}", 3, 40, start=n * 1000)]
    mapping = MAPPING + "bots: drop\n"
    read = everywhere(written(tmp_path, [*visit("s", 3, 30), *order, *people]), mapping, tmp_path)
    assert read.rejected.is_empty() and read.orders.orders == 1
    (tmp_path / "by_rows").mkdir()
    read = everywhere(
        written(tmp_path / "by_rows", [*lines, *people]),
        mapping + "lines: {of: rows, item_id: sku, price: price}\n",
        tmp_path / "by_rows",
    )
    assert read.rejected.is_empty() and len(read.events.filter(pl.col("session_id") == "s2")) == 4


def test_an_order_that_a_program_reported_first_stays_with_its_buyer(tmp_path):
    "A crawler that opens a thank-you page does not take the order along."
    rows = [row for row in log_rows() if not row.startswith("crawler")]
    buyer = next(row for row in rows if ",purchase," in row)
    early = f"crawl,u-crawl,{START - 5},purchase,p1,20.00,{buyer.split(',')[6]},Googlebot/2.1"
    read = everywhere(written(tmp_path, [early, *rows]), MAPPING + "bots: drop\n", tmp_path)
    assert (
        read.orders.orders == 67
        and read.orders.again == 0
        and buyer.split(",")[0] in read.events.filter(pl.col("event") == "purchase")["session_id"]
    )


def test_a_clock_of_days_knows_no_pauses(tmp_path):
    "Only the number of events is judged."
    read = read_log(
        written(tmp_path, log_rows()),
        mapping_from_text(MAPPING.replace("resolution: s", "resolution: day") + "bots: drop\n"),
    )
    assert set(read.rejected.filter(pl.col("reason") == BY_BEHAVIOUR)["value"]) == {
        "200 events or more"
    }


def test_a_tracker_that_sends_in_bursts_is_refused(tmp_path):
    "Where the rule would take every second session it is not about programs."
    rows = [row for n in range(40) for row in visit(f"s{n}", 12 if n % 2 else 4, 0, start=n * 100)]
    log = written(tmp_path, rows)
    refusal(
        lambda: read_log(log, mapping_from_text(MAPPING + "bots: drop\n")),
        "log.csv: bots: drop would set aside 20 of 40 sessions",
        "state bots: keep",
    )
    (tmp_path / "m.yaml").write_text(MAPPING + "bots: drop\n")
    refusal(
        lambda: prepare(
            Run(str(tmp_path / "run")), source=str(tmp_path / "m.yaml"), path=str(log), memory=0.5
        ),
        "bots: drop would set aside 20 of 40 sessions",
    )
    assert len(read_log(log, mapping_from_text(MAPPING)).rejected) == 0


def test_rows_that_differ_in_their_agent_are_no_repeats(tmp_path):
    rows = visit("s", 3, 40)
    other = [row.replace("Firefox/127.0", "Firefox/128.0") for row in rows]
    people = [row for n in range(30) for row in visit(f"x{n}", 3, 40)]
    read = everywhere(
        written(tmp_path, [*rows, *other, rows[0], *people]),
        MAPPING + "duplicates: reject\n",
        tmp_path,
    )
    assert read.reasons() == {"exact repeat": 1}


@pytest.mark.parametrize(
    "text, words",
    [
        ("bots: remove\n", ("bots 'remove' is not one of keep, drop",)),
        ("bots: true\n", ("bots was read as True",)),
        (
            "session_context: {user_agent: browser}\n",
            ("user_agent is 'ua' in columns and 'browser' in a context",),
        ),
    ],
)
def test_refused_mappings(text, words):
    refusal(lambda: mapping_from_text(MAPPING + text), *words)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    "A run that learned without programs."
    folder = tmp_path_factory.mktemp("bots")
    (folder / "m.yaml").write_text(MAPPING + "bots: drop\n")
    written(folder, log_rows())
    run = Run(str(folder / "run"))
    prepare(run, source=str(folder / "m.yaml"), path=str(folder / "log.csv"))
    write_json(run, "run.json", dict(source="m", parameters=dict(source=str(folder / "m.yaml"))))
    quick_conversion(run, folds=2)
    return run, folder


def test_a_run_carries_it_and_scores_without_programs(learned, tmp_path):
    run, folder = learned
    assert load_contract(run).rules.bots == "drop" and load_card(run).reasons == {
        BY_BEHAVIOUR: 287,
        BY_AGENT: 6,
    }
    said = score_file(
        run.folder, str(folder / "log.csv"), str(tmp_path / "a.parquet"), progress=False
    )
    scored = pl.read_parquet(tmp_path / "a.parquet")
    assert len(scored) == 200 and not {"crawler", "fast", "steady", "many"} & set(
        scored["session_id"]
    )
    assert "bot by its behaviour: 287" in said[0] and any(
        line.startswith("like programs by their behaviour") for line in said
    )


def test_a_live_visit_is_a_bot_once_it_meets_the_rule(learned):
    "It is scored all the while, and said to be one from its 20th event on: not before, and by nothing that comes later."
    run, _ = learned
    live, answers = Scorer.load(run).session("steady"), []
    for n in range(22):
        answers.append(
            live.add(
                dict(
                    t=(START + 3 * n) * 1_000_000,
                    event="view",
                    item_id="p1",
                    category=None,
                    price=20.0,
                )
            )
        )
    said = [BY_BEHAVIOUR in answer["notes"] for answer in answers]
    assert said == [False] * 19 + [True] * 3 and all(
        answer["probability"] is not None for answer in answers
    )
    person = Scorer.load(run).session("person")
    assert not any(
        BY_BEHAVIOUR
        in person.add(
            dict(
                t=(START + 30 * n) * 1_000_000,
                event="view",
                item_id="p1",
                category=None,
                price=20.0,
            )
        )["notes"]
        for n in range(22)
    )
