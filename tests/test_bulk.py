"""Where a log begins and ends: a wrong time moves neither end, whichever session it is in; and days are of the log's zone."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from matplotlib.dates import num2date

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.demo.treatment import simulate_experiment
from clickstream_conv.experiments.exposures import read_exposures
from clickstream_conv.experiments.kept import read_experiment
from clickstream_conv.experiments.pictures import looks_table, plot_looks
from clickstream_conv.experiments.plan import Plan
from clickstream_conv.experiments.read import Experiment, experiment_figures
from clickstream_conv.experiments.sizes import shop_traffic
from clickstream_conv.experiments.told import experiment_sentences
from clickstream_conv.experiments.units import DAY, within_days, within_log
from clickstream_conv.monitoring.bulk import bulk_of, ends_of_log, ends_of_moments
from clickstream_conv.monitoring.observed import (
    arrivals_of,
    known_of,
    Observed,
    read_news,
)
from clickstream_conv.monitoring.traffic import usual_day, whole_days
from clickstream_conv.scoring.scorer import Scorer

HOUR = DAY // 24
WRONG_BY = (-20_000, -365, -3, 3, 365, 20_000)  # days before all others, or after them


def ends(events: pl.DataFrame) -> tuple:
    "The smallest and the largest time."
    return events["t"].min(), events["t"].max()


def spoilt(events: pl.DataFrame, days: float, session: str, place: int = -1) -> pl.DataFrame:
    "Events of which one, of a session, lies so many days before or after all of them."
    first, last = ends(events)
    row = events.with_row_index("_row").filter(pl.col("session_id") == session)["_row"][place]
    wrong = int((last if days > 0 else first) + days * DAY)
    t = pl.when(pl.int_range(pl.len()) == row).then(wrong).otherwise("t").cast(pl.Int64)
    return events.with_columns(t=t)


def session_in(events: pl.DataFrame, share: float) -> str:
    "A session of several events, at some place of a log."
    long = events.sort("t").filter(pl.len().over("session_id") > 3)["session_id"]
    return long.unique(maintain_order=True)[int(share * (long.n_unique() - 1))]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("days", WRONG_BY)
def test_a_wrong_time_moves_no_end_whichever_session_it_is_in(days, share):
    log = simulate(2_000, seed=2, start="2026-03-02", days=28)
    for place in (-1, 0):
        stray = spoilt(log, days, session_in(log, share), place)
        assert ends_of_log(stray) == ends_of_log(log) == ends(log)


def test_a_wrong_time_of_the_last_session_leaves_the_end_to_the_others():
    log = simulate(2_000, seed=2, start="2026-03-02", days=28)
    last = log.filter(pl.col("t") == log["t"].max())["session_id"][0]
    rows = pl.int_range(pl.len()) != log.with_row_index().filter(session_id=last)["index"][-1]
    assert ends_of_log(spoilt(log, 4, last)) == ends(log.filter(rows))


def test_several_wrong_times_of_other_years_move_nothing():
    log = simulate(4_000, seed=2, start="2026-03-02", days=28)
    rng = np.random.default_rng(0)
    stray = log
    for session in log["session_id"].unique(maintain_order=True)[:20]:
        stray = spoilt(stray, 1, session)
    of_stray = pl.col("t") > log["t"].max()
    wrong = pl.Series(rng.integers(0, 50 * 365, len(log)) * DAY)
    stray = stray.with_columns(t=pl.when(of_stray).then(wrong).otherwise("t"))
    first, last = ends_of_log(stray)
    assert (first, last) == ends(stray.filter(pl.col("t") > log["t"].min() - 10 * DAY))
    assert stray["t"].min() < first and len(stray.filter(pl.col("t") < first)) > 10


@pytest.mark.parametrize("sessions", [40, 200, 1_000, 4_000])
@pytest.mark.parametrize("days", [2, 7, 28, 120])
def test_a_log_without_wrong_times_keeps_its_ends(sessions, days):
    rng = np.random.default_rng(sessions + days)
    for seed in range(4):
        log = simulate(sessions, seed=seed, start="2026-03-02", days=days)
        first, last = ends(log)
        cut = log.filter(pl.col("t") <= first + int(rng.uniform(0.4, 1) * (last - first)))
        assert ends_of_log(cut) == ends(cut)


def test_nights_weekends_and_days_alone_are_no_end():
    log = simulate(6_000, seed=3, start="2026-03-02", days=29)
    at = pl.from_epoch(pl.col("t").min().over("session_id"), "us")
    weekdays = log.filter((at.dt.weekday() < 6) & at.dt.hour().is_between(9, 17))
    monday = datetime(2026, 3, 30, 10, tzinfo=ZoneInfo("UTC")).timestamp() * 1e6
    for end in (monday, monday + 4 * HOUR):
        open_hours = weekdays.filter(pl.col("t") <= end)
        assert ends_of_log(open_hours) == ends(open_hours)
    one = session_in(weekdays, 0.5)
    assert ends_of_log(spoilt(weekdays, 8, one)) == ends(weekdays)
    midnights = log.with_columns(t=pl.col("t") // DAY * DAY)
    assert ends_of_log(midnights) == ends(midnights)
    assert ends_of_log(spoilt(midnights, 3, one)) == ends(midnights)


def test_an_outage_before_the_last_days_is_no_end():
    log = simulate(4_000, seed=3, start="2026-03-02", days=28)
    day = (pl.col("t").min().over("session_id") - log["t"].min()) // DAY
    for gone in ((12, 18), (21, 26)):
        outage = log.filter(~day.is_between(*gone))
        assert ends_of_log(outage) == ends(outage)


def test_a_thin_log_is_not_cut_at_its_silences():
    weekly = pl.Series([7 * DAY * n for n in range(30)])
    assert ends_of_moments(weekly) == (0, 29 * 7 * DAY)
    assert ends_of_moments(pl.Series([10, 20])) == (10, 20)
    assert ends_of_moments(pl.Series([5])) == (5, 5)


def test_days_of_the_bulk_leave_out_a_few_days_that_follow_it_by_far():
    start = date(2026, 3, 2)
    days = [start + timedelta(n) for n in range(21)]
    whole = pl.DataFrame(dict(_day=days, sessions=[300] * 21))
    for apart in (3, 30, 3_000):
        stray = pl.DataFrame(dict(_day=[days[-1] + timedelta(apart)], sessions=[1]))
        assert bulk_of(pl.concat([whole, stray])) == (days[0], days[-1])
        early = pl.DataFrame(dict(_day=[days[0] - timedelta(apart)], sessions=[1]))
        assert bulk_of(pl.concat([early, whole])) == (days[0], days[-1])


def test_a_log_without_times_has_no_end():
    events = pl.DataFrame(dict(session_id=["a"], t=pl.Series([None], dtype=pl.Int64)))
    with pytest.raises(ValueError, match="no event of the log has a time"):
        ends_of_log(events)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A run, and an experiment of the demo shop after it."
    folder = tmp_path_factory.mktemp("bulk")
    quick_conversion(Run(folder / "run"), sessions=2_000)
    events, arms = simulate_experiment(3_000, seed=3, by="session", start="2026-06-01", days=28)
    return Scorer.load(folder / "run"), events, arms, folder


@pytest.mark.parametrize("days", [4, 100])
def test_news_and_experiments_end_with_the_bulk_of_their_events(shop, days):
    scorer, events, arms, folder = shop
    stray = spoilt(events, days, session_in(events, 0.3))
    path = folder / "stray.parquet"
    stray.write_parquet(path)
    assert read_news(scorer, str(path)).end == events["t"].max()
    plan = Plan("x", by="session", window=7.0, units=3_000)
    frame = stray.with_columns(visitor=pl.col("visitor_id"))
    right = events.with_columns(visitor=pl.col("visitor_id"))
    wanted = read_experiment(scorer, right, arms, plan, covariate=False)
    for log in (frame, str(path)):
        found = read_experiment(scorer, log, arms, plan, covariate=False)
        names = ("first", "last", "units", "counts", "left_out", "ended")
        assert {name: found[name] for name in names} == {name: wanted[name] for name in names}
        looks = [[look["t"] for look in of["arms"][0]["looks"]] for of in (found, wanted)]
        assert looks[0] == looks[1]
    assert wanted["last"] == events["t"].max() and wanted["units"] < len(arms)


@pytest.mark.parametrize("days", [-4, -365, -20_000])
def test_an_early_time_makes_no_exposure_known_from_before_the_log(shop, days):
    "Exposures of before the log are of units of which it does not know what came after."
    scorer, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    late = own.filter(pl.col("t").min().over("session_id") > own["t"].min() + 9 * DAY)
    plan = Plan("x", by="session")
    stray = spoilt(late, days, session_in(late, 0.5))
    found, wanted = (
        read_experiment(scorer, log, arms, plan, covariate=False) for log in (stray, late)
    )
    before = "exposed before the log begins"
    assert found["left_out"][before] == wanted["left_out"][before] > 300
    assert found["counts"] == wanted["counts"] and found["first"] == wanted["first"]


@pytest.mark.parametrize("days", [-4, -365, 4, 365])
def test_the_traffic_of_a_shop_has_the_days_of_its_bulk(shop, days):
    scorer, events, _, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    plan = Plan("x", by="session", window=2.0)
    stray = spoilt(own, days, session_in(own, 0.4), place=0 if days < 0 else -1)
    for asked in (None, scorer):
        found, wanted = (shop_traffic(log, plan, 2, asked).by_day for log in (stray, own))
        assert len(found) == len(wanted) and np.abs(found - wanted).sum() <= 1


def test_a_wrong_exposure_moves_no_look_and_no_day(shop):
    _, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"))
    early = simulate(
        500, seed=9, start="2025-05-01", days=398
    )  # what the log knows of the year before
    early = early.with_columns(session_id=pl.lit("e") + pl.col("session_id").cast(pl.String))
    early = early.with_columns(visitor=pl.col("session_id"))
    log = pl.concat([early.select(own.columns).cast(own.schema), own])
    right = read_exposures(arms, "session")
    one = pl.int_range(pl.len()) == len(right.rows) // 2
    stray = right.rows.with_columns(_exposed=pl.col("_exposed") - 300 * DAY * one)
    found, wanted = (
        experiment_figures(Experiment(log, within_log(log, of), Plan("x", by="session")))
        for of in (replace(right, rows=stray), right)
    )
    assert found["first"] == wanted["first"] == right.rows["_exposed"].min()
    looks = [[look["t"] for look in of["arms"][0]["looks"]] for of in (found, wanted)]
    days = [[day["day"] for day in of["arms"][0]["by_day"]["days"]] for of in (found, wanted)]
    assert looks[0] == looks[1] and days[0] == days[1] and days[0][0] == 0
    assert found["units"] == wanted["units"]


def test_the_own_log_of_a_run_ends_with_its_bulk(tmp_path):
    run = Run(tmp_path / "run")
    quick_conversion(run, sessions=1_500)
    events = pl.read_parquet(run.folder / "events.parquet")
    wanted = known_of(Scorer.load(run.folder)).test.end
    stray = spoilt(events, 5, session_in(events, 0.5))
    stray.write_parquet(run.folder / "events.parquet")
    assert wanted == events["t"].max()
    scorer = Scorer.load(run.folder)
    scorer.card = replace(scorer.card, last=stray["t"].max())
    assert known_of(scorer).test.end == wanted


def test_a_watch_looks_at_no_days_of_one_wrong_time():
    log = simulate(4_000, seed=3, start="2026-03-02", days=28)
    spans = log.group_by("session_id").agg(start=pl.col("t").min())
    spans = spans.with_columns(_day=pl.from_epoch("start", "us").dt.date())
    far = pl.DataFrame(dict(session_id=["far"], start=[log["t"].max() + DAY]))
    far = far.with_columns(_day=pl.from_epoch("start", "us").dt.date())
    arrivals = [
        arrivals_of(pl.concat(parts, how="diagonal_relaxed"), "UTC")
        for parts in ([spans], [spans, far])
    ]
    whole = pl.concat([log.select("session_id", "t"), far.select("session_id", t="start")])
    nothing, usual = [pl.DataFrame()] * 3, usual_day(arrivals[0])
    right, found = (
        whole_days(Observed(*nothing, end=ends_of_log(events)[1], arrivals=came), "UTC", usual)
        for events, came in zip((log, whole), arrivals)
    )
    assert found.days == right.days and right.stray is None
    assert found.stray["sessions"] == 1


@pytest.mark.parametrize("hours", [-3, -18])
def test_one_wrong_time_makes_no_whole_day_of_the_first(hours):
    "A log that begins at eight in the evening, and one session before: its first day is not whole."
    log = simulate(6_000, seed=3, start="2026-03-02", days=28)
    begins = log["t"].min() // DAY * DAY + DAY + 20 * HOUR
    late = log.filter(pl.col("t").min().over("session_id") >= begins)
    spans = late.group_by("session_id").agg(start=pl.col("t").min())
    early = pl.DataFrame(dict(session_id=["far"], start=[begins + hours * HOUR]))
    usual, days = None, []
    for parts in ([spans], [spans, early]):
        own = pl.concat(parts).with_columns(_day=pl.from_epoch("start", "us").dt.date())
        arrivals = arrivals_of(own, "UTC")
        usual = usual or usual_day(arrivals)
        events = pl.concat([late.select("session_id", "t"), own.select("session_id", t="start")])
        begin, end = ends_of_log(events)
        seen = Observed(*[pl.DataFrame()] * 3, begin=begin, end=end, arrivals=arrivals)
        days.append(whole_days(seen, "UTC", usual).days)
    assert days[0] == days[1]


def test_days_of_exposures_are_said_in_the_logs_zone():
    zone = ZoneInfo("America/New_York")
    t = [int(datetime(2026, 6, day, 22, tzinfo=zone).timestamp() * 1e6) for day in (1, 3)]
    log = [
        dict(visitor_id=f"v{n}", timestamp=when, arm=arm)
        for n, (when, arm) in enumerate(zip(t, ("control", "x")))
    ]
    arms = read_exposures(pl.from_dicts(log))
    of = simulate(300, seed=1, start="2026-01-05", days=7)
    with pytest.raises(ValueError, match="exposures are of 2026-06-01 to 2026-06-03"):
        within_log(of, arms, zone=str(zone))
    with pytest.raises(ValueError, match="exposures are of 2026-06-01 to 2026-06-03"):
        within_days(arms, "2026-07-01", "", str(zone))
    with pytest.raises(ValueError, match="exposures are of 2026-06-02 to 2026-06-04"):
        within_days(arms, "2026-07-01", "")


def test_looks_are_of_the_logs_clock(shop):
    "The picture marks the midnights of the zone, and the table has its moments, also where clocks change."
    _, events, arms, _ = shop
    own = events.with_columns(visitor=pl.col("visitor_id"), t=pl.col("t") + 140 * DAY)
    arms = arms.with_columns(timestamp=pl.col("timestamp") + 140 * DAY)
    zone = "America/New_York"
    of = Experiment(own, read_exposures(arms, "session"), Plan("x", by="session"), zone=zone)
    figures = experiment_figures(of)
    figures |= dict(headline=[sentence.text for sentence in experiment_sentences(figures)])
    moments = looks_table(figures)["moment"]
    assert str(moments.dt.tz) == zone and len(set(moments.map(lambda at: at.utcoffset()))) == 2
    assert [at.timestamp() for at in moments] == pytest.approx(
        [look["t"] / 1e6 for look in figures["arms"][0]["looks"]]
    )
    axis = plot_looks(figures).figure.axes[0].xaxis
    marks = [num2date(at, ZoneInfo(zone)) for at in axis.get_majorticklocs()]
    assert {(at.hour, at.minute) for at in marks} == {(0, 0)}
