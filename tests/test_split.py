"""The split on logs whose visitors return: who is learned from, who is judged, and what a model must show before it is called fit for use."""

import random
import shutil
from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import FEW_PICTURES, made_once, metrics, QUICK, warm
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from clickstream_conv.base.runs import Run
from clickstream_conv.leaks.both_sides import twin_rows
from clickstream_conv.models.kept import load_model
from clickstream_conv.sources.card import load_events
from clickstream_conv.sources.prepare import load_visitor_groups, prepare

MAPPING = """\
columns: {session_id: sid, visitor_id: who, t: when, event: what, item_id: sku, category: kind, price: price}
events: {view: [look], cart: [add], purchase: [buy]}
time_format: "%Y-%m-%d %H:%M:%S"
session_context: {paid: paid}
"""
RETENTIONEERING = """\
columns: {session_id: session_id, visitor_id: user_id, t: timestamp, event: event}
events: {view: [product_view], cart: [add_to_cart], checkout: [shipping_details, payment_details], purchase: [purchase], other: "*"}
time_format: "%Y-%m-%d %H:%M:%S%.f"
"""


def returning_log(folder, named=True):
    "A shop of 230 visitors: 150 come four times and buy more often later, 80 come once, near the end; `paid` gives the outcome away."
    chance, rows = random.Random(0), []
    for v in range(230):
        for visit in range(4 if v < 150 else 1):
            begin = datetime(2024, 3, 1, 8) + timedelta(
                days=10 * (visit if v < 150 else 3) + v % 10, minutes=v
            )
            buys = chance.random() < (0.3 if v >= 150 else 0.1 + 0.15 * visit)
            adds = buys if chance.random() < 0.8 else not buys
            steps = ["look", "add" if adds else "look", "look", "buy" if buys else "look"]
            for place, what in enumerate(steps):
                rows.append(
                    f"s{v}.{visit},{f'v{v}' if named else ''},{begin + timedelta(seconds=20 * place)},{what},p{chance.randrange(9)},k{chance.randrange(3)},9.50,{'yes' if buys else 'no'}"
                )
    (folder / "log.csv").write_text(
        "\n".join(["sid,who,when,what,sku,kind,price,paid", *rows]) + "\n"
    )
    (folder / "mine.yaml").write_text(MAPPING)
    return folder / "log.csv"


def sessions_of(run):
    "One row a session of all parts: when it began and ended, whether it buys."
    return (
        load_events(run, "all")
        .group_by("session_id")
        .agg(
            pl.col("part").first(),
            start=pl.col("t").min(),
            end=pl.col("t").max(),
            buys=(pl.col("event") == "purchase").any(),
        )
    )


def ended_before_the_cut(sessions):
    "All sessions that ended before the first test session began."
    return sessions.filter(pl.col("end") < sessions.filter(pl.col("part") == "test")["start"].min())


def test_training_holds_everybody_before_the_cut(tmp_path):
    log, run = returning_log(tmp_path), Run(tmp_path / "out")
    card = prepare(run, str(tmp_path / "mine.yaml"), str(log))
    sessions = sessions_of(run)
    train, before = sessions.filter(pl.col("part") == "train"), ended_before_the_cut(sessions)
    assert set(train["session_id"]) == set(before["session_id"])
    assert (
        train["buys"].mean() == before["buys"].mean() == card.split_details["buying_share"]["train"]
    )
    groups = dict(load_visitor_groups(run)["group"].value_counts().iter_rows())
    assert groups == {name: n for name, n in card.split_details["visitors"].items() if n} and set(
        groups
    ) == {"new", "known"}
    assert any(
        f"{groups['known']:,} are of visitors with a session in the training part" in line
        for line in card.headline
    )


def test_a_log_without_visitors_says_so(tmp_path):
    log, run = returning_log(tmp_path, named=False), Run(tmp_path / "out")
    card = prepare(run, str(tmp_path / "mine.yaml"), str(log))
    assert card.split_details["visitors"] == {} and load_visitor_groups(run).is_empty()
    assert any(line.startswith("the log knows no visitors") for line in card.headline)


def test_the_shop_of_a_peer_trains_at_its_true_conversion(real_log, tmp_path):
    (tmp_path / "shop.yaml").write_text(RETENTIONEERING)
    run = Run(tmp_path / "out")
    card = prepare(run, str(tmp_path / "shop.yaml"), str(real_log("retentioneering-ecom.csv")))
    sessions = sessions_of(run)
    train, before = sessions.filter(pl.col("part") == "train"), ended_before_the_cut(sessions)
    assert (len(train), len(sessions)) == (2_703, 3_605) and card.parts["left out"] == 0
    assert train["buys"].mean() == before["buys"].mean() == pytest.approx(0.1147, abs=1e-4)
    assert card.split_details["visitors"] == dict(new=14, known=888, nobody=0)


WORDS = (
    "--source",
    "mine.yaml",
    "--path",
    "log.csv",
    "--landmarks",
    "1,2,3",
    "--until",
    "05_classification",
    *FEW_PICTURES,
)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    "A run on the shop whose visitors return, with the column that gives the outcome away, that no test changes; how it went."
    return made_once(tmp_path_factory, "returning-run", *WORDS, before=returning_log)


def test_new_and_known_visitors_are_judged_apart(shop):
    folder, done = shop
    assert done.returncode == 0, done.said
    found, card = metrics(folder / "run"), (folder / "run" / "model_card.md").read_text()
    rows = (
        pl.read_parquet(folder / "run" / "sessions.parquet")
        .filter(pl.col("part") == "test")
        .to_pandas()
    )
    rows["p"] = load_model(Run(folder / "run"), "conversion").predict_proba(rows)[:, 1]
    learned = set(load_events(Run(folder / "run"), "train")["visitor_id"])
    for one in found["classification.json"]["visitor_groups"]:
        if one["model"] != found["classification.json"]["model"]:
            continue
        mine = rows[rows["visitor"].isin(learned) == (one["group"] == "known")]
        assert one["judged"] and one["sessions"] == mine["session_id"].nunique()
        assert one["roc_auc"] == pytest.approx(
            roc_auc_score(mine["converted"], mine["p"]), abs=1e-9
        )
        assert one["average_precision"] == pytest.approx(
            average_precision_score(mine["converted"], mine["p"]), abs=1e-9
        )
        assert one["log_loss"] == pytest.approx(log_loss(mine["converted"], mine["p"]), abs=1e-6)
        assert one["total_ratio"] == pytest.approx(
            mine["p"].sum() / mine["converted"].sum(), abs=1e-9
        )
        assert one["roc_auc_low"] <= one["roc_auc"] <= one["roc_auc_high"]
    assert {one["group"] for one in found["classification.json"]["visitor_groups"]} == {
        "new",
        "known",
    }
    assert (
        "## New and known visitors" in card
        and "known visitors (with a session in the training part): ROC-AUC of pairs at the same landmark"
        in done.stdout
    )
    first = (folder / "run" / "site" / "index.html").read_text()
    assert (
        "new visitors: ROC-AUC" in first.lower().replace("roc-auc", "ROC-AUC")
        and "are of visitors with a session in the training part" in first
    )


def test_a_leak_makes_a_model_unfit_until_it_is_accepted(shop, tmp_path):
    folder, done = shop
    missing = metrics(folder / "run")["classification.json"]["missing"]
    assert "paid" in [one.get("column") for one in missing if one["code"] == "leak"]
    assert all(one["text"] in done.stdout for one in missing)
    assert (
        "Look at what the leak guard found before acting"
        in (folder / "run" / "site" / "index.html").read_text()
    )
    shutil.copytree(folder / "run", tmp_path / "run")
    again = warm(
        "run",
        *WORDS,
        *QUICK,
        "--out",
        tmp_path / "run",
        "--no-report",
        "-p",
        "accept=paid",
        cwd=folder,
    )
    assert again.returncode == 0, again.said
    missing = metrics(tmp_path / "run")["classification.json"]["missing"]
    assert [one["code"] for one in missing if one["code"] != "few sessions"] == []


def test_visitors_who_walk_their_own_aisle_again_are_no_copies():
    rows = pl.DataFrame(
        [
            dict(visitor=f"v{v}", session_id=f"s{v}.{visit}", landmark=2, aisle=float(v))
            for v in range(200)
            for visit in range(4)
        ]
    ).to_pandas()
    late = rows["session_id"].str.endswith(".3")
    assert list(twin_rows(rows[~late], rows[late], ["aisle"])) == []
    copies = (
        rows[~late]
        .head(60)
        .assign(
            session_id=lambda t: "copy of " + t["session_id"],
            visitor=lambda t: "copy of " + t["visitor"],
        )
    )
    assert [
        one.column
        for one in twin_rows(
            rows[~late].drop_duplicates("visitor"), copies.drop_duplicates("visitor"), ["aisle"]
        )
    ] == ["row"]
