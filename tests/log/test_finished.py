"""Rows that are a finished session each, said in a mapping: read, split, learned from, scored and checked."""

import json
import subprocess
from dataclasses import asdict

import polars as pl
import pytest
import yaml
from conftest import COMMAND
from reading import CASES, refusal

from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.features.sessions import build_sessions, load_sessions
from clickstream_conv.leaks.guard import guard_run
from clickstream_conv.log.contract import load_contract, mapping_from_json
from clickstream_conv.log.finished import read_finished
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text, write_mapping
from clickstream_conv.log.tables import read_table
from clickstream_conv.pipeline.source_commands import mapping_to_copy
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.sources.card import load_card
from clickstream_conv.sources.known import SOURCES
from clickstream_conv.sources.own import find_source, own_source
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_ready_made
from clickstream_conv.sources.understood import check_log

MAPPING = """\
ready_made: true
columns: {session_id: visit}
session_context: {views_in_visit: seen, amount_shown: shown, device: device, loyal: loyal, code: code, points: points}
label: sold
revenue: paid
kinds: {code: text, loyal: boolean}
suspects: [points]
"""
HEAD = "visit;who;day;seen;shown;device;loyal;code;points;sold;paid"


def rows_of(sessions=240):
    "Who sees more, buys; every fourth visit converts, and `points` is filled in for these alone."
    rows = []
    for n in range(sessions):
        bought = n % 4 == 0
        seen, device = 3 + n % 5 + 6 * bought - (n % 7 == 0) * 4, ("phone", "desk")[n % 3 == 0]
        paid = ("1.299,50", "20,00")[n % 8 == 0] if bought else ""
        rows.append(
            f"v{n};u{n // 2};2024-03-{1 + n // 10:02};{seen};1.0{n % 10}0,25;{device};{'TRUE' if n % 2 else 'FALSE'};{n % 3};{n + 1 if bought else ''};{'ja' if bought else 'nein'};{paid}"
        )
    return rows


def written(folder, rows=None, mapping=MAPPING, name="visits.csv"):
    "A log of visits and its mapping, as files."
    (folder / "visits.yaml").write_text(
        mapping + ("" if "outcome" in mapping else "outcome: {equals: ja}\n")
    )
    (folder / name).write_text("\n".join([HEAD, *(rows_of() if rows is None else rows)]) + "\n")
    return str(folder / "visits.yaml"), str(folder / name)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    "A run of finished sessions, with a model."
    folder = tmp_path_factory.mktemp("finished")
    mapping, log = written(folder)
    run = Run(str(folder / "run"))
    prepare(run, source=mapping, path=log)
    write_json(run, "run.json", dict(source="visits", parameters=dict(source=mapping)))
    build_sessions(run)
    quick_conversion(run, folds=2)
    return run, folder


def test_numbers_stay_numbers_and_words_words(learned):
    run, _ = learned
    read = pl.read_parquet(run / "sessions-read.parquet")
    kinds = dict(
        views_in_visit=pl.Float64,
        amount_shown=pl.Float64,
        device=pl.String,
        loyal=pl.Boolean,
        code=pl.String,
        points=pl.Float64,
    )
    assert {name: read.schema[name] for name in kinds} == kinds
    first = read.row(0, named=True)
    assert (first["session_id"], first["amount_shown"], first["revenue"], first["converted"]) == (
        "v0",
        1000.25,
        20.0,
        True,
    )
    assert read["revenue"].sum() == 30 * 20 + 30 * 1299.5
    card = load_card(run)
    assert (card.kind.has_events, card.sessions, card.buying_sessions, card.split) == (
        False,
        240,
        60,
        "by session",
    )
    assert card.orders["orders"] == 60 and card.orders["revenue"] == 39585.0
    assert load_sessions(run, "train")["revenue"].max() == 1299.5


def test_the_same_from_csv_parquet_and_json_lines(learned, tmp_path):
    run, folder = learned
    own = pl.read_parquet(run / "sessions-read.parquet")
    raw = read_table(folder / "visits.csv").drop("_row", "_broken", "_text", "_file", strict=False)
    raw.write_parquet(tmp_path / "visits.parquet")
    raw.write_ndjson(tmp_path / "visits.jsonl")
    for name in ("visits.parquet", "visits.jsonl"):
        other = Run(str(tmp_path / name.split(".")[1]))
        prepare(other, source=str(folder / "visits.yaml"), path=str(tmp_path / name))
        assert pl.read_parquet(other / "sessions-read.parquet").equals(own)


def test_the_contract_reads_alike(learned):
    run, folder = learned
    contract = load_contract(run)
    mapping = mapping_from_json(json.loads(json.dumps(asdict(contract.mapping))))
    assert mapping == contract.mapping and contract.source == ""
    own = read_ready_made(
        own_source(str(folder / "visits.yaml")), str(folder / "visits.csv")
    ).events
    assert read_finished(read_table(folder / "visits.csv"), mapping, "ja").events.equals(own)


def scores(run, path, out):
    "A file scored, and what was said."
    said = score_file(run.folder, str(path), str(out), progress=False)
    return pl.read_parquet(out), said


def test_scoring_needs_no_other_file_and_no_label(learned, tmp_path):
    "By the contract alone: the log's own columns, those of the run, a frame, a file without label and suspect."
    run, folder = learned
    moved = (folder / "visits.yaml").rename(folder / "away.yaml")
    try:
        own, said = scores(run, folder / "visits.csv", tmp_path / "a.parquet")
    finally:
        moved.rename(folder / "visits.yaml")
    assert own["session_id"].to_list() == [f"v{n}" for n in range(240)] and said[0].startswith(
        "240 sessions scored"
    )
    kept, _ = scores(run, run / "sessions-read.parquet", tmp_path / "b.parquet")
    assert kept.equals(own)
    lean = read_table(folder / "visits.csv").select(
        "visit", "seen", "shown", "device", "loyal", "code"
    )
    assert Scorer.load(run).score_sessions(lean).scores.equals(own)
    assert own["probability"].n_unique() > 5


def test_a_column_called_as_the_run_calls_another_is_not_taken_for_it(learned, tmp_path):
    "The log's own column counts, though another bears the run's name."
    run, folder = learned
    own, _ = scores(run, folder / "visits.csv", tmp_path / "a.parquet")
    frame = read_table(folder / "visits.csv").drop("_row").with_columns(views_in_visit=pl.lit("99"))
    assert (
        Scorer.load(run).score_sessions(frame).scores["probability"].to_list()
        == own["probability"].to_list()
    )


def test_rows_that_cannot_be_read_are_set_aside_when_scoring_too(learned, tmp_path):
    run, _ = learned
    rows = rows_of()
    rows[3] = (
        rows[3]
        .replace(";phone;", ";phone;")
        .replace("v3;u1;2024-03-01;", "v3;u1;2024-03-01;many-")
        .replace("v3;", "v3;")
    )
    _, log = written(tmp_path, rows)
    found, said = scores(run, log, tmp_path / "a.parquet")
    assert len(found) == 239 and "v3" not in found["session_id"]
    assert "1 row set aside (unparsable views_in_visit: 1)" in said
    written(tmp_path, [row.replace(";", ";x", 3) for row in rows])
    refusal(
        lambda: scores(run, log, tmp_path / "b.parquet"),
        "240 of 240 rows break the contract",
        "unparsable views_in_visit",
        "visits.csv",
    )
    refusal(
        lambda: Scorer.load(run).score_sessions(read_table(log).drop("seen")).scores,
        "the sessions have no views_in_visit",
    )


def test_the_whole_command_line(learned, tmp_path):
    "map --check and score, as one types them."
    run, folder = learned
    checked = subprocess.run(
        [*COMMAND, "map", str(folder / "visits.csv"), "--check", str(folder / "visits.yaml")],
        capture_output=True,
        text=True,
    )
    assert "sessions: 240; the log names no visitors; 60 converted (25.0%)" in checked.stdout, (
        checked.stderr
    )
    done = subprocess.run(
        [
            *COMMAND,
            "score",
            "--run",
            run.folder,
            "--events",
            str(folder / "visits.csv"),
            "--out",
            str(tmp_path / "s.csv"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "240 sessions scored" in done.stdout, done.stderr


def test_what_is_checked_before_a_run():
    said, refusal = check_log(
        CASES / "finished" / "visits.csv", find_source(str(CASES / "finished" / "visits.yaml"))
    )
    assert not refusal
    assert said[:4] == [
        "visits.csv, the log has no times: finished sessions, one a row",
        "sessions: 6; the log names no visitors; 2 converted (33.3%)",
        "set aside: 1 row, 14.3%: exact repeat (1)",
        "page_views: a number, from 1 to 9, 4.333 on average",
    ]


def test_visitors_and_days_decide_the_split(tmp_path):
    "With a visitor no visitor is on both sides; with a day the latest sessions are judged, and known visitors are no leak."
    mapping = MAPPING.replace("{session_id: visit}", "{session_id: visit, visitor_id: who}")
    source, log = written(tmp_path, mapping=mapping)
    run = Run(str(tmp_path / "by_visitor"))
    card = prepare(run, source=source, path=log)
    parts = pl.read_parquet(run / "sessions-read.parquet")
    assert (
        card.split == "by visitor"
        and parts.group_by("visitor").agg(pl.col("part").n_unique())["part"].max() == 1
    )
    source, log = written(
        tmp_path, mapping=mapping.replace("visitor_id: who", "visitor_id: who, t: day")
    )
    run = Run(str(tmp_path / "by_time"))
    card = prepare(run, source=source, path=log)
    parts = pl.read_parquet(run / "sessions-read.parquet")
    assert (
        card.split == "by time"
        and parts.filter(pl.col("part") == "train")["start"].max()
        < parts.filter(pl.col("part") == "test")["start"].min()
    )
    assert (card.first_day, card.last_day, card.resolution) == (
        "2024-03-01",
        "2024-03-24",
        "none",
    )
    build_sessions(run)
    assert "start" not in load_sessions(run, "train").columns
    assert not [f for f in guard_run(run) if f.column == "visitor"]


@pytest.mark.parametrize("suspects", ["[]", "[points]"])
def test_what_knows_the_outcome_is_found(tmp_path, suspects):
    "A column that is the label again, and one that is filled in afterwards, are leaks whether they are named or not."
    mapping = MAPPING.replace("points: points}", "points: points, thanked: thanked}").replace(
        "[points]", suspects
    )
    rows = [f"{row};{row.split(';')[9]}" for row in rows_of()]
    source, log = written(tmp_path, mapping=mapping)
    (tmp_path / "visits.csv").write_text("\n".join([f"{HEAD};thanked", *rows]))
    run = Run(str(tmp_path / "run"))
    card = prepare(run, source=source, path=log)
    build_sessions(run)
    found = {(f.column, f.severity) for f in guard_run(run)}
    assert ("points", "leak") in found and {column for column, _ in found} >= {"points", "thanked"}
    assert card.suspects == json.loads(suspects.replace("points", '"points"'))
    if card.suspects:
        said = quick_conversion(run, folds=2)
        assert (
            "points" not in said.get("features", [])
            and "points"
            not in json.loads((run / "models/manifest.json").read_text())["conversion"]["features"]
        )


REFUSED = {  # what a mapping or a log says: words of the refusal
    "label: sold\n": (
        "label: absent\n",
        "no column 'absent' in visits.csv",
        "Name the column of the outcome",
    ),
    "revenue: paid\n": ("revenue: absent\n", "no column 'absent' in visits.csv"),
    "kinds: {code: text, loyal: boolean}\n": (
        "kinds: {device: number}\n",
        "unparsable device in column 'device'",
        "'desk'",
    ),
    "suspects: [points]\n": ("suspects: [ponts]\n", "suspects names 'ponts'"),
    "ready_made: true\n": ("ready_made: perhaps\n", "ready_made is 'perhaps'"),
}


@pytest.mark.parametrize("old", REFUSED)
def test_refused_mappings(tmp_path, old):
    new, *words = REFUSED[old]
    source, log = written(tmp_path, mapping=MAPPING.replace(old, new))
    refusal(lambda: prepare(Run(str(tmp_path / "run")), source=source, path=log), *words)


LABELS = {  # words of the label: the outcome that is stated, and words of the refusal; none where it is read
    ("ja", "nein"): ("", 'State it, such as outcome: {equals: "nein"}'),
    ("TRUE", "FALSE"): ("", ""),
    ("1", "0"): ("", ""),
    ("yes", "no"): ("", ""),
    ("1.0", "0.0"): ("", ""),
    ("Y", "n"): ("", ""),
    ("no", "yes"): ('outcome: {equals: "no"}\n', ""),
    ("1", "1"): ("", "is '1' in every row, so there is nothing to predict"),
    ("", ""): ("", "is empty in every row"),
}


@pytest.mark.parametrize("words", LABELS)
def test_words_of_a_label(tmp_path, words):
    stated, wrong = LABELS[words]
    rows = [
        row.replace(";ja;", f";{words[0]};").replace(";nein;", f";{words[1]};") for row in rows_of()
    ]
    _, log = written(tmp_path, rows)
    (tmp_path / "visits.yaml").write_text(MAPPING + stated)
    source = own_source(str(tmp_path / "visits.yaml"))
    if wrong:
        refusal(
            lambda: read_ready_made(source, log), "column 'sold' in visits.csv, the label,", wrong
        )
    else:
        assert read_ready_made(source, log).events["converted"].sum() == 60


def test_a_label_of_three_words_is_refused_and_a_missing_one_set_aside(tmp_path):
    rows = rows_of()
    rows[1] = rows[1].replace(";nein;", ";;")
    source, log = written(tmp_path, rows)
    assert read_ready_made(own_source(source), log).reasons() == {"no label": 1}
    rows[1] = rows[1].replace(";;", ";vielleicht;", 1).replace(";vielleicht;;", ";vielleicht;")
    rows[1] = rows_of()[1].replace(";nein;", ";vielleicht;")
    _, log = written(tmp_path, rows)
    refusal(
        lambda: read_ready_made(own_source(source), log),
        "holds 3 different values ('ja', 'nein', 'vielleicht'), and a label has two",
    )


def test_money_without_a_conversion_is_no_session_to_learn_from(tmp_path):
    rows = rows_of()
    for n in (1, 2):
        rows[n] += "5,00"
    source, log = written(tmp_path, rows)
    assert read_ready_made(own_source(source), log).reasons() == {"revenue without a conversion": 2}
    for n in (4, 8, 12, 16):
        rows[n] = rows[n].rsplit(";", 1)[0] + ";teuer"
    _, log = written(tmp_path, rows)
    refusal(
        lambda: read_ready_made(own_source(source), log),
        "4 of 60 purchase rows would be lost",
        "unparsable revenue in column 'paid'",
        "'teuer'",
    )


def test_a_mapping_of_events_says_how_finished_sessions_are_said(tmp_path):
    (tmp_path / "m.yaml").write_text(
        "columns: {session_id: visit}\nsession_context: [device]\noutcome: {kind: label, column: sold}\n"
    )
    refusal(
        lambda: own_source(str(tmp_path / "m.yaml")),
        "which only a log of finished sessions has: ready_made: true, label: COLUMN",
    )
    (tmp_path / "m.yaml").write_text("columns: {session_id: visit}\nlabel: sold\n")
    refusal(lambda: own_source(str(tmp_path / "m.yaml")), "State ready_made: true with it")
    (tmp_path / "m.yaml").write_text(MAPPING + "outcome: {kind: event}\n")
    refusal(lambda: own_source(str(tmp_path / "m.yaml")), "Leave kind and column out of outcome")


def test_rows_of_several_moments_are_no_finished_sessions(tmp_path):
    "Of the shop log of 2013 the last row of each session is one: 60 sessions, 40 with an order."
    log = CASES / "research" / "17_dmc2013" / "transact_train.txt"
    given = dict(
        ready_made=True,
        columns=dict(session_id="sessionNo"),
        session_context=dict(
            in_basket="bCount", clicks="cCount", spent="bSumPrice", seconds_in_visit="duration"
        ),
        label="order",
        null_words=["?"],
        delimiter="|",
    )
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(given))
    refusal(
        lambda: read_ready_made(own_source(str(tmp_path / "m.yaml")), str(log)),
        "session_id '1' stands in several rows that differ",
        "60 such ids",
    )
    given["sql"] = (
        "SELECT * FROM log QUALIFY row_number() OVER (PARTITION BY sessionNo ORDER BY duration::DOUBLE DESC) = 1 ORDER BY sessionNo::INT"
    )
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(given))
    found = read_ready_made(own_source(str(tmp_path / "m.yaml")), str(log)).events
    assert (len(found), found["converted"].sum(), found["in_basket"].dtype) == (60, 40, pl.Float64)


def test_the_built_in_log_can_be_said_in_yaml(tmp_path):
    "uci-shoppers reads alike by its own mapping, printed and read back."
    (tmp_path / "copy.yaml").write_text(mapping_to_copy("uci-shoppers"))
    source = SOURCES["uci-shoppers"]
    assert (
        load_mapping(tmp_path / "copy.yaml")
        == source.mapping
        == mapping_from_text(write_mapping(source.mapping))
    )
    header = [*source.mapping.session_context.values(), "Revenue"]
    rows = [
        dict.fromkeys(header, str(n % 3))
        | dict(
            Month="Feb",
            VisitorType="New_Visitor",
            Weekend="FALSE",
            Revenue="TRUE" if n % 2 else "FALSE",
            PageValues=str(n),
        )
        for n in range(40)
    ]
    (tmp_path / "log.csv").write_text(
        "\n".join(
            ";".join(map(str, line))
            for line in [header, *(row.values() for row in [*rows, rows[0]])]
        )
    )
    one, other = (
        read_ready_made(s, str(tmp_path / "log.csv"))
        for s in (source, own_source(str(tmp_path / "copy.yaml")))
    )
    assert (
        one.events.equals(other.events)
        and one.reasons() == other.reasons() == {"exact repeat": 1}
        and one.events["month"].dtype == pl.String
    )
