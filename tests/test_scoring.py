"""The Scorer across notebooks: live and batch, every source's own log, files in pieces, and what is refused."""
import gzip, json, threading

import numpy as np
import pandas as pd
import polars as pl
import pytest

from clickstream_conv import scoring
from clickstream_conv.classification import quick_conversion
from clickstream_conv.features import load_sessions, preprocess
from clickstream_conv.models import calibrate, make_model, on_odds, probability, session_starts
from clickstream_conv.runs import Run, load_model, save_model, write_json
from clickstream_conv.scoring import QuickColumns, Scorer, score_file
from clickstream_conv.simulate import simulate
from clickstream_conv.sources import load_events, prepare

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
def scorer(shop): return Scorer.load(shop.folder)

@pytest.fixture(scope="module")
def log(shop): return load_events(shop, "test")

@pytest.fixture(scope="module")
def own(tmp_path_factory):
    "A run of a log of one's own: no session ids, times to the second, and its own words."
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.yaml").write_text(MAPPING)
    words = dict(view="look", cart="put", remove="drop", checkout="till", purchase="pay", other="scroll")
    raw = simulate(1_500, 3).select(who="visitor_id", at=pl.from_epoch("t", "us").dt.to_string("%Y-%m-%d %H:%M:%S"), what=pl.col("event").replace(words), thing="item_id", shelf="category",
                                            cost="price", pieces="quantity", machine="device", url="page")
    raw.write_csv(folder / "log.csv")
    run = Run(str(folder / "run"))
    prepare(run, source=str(folder / "mine.yaml"), path=str(folder / "log.csv"))
    write_json(run, "run.json", dict(source="mine", parameters=dict(source=str(folder / "mine.yaml"))))
    quick_conversion(run, folds=2)
    return run, folder


def test_every_prefix_live_is_batch(scorer, log):
    "Two hundred sessions, every prefix: the same numbers event by event and in one call."
    names = log["session_id"].unique(maintain_order=True)[:200]
    events = log.filter(pl.col("session_id").is_in(names.implode()), pl.col("step") <= 20)
    batch = scorer.score(events, "every")
    for (name,), part in events.group_by("session_id", maintain_order=True):
        visit = scorer.session(name)
        for event in part.to_dicts(): visit.add(event)
        live, together = pl.DataFrame(visit.answers, schema=batch.schema), batch.filter(pl.col("session_id") == name)
        assert live.drop("probability").equals(together.drop("probability"))
        np.testing.assert_allclose(live["probability"].to_numpy(), together["probability"].to_numpy(), rtol=0, atol=1e-9)

def test_later_events_change_no_earlier_answer(scorer, log):
    "An answer at a landmark does not depend on what came after."
    whole = scorer.score(log, [1, 2, 3]).filter(pl.col("status") == "scored")
    cut = scorer.score(log.filter(pl.col("step") <= 3), [1, 2, 3]).filter(pl.col("status") == "scored")
    both = whole.join(cut, on=["session_id", "landmark"])
    assert len(both) == len(cut)
    np.testing.assert_allclose(both["probability"], both["probability_right"], rtol=0, atol=1e-12)

def test_the_level_of_the_latest_sessions_is_scored(shop, tmp_path):
    "A model whose level was moved is kept, loaded and quickened with it."
    rows, run = load_sessions(shop), Run(str(tmp_path / "run"))
    model = calibrate(make_model("logistic regression", rows), rows, "none", folds=2, starts=session_starts(load_events(shop)))
    assert model.level_["since"] and model.level_["sessions"] > 100
    model.level_["shift"] = -0.5
    save_model(run, "conversion", model, about={})
    back, plain = load_model(run, "conversion"), probability(model.model_, rows)
    assert (probability(back, rows) == probability(model, rows)).all()
    np.testing.assert_allclose(probability(back, rows), on_odds(plain, -0.5))
    np.testing.assert_allclose(probability(scoring.quickened(back, probability, rows.head(50)), rows), on_odds(plain, -0.5), atol=1e-12)

def test_no_rows_no_answers(shop):
    rows = load_sessions(shop)
    columns = preprocess(rows, linear=False).fit(rows)
    assert QuickColumns(columns).transform(rows.head(0)).shape == (0, len(columns.get_feature_names_out()))

def test_own_log_without_sessions_in_pieces(own, monkeypatch):
    "Visits cut at silences come out the same however the file is cut; packed or not."
    run, folder = own
    scorer = Scorer.load(run.folder)
    expected = scorer.score(scorer.read(folder / "log.csv").events).sort("session_id")
    (folder / "log.csv.gz").write_bytes(gzip.compress((folder / "log.csv").read_bytes()))
    monkeypatch.setattr(scoring, "PIECE", 30_000)
    monkeypatch.setattr(scoring.line_pieces, "__defaults__", (30_000, True))
    for name in ("log.csv", "log.csv.gz"):
        score_file(run.folder, folder / name, folder / "out.parquet", progress=False)
        found = pl.read_parquet(folder / "out.parquet").sort("session_id")
        pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas(), rtol=1e-9)

def test_own_log_when_its_mapping_is_gone(own, tmp_path):
    "The run carries how its log is read; its mapping file may be anywhere or nowhere."
    run, folder = own
    score_file(run.folder, folder / "log.csv", tmp_path / "a.csv", progress=False)
    write_json(run, "run.json", dict(parameters=dict(source=str(tmp_path / "gone.yaml"))))
    try: score_file(run.folder, folder / "log.csv", tmp_path / "b.csv", progress=False)
    finally: write_json(run, "run.json", dict(parameters=dict(source=str(folder / "mine.yaml"))))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()

def test_events_of_a_run_score_as_the_log(own):
    run, folder = own
    score_file(run.folder, run / "events.parquet", folder / "a.parquet", progress=False)
    score_file(run.folder, folder / "log.csv", folder / "b.parquet", progress=False)
    assert pl.read_parquet(folder / "a.parquet").sort("session_id").equals(pl.read_parquet(folder / "b.parquet").sort("session_id"))

def test_a_json_array_scores_as_its_lines(shop, log, tmp_path):
    plain = log.drop("step", "visitor", "part").head(200)
    plain.write_json(tmp_path / "a.json")
    plain.write_ndjson(tmp_path / "b.jsonl")
    for name in ("a.json", "b.jsonl"): score_file(shop.folder, tmp_path / name, tmp_path / f"{name}.parquet", progress=False)
    assert pl.read_parquet(tmp_path / "a.json.parquet").equals(pl.read_parquet(tmp_path / "b.jsonl.parquet"))

def test_null_ids_repeats_and_disorder(scorer, log):
    some = log.head(60)
    messy = pl.concat([some.sample(fraction=1, shuffle=True, seed=1), some.head(3), some.head(2).with_columns(session_id=pl.lit(None, pl.String))])
    assert scorer.score(messy).equals(scorer.score(some))
    scorer.score(messy)
    assert scorer.said[0] == "5 events left out: exact repeat (3), no session_id (2)"

@pytest.mark.parametrize("change, message", [
    (lambda e: e.drop("page", "device"), "have no device, page"), (lambda e: e.with_columns(price=pl.lit("9,90")), "column 'price' should hold"),
    (lambda e: e.with_columns(event=pl.lit("look")), "unknown event name"), (lambda e: e.head(0), "no events to score"),
    (lambda e: e.with_columns(page=pl.lit("elsewhere")), "events of another log"), (lambda e: e.with_columns(session_id=pl.lit(None, pl.String)), "no session_id"),
    (lambda e: {"event": "view"}, "one event was given"), (lambda e: 7, "must be a frame")])
def test_refused_events(scorer, log, change, message):
    with pytest.raises(ValueError, match=message): scorer.score(change(log))

@pytest.mark.parametrize("landmarks", [4, 0, [1, 4], "first", [], 21])
def test_refused_landmarks(scorer, log, landmarks):
    with pytest.raises(ValueError, match="trained at 1, 2, 3, 5, 8, 13"): scorer.score(log, landmarks)

def test_an_interrupted_file_leaves_the_old_one(shop, log, tmp_path, monkeypatch):
    log.write_parquet(tmp_path / "log.parquet")
    score_file(shop.folder, tmp_path / "log.parquet", tmp_path / "out.csv", progress=False)
    before = (tmp_path / "out.csv").read_bytes()
    monkeypatch.setattr(Scorer, "score", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt): score_file(shop.folder, tmp_path / "log.parquet", tmp_path / "out.csv", progress=False)
    assert (tmp_path / "out.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.parquet", "out.csv"]

def test_many_threads_get_their_own_answers(scorer, log):
    "One Scorer asked from several threads gives each what it asked for."
    parts = [part for _, part in log.group_by("session_id", maintain_order=True)][:24]
    expected, found = [scorer.score(p, "now") for p in parts], [None] * len(parts)
    def ask(i): found[i] = scorer.score(parts[i], "now")
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(parts))]
    for t in threads: t.start()
    for t in threads: t.join()
    assert all(a.equals(b) for a, b in zip(expected, found))
