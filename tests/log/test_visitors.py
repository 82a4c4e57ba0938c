"""Ids that are one person: from a table of pairs or from the log's own columns, whole, in pieces and scored, and never told before they were known."""

import json
import shutil
from dataclasses import asdict

import polars as pl
import pytest
from reading import everywhere, refusal

from clickstream_conv.base.runs import Run, write_json
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.features.sessions import build_sessions
from clickstream_conv.leaks.guard import guard_run
from clickstream_conv.log.bots import BY_BEHAVIOUR
from clickstream_conv.log.contract import contract_of, load_contract, mapping_from_json
from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import load_mapping, mapping_from_text
from clickstream_conv.scoring.scorer import score_file
from clickstream_conv.sources.card import load_card
from clickstream_conv.sources.prepare import prepare

PAIRS = "same_visitor: {file: pairs.csv, from: anonymous_id, to: user_id}\n"
COLUMNS = "same_visitor: {from: anon, to: user}\n"
MAPPING = "columns: {session_id: sid, visitor_id: who, t: at, event: what, item_id: sku, price: price}\ntime_format: s\n"
NO_SESSIONS = MAPPING.replace("session_id: sid, ", "")
START = 1_709_283_600
MINUTE = 60


def rows_of(*visits):
    "Rows of a log: session, id, minute and what happened."
    return [
        f"{sid},{who},{START + minute * MINUTE},{what},p{minute % 3},5.00"
        for sid, who, minute, what in visits
    ]


def written(folder, rows, head="sid,who,at,what,sku,price", pairs=None):
    "A log, and a table of pairs beside it."
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text("\n".join([head, *rows]) + "\n")
    if pairs is not None:
        (folder / "pairs.csv").write_text("\n".join(["anonymous_id,user_id", *pairs]) + "\n")
    return folder / "log.csv"


def visitors(events):
    "Who each session belongs to, as its rows say it."
    return dict(
        events.group_by("session_id")
        .agg(pl.col("visitor_id").unique().sort())
        .sort("session_id")
        .iter_rows()
    )


STORY = rows_of(
    ("a", "g1", 0, "view"),
    ("a", "g1", 2, "cart"),
    ("b", "u1", 3, "view"),
    ("b", "u1", 5, "purchase"),
    ("c", "g2", 100, "view"),
    ("d", "g3", 200, "view"),
    ("e", "u9", 300, "view"),
    ("f", "other", 400, "view"),
)


def test_a_table_of_pairs_names_people(tmp_path):
    "Chains are followed, and only the visitor of a row changes."
    log = written(tmp_path / "log", STORY, pairs=["g1,u1", "g2,g1", "nobody-here,u5"])
    (tmp_path / "log" / "m.yaml").write_text(MAPPING + PAIRS)
    read = everywhere(log, tmp_path / "log" / "m.yaml", tmp_path)
    assert visitors(read.events) == dict(
        a=["u1"], b=["u1"], c=["u1"], d=["g3"], e=["u9"], f=["other"]
    )
    plain = read_log(log, mapping_from_text(MAPPING))
    assert read.events.drop("visitor_id").equals(plain.events.drop("visitor_id"))
    assert [note for note in read.notes if "same_visitor" in note] == [
        "same_visitor: 3 guest ids are 2 people, and 3 rows bear the person's id, those before the link was seen included. It looks ahead, to keep a person on one side of a split; "
        "no feature reads it, and visits hold no events of two ids that were not known to be one"
    ]


@pytest.mark.parametrize("mapping", [MAPPING, NO_SESSIONS], ids=["sessions", "visitors"])
def test_whole_in_pieces_and_scored_alike(tmp_path, mapping):
    "With sessions of the log's own and with visits that are cut, from a table and from columns."
    rows = [
        row
        for n in range(40)
        for row in rows_of(
            (f"a{n}", f"g{n}", 50 * n, "view"),
            (f"a{n}", f"g{n}", 50 * n + 1, "cart"),
            (f"a{n}", f"u{n % 7}" if n % 2 else f"g{n}", 50 * n + 4, "purchase"),
        )
    ]
    log = written(tmp_path / "table", rows, pairs=[f"g{n},u{n % 7}" for n in range(1, 40, 2)])
    (tmp_path / "table" / "m.yaml").write_text(mapping + PAIRS)
    whole = everywhere(log, tmp_path / "table" / "m.yaml", tmp_path)
    assert (
        whole.events["visitor_id"].n_unique() == 27 and whole.events["session_id"].n_unique() == 40
    )
    (tmp_path / "columns").mkdir()
    both = [
        f"{row},g{int(row.split(',')[0][1:])},{row.split(',')[1] if row.split(',')[1].startswith('u') else ''}"
        for row in rows
    ]
    log = written(tmp_path / "columns", both, "sid,who,at,what,sku,price,anon,user")
    read = everywhere(log, mapping + COLUMNS, tmp_path / "columns")
    assert read.events["visitor_id"].n_unique() == 27 and read.events["session_id"].n_unique() == 40


def test_pairs_that_contradict_or_run_in_a_circle_are_named(tmp_path):
    log = written(tmp_path, STORY, pairs=["g1,u1", "g1,u9", "g2,g3", "g3,g2", "u9,NULL", "f,f"])
    (tmp_path / "m.yaml").write_text(MAPPING + PAIRS)
    read = read_log(log, load_mapping(tmp_path / "m.yaml"))
    assert visitors(read.events) == {
        sid: [who] for sid, who in dict(a="g1", b="u1", c="g2", d="g3", e="u9", f="other").items()
    }
    assert read.notes == [
        "same_visitor: 1 ids are linked to several people and keep their own, e.g. 'g1'",
        "same_visitor: 2 ids are linked in a circle and keep their own, e.g. 'g2'",
    ]


def test_a_login_does_not_end_a_visit_and_two_devices_stay_two(tmp_path):
    "Where visits are cut: a guest's last row goes on as the person's first; events of two ids at the same time are never put together."
    story = rows_of(
        ("", "g1", 0, "view"),
        ("", "g1", 2, "cart"),
        ("", "u1", 3, "view"),
        ("", "u1", 5, "purchase"),
        ("", "u1", 500, "view"),
        ("", "phone", 501, "view"),
        ("", "u1", 502, "view"),
        ("", "phone", 503, "view"),
        ("", "u1", 510, "view"),
        ("", "phone", 2_000, "view"),
    )
    log = written(tmp_path, story, pairs=["g1,u1", "phone,u1"])
    (tmp_path / "m.yaml").write_text(NO_SESSIONS + PAIRS)
    read = read_log(log, load_mapping(tmp_path / "m.yaml"))
    assert read.events.group_by("session_id").agg(pl.col("t") // 60_000_000 - START // 60).sort(
        "session_id"
    ).rows() == [
        ("g1:1", [0, 2, 3, 5]),
        ("phone:1", [501, 503]),
        ("phone:2", [2000]),
        ("u1:2", [500, 502, 510]),
    ]
    assert read.events["visitor_id"].unique().to_list() == ["u1"]


def test_what_is_seen_so_far_does_not_depend_on_a_link(tmp_path):
    "Up to the login, the first events of every visit are the same with the pairs and without: nothing that is only known later is told."
    story = rows_of(
        *[
            ("", who, minute, "view")
            for n in range(30)
            for who, minute in (
                (f"g{n}", 90 * n),
                (f"g{n}", 90 * n + 1),
                (f"u{n % 3}", 90 * n + 2),
                (f"u{n % 3}", 90 * n + 3),
            )
        ]
    )
    log = written(tmp_path, story, pairs=[f"g{n},u{n % 3}" for n in range(30)])
    (tmp_path / "m.yaml").write_text(NO_SESSIONS + PAIRS)
    stitched, plain = (
        read_log(log, load_mapping(tmp_path / "m.yaml")).events,
        read_log(log, mapping_from_text(NO_SESSIONS)).events,
    )
    seen = stitched.filter(pl.col("step") <= 2).drop("visitor_id").sort("t")
    guests = plain.filter(pl.col("session_id").str.starts_with("g")).drop("visitor_id").sort("t")
    assert seen.equals(guests) and stitched["session_id"].n_unique() == 30


def test_the_log_itself_says_who_logged_in(tmp_path):
    "A guest's earlier visit bears the name that is known later; a tablet of two is whoever is logged in, and nobody's else; an order of the server's is its person's."
    story = [
        "a,x,0,view,g1,",
        "b,x,100,view,g1,u1",
        "b,x,101,purchase,g1,u1",
        "c,x,200,view,tablet,ann",
        "d,x,300,view,tablet,bob",
        "e,x,400,view,tablet,",
        "f,x,500,view,,u1",
        "g,x,600,view,NULL,u2",
        "h,x,700,view,g8,undefined",
    ]
    log = written(
        tmp_path,
        [
            f"{sid},{who},{START + int(m) * MINUTE},{what},p,5.00,{anon},{user}"
            for sid, who, m, what, anon, user in (line.split(",") for line in story)
        ],
        "sid,who,at,what,sku,price,anon,user",
    )
    read = everywhere(log, MAPPING + COLUMNS, tmp_path)
    assert visitors(read.events) == dict(
        a=["u1"], b=["u1"], c=["ann"], d=["bob"], e=["tablet"], f=["u1"], g=["u2"], h=["g8"]
    )
    assert any(
        "1 ids are linked to several people and keep their own, e.g. 'tablet'" in note
        for note in read.notes
    )
    (tmp_path / "cut").mkdir()
    cut = everywhere(log, NO_SESSIONS + COLUMNS, tmp_path / "cut")
    assert cut.events["session_id"].str.split(":").list.first().unique().sort().to_list() == [
        "g1",
        "g8",
        "tablet",
        "u1",
        "u2",
    ]


def test_a_log_in_which_nobody_logs_in_says_so(tmp_path):
    log = written(
        tmp_path,
        [f"{row},{row.split(',')[1]}," for row in STORY],
        "sid,who,at,what,sku,price,anon,user",
    )
    read = everywhere(log, MAPPING + COLUMNS, tmp_path)
    assert "same_visitor: no row holds a guest and a person, so every id is its own" in read.notes


@pytest.mark.parametrize(
    "text, words",
    [
        ("same_visitor: pairs.csv\n", ("same_visitor is 'pairs.csv'", "Write it like")),
        ("same_visitor: {file: ../pairs.csv, from: a, to: b}\n", ("without a folder",)),
        ("same_visitor: {from: anon}\n", ("has no to",)),
        ("same_visitor: {from: anon, to: anon}\n", ("name the same column",)),
        ("same_visitor: {from: anon, to: [a]}\n", ("should name a column",)),
    ],
)
def test_refused_mappings(text, words):
    refusal(lambda: mapping_from_text(MAPPING + text), *words)


def test_refused_tables(tmp_path):
    log = written(tmp_path, STORY)
    (tmp_path / "m.yaml").write_text(MAPPING + PAIRS)
    refusal(
        lambda: read_log(log, load_mapping(tmp_path / "m.yaml")),
        "log.csv: same_visitor names the file 'pairs.csv', which lies neither beside the mapping nor beside the log",
    )
    refusal(
        lambda: prepare(Run(str(tmp_path / "run")), source=str(tmp_path / "m.yaml"), path=str(log)),
        "lies neither beside the mapping nor beside the log",
    )
    (tmp_path / "pairs.csv").write_text("guest,user_id\ng1,u1\n")
    refusal(
        lambda: load_mapping(tmp_path / "m.yaml"),
        "no column 'anonymous_id' in pairs.csv, which same_visitor names; it has: guest, user_id",
    )
    refusal(
        lambda: mapping_from_text(MAPPING.replace("visitor_id: who, ", "") + COLUMNS),
        "columns has no visitor_id",
    )


def test_programs_are_judged_by_visits_that_go_on(tmp_path):
    "Six quick clicks of a guest and six of the person are one visit of twelve."
    quick = [f",{'g1' if n < 6 else 'u1'},{START},view,p,5.00" for n in range(12)]
    people = rows_of(*[("", f"p{n}", n, "view") for n in range(20)])
    log = written(tmp_path, [*quick, *people], pairs=["g1,u1"])
    (tmp_path / "m.yaml").write_text(NO_SESSIONS + PAIRS + "bots: drop\n")
    assert everywhere(log, tmp_path / "m.yaml", tmp_path).reasons() == {BY_BEHAVIOUR: 12}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    "A run whose visitors were stitched from a table of pairs, with visits cut at silence."
    folder = tmp_path_factory.mktemp("pairs")
    rows = [
        row
        for n in range(160)
        for row in rows_of(
            ("", f"g{n}", 200 * n, "view"),
            ("", f"g{n}", 200 * n + 1, "cart"),
            ("", f"u{n // 2}", 200 * n + 3, "purchase" if n % 3 == 0 else "view"),
        )
    ]
    log = written(folder, rows, pairs=[f"g{n},u{n // 2}" for n in range(160)])
    (folder / "m.yaml").write_text(NO_SESSIONS + PAIRS)
    run = Run(str(folder / "run"))
    prepare(run, source=str(folder / "m.yaml"), path=str(log))
    write_json(run, "run.json", dict(source="m", parameters=dict(source=str(folder / "m.yaml"))))
    build_sessions(run)
    quick_conversion(run, folds=2)
    return run, folder


def test_a_run_keeps_the_keys_and_no_ids(learned):
    run, _ = learned
    text, card = (run / "contract.json").read_text(), load_card(run)
    assert '"pairs.csv"' in text and "u1" not in text and "g1" not in text
    assert (card.sessions, card.visitors) == (160, 80) and not [
        f for f in guard_run(run) if f.column == "visitor"
    ]
    contract = load_contract(run)
    assert contract.rules.links is None and contract.mapping.same_visitor == dict(
        file="pairs.csv", **{"from": "anonymous_id", "to": "user_id"}
    )
    assert (
        mapping_from_json(
            json.loads(json.dumps(asdict(contract_of(contract.mapping, contract.rules).mapping)))
        )
        == contract.mapping
    )


def test_a_log_is_scored_with_the_pairs_that_lie_beside_it(learned, tmp_path):
    "The same visits as in training; without the table visits end at the login, and that is said."
    run, folder = learned
    said = score_file(
        run.folder, str(folder / "log.csv"), str(tmp_path / "a.parquet"), progress=False
    )
    own = pl.read_parquet(run / "events.parquet")["session_id"].unique().sort()
    assert pl.read_parquet(tmp_path / "a.parquet")["session_id"].unique().sort().equals(
        own
    ) and not any("no pairs.csv" in line for line in said)
    shutil.copy(folder / "log.csv", tmp_path / "log.csv")
    said = score_file(
        run.folder, str(tmp_path / "log.csv"), str(tmp_path / "b.parquet"), progress=False
    )
    assert "same_visitor: no pairs.csv lies beside the log, so every id is its own" in said
    assert len(pl.read_parquet(tmp_path / "b.parquet")) == 320
