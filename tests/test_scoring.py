"""The Scorer across notebooks: live and batch, every source's own log, files in pieces, and what is refused."""

import gzip
import json
import shutil
import threading
from dataclasses import replace
from datetime import datetime, time, timedelta, timezone, UTC
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from everywhere import set_everywhere

from clickstream_conv.base.models_kept import save_model
from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.features.columns import preprocess
from clickstream_conv.features.sessions import load_sessions
from clickstream_conv.log import csv_files as readers
from clickstream_conv.models.calibration import calibrate, on_odds, session_starts
from clickstream_conv.models.fitting import make_model, probability
from clickstream_conv.models.kept import load_model
from clickstream_conv.scoring import (
    events as scoring_events,
)
from clickstream_conv.scoring import sorted_log
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.card import load_events
from clickstream_conv.sources.prepare import prepare

MAPPING = """
columns: {visitor_id: who, t: at, event: what, item_id: thing, category: shelf, price: cost, quantity: pieces}
events: {view: [look], cart: [put], remove: [drop], checkout: [till], purchase: [pay], other: "*"}
time_format: "%Y-%m-%d %H:%M:%S"
gap_minutes: 30
session_context: {device: machine}
event_context: {page: url}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    run = Run(str(tmp_path_factory.mktemp("shop")))
    prepare(run, sessions=1_500)
    quick_conversion(run, folds=2)
    return run


@pytest.fixture(scope="module")
def scorer(shop):
    return Scorer.load(shop.folder)


@pytest.fixture(scope="module")
def log(shop):
    return load_events(shop, "test")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    "A run of a log of one's own: no session ids, times to the second, and its own words."
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.yaml").write_text(MAPPING)
    words = dict(
        view="look", cart="put", remove="drop", checkout="till", purchase="pay", other="scroll"
    )
    raw = simulate(1_500, 3).select(
        who="visitor_id",
        at=pl.from_epoch("t", "us").dt.to_string("%Y-%m-%d %H:%M:%S"),
        what=pl.col("event").replace(words),
        thing="item_id",
        shelf="category",
        cost="price",
        pieces="quantity",
        machine="device",
        url="page",
    )
    raw.write_csv(folder / "log.csv")
    run = Run(str(folder / "run"))
    prepare(run, source=str(folder / "mine.yaml"), path=str(folder / "log.csv"))
    write_json(
        run, "run.json", dict(source="mine", parameters=dict(source=str(folder / "mine.yaml")))
    )
    quick_conversion(run, folds=2)
    return run, folder


def test_every_prefix_live_is_batch(scorer, log):
    "Two hundred sessions, every prefix: the same numbers event by event and in one call."
    names = log["session_id"].unique(maintain_order=True)[:200]
    events = log.filter(pl.col("session_id").is_in(names.implode()), pl.col("step") <= 20)
    batch = scorer.score(events, "every").scores
    for (name,), part in events.group_by("session_id", maintain_order=True):
        visit = scorer.session(name)
        for event in part.to_dicts():
            visit.add(event)
        live, together = (
            pl.DataFrame(visit.answers, schema=batch.schema, orient="row"),
            batch.filter(pl.col("session_id") == name),
        )
        numbers = ("probability", "highest")
        assert live.drop(numbers).equals(together.drop(numbers))
        np.testing.assert_allclose(
            live["probability"].to_numpy(), together["probability"].to_numpy(), rtol=0, atol=1e-9
        )


def test_each_event_is_read_once_however_many_answers_are_asked(scorer, log, monkeypatch):
    "A long visit that is asked about after every event costs as much as its events, not as their square."
    views = log.filter(pl.col("event") == "view").head(300)
    begin, count = views["t"][0], len(views)
    visit = views.with_columns(
        session_id=pl.lit("long"),
        step=pl.int_range(1, count + 1, dtype=pl.Int64),
        t=begin + pl.int_range(count, dtype=pl.Int64) * 20_000_000,
    )
    events = pl.concat([visit, log.filter(pl.col("step") <= 3).head(60)])
    read, plan = [], scorer._encoded
    monkeypatch.setattr(scorer, "_encoded", lambda frame: read.append(len(frame)) or plan(frame))
    scores = scorer.score(events, "every").scores
    assert sum(read) <= len(events) and scores["session_id"].eq("long").sum() == count


def test_later_events_change_no_earlier_answer(scorer, log):
    "An answer at a landmark does not depend on what came after."
    whole = scorer.score(log, [1, 2, 3]).scores.filter(pl.col("status") == "scored")
    cut = scorer.score(log.filter(pl.col("step") <= 3), [1, 2, 3]).scores.filter(
        pl.col("status") == "scored"
    )
    both = whole.join(cut, on=["session_id", "landmark"])
    assert len(both) == len(cut)
    np.testing.assert_allclose(both["probability"], both["probability_right"], rtol=0, atol=1e-12)


def test_the_level_of_the_latest_sessions_is_scored(shop, tmp_path):
    "A model whose level was moved is kept and loaded with it."
    rows, run = load_sessions(shop), Run(str(tmp_path / "run"))
    model = calibrate(
        make_model("logistic regression", rows),
        rows,
        "none",
        folds=2,
        starts=session_starts(load_events(shop)),
    )
    assert model.level_["since"] and model.level_["sessions"] > 100
    model.level_["shift"] = -0.5
    save_model(run, "conversion", model, about={})
    back, plain = load_model(run, "conversion"), probability(model.model_, rows)
    assert (probability(back, rows) == probability(model, rows)).all()
    np.testing.assert_allclose(probability(back, rows), on_odds(plain, -0.5))


def test_no_rows_no_answers(shop):
    rows = load_sessions(shop)
    columns = preprocess(rows, linear=False).fit(rows)
    assert columns.transform(rows.head(0)).shape == (
        0,
        len(columns.get_feature_names_out()),
    )


def test_own_log_without_sessions_in_pieces(own, monkeypatch):
    "Visits cut at silences come out the same however the file is cut; packed or not."
    run, folder = own
    scorer = Scorer.load(run.folder)
    expected = scorer.score(scorer.read(folder / "log.csv").events).scores.sort("session_id")
    (folder / "log.csv.gz").write_bytes(gzip.compress((folder / "log.csv").read_bytes()))
    set_everywhere(monkeypatch, readers, "PIECE", 30_000)
    monkeypatch.setattr(sorted_log, "MEMORY", 1e-3)
    for name in ("log.csv", "log.csv.gz"):
        score_file(run.folder, folder / name, folder / "out.parquet", progress=False)
        found = pl.read_parquet(folder / "out.parquet").sort("session_id")
        pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas(), rtol=1e-9)


def test_own_log_when_its_mapping_is_gone(own, tmp_path):
    "The run carries how its log is read; its mapping file may be anywhere or nowhere."
    run, folder = own
    score_file(run.folder, folder / "log.csv", tmp_path / "a.csv", progress=False)
    write_json(run, "run.json", dict(parameters=dict(source=str(tmp_path / "gone.yaml"))))
    try:
        score_file(run.folder, folder / "log.csv", tmp_path / "b.csv", progress=False)
    finally:
        write_json(run, "run.json", dict(parameters=dict(source=str(folder / "mine.yaml"))))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_events_of_a_run_score_as_the_log(own):
    run, folder = own
    score_file(run.folder, run / "events.parquet", folder / "a.parquet", progress=False)
    score_file(run.folder, folder / "log.csv", folder / "b.parquet", progress=False)
    assert (
        pl.read_parquet(folder / "a.parquet")
        .sort("session_id")
        .equals(pl.read_parquet(folder / "b.parquet").sort("session_id"))
    )


def test_a_json_array_scores_as_its_lines(shop, log, tmp_path):
    plain = log.drop("step", "visitor", "part").head(200)
    plain.write_json(tmp_path / "a.json")
    plain.write_ndjson(tmp_path / "b.jsonl")
    for name in ("a.json", "b.jsonl"):
        score_file(shop.folder, tmp_path / name, tmp_path / f"{name}.parquet", progress=False)
    assert pl.read_parquet(tmp_path / "a.json.parquet").equals(
        pl.read_parquet(tmp_path / "b.jsonl.parquet")
    )


def test_null_ids_repeats_and_disorder(scorer, log):
    some = log.head(60)
    messy = pl.concat(
        [
            some.sample(fraction=1, shuffle=True, seed=1),
            some.head(3),
            some.head(2).with_columns(session_id=pl.lit(None, pl.String)),
        ]
    )
    assert scorer.score(messy).scores.equals(scorer.score(some).scores)
    assert (
        scorer.score(messy).sentences[0] == "5 events left out: exact repeat (3), no session_id (2)"
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e.drop("page", "device"), "have no device, page"),
        (lambda e: e.with_columns(price=pl.lit("9,90")), "column 'price' should hold"),
        (lambda e: e.with_columns(event=pl.lit("look")), "unknown event name"),
        (lambda e: e.head(0), "no events to score"),
        (lambda e: e.with_columns(page=pl.lit("elsewhere")), "events of another log"),
        (lambda e: e.with_columns(session_id=pl.lit(None, pl.String)), "no session_id"),
        (lambda e: {"event": "view"}, "one event was given"),
        (lambda e: 7, "must be a frame"),
    ],
)
def test_refused_events(scorer, log, change, message):
    with pytest.raises(ValueError, match=message):
        scorer.score(change(log))


@pytest.mark.parametrize("landmarks", [4, 0, [1, 4], "first", [], 21])
def test_refused_landmarks(scorer, log, landmarks):
    with pytest.raises(ValueError, match="trained at 1, 2, 3, 5, 8, 13"):
        scorer.score(log, landmarks)


def test_an_interrupted_file_leaves_the_old_one(shop, log, tmp_path, monkeypatch):
    log.write_parquet(tmp_path / "log.parquet")
    score_file(shop.folder, tmp_path / "log.parquet", tmp_path / "out.csv", progress=False)
    before = (tmp_path / "out.csv").read_bytes()
    monkeypatch.setattr(
        Scorer, "score_part", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        score_file(shop.folder, tmp_path / "log.parquet", tmp_path / "out.csv", progress=False)
    assert (tmp_path / "out.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.parquet", "out-notes.txt", "out.csv"]


def test_many_threads_get_their_own_answers(scorer, log):
    "One Scorer asked from several threads gives each what it asked for."
    parts = [part for _, part in log.group_by("session_id", maintain_order=True)][:24]
    expected, found = [scorer.score(p, "now").scores for p in parts], [None] * len(parts)

    def ask(i):
        found[i] = scorer.score(parts[i], "now").scores

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(parts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(a.equals(b) for a, b in zip(expected, found))


MOMENT = 1_775_649_600_000_000  # 2026-04-08 12:00 in UTC, inside the demo's log
BERLIN = timezone(timedelta(hours=2))
READ = {
    "int": MOMENT,
    "float": float(MOMENT),
    "digits": str(MOMENT),
    "numpy": np.int64(MOMENT),
    "decimal": Decimal(MOMENT),
    "Z": "2026-04-08T12:00:00Z",
    "offset": "2026-04-08T14:00:00+02:00",
    "text": "2026-04-08 12:00:00.000",
    "datetime": datetime(2026, 4, 8, 12, tzinfo=UTC),
    "elsewhere": datetime(2026, 4, 8, 14, tzinfo=BERLIN),
    "naive": datetime(2026, 4, 8, 12),
    "Timestamp": pd.Timestamp("2026-04-08 14:00", tz="Europe/Berlin"),
    "naive Timestamp": pd.Timestamp("2026-04-08 12:00"),
    "datetime64": np.datetime64("2026-04-08T12:00", "ns"),
}
REFUSED = {
    "ms": (MOMENT // 1_000, f"looks like milliseconds. Give t in microseconds, here {MOMENT}"),
    "s": (MOMENT // 10**6, f"looks like seconds. Give t in microseconds, here {MOMENT}"),
    "ns": (MOMENT * 1_000, "the year 58,236, .*looks like nanoseconds"),
    "time.time()": (MOMENT / 10**6 + 0.5, "looks like seconds"),
    "days": (20_551, "looks like days"),
    "1970": (0, "visits are taken from 2016"),
    "1970 as text": ("1970-01-01T00:00:00Z", "visits are taken from 2016"),
    "far ahead": (
        datetime(2199, 1, 1, tzinfo=UTC),
        "visits are taken from 2016-01-05 to 2076",
    ),
    "before": (-5, "is 1969-12-31"),
    "bool": (True, "holds True"),
    "numpy bool": (np.bool_(True), "holds True"),
    "inf": (float("inf"), "holds inf"),
    "nan": (float("nan"), "no time"),
    "None": (None, "no time"),
    "NaT": (pd.NaT, "no time"),
    "datetime64 NaT": (np.datetime64("NaT"), "no time"),
    "word": ("yesterday", "holds 'yesterday'"),
    "day/month": ("08/04/2026 12:00", "holds '08/04/2026 12:00'"),
    "huge": (10**30, "holds 1000|int too large"),
    "clock": (time(12), "holds datetime.time"),
    "list": ([MOMENT], r"holds \[1775649600000000\]"),
    "dict": ({"t": 1}, "holds {'t': 1}"),
    "bytes": (b"2026", "holds b'2026'"),
    "float32": (np.float32(MOMENT), "lost digits"),
}


def ways_of(scorer, log, t):
    "The same event asked about live, as a dict, and in pandas; each as a function."
    event = log.filter(pl.col("step") == 1, pl.col("event") == "view").drop("visitor", "part").row(
        0, named=True
    ) | {"t": t}
    plain = {name: value for name, value in event.items() if name != "session_id"}
    return dict(
        live=lambda: scorer.session().add(plain)["probability"],
        dicts=lambda: scorer.score([event]).scores["probability"][0],
        pandas=lambda: scorer.score(pd.DataFrame([event])).scores["probability"][0],
    )


@pytest.mark.parametrize("kind", READ)
def test_a_time_in_every_form_is_the_same_time(kind, scorer, log):
    expected = ways_of(scorer, log, MOMENT)["live"]()
    for way, ask in ways_of(scorer, log, READ[kind]).items():
        assert ask() == pytest.approx(expected, abs=1e-12), way


@pytest.mark.parametrize("kind", REFUSED)
def test_a_time_in_another_unit_is_refused(kind, scorer, log):
    t, message = REFUSED[kind]
    for way, ask in ways_of(scorer, log, t).items():
        if (kind, way) == ("float32", "pandas"):
            message = "Float32|lost digits|holds 17756"
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize("value", [[], [1], {"a": 1}, b"p1"], ids=repr)
@pytest.mark.parametrize("name", ["item_id", "page", "price", "quantity"])
def test_what_is_no_single_value_is_refused(name, value, scorer, log):
    "Live and in a list of events, in the same words."
    event = log.filter(pl.col("step") == 1).drop("visitor", "part").row(0, named=True)
    for ask in (
        lambda: scorer.session().add(event | {name: value}),
        lambda: scorer.score([event | {name: value}]),
    ):
        with pytest.raises(ValueError, match="no single value"):
            ask()


@pytest.mark.parametrize(
    "t",
    [
        datetime(2016, 1, 6, tzinfo=UTC),
        datetime(2026, 12, 31, tzinfo=UTC),
        datetime(2056, 1, 1, tzinfo=UTC),
    ],
)
def test_visits_long_after_the_training_are_scored(t, scorer, log):
    for ask in ways_of(scorer, log, t).values():
        assert ask() > 0


def test_a_refused_event_leaves_the_visit_as_it_was(scorer, log):
    "Live, a time in another unit is refused, and the next one in microseconds goes on."
    events = (
        log.filter(pl.len().over("session_id") >= 3)
        .head(3)
        .drop("session_id", "visitor", "part")
        .to_dicts()
    )
    visit, other = scorer.session(), scorer.session()
    for event in events[:2]:
        visit.add(event)
    with pytest.raises(ValueError, match="looks like milliseconds.*The event was not added"):
        visit.add(events[2] | {"t": events[2]["t"] // 1_000})
    for event in events:
        last = other.add(event)
    assert visit.add(events[2]) == last


def test_sessions_in_another_unit_are_left_out_and_said(scorer, log):
    "Among others a session with one such time is not answered, as it is refused alone; the others are as without it."
    some = log.filter(pl.len().over("session_id") >= 3).head(300)
    names = some["session_id"].unique(maintain_order=True)
    wrong = (pl.col("session_id") == names[0]) & (pl.col("step") == 2)
    mixed = some.with_columns(t=pl.when(wrong).then(pl.col("t") // 1_000).otherwise("t"))
    expected = scorer.score(some.filter(pl.col("session_id") != names[0])).scores
    for given in (mixed, mixed.to_pandas()):
        found, sentences, _ = scorer.score(given)
        assert (
            pl.from_pandas(found, schema_overrides=expected.schema) if given is not mixed else found
        ).equals(expected)
        assert (
            "session with a time outside of the log's range" in sentences[0]
            and "looks like milliseconds" in sentences[1]
        )
    with pytest.raises(ValueError, match="looks like milliseconds"):
        scorer.score(mixed.filter(pl.col("session_id") == names[0]))


def test_events_in_milliseconds_in_a_file_are_refused(shop, log, tmp_path):
    "Canonical events as a run keeps them, in milliseconds; in datetimes they are read."
    some, out = log.head(200), tmp_path / "out.parquet"
    some.with_columns(pl.col("t") // 1_000).write_parquet(tmp_path / "ms.parquet")
    with pytest.raises(ValueError, match="looks like milliseconds"):
        score_file(shop.folder, tmp_path / "ms.parquet", out, progress=False)
    some.with_columns(pl.from_epoch("t", "us")).write_parquet(tmp_path / "datetimes.parquet")
    some.write_parquet(tmp_path / "us.parquet")
    answers = {}
    for name in ("us", "datetimes"):
        score_file(shop.folder, tmp_path / f"{name}.parquet", out, progress=False)
        answers[name] = pl.read_parquet(out).sort("session_id")
    assert answers["us"].equals(answers["datetimes"])


def test_a_log_without_times_asks_for_none(scorer, log):
    "No window, whatever the times are; and one for a log of whole days."
    card = replace(scorer.card, resolution="none", first=None, last=None)
    sound = scoring_events.validate_events(
        log.head(20).with_columns(t=pl.lit(None, pl.Int64)), card, scorer.kinds
    )
    assert len(sound.events) == 20 and not sound.notes
    days = pl.col("t") // 86_400_000_000 * 86_400_000_000
    card = replace(
        scorer.card,
        resolution="day",
        first=scorer.card.first // 86_400_000_000 * 86_400_000_000,
    )
    for given in (
        log.head(20).with_columns(t=days),
        log.head(20).with_columns(t=pl.from_epoch("t", "us").dt.date()),
    ):
        assert len(scoring_events.validate_events(given, card, scorer.kinds).events) == 20
    with pytest.raises(ValueError, match="looks like milliseconds"):
        scoring_events.validate_events(
            log.head(20).with_columns(t=days // 1_000), card, scorer.kinds
        )


def test_a_time_without_a_zone_is_in_the_logs_own(scorer, log):
    "Noon in Berlin is ten in the morning in UTC, as the reader of the log says; and that it was taken so is said."
    card, one = replace(scorer.card, time_zone="Europe/Berlin"), log.head(1)
    for given in (
        one.with_columns(t=pl.lit("2026-04-08 12:00")),
        one.with_columns(t=pl.lit(datetime(2026, 4, 8, 12))),
    ):
        sound = scoring_events.validate_events(given, card, scorer.kinds)
        assert sound.events["t"].to_list() == [MOMENT - 2 * 3_600_000_000]
        assert (
            sound.notes[-1]
            == "times that name no zone were read as Europe/Berlin, as in the log that the run learned from"
        )


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(price=True), "column 'price' should hold Float64 and holds True"),
        (dict(price="9,90"), "holds '9,90'"),
        (dict(price=[1]), "price"),
        (dict(quantity=1.5), "quantity is no whole number"),
        (dict(quantity="many"), "holds 'many'"),
        (dict(price=-1.0), "negative price"),
        (dict(event=7), "unknown event name"),
        (dict(price={}), "price"),
    ],
)
def test_other_values_of_a_live_event(change, message, scorer, log):
    event = log.drop("session_id", "visitor", "part").row(0, named=True) | change
    with pytest.raises(ValueError, match=message):
        scorer.session().add(event)


@pytest.mark.parametrize("events", [[1, 2], [[1, 2], [3, 4]], [("a", 1)], ["view"], [None]])
def test_a_list_holds_dicts(events, scorer):
    with pytest.raises(ValueError, match="a list of events holds dicts such as"):
        scorer.score(events)


def test_one_strange_visit_refuses_no_file(shop, scorer, log, tmp_path, monkeypatch):
    "A visit to a page that nobody knew, and one of another century, each alone in its partition: left as they are, or left out, and the others scored."
    one = log.filter(pl.col("event") == "view").head(1).drop("visitor", "part")
    bot = pl.concat([one] * 25).with_columns(
        session_id=pl.lit("bot"),
        page=pl.lit("elsewhere"),
        step=pl.int_range(1, 26),
        t=pl.col("t") + pl.int_range(25) * 1_000_000,
    )
    old = one.with_columns(session_id=pl.lit("old"), t=pl.col("t") // 1_000)
    some = log.head(300).drop("visitor", "part")
    pl.concat([some, bot, old]).write_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr(sorted_log, "MEMORY", 1e-9)
    said = score_file(
        shop.folder, tmp_path / "log.parquet", tmp_path / "out.parquet", progress=False
    )
    found = pl.read_parquet(tmp_path / "out.parquet").sort("session_id")
    pd.testing.assert_frame_equal(
        found.to_pandas(),
        scorer.score(pl.concat([some, bot])).scores.sort("session_id").to_pandas(),
        rtol=1e-12,
        atol=1e-12,
    )
    assert said[
        0
    ] == "325 events read, 1 rejected (session with a time outside of the log's range: 1)" and any(
        "looks like milliseconds" in line for line in said
    )
    bot.write_parquet(tmp_path / "bot.parquet")
    with pytest.raises(ValueError, match="none of the 25 events is in a state that this run knows"):
        score_file(shop.folder, tmp_path / "bot.parquet", tmp_path / "none.parquet", progress=False)
    assert not (tmp_path / "none.parquet").exists()


@pytest.fixture
def judged(shop, tmp_path):
    "A copy of the run whose model was judged not fit for use, as the run writes it down."
    import shutil

    shutil.copytree(shop.folder, tmp_path / "run")
    run = Run(str(tmp_path / "run"))
    entry = json.loads((tmp_path / "run" / "models" / "manifest.json").read_text())["conversion"]
    keep = {
        name: value
        for name, value in entry.items()
        if name not in ("sha256", "type", "beside", "versions", "seal")
    }
    save_model(
        run,
        "conversion",
        load_model(run, "conversion"),
        about=keep
        | dict(
            fit_for_use=False,
            verdict="not fit for use: the test part holds 20 sessions with the outcome, at least 100 are needed",
        ),
    )
    return run


UNFIT = "do not use this model yet, it is not fit for use: the test part holds 20 sessions with the outcome, at least 100 are needed"


def test_scores_say_first_that_a_model_is_not_fit_for_use(judged, shop, log, tmp_path):
    "In the terminal, in the notes beside the file, and of a call; of a model that is fit, or that nobody judged, nothing."
    log.drop("visitor", "part").write_parquet(tmp_path / "log.parquet")
    said = score_file(judged.folder, tmp_path / "log.parquet", tmp_path / "out.csv", progress=False)
    assert (
        said[0] == UNFIT
        and said[-1] == f"written: {tmp_path / 'out.csv'} (with these notes: out-notes.txt)"
    )
    assert (tmp_path / "out-notes.txt").read_text().splitlines()[:2] == said[:2]
    scorer = Scorer.load(judged.folder)
    assert scorer.score(log.head(40)).sentences[0] == UNFIT
    assert Scorer.load(shop.folder).unfit() == []


def test_an_older_run_says_it_on_its_card(shop, tmp_path):
    old = shutil.copytree(shop.folder, tmp_path / "old")
    (old / "model_card.json").write_text(
        json.dumps(dict(fit_for_use=False, verdict="not fit for use: few"))
    )
    assert Scorer.load(old).unfit() == ["do not use this model yet, it is not fit for use: few"]


def test_sessions_that_the_model_has_learned_from_are_counted(shop, scorer, tmp_path):
    "By their ids, once each however many landmarks they get to; of those that were scored."
    events = load_events(shop, "all")
    learned, new = (
        events.filter(pl.col("part") == part)["session_id"].unique(maintain_order=True)
        for part in ("train", "test")
    )
    mixed = events.filter(
        pl.col("session_id").is_in(pl.concat([learned.head(30), new.head(50)]).implode())
    ).drop("visitor", "part")
    for landmarks in ("last", "every"):
        answers = scorer.score(mixed, landmarks)
        scored = answers.scores.drop_nulls("probability")["session_id"].unique()
        count = scored.is_in(learned.implode()).sum()
        sentence = f"the model has learned from {count:,} of the {len(scored):,} scored sessions (by session id): it has seen how they ended, and looks better on them than it is"
        assert 0 < count <= 30 and sentence in answers.sentences
        mixed.write_parquet(tmp_path / "mixed.parquet")
        assert sentence in score_file(
            shop.folder,
            tmp_path / "mixed.parquet",
            tmp_path / "out.parquet",
            landmarks,
            progress=False,
        )
    unseen = events.filter(pl.col("session_id").is_in(new.implode())).drop("visitor", "part")
    assert not any("learned from" in line for line in scorer.score(unseen).sentences)


def test_where_a_log_names_no_sessions_nobody_can_tell(own, tmp_path):
    "Visits that were cut at a silence are counted anew in each file; those of the run's own events are not."
    run, folder = own
    said = score_file(run.folder, folder / "log.csv", tmp_path / "a.csv", progress=False)
    assert (
        "whether the model has learned from some of these sessions is not known: the log has no session ids of its own"
        in said
    )
    kept = score_file(run.folder, run / "events.parquet", tmp_path / "b.csv", progress=False)
    assert any(line.startswith("the model has learned from ") for line in kept)


def test_a_log_is_never_replaced_by_notes(shop, tmp_path):
    (tmp_path / "a-notes.txt").write_text("session_id,t\n")
    with pytest.raises(ValueError, match="a name whose notes, a-notes.txt, would replace the log"):
        score_file(shop.folder, tmp_path / "a-notes.txt", tmp_path / "a.csv", progress=False)


def test_a_visit_takes_the_name_of_its_first_event(scorer, log):
    "A row of the log goes into a new visit as it is; the row of another session is refused, and without an id it is called live."
    first, second = (
        log.filter(pl.col("session_id") == name).drop("visitor", "part").to_dicts()
        for name in log["session_id"].unique(maintain_order=True)[:2]
    )
    visit = scorer.session()
    assert visit.add(first[0])["session_id"] == visit.session_id == first[0]["session_id"]
    assert (
        visit.add(
            {name: value for name, value in first[0].items() if name != "session_id"}
            | {"t": first[0]["t"] + 5_000_000}
        )["session_id"]
        == first[0]["session_id"]
    )
    with pytest.raises(ValueError, match=r"Open one for each: scorer.session\('"):
        visit.add(second[0])
    nameless = {name: value for name, value in first[0].items() if name != "session_id"}
    assert scorer.session().add(nameless)["session_id"] == "live"
    broken, number = scorer.session(), scorer.session()
    with pytest.raises(ValueError):
        broken.add(first[0] | {"event": "teleport"})
    assert (
        broken.add(second[0])["session_id"] == second[0]["session_id"]
    )  # what was not added names no visit
    assert number.add(first[0] | {"session_id": 12})["session_id"] == "12"


def test_a_run_that_was_allowed_more_is_scored_with_as_much(tmp_path):
    "A log of which a tenth cannot be read: allowed when the run was made, so when it scores; a smaller bound counts where it is given."
    raw = simulate(1_500, 3)
    lines = (
        raw.select(
            "session_id",
            "visitor_id",
            "t",
            "event",
            "item_id",
            "category",
            "price",
            "quantity",
            "channel",
            "device",
            "returning",
            "page",
        )
        .write_csv()
        .splitlines()
    )
    lines[1::10] = [
        line.replace("view", "glance").replace("cart", "glance") + ",too,many"
        for line in lines[1::10]
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    run = Run(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="max-rejected|max_rejected"):
        prepare(run, path=str(tmp_path / "log.csv"))
    prepare(run, path=str(tmp_path / "log.csv"), max_rejected=0.2)
    quick_conversion(run, folds=2)
    assert (
        Scorer.load(run.folder).allowed() == 0.2 and Scorer.load(run.folder).allowed(0.01) == 0.01
    )
    assert any(
        "rejected" in line
        for line in score_file(
            run.folder, tmp_path / "log.csv", tmp_path / "out.csv", progress=False
        )
    )
    assert len(Scorer.load(run.folder).read(tmp_path / "log.csv").rejected) > 0
    with pytest.raises(ValueError):
        score_file(
            run.folder,
            tmp_path / "log.csv",
            tmp_path / "out.csv",
            max_rejected=0.05,
            progress=False,
        )
