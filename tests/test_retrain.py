"""A registry of models and its gate: what is in use is whole, the way back is short, and a model that is no better stays out."""

import json
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import here

from clickstream_conv.base.runs import Run
from clickstream_conv.base.trust import run_name
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.changes import simulate_change
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.monitoring import model_registry as registry
from clickstream_conv.monitoring.gate import gate_sentences, judge_challenger
from clickstream_conv.pipeline.retrain_commands import (
    challenger_parameters,
    judge_run,
    promoted_run,
    unseen_rows,
)
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.serving.counts import Counts
from clickstream_conv.serving.shadow import Shadow
from clickstream_conv.serving.visits import add_event, Visit
from clickstream_conv.sources.prepare import prepare


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    quick_conversion(Run(folder), sessions=1_500)
    return folder


@pytest.fixture
def models(small, tmp_path):
    "A registry of two versions, the second in use."
    place = tmp_path / "models"
    for _ in range(2):
        registry.use_version(place, registry.register_run(place, small))
    return place


def test_a_version_answers_as_the_run_did(small, models):
    events = pl.read_parquet(small / "events.parquet").head(400)
    one, other = (
        Scorer.load(folder).score(events)[0] for folder in (small, models / registry.CURRENT)
    )
    assert one.equals(other)


def test_the_way_back_takes_less_than_five_seconds(models):
    began = time.perf_counter()
    assert registry.roll_back(models) == ("0002", "0001")
    assert registry.current_version(models) == "0001" and time.perf_counter() - began < 5


@pytest.fixture
def bare(tmp_path, monkeypatch):
    "A run without models, and a registry that asks for none."
    monkeypatch.setattr(registry.Scorer, "load", staticmethod(str))
    (tmp_path / "run").mkdir()
    return tmp_path / "run", tmp_path / "models"


def put_in(bare, count):
    "So many versions, one after the other in use."
    run, place = bare
    for _ in range(count):
        registry.use_version(place, registry.register_run(place, run))
    return place


def test_going_back_again_goes_further_back(bare):
    place = put_in(bare, 3)
    assert registry.roll_back(place) == ("0003", "0002")
    assert registry.roll_back(place) == ("0002", "0001")
    with pytest.raises(ValueError, match="no version was in use before 0001; .* models use VERS"):
        registry.roll_back(place)
    registry.use_version(place, "0003")
    assert registry.roll_back(place) == ("0003", "0001")


def test_a_version_that_was_in_use_already_is_no_step(bare):
    place = put_in(bare, 2)
    registry.use_version(place, "0002", "the same again")
    assert registry.roll_back(place) == ("0002", "0001")


def test_back_leads_where_one_was_whatever_came_between(bare):
    "Versions used and left in any order, beside a stack that is kept by hand."
    place, rng, stack = put_in(bare, 4), np.random.default_rng(0), ["0001", "0002", "0003", "0004"]
    for _ in range(60):
        version = f"000{rng.integers(1, 5)}"
        if rng.random() < 0.5 and len(stack) > 1:
            left = stack.pop()
            assert registry.roll_back(place) == (left, stack[-1])
        elif version != stack[-1]:
            registry.use_version(place, version)
            stack.append(version)
        assert registry.way_back(place) == stack[:-1]


def test_a_cut_line_swallows_no_other(bare):
    place = put_in(bare, 2)
    registry.register_run(place, bare[0])
    with open(place / registry.HISTORY, "a") as file:
        file.write('{"at": "2026')
    registry.use_version(place, "0003")
    assert registry.history_of(place)[-1]["version"] == "0003"
    assert registry.roll_back(place) == ("0003", "0002")


@pytest.mark.parametrize("step", ["_note", "os.replace"])
def test_a_change_that_was_interrupted_leaves_the_way_back(bare, monkeypatch, step):
    place = put_in(bare, 2)
    registry.register_run(place, bare[0])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as now, pytest.raises(OSError, match="No space"):
        now.setattr(f"{registry.__name__}.{step}", full)
        registry.use_version(place, "0003")
    assert registry.current_version(place) == "0002" and registry.way_back(place) == ["0001"]
    with monkeypatch.context() as now, pytest.raises(OSError, match="No space"):
        now.setattr(f"{registry.__name__}.{step}", full)
        registry.roll_back(place)
    assert registry.current_version(place) == "0002" and registry.way_back(place) == ["0001"]
    registry.use_version(place, "0003")
    assert registry.way_back(place) == ["0001", "0002"]
    assert registry.roll_back(place) == ("0003", "0002")


def test_a_registry_that_was_copied_with_links_followed_says_so(bare, tmp_path):
    shutil.copytree(put_in(bare, 2), tmp_path / "copy")
    for change in (registry.current_version, registry.roll_back):
        with pytest.raises(ValueError, match="is no link but a copy.* one of 0001, 0002: "):
            change(tmp_path / "copy")
    with pytest.raises(ValueError, match="is no link but a copy"):
        registry.use_version(tmp_path / "copy", "0001")
    shutil.rmtree(tmp_path / "copy" / registry.CURRENT)
    assert registry.use_version(tmp_path / "copy", "0001") == ""
    assert registry.way_back(tmp_path / "copy") == ["0001", "0002"]


def test_the_number_of_a_removed_version_is_not_given_again(bare):
    place = put_in(bare, 3)
    registry.use_version(place, "0002")
    shutil.rmtree(place / registry.VERSIONS / "0003")
    assert registry.register_run(place, bare[0]) == "0004"
    with pytest.raises(ValueError, match="0003 was in use before 0002, and is not there any more"):
        registry.roll_back(place)
    assert registry.current_version(place) == "0002"


def test_what_is_in_use_is_always_a_version(models):
    "Whoever looks while versions change sees the one or the other."
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            seen.add((models / registry.CURRENT / "models" / "manifest.json").is_file())

    reader = threading.Thread(target=look)
    reader.start()
    for version in ["0001", "0002"] * 20:
        registry.use_version(models, version)
    stop.set()
    reader.join()
    assert seen == {True}


def test_two_writers_refuse_each_other(models):
    with (
        registry._alone(models),
        pytest.raises(ValueError, match="another process is changing"),
    ):
        registry.use_version(models, "0001")


def test_what_cannot_answer_becomes_no_version(small, models, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small, broken)
    (broken / "models" / "conversion.skops").write_bytes(b"nothing")
    with pytest.raises(ValueError):
        registry.register_run(models, broken)
    assert registry.versions_of(models) == ["0001", "0002"]


def test_an_interrupted_copy_is_no_version(small, models):
    (models / "versions" / ".0003.part").mkdir()
    assert registry.versions_of(models) == ["0001", "0002"]
    assert registry.register_run(models, small) == "0003"


def test_a_line_of_history_that_was_cut_off_is_left_out(models):
    before = registry.history_of(models)
    with open(models / registry.HISTORY, "a") as file:
        file.write('{"at": "2026')
    assert registry.history_of(models) == before


def test_a_name_that_is_no_version_is_refused(models):
    for name in ("0009", "../../elsewhere"):
        with pytest.raises(ValueError, match="has no version"):
            registry.use_version(models, name)


def rows_of(seed, noise, sessions=3_000, promise=1.0):
    "Sessions as a champion and a challenger see them, each through noise of its own."
    rng = np.random.default_rng(seed)
    truth, names = rng.normal(-2.5, 1.3, sessions), np.arange(sessions).astype(str)
    scores = {
        name: promise_of / (1 + np.exp(-truth - rng.normal(0, of, sessions)))
        for name, of, promise_of in (("_champion", 0.8, 1.0), ("_challenger", noise, promise))
    }
    happened = rng.random(sessions) < 1 / (1 + np.exp(-truth))
    known = dict(session_id=names, visitor=names, landmark=np.ones(sessions, int))
    return pl.DataFrame(known | scores | dict(converted=happened.astype(int)))


def test_a_model_that_is_no_better_stays_out():
    promoted = [judge_challenger(rows_of(s, 0.8), (0.3, 0.3), 60).promote for s in range(60)]
    assert sum(promoted) <= 8  # at most 5 in 100 are expected; 8 of 60 come once in 100


def test_a_better_model_comes_in_and_a_worse_one_does_not():
    assert judge_challenger(rows_of(0, 0.1), (0.3, 0.3), 60).promote
    assert not judge_challenger(rows_of(0, 2.0), (0.3, 0.3), 60).promote


def test_probabilities_that_do_not_add_up_are_a_veto():
    found = judge_challenger(rows_of(0, 0.1, promise=0.5), (0.3, 0.15), 60)
    assert found.better and not found.promote
    assert any("promise" in why for why in found.vetoes)


def test_flags_where_the_champion_flags_nobody_are_a_veto():
    rows = rows_of(0, 0.1)
    found = judge_challenger(rows, (1.1, 0.02), 20)
    assert found.flagged[0] == 0 and found.flagged[1] > 0.5 and not found.promote
    assert any("the champion 0.0%" in why for why in found.vetoes)
    assert judge_challenger(rows, (1.1, 1.1), 20).promote


def test_too_few_sessions_are_said_to_be_too_few():
    found = judge_challenger(rows_of(1, 0.78, sessions=600), (0.3, 0.3), 60)
    said = [sentence.text for sentence in gate_sentences(found)]
    assert not found.better and found.power < 0.5
    assert any("Wait for more" in text for text in said)


def converting(rows, count):
    "As many sessions convert, each where the challenger is surest and the champion is not."
    of = pl.int_range(pl.len()) < count
    return rows.with_columns(
        converted=of.cast(pl.Int64),
        _challenger=pl.when(of).then(0.99).otherwise(pl.col("_challenger") * 0.9),
        _champion=pl.when(of).then(0.02).otherwise("_champion"),
    )


def test_fewer_than_ten_sessions_that_convert_show_nothing():
    rows = rows_of(0, 0.8, sessions=400)
    for count in (1, 9):
        found = judge_challenger(converting(rows, count), (0.3, 0.3), 40)
        assert found.low > 0 and not found.better and not found.promote
        said = [sentence.text for sentence in gate_sentences(found)]
        assert f"{count} convert and {400 - count} do not, too few to judge by; 10 that" in said[0]
        assert not any("shown to be better" in text or "ROC-AUC" in text for text in said)
    assert judge_challenger(converting(rows, 10), (0.3, 0.3), 40).better
    assert not judge_challenger(converting(rows, 391), (0.3, 0.3), 40).better


def test_sessions_with_rows_of_both_outcomes_count_for_both():
    "Where each row asks about the next event, a session may have such a row and other ones."
    rows = rows_of(0, 0.1).with_columns(session_id=(pl.int_range(pl.len()) // 10).cast(pl.String))
    found = judge_challenger(rows, (0.3, 0.3), 20)
    assert found.converted + found.others > found.sessions == 300 and found.better


def test_rows_without_both_outcomes_are_refused():
    with pytest.raises(ValueError, match="nothing can be judged"):
        judge_challenger(rows_of(0, 0.8).with_columns(converted=0), (0.3, 0.3), 20)


def test_a_challenger_has_the_parameters_of_the_version_in_use():
    record = dict(parameters=dict(source="demo", path="old.csv", seed=3, progress=True))
    assert challenger_parameters(record, "new.csv") == dict(source="demo", path="new.csv", seed=3)


def test_training_anew_from_the_log_to_the_gate(run, tmp_path):
    later = simulate_change("steady", sessions=600, start="2026-05-06", days=24, seed=1)
    simulate(3_000).pipe(
        lambda first: pl.concat([first, later.select(first.columns)])
    ).write_parquet(tmp_path / "log.parquet")
    assert here("models", "add", "--run", run, cwd=tmp_path).returncode == 0
    done = here("retrain", "--events", "log.parquet", "--judge-only", cwd=tmp_path)
    assert done.returncode == 2, done.said
    gate = json.loads((tmp_path / "models" / "runs" / "after-0001" / "gate.json").read_text())
    assert "sessions that neither model has seen" in gate["headline"][0]
    assert registry.current_version(tmp_path / "models") == "0001"
    champion = Scorer.load(run)
    with pytest.raises(ValueError, match="nothing is left to judge by"):
        unseen_rows(champion, champion)


def test_models_of_other_outcomes_are_not_compared(small):
    champion, challenger = Scorer.load(small), Scorer.load(small)
    challenger.outcome = replace(champion.outcome, name="bought", says="somebody bought")
    with pytest.raises(ValueError, match="nothing is left to judge by"):  # another word alone
        unseen_rows(champion, challenger)
    for other in (dict(equals="remove_from_cart"), dict(kind="next"), dict(column="page")):
        challenger.outcome = replace(champion.outcome, **other)
        with pytest.raises(ValueError, match="predicts purchase .* Train with the same outcome"):
            unseen_rows(champion, challenger)


def with_devices(rows, favour, seed=0):
    "Rows of two devices of which a challenger favours one."
    device = np.random.default_rng(seed).choice(["phone", "desktop"], len(rows))
    more = np.where(device == "phone", favour, 1.0)
    favoured = (pl.col("_challenger") * more).clip(0.0, 0.999)
    return rows.with_columns(pl.Series("device", device)).with_columns(_challenger=favoured)


def test_a_challenger_that_is_worse_for_a_group_stays_out():
    rows = rows_of(0, 0.1, sessions=9_000)
    kept, spoilt = (
        judge_challenger(with_devices(rows, favour), (0.3, 0.3), 60, fair_by=("device",))
        for favour in (1.0, 0.7)
    )
    assert kept.promote and not kept.groups[0]["veto"]
    assert spoilt.better and not spoilt.promote
    one = spoilt.groups[0]
    assert {one["first"], one["second"]} == {"phone", "desktop"} and one["low"] > one["tolerated"]
    said = [sentence.text for sentence in gate_sentences(spoilt)]
    assert any("groups of device" in text and one["first"] in text for text in said)


def test_groups_that_are_no_further_apart_are_seldom_a_veto():
    held_back = 0
    for seed in range(40):
        rows = with_devices(rows_of(seed, 0.8, sessions=1_500), 1.0, seed)
        held_back += judge_challenger(rows, (0.3, 0.3), 20, fair_by=("device",)).groups[0]["veto"]
    assert held_back <= 5  # at most 5 in 100 are expected; 6 of 40 come once in 70


def test_a_gap_that_the_champion_has_as_well_is_no_veto():
    rows = with_devices(rows_of(0, 0.1, sessions=4_000), 0.5)
    rows = rows.with_columns(_champion="_challenger")
    one = judge_challenger(rows, (0.3, 0.3), 40, fair_by=("device",)).groups[0]
    assert one["champion"] > 0.05 and one["low"] <= 1e-9


def test_the_largest_gap_is_that_of_the_two_groups_furthest_apart():
    "Of three groups the champion's gap between a and b is passed on to b and c: it is no wider."
    from clickstream_conv.judging.fairness import GROUP_RATES
    from clickstream_conv.monitoring.wider_gaps import rates_of_both, wider_gap

    rng, count = np.random.default_rng(0), 9_000
    group = rng.choice(["a", "b", "c"], count)
    flagged = {"_champion": dict(a=0.5, b=0.2, c=0.5), "_challenger": dict(a=0.5, b=0.5, c=0.2)}
    chance = {
        name: np.where(rng.random(count) < [share[one] for one in group], 0.9, 0.1)
        for name, share in flagged.items()
    }
    known = dict(session_id=np.arange(count).astype(str), visitor=np.arange(count).astype(str))
    known |= dict(group=group, converted=(rng.random(count) < 0.3).astype(int))
    rates = rates_of_both(pl.DataFrame({**known, **chance}), "group", (0.5, 0.5), resamples=60)
    found = wider_gap(*rates)
    assert not found["veto"]
    flags = rates[1].rates[GROUP_RATES.index("selection_rate")]
    assert flags == pytest.approx([0.5, 0.5, 0.2], abs=0.03)


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory):
    "A registry, a challenger that was in the shadow for two weeks, their log, and what it said live."
    folder, parts = tmp_path_factory.mktemp("shadowed"), {}
    times = dict(champion=(1_200, "2026-01-05", 60), challenger=(1_800, "2026-01-05", 90))
    for name, (sessions, start, days) in times.items():
        log = simulate_change("steady", sessions=sessions, start=start, days=days)
        log.write_parquet(folder / f"{name}.parquet")
        prepare(Run(folder / name), "demo", str(folder / f"{name}.parquet"))
        quick_conversion(Run(folder / name))
    later = simulate_change("steady", sessions=400, start="2026-04-13", days=14, seed=1)
    later.write_parquet(folder / "later.parquet")
    registry.use_version(
        folder / "models", registry.register_run(folder / "models", folder / "champion")
    )
    champion, challenger = (Scorer.load(folder / name) for name in times)
    parts["right"] = live_log(folder / "right.jsonl", champion, challenger, later)
    parts["wrong"] = live_log(folder / "wrong.jsonl", champion, challenger, later, ("price",))
    return folder, parts


def live_log(file, champion, challenger, events, blind=()):
    "What a service writes down that does not see some columns."
    shadow = Shadow(challenger, run_name(challenger.folder), str(file), Counts())
    some = events.filter(pl.col("session_id").hash(seed=0) % 3 == 0)
    for (name,), own in some.group_by("session_id", maintain_order=True):
        visit = Visit(champion, name, run_name(champion.folder))
        names = [one for one in champion.event_columns() if one in own.columns]
        for event in own.select(names).drop("session_id").to_dicts():
            answer, _ = add_event(visit, event | dict.fromkeys(blind))
            shadow.saw(visit, answer)
    shadow.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["t"] = events["t"].min() / 1e6  # in those days, and not while the test runs
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_live_answers_that_the_log_gives_as_well_are_no_veto(shadowed):
    folder, parts = shadowed
    found = judge_run(
        folder / "models", folder / "challenger", str(folder / "later.parquet"), parts["right"]
    )
    assert found.champion == "0001" and found.shadow.sessions > 100 and found.shadow.differ == 0
    assert not any("gave live" in why for why in found.vetoes)
    said = json.loads((folder / "challenger" / "gate.json").read_text())["headline"]
    assert any("are those that it gives from the log" in text for text in said)


def test_live_answers_that_the_log_does_not_give_are_a_veto(shadowed):
    folder, parts = shadowed
    words = ("retrain", "--registry", "models", "--challenger", "challenger", "--judge-only")
    words = (*words, "--events", "later.parquet", "--shadow", parts["wrong"])
    done = here(*words, cwd=folder)
    assert done.returncode == 2 and "are not those that it gives from the log" in done.said
    assert "against it" in done.said
    done = here(*words, "-p", "seed=3", cwd=folder)
    assert done.returncode == 1 and "is there already" in done.said


def test_days_that_the_challenger_has_read_are_not_what_it_is_judged_by(shadowed):
    folder, _ = shadowed
    with pytest.raises(ValueError, match="the new run has read the log up to"):
        judge_run(folder / "models", folder / "challenger", str(folder / "challenger.parquet"))


def test_columns_that_a_run_declared_reach_the_gate(shadowed, tmp_path):
    folder, _ = shadowed
    shutil.copytree(folder / "challenger", tmp_path / "declared")
    card = tmp_path / "declared" / "model_card.json"
    card.write_text(json.dumps(dict(fair_by=["device"])))
    found = judge_run(folder / "models", tmp_path / "declared", str(folder / "later.parquet"))
    assert [one["column"] for one in found.groups] == ["device"]
    said = json.loads((tmp_path / "declared" / "gate.json").read_text())["headline"]
    assert any("groups of device" in text for text in said), said
    card.write_text(json.dumps(dict(fair_by=["no such column"])))
    with pytest.raises(ValueError, match="no session column 'no such column'"):
        judge_run(folder / "models", tmp_path / "declared", str(folder / "later.parquet"))


def test_a_challenger_that_is_there_already_becomes_a_version_as_it_was_judged(shadowed):
    folder, _ = shadowed
    found = replace(judge_challenger(rows_of(0, 0.1), (0.3, 0.3), 20), champion="0001")
    models, challenger = folder / "models", folder / "challenger"
    judged = (challenger / "models" / "conversion.skops").read_bytes()
    version = promoted_run(models, challenger, found)
    assert (version, registry.current_version(models)) == ("0002", "0002")
    kept = models / registry.CURRENT / "models" / "conversion.skops"
    assert kept.read_bytes() == judged


@pytest.mark.parametrize("when", ["before", "while it is made whole"])
def test_nothing_is_promoted_over_a_version_it_was_not_judged_beside(bare, monkeypatch, when):
    place, module = put_in(bare, 2), "clickstream_conv.pipeline.retrain_commands"
    found = replace(judge_challenger(rows_of(0, 0.1), (0.3, 0.3), 20), champion="0002")

    def meanwhile(*_):
        registry.use_version(place, "0001", "somebody else")

    monkeypatch.setattr(f"{module}.finish_challenger", meanwhile)
    if when == "before":
        meanwhile()
    with pytest.raises(ValueError, match="0001 is in use by now, .* judged beside 0002"):
        promoted_run(place, bare[0], found)
    assert registry.current_version(place) == "0001"
    assert ("0003" in registry.versions_of(place)) == (when != "before")
