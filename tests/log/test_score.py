"""A run scores logs, and events, by what it found in the log that it learned from."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from reading import refusal

from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.log.contract import load_contract
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.prepare import prepare

HEAD = "session,visitor,time,event,item,price,depth"
MAPPING = """\
columns: {session_id: session, visitor_id: visitor, t: time, event: event, item_id: item, price: price}
event_context: [depth]
missing_number: [-1]
"""


def rows_of(sessions=160):
    "Three events a session, two of them at one moment; every third one buys, some at more than a thousand."
    rows = []
    for n in range(sessions):
        day, last = (
            f"2024-03-{1 + n // 12:02} {8 + n % 12:02}",
            "purchase" if n % 3 == 0 else "view",
        )
        price = '"1,299.00"' if n % 2 else "19.90"
        visitor = "NULL" if n % 10 == 0 else f"u{n}"
        for place, event in enumerate(("view", "cart", last)):
            rows.append(
                f"s{n},{visitor},{day}:0{min(place, 1)}:00,{event},p{n % 7},{price},{-1 if place == 1 else n % 5}"
            )
    return rows


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    "A run with a model, and its folder."
    folder = tmp_path_factory.mktemp("learned")
    (folder / "m.yaml").write_text(MAPPING)
    (folder / "log.csv").write_text("\n".join([HEAD, *rows_of()]))
    run = Run(str(folder / "run"))
    prepare(run, source=str(folder / "m.yaml"), path=str(folder / "log.csv"))
    write_json(run, "run.json", dict(source="m", parameters=dict(source=str(folder / "m.yaml"))))
    quick_conversion(run, folds=2)
    return run, folder


def scores(run, path, out):
    "A file scored, its sessions in order, and what was said."
    said = score_file(run.folder, str(path), str(out), progress=False)
    return pl.read_parquet(out).sort("session_id"), said


def test_what_was_found_is_kept(learned):
    run, _ = learned
    rules = load_contract(run).rules
    assert rules.marks == dict(price=".,", depth=".") or rules.marks == dict(price=".,", depth=".,")
    assert rules.kinds["depth"] == "number" and "NULL" in rules.placeholders["visitor_id"]
    assert (
        rules.missing_number == [-1.0] and len(rules.plausible) == 2 and rules.newest_first is None
    )


def test_a_file_that_is_newest_first_is_scored_alike(learned, tmp_path):
    run, folder = learned
    (tmp_path / "new.csv").write_text("\n".join([HEAD, *reversed(rows_of())]))
    oldest, said = scores(run, folder / "log.csv", tmp_path / "a.parquet")
    newest, also = scores(run, tmp_path / "new.csv", tmp_path / "b.parquet")
    assert newest.equals(oldest) and len(oldest) == 160
    assert any(line.startswith("the log is newest first") for line in also) and not any(
        line.startswith("the log is newest") for line in said
    )
    assert any(line.startswith("48 rows have the visitor 'NULL'") for line in said)
    assert (
        Scorer.load(run)
        .score(pl.read_parquet(run / "events.parquet"))
        .scores.sort("session_id")
        .equals(oldest)
    )


@pytest.mark.parametrize("turned", [False, True])
def test_sessions_scored_in_two_halves_are_told_the_same(learned, tmp_path, turned):
    "One half holds prices such as 1,299.00 only, the other such as 19.90: what each of them means is in the contract."
    run, folder = learned
    whole, _ = scores(run, folder / "log.csv", tmp_path / "whole.parquet")
    found = []
    for half in (0, 1):
        rows = [row for row in rows_of() if int(row.split(",")[0][1:]) % 2 == half]
        if turned:
            rows.reverse()
        (tmp_path / "half.csv").write_text("\n".join([HEAD, *rows]))
        found.append(scores(run, tmp_path / "half.csv", tmp_path / "half.parquet")[0])
    assert_frame_equal(pl.concat(found).sort("session_id"), whole, rel_tol=1e-12, abs_tol=1e-12)


def test_a_file_that_loses_its_purchases_is_not_scored(learned, tmp_path):
    run, _ = learned
    rows = rows_of()
    bought = [place for place, row in enumerate(rows) if "purchase" in row and '"' in row][:20]
    for place in bought:
        rows[place] = rows[place].replace('"1,299.00"', "dear")
    (tmp_path / "log.csv").write_text("\n".join([HEAD, *rows]))
    refusal(
        lambda: scores(run, tmp_path / "log.csv", tmp_path / "a.parquet"),
        "log.csv: 20 of 54",
        "purchase rows would be lost",
        "unparsable price",
        "'dear'",
    )
    assert not (tmp_path / "a.parquet").exists()


def test_refunds_in_a_scored_file_are_no_loss(learned, tmp_path):
    run, _ = learned
    rows = [
        *rows_of(),
        *(f"s{n},u{n},2024-03-20 10:00:{n:02},purchase,p1,-19.90,1" for n in range(0, 60)),
    ]
    (tmp_path / "log.csv").write_text("\n".join([HEAD, *rows]))
    _, said = scores(run, tmp_path / "log.csv", tmp_path / "a.parquet")
    assert "60 rows are refunds (negative price); revenue is gross" in said


def test_events_handed_over_know_nobody_and_missing_numbers(learned):
    run, _ = learned
    scorer = Scorer.load(run)
    events = pl.read_parquet(run / "events.parquet").select(
        "session_id", "t", "event", "item_id", "category", "price", "quantity", "depth"
    )
    written = events.with_columns(depth=pl.col("depth").fill_null(-1))
    assert scorer.score(written).scores.equals(scorer.score(events).scores)
    nobody = pl.concat([events, events.head(1).with_columns(session_id=pl.lit("NULL"))])
    expected = scorer.score(events).scores
    answers = scorer.score(nobody)
    assert answers.scores.equals(expected)
    assert answers.left_out == {"no session_id": 1}


def test_events_that_differ_in_a_column_that_nobody_mapped_are_scored_as_they_were_learned(
    tmp_path,
):
    "With a clock of milliseconds repeats are left out, and what differs in any column of the log is none."
    rows = ["session,time,event,item,widget"]
    for n in range(160):
        day, last = (
            f"2024-03-{1 + n // 12:02}T{8 + n % 12:02}",
            "purchase" if n % 3 == 0 else "view",
        )
        rows += [
            f"s{n},{day}:00:00.250,view,p{n % 7},top",
            f"s{n},{day}:00:00.250,view,p{n % 7},bottom",
            f"s{n},{day}:00:00.250,view,p{n % 7},top",
            f"s{n},{day}:01:00.000,{last},p1,top",
        ]
    (tmp_path / "m.yaml").write_text(
        "columns: {session_id: session, t: time, event: event, item_id: item}\nresolution: ms\n"
    )
    (tmp_path / "log.csv").write_text("\n".join(rows))
    run = Run(str(tmp_path / "run"))
    prepare(run, source=str(tmp_path / "m.yaml"), path=str(tmp_path / "log.csv"), max_rejected=0.5)
    write_json(run, "run.json", dict(source="m", parameters=dict(source=str(tmp_path / "m.yaml"))))
    quick_conversion(run, folds=2)
    events = pl.read_parquet(run / "events.parquet")
    assert len(events) == 3 * 160
    scored, said = scores_of_all(run, tmp_path / "log.csv", tmp_path / "a.parquet")
    assert (
        scored["events"].unique().to_list() == [3]
        and said[0] == "480 events read, 160 rejected (exact repeat: 160)"
    )
    assert Scorer.load(run).score(events).scores.sort("session_id").equals(scored)
    assert scores_of_all(run, run / "events.parquet", tmp_path / "b.parquet")[0].equals(scored)


def scores_of_all(run, path, out):
    "A file scored whatever it loses."
    said = score_file(run.folder, str(path), str(out), max_rejected=0.5, progress=False)
    return pl.read_parquet(out).sort("session_id"), said
