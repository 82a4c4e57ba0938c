"""The watch: what it says of weeks whose truth is known, what it tells and what it does not tell twice."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import command, here

from clickstream_conv.base.runs import read_json, Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.changes import simulate_change
from clickstream_conv.monitoring.alarms import (
    Alarm,
    alarm_stands,
    rate_of,
    settle_alarms,
    SHARES,
    told_before,
)
from clickstream_conv.monitoring.bins import bin_counts, bin_numbers, bins_of
from clickstream_conv.monitoring.chance import distances_by_chance, visitor_counts
from clickstream_conv.monitoring.distances import population_stability_index, smoothed_shares
from clickstream_conv.monitoring.estimated import recalibration_of
from clickstream_conv.monitoring.observed import arrivals_of, Observed, read_news
from clickstream_conv.monitoring.periods import watch_reference
from clickstream_conv.monitoring.realised import concept_test
from clickstream_conv.monitoring.traffic import usual_day, whole_days
from clickstream_conv.monitoring.watch import watch_log, watched, watched_run
from clickstream_conv.monitoring.watch_tables import tenths_table
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.prepare import prepare

WEEK = dict(start="2026-05-11", days=7, at="2026-05-11")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A run of a demo shop that stands still, what its new days are measured by, and a folder."
    folder = tmp_path_factory.mktemp("watch")
    simulate_change("steady", sessions=6_000, start="2026-01-05", days=119).write_parquet(
        folder / "log.parquet"
    )
    prepare(Run(folder / "run"), "demo", str(folder / "log.parquet"))
    quick_conversion(Run(folder / "run"))
    return folder, watch_reference(Scorer.load(folder / "run"))


LOOKS = {}  # weeks that several tests look at


def week_of(shop, change, sessions=353, seed=0, spoilt=None):
    "What the watch says of a week in which something changes."
    asked = (change, sessions, seed, spoilt)
    if asked not in LOOKS:
        folder, reference = shop
        events = simulate_change(change, sessions=sessions, seed=seed, **WEEK)
        events = events if spoilt is None else spoilt(events)
        events.write_parquet(folder / "week.parquet")
        news = read_news(reference.scorer, str(folder / "week.parquet"))
        LOOKS[asked] = watched(reference, news, "week")
    look = LOOKS[asked]
    return look, next(found for found in look.figures["periods"] if found["period"] == "week")


def about(look):
    return {alarm.key for alarm in look.alarms}


def test_a_week_without_any_change_has_no_alarm(shop):
    assert sum(bool(week_of(shop, "steady", seed=seed)[0].alarms) for seed in range(3)) <= 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("mix", "inputs: channel"),
        ("device", "inputs: device"),
        ("tracker", "inputs: event"),
        ("tracker-prices", "inputs: price"),
        ("tracker-channel", "inputs: channel"),
    ],
)
def test_a_change_is_told_by_its_column(shop, change, expected):
    look, week = week_of(shop, change, sessions=800)
    assert expected in about(look)


def test_a_new_word_and_what_went_missing_point_to_the_tracker(shop):
    for change, column in (("device", "device"), ("tracker-prices", "price")):
        look, _ = week_of(shop, change, sessions=800)
        told = [one for one in look.sentences if one.code == "watch.tracker"]
        assert told and column in told[0].names


def without_purchases(events):
    "A log whose tracker loses the purchases of four sessions in five."
    lost = (pl.col("session_id").hash(seed=0) % 5 > 0) & (pl.col("event") == "purchase")
    return events.filter(~lost)


def test_other_visitors_leave_probabilities_right_and_lost_purchases_do_not(shop):
    kinds = {}
    for change, spoilt in (("mix", None), ("steady", without_purchases)):
        look, _ = week_of(shop, change, sessions=3_500, spoilt=spoilt)
        kinds[change] = next(one for one in look.sentences if one.code == "watch.kind").text
        assert ("outcomes: what probabilities mean" in about(look)) == (change == "steady")
    assert "concept shift" in kinds["steady"] and "concept shift" not in kinds["mix"]


def test_the_estimate_holds_what_comes_where_only_visitors_change(shop):
    _, week = week_of(shop, "mix", sessions=3_500)
    for name in ("roc_auc", "average_precision", "log_loss"):
        of = week["estimated"]
        assert of[f"{name}_low"] <= week["realised"][name] <= of[f"{name}_high"], name


def test_new_products_every_day_are_no_news_where_they_always_were(shop, tmp_path):
    "A shop that sells something new each day: of the items of a later week most are unknown, as ever."
    folder, _ = shop

    def with_own_items(events):
        day = (pl.col("t") // 86_400_000_000).cast(pl.String)
        return events.with_columns(item_id=pl.format("{} of {}", "item_id", day))

    log = with_own_items(pl.read_parquet(folder / "log.parquet"))
    log.write_parquet(tmp_path / "log.parquet")
    prepare(Run(tmp_path / "run"), "demo", str(tmp_path / "log.parquet"))
    quick_conversion(Run(tmp_path / "run"))
    week = with_own_items(simulate_change("steady", sessions=353, **WEEK))
    week.write_parquet(tmp_path / "week.parquet")
    look = watch_log(tmp_path / "run", str(tmp_path / "week.parquet"))
    row = next(one for one in look.figures["periods"][-1]["inputs"] if one["column"] == "item_id")
    assert row["bin"] == "missing" or row["before"] > 0.3, row
    assert "inputs: item_id" not in about(look)


def test_half_of_the_sessions_gone_is_told_by_their_number_alone(shop):
    look, _ = week_of(shop, "steady", sessions=170)
    assert about(look) == {"traffic: sessions"}


def test_a_day_on_which_nobody_came_is_told(shop):
    def silent(events):
        day = (pl.col("t").min().over("session_id") // 86_400_000_000).rank("dense")
        return events.filter(day != 3)

    look, week = week_of(shop, "steady", spoilt=silent)
    days = [found for found in look.figures["periods"] if found["period"] == "day"]
    assert [found["sessions"] == 0 for found in days] == [n == 2 for n in range(7)]
    told = [alarm for alarm in look.alarms if alarm.key == "traffic: sessions"]
    assert [alarm.name for alarm in told if alarm.period == "day"] == ["2026-05-13"]
    assert "0 sessions" in told[0].text and len(week["days"]) == 7


def cut_at(events, moment):
    "A log until a moment."
    return events.filter(pl.from_epoch("t", time_unit="us") < pl.lit(moment).str.to_datetime())


def test_a_tracker_that_died_is_seen_once_its_day_is_named(shop, tmp_path):
    _, reference = shop
    died = cut_at(simulate_change("steady", sessions=353, **WEEK), "2026-05-15 10:00:00")
    died.write_parquet(tmp_path / "died.parquet")
    plain = watch_log(reference, str(tmp_path / "died.parquet"))
    assert plain.figures["last"] == "2026-05-14"
    said = [one.text for one in plain.sentences if one.code == "watch.left_out"]
    assert len(said) == 1 and "--until 2026-05-15" in said[0]
    named = watch_log(reference, str(tmp_path / "died.parquet"), until="2026-05-16")
    quiet = [one.name for one in named.alarms if one.story == "traffic: sessions, fewer"]
    assert quiet == ["2026-05-15", "2026-05-16"]
    assert any(one.code == "watch.silent" for one in named.sentences)
    for wrong in ("soon", "2026-05-32"):
        with pytest.raises(ValueError, match="--until takes a day"):
            watch_log(reference, str(tmp_path / "died.parquet"), until=wrong)


def arrivals(events):
    "When the sessions of simulated events began, and the last moment."
    start = pl.col("t").min()
    spans = events.group_by("session_id").agg(start=start)
    spans = spans.with_columns(_day=pl.from_epoch("start", time_unit="us").dt.date())
    return dict(arrivals=arrivals_of(spans, "UTC"), end=events["t"].max())


def days_seen(known, events):
    "The days of a log of simulated events."
    nothing = [pl.DataFrame()] * 3
    return [
        str(day) for day in whole_days(Observed(*nothing, **arrivals(events)), "UTC", known).days
    ]


def test_complete_weeks_of_small_shops_are_whole_and_cut_ones_are_not():
    log = simulate_change("steady", sessions=20 * 119, start="2026-01-05", days=119)
    known, whole, cut = usual_day(arrivals(log)["arrivals"]), 0, 0
    for seed in range(20):
        week = simulate_change("steady", sessions=140, seed=seed, **WEEK)
        whole += len(days_seen(known, week)) == 7
        cut += "2026-05-17" in days_seen(known, cut_at(week, "2026-05-17 16:00:00"))
    assert whole >= 18 and cut == 0


def test_a_shop_with_hours_and_a_clock_of_days_have_whole_days():
    week = simulate_change("steady", sessions=700, **WEEK)
    log = simulate_change("steady", sessions=5_000, start="2026-01-05", days=119)
    day = pl.col("t") // 86_400_000_000 * 86_400_000_000

    def open_hours(events):
        hour = pl.from_epoch(pl.col("t").min().over("session_id"), time_unit="us").dt.hour()
        return events.filter(hour.is_between(8, 19))

    for clock in (open_hours, lambda events: events.with_columns(t=day)):
        known = usual_day(arrivals(clock(log))["arrivals"])
        assert len(days_seen(known, clock(week))) == 7


@pytest.mark.parametrize("when", ["2026-01-20", "2026-12-20"])
def test_one_row_of_another_time_is_told_and_makes_no_days(shop, tmp_path, when):
    _, reference = shop
    week = simulate_change("steady", sessions=353, **WEEK)
    moment = pl.lit(when).str.to_datetime(time_unit="us").dt.epoch("us")
    stray = week.filter(pl.col("session_id") == week["session_id"][0]).head(1)
    stray = stray.with_columns(t=moment, session_id=pl.lit("far"), visitor_id=pl.lit("far"))
    pl.concat([week, stray]).write_parquet(tmp_path / "stray.parquet")
    look = watch_log(reference, str(tmp_path / "stray.parquet"))
    days = [found["name"] for found in look.figures["periods"] if found["period"] == "day"]
    assert len(days) == 7 and "traffic: sessions" not in about(look)
    said = [one for one in look.sentences if one.code == "watch.stray"]
    assert len(said) == 1 and when in said[0].text
    assert read_news(reference.scorer, str(tmp_path / "stray.parquet")).end == week["t"].max()


def test_an_outage_is_no_stray():
    log = simulate_change("steady", sessions=5_000, start="2026-01-05", days=119)
    begun = pl.from_epoch(pl.col("t").min().over("session_id"), time_unit="us").dt.ordinal_day()
    gone = log.filter(~begun.is_between(60, 90))
    assert len(days_seen(usual_day(arrivals(log)["arrivals"]), gone)) == 119


def test_a_sample_of_the_sessions_is_not_their_number(shop, tmp_path):
    _, reference = shop
    simulate_change("steady", sessions=700, **WEEK).write_parquet(tmp_path / "week.parquet")
    counts = []
    for most in (4_000_000, 800):
        news = read_news(reference.scorer, str(tmp_path / "week.parquet"), most_events=most)
        found = watched(reference, news, "week").figures["periods"]
        counts.append([(one["name"], one["sessions"], one["traffic"]["p"]) for one in found])
    assert news.share < 0.5 and counts[0] == counts[1]


def test_visits_of_a_log_without_ids_are_known_by_who_came_when(tmp_path):
    mapping = """title: own
columns: {visitor_id: visitor, t: t, event: event, item_id: item, price: price, quantity: quantity}
"""
    (tmp_path / "own.yaml").write_text(mapping)
    log = simulate_change("steady", sessions=1_500, start="2026-01-05", days=126)
    moment = pl.from_epoch("t", time_unit="us")
    table = log.select("event", "price", "quantity", visitor="visitor_id", item="item_id", t=moment)
    old, new = pl.col("t") < pl.datetime(2026, 5, 4), pl.col("t") >= pl.datetime(2026, 5, 4)
    table.filter(old).write_csv(tmp_path / "old.csv")
    table.filter(new).write_csv(tmp_path / "new.csv")
    table.filter(pl.col("t") >= pl.datetime(2026, 4, 20)).write_csv(tmp_path / "both.csv")
    run = Run(tmp_path / "run")
    prepare(run, str(tmp_path / "own.yaml"), str(tmp_path / "old.csv"))
    quick_conversion(run)
    reference = watch_reference(Scorer.load(tmp_path / "run"))
    assert not reference.scorer.names_sessions()
    known = {
        name: watch_log(reference, str(tmp_path / f"{name}.csv")).figures["known"]
        for name in ("new", "both")
    }
    assert known["new"] == 0 < known["both"]


def test_sessions_of_the_run_itself_are_no_news(shop):
    folder, reference = shop
    look = watch_log(reference, str(folder / "log.parquet"))
    said = [one for one in look.sentences if one.code == "watch.known"]
    assert said and said[0].figures[0].value == look.figures["known"] > 5_000
    assert week_of(shop, "steady")[0].figures["known"] == 0


def test_rows_that_cannot_be_used_are_told_and_not_refused(shop):
    def spoilt(events):
        gone = pl.col("session_id").hash(seed=0) % 10 == 0
        return events.with_columns(
            event=pl.when(gone).then(pl.lit("???")).otherwise("event")
        ).with_columns(pl.col("t"))

    look, _ = week_of(shop, "steady", spoilt=spoilt)
    assert "traffic: rows that cannot be used" in about(look)
    assert look.figures["rows"]["lost"] > 0


def with_a_crawler(events):
    "A log in which one session in twenty is of a program: twelve events, a fifth of a second apart."
    some = events.filter(pl.col("session_id").hash(seed=0) % 20 == 0)
    first = some.group_by("session_id", maintain_order=True).first()
    many = first.select(pl.all().repeat_by(12).explode())
    step = pl.int_range(12).cast(pl.Int64).over("session_id")
    own = many.with_columns(
        session_id="crawler " + pl.col("session_id"),
        event=pl.lit("view"),
        step=(step + 1).cast(events.schema["step"]),
        t=pl.col("t") + step * 200_000,
    )
    return pl.concat([events, own.select(events.columns)])


def test_sessions_of_no_person_are_told_by_day_and_week(shop):
    look, week = week_of(shop, "steady", sessions=800, spoilt=with_a_crawler)
    assert "traffic: sessions of no person" in about(look)
    added = week["programs"]["programs"]
    days = [found for found in look.figures["periods"] if found["period"] == "day"]
    assert added >= 30 and sum(day["programs"]["programs"] for day in days) == added
    quiet, _ = week_of(shop, "steady", sessions=800)
    assert "traffic: sessions of no person" not in about(quiet)


def test_tenths_of_a_week_add_up_to_what_came_and_was_promised(shop):
    look, week = week_of(shop, "mix", sessions=3_500)
    tenths = pd.DataFrame(week["tenths"])
    assert len(tenths) == 10 and tenths["predicted"].is_monotonic_increasing
    assert tenths["converted"].sum() == week["concept"]["observed"]
    assert tenths["predicted"].between(tenths["low"], tenths["high"]).mean() >= 0.7
    rows = int(tenths["rows"].sum())
    mean = (tenths["predicted"] * tenths["rows"]).sum() / rows
    assert mean == pytest.approx(week["mean_probability"], abs=0.01)
    shown = tenths_table(look.figures)
    assert len(shown) == 10 and set(shown["within"]) <= {"yes", "no"}


def test_unfinished_sessions_are_not_judged_by_their_outcome(shop):
    folder, reference = shop
    events = simulate_change("steady", sessions=353, **WEEK)
    last = events["t"].max()
    cut = events.filter(pl.col("t") < last - 6 * 3_600_000_000)
    cut.write_parquet(folder / "cut.parquet")
    news = read_news(reference.scorer, str(folder / "cut.parquet"))
    ends = cut.group_by("session_id").agg(pl.col("t").max())
    still = ends.filter(pl.col("t") + 30 * 60_000_000 > cut["t"].max())["session_id"]
    open_now = news.sessions.filter(~pl.col("_finished"))["session_id"]
    assert set(open_now) == set(still) and len(still)


def test_no_answer_depends_on_what_is_asked_beside(shop):
    "A day is judged the same whether other days are there or not."
    folder, reference = shop
    events = simulate_change("mix", sessions=353, **WEEK)
    first = events.filter(pl.col("t").min().over("session_id") < pl.col("t").min() + 86_400_000_000)
    days = []
    for name, some in (("all", events), ("first", first)):
        some.write_parquet(folder / f"{name}.parquet")
        look = watched(
            reference, read_news(reference.scorer, str(folder / f"{name}.parquet")), name
        )
        day = next(found for found in look.figures["periods"] if found["name"] == "2026-05-11")
        days.append(json.dumps(day["inputs"]))
    assert days[0] == days[1]


def test_rates_add_up_to_the_week():
    week = sum(rate_of(family, "week") + 7 * rate_of(family, "day") for family in SHARES)
    assert week == pytest.approx(0.05)


def test_distances_are_those_of_pandas_polars_and_duckdb(shop):
    import duckdb

    _, reference = shop
    rows = reference.known.test.rows.drop("visitor")
    binned = [bins_of(reference.known.train.rows[name]) for name in reference.scorer.features]
    mine = bin_counts(rows, binned)
    for frame in (rows.to_pandas(), rows.lazy(), duckdb.sql("select * from rows")):
        theirs = bin_counts(frame, binned)
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_odd_numbers_are_in_the_same_bins_in_memory_and_elsewhere():
    "Counting from edges, and the expression: of what is missing, infinite, whole, or on an edge."
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=3_000).round(1), [np.inf, -np.inf, np.nan, -0.0, 0.0]])
    frame = pl.DataFrame({"x": x, "n": rng.integers(0, 7, len(x))})
    frame = frame.with_columns(n=pl.when(pl.col("n") > 0).then("n"), one=pl.lit(2.0))
    binned = [bins_of(frame["x"].filter(frame["x"].is_finite())), bins_of(frame["n"])]
    binned = [*binned, bins_of(frame["one"])]
    mine = bin_counts(frame, binned)
    nullable = frame.to_pandas().astype({"n": "Int64", "x": "Float64"})
    for other in (frame.lazy(), frame.to_pandas(), nullable):
        theirs = bin_counts(other, binned)
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    numbers = bin_numbers(frame, binned)
    for place, bins in enumerate(binned):
        counted = np.bincount(numbers[:, place], minlength=bins.count)
        assert np.array_equal(counted, mine[bins.column])


def test_a_number_that_seems_to_have_few_values_is_looked_at_as_a_whole():
    few = np.repeat(np.arange(5.0), 400)
    late = np.concatenate([few, np.arange(100.0)])
    assert bins_of(pl.Series("x", few)).values == (0.0, 1.0, 2.0, 3.0, 4.0)
    tenths = np.quantile(late, np.arange(1, 10) / 10, method="higher")
    often_and_after = [1.0, 2.0, 3.0, 4.0, 5.0]
    edges = np.unique([*tenths, *often_and_after])
    assert bins_of(pl.Series("x", late)).edges == tuple(edges[edges > 0])


@pytest.mark.parametrize(
    ("known", "now", "share"),
    [
        ([1.0] * 1_000, [500.0] * 1_000, 1.0),
        ([0.0, 1.0] * 500, [0.0, 50.0] * 500, 0.5),
        ([1.0] * 500 + [None] * 500, [-9.0] * 500 + [None] * 500, 0.5),
        (list(range(100)), [n * 100 for n in range(100)], 0.98),
    ],
    ids=["constant", "few values", "with gaps", "in cents"],
)
def test_numbers_that_training_never_saw_have_a_bin(known, now, share):
    bins = bins_of(pl.Series("x", known, pl.Float64))
    frame = pl.DataFrame({"x": now}, schema={"x": pl.Float64})
    before, after = (bin_counts(one, [bins])["x"] for one in (pl.DataFrame({"x": known}), frame))
    assert before[-2] == 0 and after[-2] == share * len(now)
    assert population_stability_index(before, after) > 0.5


def test_a_number_that_is_mostly_nought_is_not_one_bin():
    known = pl.DataFrame({"x": [0] * 950 + [n % 25 + 1 for n in range(50)]})
    bins = bins_of(known["x"])
    found = bin_counts(pl.DataFrame({"x": [0] * 100 + [1] * 900}), [bins])["x"]
    assert bins.edges[0] == 1.0 and found[0] == 100


def test_the_stability_index_is_its_formula():
    before, now = np.array([70, 20, 10, 0]), np.array([30, 50, 10, 10])
    p, q = smoothed_shares(before, now)
    by_hand = sum((b - a) * np.log(b / a) for a, b in zip(p, q))
    assert population_stability_index(before, now) == pytest.approx(by_hand)


def test_draws_are_of_visitors_and_not_of_rows():
    "Rows that are copies of each other are no more evidence than one of them."
    alone = pl.DataFrame({"visitor": np.arange(400), "x": np.arange(400) % 7})
    copied = pl.concat([alone] * 5)
    bins = [bins_of(alone["x"])]
    once, often = (
        distances_by_chance(visitor_counts(rows, bins), 100).mean for rows in (alone, copied)
    )
    assert often == pytest.approx(once, rel=0.25)


def test_a_recalibration_from_few_rows_is_less_sure(shop):
    _, reference = shop
    rows = reference.known.test.rows
    few = recalibration_of(rows.filter(pl.col("visitor").hash(seed=1) % 10 == 0))
    spread = [one.coefficients[1:, 0].std() for one in (few, recalibration_of(rows))]
    assert spread[0] > 1.5 * spread[1]


def test_purchases_that_are_lost_are_a_concept_shift(shop):
    _, reference = shop
    rows = reference.known.test.rows
    gone = pl.col("session_id").hash(seed=3) % 5 > 0
    lost = rows.with_columns(converted=pl.when(gone).then(0).otherwise("converted"))
    same, other = (concept_test(some, reference.by_row) for some in (rows, lost))
    assert same.p > 0.2 and same.ratio == pytest.approx(1, abs=0.02)
    assert other.p < 0.005 and other.ends[1] < 0.7


def test_small_weeks_of_a_steady_shop_are_no_concept_shift(shop):
    "Weeks without a conversion, or with one, are no surer of themselves than the probabilities are."
    _, reference = shop
    rows = reference.known.test.rows.with_columns(
        place=pl.col("session_id").rank("dense").hash(seed=1) % 1_000
    )
    few, shown = 0, []
    for size in (40, 80, 160):
        weeks = rows.with_columns(week=pl.col("place") * len(rows) // size // 3_000)
        for week in weeks.partition_by("week"):
            tested = concept_test(week, reference.by_row)
            few += tested.few
            shown.append(tested.p <= 0.005)
    assert len(shown) > 40 and few > 10 and sum(shown) <= 1


def test_few_rows_or_rows_all_alike_are_too_few_or_told_by_their_sum(shop):
    _, reference = shop
    rows = reference.known.test.rows
    for few in (rows.head(1), rows.head(2), rows.filter(converted=0).head(50)):
        tested = concept_test(few, reference.by_row)
        assert tested.few and np.isfinite(tested.ratio) and np.isfinite(tested.ends).all()
    alike = rows.with_columns(probability=0.1, landmark=pl.lit(1, pl.Int64))
    assert 0 <= concept_test(alike, reference.by_row).p <= 1


MAY = "2026-05-{:02}".format


def alarm_on(day, way="", period="day", about="sessions"):
    "An alarm of a day of May, or of a week from it on."
    return Alarm("traffic", about, period, MAY(day), 0.0, f"{way} on {day}", way)


def days_of(*days):
    "Days of May that were judged."
    return {("day", MAY(day)) for day in days}


def test_an_alarm_that_is_over_and_comes_again_is_news():
    first, kept = settle_alarms([alarm_on(6)], days_of(4, 5, 6), {})
    again = [alarm_on(6), alarm_on(10)]
    new, later = settle_alarms(again, days_of(*range(4, 11)), kept)
    assert [one.name for one in first + new] == [MAY(6), MAY(10)]
    assert settle_alarms(again, days_of(*range(4, 11)), later) == ([], later)


def test_an_alarm_the_other_way_is_another():
    _, kept = settle_alarms([alarm_on(8, "more")], days_of(8), {})
    new, kept = settle_alarms([alarm_on(9, "fewer")], days_of(9), kept)
    assert [one.way for one in new] == ["fewer"] and len(kept) == 2


def test_an_alarm_in_a_growing_folder_is_over_and_stays_told():
    _, kept = settle_alarms([alarm_on(6)], days_of(4, 5, 6), {})
    for last in (30, 31):
        new, kept = settle_alarms([alarm_on(6)], days_of(*range(4, last)), kept)
        assert new == [] and not any(map(alarm_stands, kept.values()))


def test_an_alarm_of_a_week_is_over_after_a_week_of_quiet_days():
    week = alarm_on(4, period="week")
    _, kept = settle_alarms([week], {("week", MAY(4))}, {})
    stands = []
    for day in range(11, 19):
        _, kept = settle_alarms([], days_of(day), kept)
        stands.append(alarm_stands(kept[week.story]))
    assert stands == [True] * 6 + [False] * 2
    assert settle_alarms([alarm_on(31)], days_of(31), kept)[0] == [alarm_on(31)]
    growing = [week, alarm_on(11, period="week")]
    _, kept = settle_alarms([week], days_of(*range(4, 11)) | {("week", MAY(4))}, {})
    weeks = {("week", MAY(4)), ("week", MAY(11))}
    assert settle_alarms(growing, days_of(*range(4, 18)) | weeks, kept)[0] == []


def test_what_a_file_of_alarms_lacks_is_refused(tmp_path):
    whole = dict(period="day", first=MAY(4), last=MAY(4), quiet="", acknowledged=False)
    damaged = [
        None,
        ["x"],
        {"a": {}},
        {"a": whole | dict(last="soon")},
        {"a": whole | dict(more=1)},
    ]
    for alarms in damaged:
        (tmp_path / "alarms.json").write_text(json.dumps(dict(run="", alarms=alarms)))
        with pytest.raises(ValueError, match="is damaged: .* Remove the file"):
            told_before(Run(tmp_path))


def test_another_run_is_told_its_alarms_as_well(shop, later, tmp_path):
    run, file = later
    first = watch_log(shop[1], str(file), tmp_path / "watch")
    shutil.copytree(run, tmp_path / "trained_anew")
    manifest = tmp_path / "trained_anew" / "models" / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    other = watch_log(tmp_path / "trained_anew", str(file), tmp_path / "watch")
    assert [one.story for one in other.new] == [one.story for one in first.new] != []
    assert other.sentences[1].code == "watch.another_run"
    assert told_before(Run(tmp_path / "watch"), watched_run(Scorer.load(tmp_path / "trained_anew")))


def test_what_could_not_be_told_is_told_by_the_next_look(later, tmp_path, monkeypatch):
    from clickstream_conv.pipeline import watch_commands

    given = dict(run=str(later[0]), events=str(later[1]), weekly_rate=0.05, seed=0)
    look = watch_commands.look_and_tell
    with monkeypatch.context() as broken:
        broken.setattr(watch_commands, "_say_alarms", lambda figures, line: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            look(tmp_path / "watch", given, report=False)
    assert told_before(Run(tmp_path / "watch")) == {}
    assert look(tmp_path / "watch", given, report=False)
    assert told_before(Run(tmp_path / "watch")) != {}


def test_the_folder_of_a_run_is_no_folder_of_a_watch(later):
    run, file = later
    done = here("watch", "--run", run, "--events", file, "--out", run, cwd=run)
    assert done.returncode == 1 and "holds a run" in done.said
    assert not (run / "metrics" / "watch.json").exists()


@pytest.fixture(scope="module")
def later(shop):
    folder, _ = shop
    file = folder / "later.parquet"
    simulate_change("mix", sessions=800, start="2026-05-11", days=7, at="2026-05-14").write_parquet(
        file
    )
    return folder / "run", file


def test_the_command_tells_once_and_says_so_by_its_code(later, tmp_path):
    run, file = later
    words = ("watch", "--run", run, "--events", file, "--out", tmp_path / "watch")
    first = command(*words, cwd=tmp_path)
    assert first.returncode == 2, first.said
    again = here(*words, "--no-report", cwd=tmp_path)
    assert again.returncode == 0 and "nothing new" in again.said
    assert "new:" in first.stdout and "new:" not in again.stdout
    page = (tmp_path / "watch" / "site" / "index.html").read_text()
    assert "changed beyond chance" in page


def test_an_alarm_is_acknowledged(shop, later, tmp_path):
    watch_log(shop[1], str(later[1]), tmp_path / "watch")
    key = next(iter(told_before(Run(tmp_path / "watch"))))
    done = here("watch", "--out", tmp_path / "watch", "--acknowledge", key, cwd=tmp_path)
    assert done.returncode == 0 and told_before(Run(tmp_path / "watch"))[key]["acknowledged"]
    wrong = here("watch", "--out", tmp_path / "watch", "--acknowledge", "no such", cwd=tmp_path)
    assert wrong.returncode == 1 and "there is no alarm" in wrong.said


class _Hook(BaseHTTPRequestHandler):
    got, answer = [], 200

    def do_POST(self):
        _Hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(_Hook.answer)
        self.end_headers()

    def log_message(self, *words):
        pass


def test_a_webhook_that_fails_is_told_by_the_next_look(later, tmp_path):
    run, file = later
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/hook"
    words = ("watch", "--run", run, "--events", file, "--out", tmp_path / "watch", "--no-report")
    try:
        _Hook.answer = 500
        failed = here(*words, "--webhook", address, cwd=tmp_path)
        assert failed.returncode == 1 and "did not take the alarms" in failed.said
        _Hook.answer = 200
        told = here(*words, "--webhook", address, cwd=tmp_path)
        assert told.returncode == 2 and _Hook.got[-1]["alarms"] == _Hook.got[0]["alarms"] != []
    finally:
        server.shutdown()


def test_what_cannot_be_watched_is_refused_in_a_sentence(shop, tmp_path):
    folder, _ = shop
    cases = {
        ("--events", "gone.csv"): "no such file",
        ("--events", folder / "log.parquet", "--rate", "0"): "must lie between 0 and 1",
    }
    for words, said in cases.items():
        done = here("watch", "--run", folder / "run", *words, "--no-report", cwd=tmp_path)
        assert done.returncode == 1 and said in done.said, done.said
    assert "needs --run" in here("watch", cwd=tmp_path).said


def test_part_of_a_day_is_no_day(shop, tmp_path):
    folder, _ = shop
    events = simulate_change("steady", sessions=353, **WEEK)
    start = events["t"].min() + 10 * 3_600_000_000
    part = events.filter(
        pl.col("t").min().over("session_id").is_between(start, start + 3_600_000_000)
    )
    part.write_parquet(tmp_path / "part.parquet")
    with pytest.raises(ValueError, match="no day of it is there from end to end"):
        watch_log(folder / "run", str(tmp_path / "part.parquet"))


def test_a_run_copied_elsewhere_says_the_same_and_keeps_it_as_json(shop, later, tmp_path):
    run, file = later
    shutil.copytree(run, tmp_path / "copy")
    one = watch_log(shop[1], str(file)).figures
    other = watch_log(tmp_path / "copy", str(file), tmp_path / "watch").figures
    assert json.dumps(one, default=float) == json.dumps(other, default=float)
    kept = read_json(Run(tmp_path / "watch"), "metrics/watch.json")
    assert {"periods", "new", "standing", "findings", "rows"} <= set(kept)
    assert pd.DataFrame(kept["periods"][0]["inputs"])["p"].between(0, 1).all()


def test_the_service_shows_the_figures_of_the_watch(shop, later, tmp_path):
    testclient = pytest.importorskip("fastapi.testclient")
    from prometheus_client.parser import text_string_to_metric_families

    from clickstream_conv.serving.api import make_app
    from clickstream_conv.serving.service import Service, Settings

    watch_log(shop[1], str(later[1]), tmp_path / "watch")
    kept = read_json(Run(tmp_path / "watch"), "metrics/watch.json")
    week = next(found for found in kept["periods"] if found["period"] == "week")
    told = Settings(run=str(later[0]), watch=str(tmp_path / "watch"))
    app = make_app(Service(told))
    with testclient.TestClient(app, base_url="http://127.0.0.1") as client:
        page = client.get("/metrics").text
    read = {
        (one.name, sample.labels.get("figure", sample.labels.get("column", ""))): sample.value
        for one in text_string_to_metric_families(page)
        for sample in one.samples
    }
    name = "clickstream_conv_watch_"
    assert read[f"{name}new_alarms", ""] == len(kept["new"])
    assert read[f"{name}estimated", "roc_auc"] == pytest.approx(week["estimated"]["roc_auc"])
