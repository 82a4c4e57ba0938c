"""A run carries how its log is read, and training and every way of scoring keep the same rows of it."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from conftest import warm
from everywhere import set_everywhere

from clickstream_conv.app.mapping_form import read_upload
from clickstream_conv.app.uploads import first_look
from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.log import csv_files as readers
from clickstream_conv.log.contract import CONTRACT, load_contract, mapping_note
from clickstream_conv.log.values import SECOND
from clickstream_conv.scoring import sorted_log
from clickstream_conv.scoring.events import validate_events
from clickstream_conv.scoring.scorer import score_file, Scorer
from clickstream_conv.scoring.sorted_log import sort_log
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.sources.own import contract_for, find_source, own_source, source_of
from clickstream_conv.sources.prepare import prepare
from clickstream_conv.sources.reading import read_source

CASES = Path(__file__).parent / "cases" / "reports"


def learned(folder, source, path):
    "A run with a model, made from a mapping file."
    run = Run(str(folder))
    prepare(run, source=str(source), path=str(path), max_rejected=1.0)
    write_json(run, "run.json", dict(source=Path(source).stem, parameters=dict(source=str(source))))
    quick_conversion(run, folds=2)
    return run


def scores_of(run, log, out, **options):
    "A file scored by the library, its sessions in order."
    score_file(run.folder, log, out, progress=False, **options)
    return pl.read_parquet(out).sort("session_id")


@pytest.fixture(scope="module")
def case_14(tmp_path_factory):
    "A run by m.yaml, in a folder of its own."
    folder = tmp_path_factory.mktemp("edited")
    shutil.copytree(CASES / "14_mapping_edited_later", folder, dirs_exist_ok=True)
    return learned(folder / "RUN", folder / "m.yaml", folder / "log.csv"), folder


# What a run carries


def test_a_mapping_that_is_edited_or_gone_changes_no_answer(case_14, tmp_path):
    "Case 14: the run scores by what it learned with, names the difference, and needs no other file."
    run, folder = case_14
    learned_with = (folder / "m.yaml").read_text()
    before = scores_of(run, folder / "log.csv", tmp_path / "a.parquet")
    assert mapping_note(run.folder) == ""
    (folder / "m.yaml").write_text((folder / "m_after.yaml").read_text())
    done = warm(
        "score",
        "--run",
        run.folder,
        "--events",
        folder / "log.csv",
        "--out",
        tmp_path / "b.parquet",
        cwd=tmp_path,
    )
    assert "m.yaml has changed since this run learned (columns, session_context)" in done.stderr
    assert pl.read_parquet(tmp_path / "b.parquet").sort("session_id").equals(before)
    (folder / "m.yaml").unlink()
    assert mapping_note(run.folder) == ""
    assert scores_of(run, folder / "log.csv", tmp_path / "c.parquet").equals(before)
    moved = shutil.copytree(run.folder, tmp_path / "elsewhere")
    (moved / "run.json").unlink()
    shutil.copy(folder / "log.csv", tmp_path / "log.csv")
    assert scores_of(Run(str(moved)), tmp_path / "log.csv", tmp_path / "d.parquet").equals(before)
    (folder / "m.yaml").write_text(learned_with)


def test_a_remark_in_the_mapping_is_no_difference(case_14):
    run, folder = case_14
    learned_with = (folder / "m.yaml").read_text()
    (folder / "m.yaml").write_text(
        '# a remark\ntime_format: "%Y-%m-%d %H:%M:%S%.f"\n' + learned_with
    )
    assert mapping_note(run.folder) == ""
    (folder / "m.yaml").write_text(learned_with + "duplicates: reject\n")
    assert "(duplicates)" in mapping_note(run.folder)
    (folder / "m.yaml").write_text("columns: [")
    assert "can no longer be read" in mapping_note(run.folder)
    (folder / "m.yaml").write_text(learned_with)


def test_the_form_of_times_is_the_one_found_in_training(tmp_path):
    "Case 22: 05/06/2024 alone may be two days; the run's own log had told which."
    for name in ("log.csv", "m.yaml", "new.csv"):
        shutil.copy(CASES / "22_score_day_or_month" / name, tmp_path / name)
    run = learned(tmp_path / "RUN", tmp_path / "m.yaml", tmp_path / "log.csv")
    assert load_contract(run).rules.time_format == "%d/%m/%Y %H:%M:%S"
    days = (
        Scorer.load(run)
        .read(tmp_path / "new.csv")
        .events.select(pl.from_epoch("t", "us").dt.date())
        .to_series()
        .unique()
    )
    assert days.dt.month().unique().to_list() == [6]
    assert len(scores_of(run, tmp_path / "new.csv", tmp_path / "a.parquet")) > 0
    (tmp_path / "iso.csv").write_text(
        (tmp_path / "new.csv").read_text().replace("05/06/2024", "2024-06-05")
    )
    said = r"no time can be read, e.g. '2024-06-05 09:00:00'. The run's own log writes times as '%d/%m/%Y %H:%M:%S'"
    with pytest.raises(ValueError, match=said):
        score_file(run.folder, tmp_path / "iso.csv", tmp_path / "b.parquet", progress=False)
    scorer, data = Scorer.load(run), (tmp_path / "iso.csv").read_bytes()
    look = first_look(data, "iso.csv", scorer)
    with pytest.raises(ValueError, match=said):
        read_upload(data, "iso.csv", look.source, scorer)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: [],
        lambda kept: 7,
        lambda kept: kept | {"form": 99},
        lambda kept: {k: v for k, v in kept.items() if k != "mapping"},
        lambda kept: kept | {"extra": 1},
        lambda kept: kept | {"source": ["demo"]},
        lambda kept: kept | {"source": "no such"},
        lambda kept: kept | {"source": "uci-shoppers"},
        lambda kept: kept | {"mapping": []},
        lambda kept: kept | {"mapping": kept["mapping"] | {"columns": {"prices": "p"}}},
        lambda kept: (
            kept
            | {
                "mapping": kept["mapping"]
                | {"rules": kept["mapping"]["rules"] | {"kinds": {"device": "colour"}}}
            }
        ),
        lambda kept: (
            kept
            | {"mapping": kept["mapping"] | {"rules": kept["mapping"]["rules"] | {"kinds": None}}}
        ),
        lambda kept: (
            kept
            | {
                "mapping": kept["mapping"]
                | {"rules": kept["mapping"]["rules"] | {"gap_minutes": "long"}}
            }
        ),
        lambda kept: (
            kept | {"mapping": kept["mapping"] | {"session_context": {"device": ["a", "b"]}}}
        ),
    ],
)
def test_a_damaged_contract_is_refused_in_a_sentence(case_14, tmp_path, change):
    run, folder = case_14
    other = shutil.copytree(run.folder, tmp_path / "other")
    (other / CONTRACT).write_text(json.dumps(change(json.loads((other / CONTRACT).read_text()))))
    with pytest.raises(
        ValueError,
        match="is damaged.*Make the run again|names the reader .*Make the run again|is not the one that the model",
    ):
        score_file(str(other), folder / "log.csv", tmp_path / "a.parquet", progress=False)


def test_a_run_without_a_contract_is_refused(case_14, tmp_path):
    run, folder = case_14
    other = shutil.copytree(run.folder, tmp_path / "older")
    (other / CONTRACT).unlink()
    with pytest.raises(
        ValueError,
        match="made before runs carried that.*Make the run again: clickstream-conv run --out .* --fresh",
    ):
        Scorer.load(other)


@pytest.mark.parametrize(
    "name", ["demo", "rees46", "uci-eshop", "uci-shoppers", "yoochoose", "retailrocket", "ga4"]
)
def test_every_known_source_is_carried_whole(name, tmp_path):
    "What is kept of a source reads back as the same source."
    from clickstream_conv.log.contract import write_contract

    source, run = find_source(name), Run(str(tmp_path))
    write_contract(run, contract_for(source, source.mapping.rules))
    back = source_of(
        load_contract(run),
        LogCard(name, source.title, outcome=source.outcome(), state=source.state, kind=source.kind),
    )
    assert (back.reader, back.prepare, back.ready_made) == (
        source.reader,
        source.prepare,
        source.ready_made,
    )
    assert back.mapping.columns == source.mapping.columns and back.context == source.context
    assert replace(
        back.mapping.rules, kinds={}, duplicates=source.mapping.rules.duplicates
    ) == replace(source.mapping.rules, kinds={})


def test_an_edited_mapping_runs_the_stages_again(tmp_path):
    "The same command on the same folder, with another mapping: the log is read anew, and the contract with it."
    shutil.copytree(CASES / "14_mapping_edited_later", tmp_path, dirs_exist_ok=True)
    words = (
        "run",
        "--source",
        "m.yaml",
        "--path",
        "log.csv",
        "--out",
        "RUN",
        "--until",
        "02_sources",
        "--no-report",
    )
    warm(*words, cwd=tmp_path)
    first = load_contract(Run(str(tmp_path / "RUN")))
    assert "nothing to do" in warm(*words, cwd=tmp_path).said
    (tmp_path / "m.yaml").write_text((tmp_path / "m_after.yaml").read_text())
    assert "02_sources: the log changed" in warm(*words, cwd=tmp_path).said
    second = load_contract(Run(str(tmp_path / "RUN")))
    assert (first.mapping.columns["price"], second.mapping.columns["price"]) == (
        "price",
        "quantity",
    )
    assert (
        CONTRACT
        in json.loads((tmp_path / "RUN" / "run.json").read_text())["stages"]["02_sources"]["files"]
    )


# The same rows, in the same order, whoever reads them

WORDS = dict(look="view", add="cart", drop="remove", buy="purchase", scroll="other", hover="other")
START = 1_772_323_200 * SECOND  # 2026-03-01


def random_rows(rng, sessions, faults=True):
    "Rows of a log in the order of their arrival: what each means, and what is wrong with it."
    rows = []
    for s in range(sessions):
        t = START + s * 3_600 * SECOND // 4
        for k in range(rng.randint(1, 7)):
            t += rng.choice([0, 0, 1_000, 2_000_000, 60_000_000])
            word = rng.choice(
                ["look", "look", "look", "add", "drop", "scroll", "hover"] + ["buy"] * (s % 2)
            )
            rows.append(
                dict(
                    sid=100 + s,
                    who=s // 2,
                    at=t,
                    what=word,
                    sku=rng.choice([1, 2, 3, None]),
                    shelf=rng.choice(["a", " b", None]),
                    cost=rng.choice([9.9, 10.0, 0.0, None]),
                    pieces=rng.choice([1, 2, None]),
                    depth=rng.choice([0.5, 3.0, None]),
                    theme=rng.choice(["7", "dark", "7.5", None]),
                    n=k + 1,
                )
            )
            if faults and rng.random() < 0.25:
                rows.append(dict(rows[-1]))
            if faults and word == "scroll":
                rows.append(rows[-1] | dict(what="hover"))  # another word that means the same
            if faults and rng.random() < 0.1:
                rows.append(
                    rows[-1]
                    | rng.choice(
                        [
                            dict(sid=None),
                            dict(at=None),
                            dict(what="teleport"),
                            dict(what=None),
                            dict(cost=-1.0),
                            dict(pieces=0),
                            dict(pieces=2.5),
                        ]
                    )
                )
    return rows


KINDS = dict(
    sid=pl.Int64,
    who=pl.Int64,
    at=pl.Int64,
    what=pl.String,
    sku=pl.Int64,
    shelf=pl.String,
    cost=pl.Float64,
    pieces=pl.Float64,
    depth=pl.Float64,
    theme=pl.String,
    n=pl.Int64,
)


def log_files_of(rows, folder, rng, typed):
    "The same log as CSV, Parquet and JSON lines; ids may have gone through a float, and times may be held as times."
    table = pl.DataFrame(rows, schema=KINDS, orient="row").with_columns(pl.from_epoch("at", "us"))
    if rng.random() < 0.5:
        table = table.with_columns(pl.col("sid", "sku").cast(pl.Float64))
    text = table.with_columns(pl.col("at").dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    text.write_csv(folder / "log.csv")
    (table if typed else text).write_parquet(folder / "log.parquet")
    text.write_ndjson(folder / "log.jsonl")
    return [folder / f"log.{ending}" for ending in ("csv", "parquet", "jsonl")]


def mapping_text(rng):
    "A mapping of such a log."
    order = rng.random() < 0.3
    text = (
        "columns: {session_id: sid, visitor_id: who, t: at, event: what, item_id: sku, category: shelf, price: cost, quantity: pieces"
        + (", order: n}" if order else "}")
    )
    words = {
        event: [word for word, meant in WORDS.items() if meant == event]
        for event in set(WORDS.values())
    }
    rules = f"\nresolution: {rng.choice(['us', 'ms', 's'])}\nduplicates: {rng.choice(['auto', 'auto', 'keep', 'reject'])}\n"
    return (
        text
        + f"\nevents: {json.dumps(words)}"
        + rules
        + "session_context: [theme]\nevent_context: [depth]\n"
    )


def as_events(rows, contract, card):
    "The rows as canonical events, faults and all, as somebody would hand them over who has no file."
    events = pl.DataFrame(rows, schema=KINDS, orient="row").select(
        session_id=pl.col("sid").cast(pl.String),
        visitor_id=pl.col("who").cast(pl.String),
        step="n",
        t="at",
        event=pl.col("what").replace(WORDS),
        item_id=pl.col("sku").cast(pl.String),
        category="shelf",
        price="cost",
        quantity="pieces",
        theme="theme",
        depth="depth",
    )
    return (
        events
        if contract.rules.kinds["depth"] == "number"
        else events.with_columns(pl.col("depth").cast(pl.String))
    )


def in_pieces(source, path, folder, name):
    "The events of a file that is scored a few lines at a time."
    parts = sort_log(source, str(path), False, folder / name, path.name).parts
    return pl.concat([part.events for part in parts]).sort("session_id", "step")


COMPARED = [
    "session_id",
    "step",
    "t",
    "event",
    "item_id",
    "category",
    "price",
    "quantity",
    "theme",
    "depth",
]


def numbered(rows):
    "The rows with the place that each has in its session by time and arrival."
    return [
        row | dict(n=place)
        for place, row in enumerate(sorted(rows, key=lambda row: row["at"] or 0), 1)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_training_and_scoring_keep_the_same_rows(seed, tmp_path, monkeypatch):
    "Files of three formats, whole and in pieces, and canonical events with and without steps: the rows that training keeps, in its order."
    set_everywhere(monkeypatch, readers, "PIECE", 700)
    set_everywhere(monkeypatch, sorted_log, "MEMORY", 1e-5)
    rng = random.Random(seed)
    (tmp_path / "mine.yaml").write_text(mapping_text(rng))
    rows = random_rows(rng, 12)
    files = log_files_of(rows, tmp_path, rng, typed=rng.random() < 0.5)
    source = own_source(str(tmp_path / "mine.yaml"))
    trained = read_source(source, str(rng.choice(files)), max_rejected=1.0)
    contract, card = (
        contract_for(source, trained.rules),
        LogCard(
            title="mine",
            source="mine",
            outcome=source.outcome(),
            session_context=["theme"],
            event_context=["depth"],
            resolution=source.mapping.rules.resolution,
        ),
    )
    same, expected = source_of(contract, card), trained.events.select(COMPARED)
    kinds, rules = contract.context_kinds, contract.rules
    for path in files:
        assert (
            read_source(same, str(path), max_rejected=1.0).events.select(COMPARED).equals(expected)
        ), path.name
        assert (
            in_pieces(same, path, tmp_path, f"of {path.suffix}").select(COMPARED).equals(expected)
        ), f"{path.name} in pieces"

    def sure(frame):
        return validate_events(frame, card, kinds, rules).events.select(COMPARED)

    assert sure(trained.events).equals(expected)
    if "order" in rules.kinds:
        assert sure(as_events(rows, contract, card)).equals(expected)
    else:
        assert sure(as_events(rows, contract, card).drop("step")).equals(expected)
        mixed = numbered(rows)
        rng.shuffle(mixed)
        assert sure(as_events(mixed, contract, card)).equals(expected)
        assert sure(trained.events.drop("step")).equals(expected)


@pytest.mark.parametrize(
    "seed, rules, trained_on",
    [
        (1, "resolution: ms", "log.parquet"),
        (2, "resolution: us\nduplicates: keep", "log.jsonl"),
        (3, "resolution: s", "log.csv"),
    ],
)
def test_training_and_scoring_give_the_same_answers(seed, rules, trained_on, tmp_path):
    "The run's own log, faults and repeats in it: the same answers by file, by frame with and without steps, and live event by event."
    rng = random.Random(seed)
    text = mapping_text(random.Random(9)).replace(", order: n}", "}")
    (tmp_path / "mine.yaml").write_text(
        "\n".join(
            line for line in text.splitlines() if not line.startswith(("resolution", "duplicates"))
        )
        + f"\n{rules}\n"
    )
    rows = random_rows(rng, 160)
    files = log_files_of(rows, tmp_path, rng, typed=False)
    run = learned(tmp_path / "run", tmp_path / "mine.yaml", tmp_path / trained_on)
    scorer = Scorer.load(run)
    events = pl.read_parquet(run / "events.parquet")
    expected = scorer.score(events).scores
    assert (
        expected["status"].value_counts().filter(pl.col("status") == "scored")["count"].item() > 50
    )
    for path in files:
        assert scores_of(run, path, tmp_path / "out.parquet", max_rejected=1.0).equals(expected), (
            path.name
        )
    assert scorer.score(events.drop("step")).scores.equals(expected)
    handed = as_events(rows, scorer.contract, scorer.card)
    assert scorer.score(handed.drop("step")).scores.equals(expected)
    assert scorer.score(as_events(numbered(rows), scorer.contract, scorer.card)).scores.equals(
        expected
    )
    now = scorer.score(events, "now").scores
    for name in now["session_id"].to_list()[:25]:
        visit = scorer.session(name)
        for event in handed.drop("step").filter(pl.col("session_id") == name).to_dicts():
            try:
                visit.add(event)
            except ValueError as error:
                assert "It was not added" in str(error)
        live = pl.DataFrame([visit.answers[-1]], orient="row", schema=now.schema)
        whole = now.filter(pl.col("session_id") == name)
        numbers = ("probability", "highest")
        assert live.drop(numbers).equals(whole.drop(numbers))
        assert abs((live["probability"].item() or 0) - (whole["probability"].item() or 0)) < 1e-9


def test_a_run_that_keeps_repeats_takes_them_live(tmp_path):
    "Two equal clicks in a log that keeps them: two events in training, in a frame and live; one where the log was rid of them."
    for name, count in (("keep", 3), ("reject", 2)):
        folder = tmp_path / name
        folder.mkdir()
        rng = random.Random(5)
        (folder / "mine.yaml").write_text(
            mapping_text(random.Random(9)).replace(", order: n}", "}").split("resolution")[0]
            + f"resolution: us\nduplicates: {name}\nsession_context: [theme]\nevent_context: [depth]\n"
        )
        files = log_files_of(random_rows(rng, 80), folder, rng, typed=False)
        scorer = Scorer.load(learned(folder / "run", folder / "mine.yaml", files[1]))
        one = dict(
            session_id="x",
            t=START,
            event="view",
            item_id="1",
            category="a",
            price=9.9,
            quantity=1,
            theme="dark",
            depth=3.0,
        )
        three = pl.DataFrame(
            [one, one | dict(t=START + SECOND), one | dict(t=START + SECOND)], orient="row"
        )
        assert scorer.score(three, "now").scores["events"].item() == count
        assert scorer.score(three.with_columns(step=pl.Series([1, 2, 3])), "now").scores.equals(
            scorer.score(three, "now").scores
        )
        assert scorer.score(three.with_columns(step=pl.Series([1, 2, 2])), "now").scores.equals(
            scorer.score(three, "now").scores
        )
        visit = scorer.session("x")
        for event in three.to_dicts()[:count]:
            answer = visit.add(event)
        assert answer["events"] == count
        if name == "reject":
            with pytest.raises(ValueError, match="exact repeat"):
                visit.add(three.row(2, named=True))


def test_a_number_in_training_is_a_number_in_scoring(tmp_path):
    "A context column of numbers, given as text, as an integer and as a float; a word among them is a fault of its row."
    source = tmp_path / "mine.yaml"
    source.write_text(mapping_text(random.Random(9)).replace(", order: n}", "}"))
    rng = random.Random(4)
    files = log_files_of(random_rows(rng, 20, faults=False), tmp_path, rng, typed=False)
    contract = contract_for(
        own_source(str(source)), read_source(own_source(str(source)), str(files[1])).rules
    )
    assert contract.context_kinds == dict(theme=pl.String, depth=pl.Float64)
    same = source_of(contract, LogCard("mine", "mine"))
    text = (tmp_path / "log.csv").read_text().splitlines()
    place = text[0].split(",").index("depth")
    fields = text[1].split(",")
    fields[place] = "far"
    (tmp_path / "far.csv").write_text("\n".join([text[0], ",".join(fields), *text[2:]]))
    checked = read_source(same, str(tmp_path / "far.csv"))
    assert checked.events["depth"].dtype == pl.Float64
    assert checked.rejected.select("reason", "column", "value").rows() == [
        ("unparsable depth", "depth", "far")
    ]


def test_numbers_of_a_table_are_not_read_as_text_with_a_comma(tmp_path):
    "A run that learned from a CSV with decimal commas reads the numbers of a Parquet file as they are."
    (tmp_path / "mine.yaml").write_text(
        'columns: {session_id: s, t: t, event: e, price: p}\ndecimal: ","\n'
    )
    (tmp_path / "log.csv").write_text(
        "s;t;e;p\n" + "".join(f"a;2026-03-01 10:00:0{i};view;{i},5\n" for i in range(6))
    )
    source = own_source(str(tmp_path / "mine.yaml"))
    trained = read_source(source, str(tmp_path / "log.csv"))
    same = source_of(
        contract_for(source, trained.rules),
        LogCard("mine", "mine"),
    )
    table = pl.DataFrame(
        dict(
            s=["a"] * 6,
            t=[f"2026-03-01 10:00:0{i}" for i in range(6)],
            e=["view"] * 6,
            p=[i + 0.5 for i in range(6)],
        )
    )
    table.write_parquet(tmp_path / "log.parquet")
    assert read_source(same, str(tmp_path / "log.parquet")).events.equals(trained.events)
    assert in_pieces(same, tmp_path / "log.parquet", tmp_path, "pieces").equals(trained.events)


@pytest.mark.parametrize(
    "name, log",
    [("rees46", "rees46-2019-10-sample.csv"), ("eshop", "uci-eshop-clothing-2008.csv")],
)
def test_a_run_reads_its_own_log_again_as_it_has_read_it(name, log, real_log, request):
    "Also where a source prepares its rows with code of its own: the contract names it, wherever the log lay."
    folder, _ = request.getfixturevalue(name)
    path, run = real_log(log), folder / "run"
    scorer = Scorer.load(run)
    kept = pl.read_parquet(run / "events.parquet", glob=False).sort("session_id", "step")
    assert scorer.contract.source
    read = scorer.read(str(path)).events.sort("session_id", "step")
    wanted = [column for column in read.columns if column in kept.columns]
    assert read.select(wanted).equals(kept.select(wanted))
    with path.open() as file:
        mark = ";" if ";" in file.readline() else ","
    raw = pl.read_csv(path, infer_schema=False, separator=mark, glob=False)
    some = raw.head(2_000)
    again = scorer.read(some, max_rejected=1.0).events
    joined = again.join(
        kept, on=["session_id", "t", "item_id", "event"], suffix="_kept", nulls_equal=True
    )
    assert len(joined) >= len(again)
    assert (joined["category"].fill_null("-") == joined["category_kept"].fill_null("-")).all()
