"""The second opinion: figures recomputed with other people's code agree, and a figure that was changed is named."""

import json
import shutil

import polars as pl
import pytest
from conftest import ROOT, warm
from test_split import shop  # noqa: F401

from clickstream_conv.audit.audit import audit, differing_lines
from clickstream_conv.audit.lines import EQUAL
from clickstream_conv.base.runs import Run
from clickstream_conv.features.sessions import load_sessions
from clickstream_conv.log.steps import sessionise
from clickstream_conv.sources.card import load_events
from clickstream_conv.sources.prepare import prepare


def items(folder):
    "Lines of an audit by their item."
    return {line.item: line for line in audit(str(folder))}


@pytest.fixture
def copied(demo, tmp_path):
    "A run of the demo shop that a test may change."
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def test_all_figures_of_a_demo_run_are_equal_or_explained(demo):
    folder, _ = demo
    done = warm("audit", "run", cwd=folder)
    assert done.returncode == 0, done.said
    assert ", 0 DIFFERENT" in done.said
    for item in (
        "training sessions that end after the cut",
        "cart_value, mean of all session rows",
        "design effect of visitors",
        "purchase in order",
        "test part: log-loss less that of event counts",
        "expected of the threshold: f1",
        "silhouette",
        "chi-square of segments, test",
        "at risk: convert after 5 events",
        "finished, 5 events",
        "share by weekday: 3",
        "share by visits: 2nd",
        "gini of buyers, low end",
        "share of the revenue, highest tenth, high end",
    ):
        assert item in done.said, item


def test_a_figure_that_was_changed_is_named(copied):
    for stage in ("eda", "regression", "clustering"):
        (copied / "metrics" / f"{stage}.json").unlink()
    path = copied / "metrics" / "classification.json"
    found = json.loads(path.read_text())
    row = [one for one in found["by_landmark"] if one["model"] == found["model"]][-1]
    row["roc_auc"] += 0.001
    path.write_text(json.dumps(found))
    done = warm("audit", "run", cwd=copied.parent)
    assert done.returncode == 1
    *wrong, summary = [line for line in done.stdout.splitlines() if line.endswith("DIFFERENT")]
    assert summary.endswith(", 1 DIFFERENT")
    assert len(wrong) == 1 and wrong[0].startswith(f"roc_auc, {found['model']}, landmark all ")


def test_a_moment_that_was_changed_is_named(copied):
    for stage in ("features", "eda", "classification", "regression", "clustering"):
        (copied / "metrics" / f"{stage}.json").unlink()
    path = copied / "metrics" / "source.json"
    card = json.loads(path.read_text())
    card["split_details"]["begins"] += 1
    path.write_text(json.dumps(card))
    assert [line.item for line in differing_lines(audit(str(copied)))] == [
        "the cut, microseconds",
        "the cut by the share set aside",
    ]


def test_rows_that_were_changed_are_counted(copied):
    rows = pl.read_parquet(copied / "sessions.parquet")
    swapped = rows.with_columns(
        cart_value=pl.when(pl.col("landmark") == 3)
        .then(pl.col("cart_value").reverse())
        .otherwise("cart_value")
    )
    changed = (rows["cart_value"] != swapped["cart_value"]).sum()
    swapped.write_parquet(copied / "sessions.parquet")
    for stage in ("eda", "classification", "regression", "clustering"):
        (copied / "metrics" / f"{stage}.json").unlink()
    assert [(line.item, line.apart) for line in differing_lines(audit(str(copied)))] == [
        ("cart_value, mean of all session rows", changed)
    ]


def test_a_log_with_returning_visitors(shop):
    folder, done = shop
    assert done.returncode == 0, done.said
    lines = items(folder / "run")
    assert differing_lines(lines.values()) == []
    assert (
        lines["test sessions of known visitors"].theirs
        > lines["test sessions of new visitors"].theirs
        > 0
    )
    assert any("known visitors" in item and item.startswith("roc_auc") for item in lines)


def test_a_run_in_partitions_is_refused(copied):
    (copied / "events").mkdir()
    shutil.copy(copied / "events.parquet", copied / "events" / "part-0.parquet")
    done = warm("audit", "run", cwd=copied.parent)
    assert done.returncode == 1
    assert "read in partitions" in done.said


def test_the_shop_of_a_peer_is_audited(real_log, tmp_path):
    log, run = real_log("retentioneering-ecom.csv"), Run(tmp_path / "out")
    prepare(run, str(ROOT / "tests" / "cases" / "retentioneering.yaml"), str(log))
    load_sessions(run)
    lines = items(tmp_path / "out")
    assert {line.verdict for line in lines.values()} == {EQUAL}
    assert lines["sessions"].theirs == 3605
    assert (
        lines["test sessions of known visitors"].theirs
        > lines["test sessions of new visitors"].theirs
    )
    # Also what two other packages cut from the same log without its session ids, at 30 minutes of silence:
    # retentioneering 5.2.4, Eventstream.split_sessions(timeout="30m"), and skrub 0.11.0, SessionEncoder("timestamp", split_by="user_id", session_gap=1800).
    assert (
        sessionise(load_events(run, "all").drop("session_id"), 30)["session_id"].n_unique() == 3605
    )
