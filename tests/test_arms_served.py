"A service tells arms by the plan and effects as experiment whom learned them, or says why not; pages show the same."

import json
import shutil
from dataclasses import replace
from datetime import date, datetime, timedelta, UTC
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clickstream_conv.base.runs import Run
from clickstream_conv.classification.keeping import quick_conversion
from clickstream_conv.demo.treatment import known_treatment, MARGIN, simulate_experiment
from clickstream_conv.experiments import whom
from clickstream_conv.experiments.arms import arm_of
from clickstream_conv.experiments.kept_effects import keep_effects, load_effects, rows_to_ask
from clickstream_conv.experiments.marks import log_mark
from clickstream_conv.experiments.plan import load_plan, Plan, save_plan
from clickstream_conv.experiments.profit_effects import ProfitLearner
from clickstream_conv.experiments.served import (
    days_of_run,
    served_experiment,
    ServedExperiment,
    VisitArms,
    VisitEffects,
    why_not_running_anywhere,
)
from clickstream_conv.experiments.whom import Price, whom_to_treat
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.whatif.audience import Audience, BY_EFFECT_FOUND
from clickstream_conv.whatif.whom_found import moved_by_tenth, read_whom

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from clickstream_conv.serving.experiment import TOLD_OF_EXPERIMENT
from clickstream_conv.serving.service import Service, Settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A run, the log of an experiment in which differences are borne out, its plan and what was learned."
    place, coupon = tmp_path_factory.mktemp("shop"), known_treatment("coupon")
    quick_conversion(Run(place / "demo"), sessions=3_000)
    log, arms = simulate_experiment(16_000, 2, coupon, by="session", start="2026-06-01", days=42)
    known, price = log.with_columns(visitor=pl.col("visitor_id")), Price(MARGIN, coupon.discount)
    whom = place / "whom"
    plan = save_plan(Plan("coupon", by="session"), place / "plan.json")
    found = whom_to_treat(place / "demo", known, arms, price, out=whom, kinds=0, plan=plan)
    return place, log, found


def told_by(place, **more):
    "A service with the experiment of a place."
    given = dict(plan=str(place / "plan.json"), whom=str(place / "whom")) | more
    settings = Settings(str(place / "demo"), **given)
    return Service(settings, served_experiment(settings))


def events_of(log, name, service):
    "Events of a session as a shop sends them."
    columns = [c for c in service.scorer().event_columns() if c != "session_id"]
    part = log.filter(pl.col("session_id") == name).sort("step")
    return part.select(columns).to_dicts()


def test_effects_are_those_of_experiment_whom(shop):
    place, log, found = shop
    service, table = told_by(place), pl.read_parquet(place / "whom" / "whom.parquet")
    some = table.sample(25, seed=3)
    assert load_effects(Run(place / "whom")).learner.conversion_.kept_ > 0
    assert some["conversion_effect"].n_unique() > 20
    for row in some.to_dicts():
        name = row["session_id"]
        said = [service.add(name, one) for one in events_of(log, name, service)]
        assert [one["experiment"]["effect"] for one in said[:3]] == [None] * 3
        for one in (*said[3:], service.visit(name)["answer"]):
            told = one["experiment"]
            assert told["effect"] == pytest.approx(row["conversion_effect"], abs=1e-9)
            assert told["profit_effect"] == pytest.approx(row["profit_effect"], abs=1e-9)
            assert (told["treat"], told["no_effect"]) == (row["treated"], None)
            assert (told["arm"], told["no_arm"]) == (arm_of(name, "coupon"), None)
            assert [*told] == [*TOLD_OF_EXPERIMENT]


def test_differences_are_said_with_what_came_of_them(shop):
    "By how much left-out visitors differ where 10 points were told: with an interval, not a share that is kept."
    found = shop[2]
    one = next(one for one in found["findings"] if one["code"] == "whom.differences")
    came = next(f for f in one["figures"] if f["name"] == "difference of visitors left out")
    assert 0 < came["low"] < came["value"] < came["high"] and came["low"] < 10 < came["high"]
    words = f"it came to {came['value']:.1f} ({came['low']:.1f} to {came['high']:.1f}) points"
    assert words in one["text"] and "borne out" not in one["text"]


def test_the_effect_on_visitors_left_out_stands_beside_the_learned_one(shop):
    "As it came to in whom.parquet; where both are further apart than chance brings, a caution says so."
    place, _, found = shop
    one = next(one for one in found["findings"] if one["code"] == "whom.left_out_effect")
    told, came = one["figures"]
    table = pl.read_parquet(place / "whom" / "whom.parquet")
    assert came["value"] == pytest.approx(table["conversion_score"].mean())
    assert came["low"] < came["value"] < came["high"] and told["value"] != came["value"]
    reach = ((told["high"] - told["low"]) ** 2 + (came["high"] - came["low"]) ** 2) ** 0.5 / 2
    apart = abs(told["value"] - came["value"]) > reach
    assert (one["level"] == "caution") == apart == ("rely on neither" in one["text"])


def test_an_effect_that_left_out_visitors_contradict_is_a_caution(monkeypatch):
    scores = {"learned": np.tile([0.0, 0.2], 500), "left out": np.tile([-0.2, 0.0], 500)}
    visitors = np.arange(1_000)
    monkeypatch.setattr(whom, "_conversion_scores", lambda judged: judged.scores)
    learner = SimpleNamespace(conversion_=SimpleNamespace(scores_=scores["learned"]))
    for name, caution in (("left out", True), ("learned", False)):
        judged = SimpleNamespace(
            learner=learner,
            learned_from=visitors,
            scores=scores[name],
            rows=SimpleNamespace(visitors=visitors),
        )
        said = whom._left_out_effect(judged, 4)
        assert (said.level == "caution") == caution == ("rely on neither" in said.text)


def test_tenths_have_the_effect_that_came(shop):
    "What was learned lies in the intervals of most tenths, each of which hangs on what came of its own sessions."
    place, _, _ = shop
    found = read_whom(place / "whom", Scorer.load(place / "demo"))
    moved = moved_by_tenth(found)
    assert moved["sessions"].sum() == len(found.table)
    whole = (moved["came"] * moved["sessions"]).sum() / moved["sessions"].sum()
    assert whole == pytest.approx(found.table["conversion_score"].mean())
    assert (moved["came_low"] < moved["came"]).all() and (moved["came"] < moved["came_high"]).all()
    inside = moved["effect"].between(moved["came_low"], moved["came_high"])
    assert inside.sum() >= 7


def test_a_late_event_moves_the_effect_to_what_it_is_with_it(shop):
    place, log, _ = shop
    service = told_by(place, late=10**9)
    table = pl.read_parquet(place / "whom" / "whom.parquet")
    longer = log.filter(pl.len().over("session_id") >= 5)["session_id"]
    row = table.filter(pl.col("session_id").is_in(longer.implode())).row(0, named=True)
    events = events_of(log, row["session_id"], service)
    without = [service.add("v1", one) for one in (events[0], *events[2:5])][-1]["experiment"]
    with_it = service.add("v1", events[1])["experiment"]
    assert without["effect"] != pytest.approx(row["conversion_effect"], abs=1e-6)
    assert with_it["effect"] == pytest.approx(row["conversion_effect"], abs=1e-9)


def test_another_process_says_the_same(shop, tmp_path):
    place, log, _ = shop
    kept = dict(visits=f"file:{tmp_path / 'visits.db'}")
    one, name = (
        told_by(place, **kept),
        pl.read_parquet(place / "whom" / "whom.parquet")["session_id"][7],
    )
    events = events_of(log, name, one)
    first = [one.add(name, event) for event in events[:4]][-1]["experiment"]
    one.close()
    two = told_by(place, **kept)
    assert two.visit(name)["answer"]["experiment"] == first
    two.close()


def test_advice_is_followed(shop):
    place, log, _ = shop
    service, table = told_by(place), pl.read_parquet(place / "whom" / "whom.parquet")
    own = service.experiment.effects
    least = float(table["probability"].median())
    wanted = {
        "by effect": lambda row: row["profit_effect"] > 0,
        "by probability": lambda row: row["probability"] >= least,
        "everyone": lambda row: True,
        "nobody": lambda row: False,
    }
    some = table.sample(12, seed=1).to_dicts()
    for advice, treats in wanted.items():
        about = own.about | dict(advice=advice, least=least)
        service.experiment.effects = VisitEffects(own.kept, about)
        for row in some:
            visit = f"{advice} {row['session_id']}"
            events = events_of(log, row["session_id"], service)[:4]
            said = [service.add(visit, one) for one in events][-1]["experiment"]
            assert said["treat"] == treats(row), (advice, row)
            assert (said["no_treat"] is None) == said["treat"]
        if advice == "by effect":
            reasons = f"treating it is estimated to bring {said['profit_effect']:+.3f}"
        elif advice == "by probability":
            reasons = f"is below {least:.3f}, from which the advice treats"
        else:
            reasons = "the advice is to treat nobody"
        assert said["treat"] or reasons in said["no_treat"]


def test_a_visit_that_converted_before_has_no_effect(shop):
    place, log, _ = shop
    early = log.filter((pl.col("event") == "purchase") & (pl.col("step") <= 4))["session_id"][0]
    service = told_by(place)
    events = events_of(log, early, service)
    events += [events[-1] | dict(t=events[-1]["t"] + n, event="view") for n in (10**6, 2 * 10**6)]
    said = [service.add(early, one) for one in events][-1]["experiment"]
    assert said["effect"] is None and "had converted by its event number 4" in said["no_effect"]


def test_who_has_no_arm_and_why(shop):
    place, log, _ = shop
    service = Service(Settings(str(place / "demo")), ServedExperiment(VisitArms(Plan("coupon"))))
    event = events_of(log, log["session_id"][0], service)[0]

    def said(visit, who):
        told = service.add(visit, event | dict(visitor_id=who))["experiment"]
        return told["arm"], told["no_arm"]

    assert said("v1", None) == (
        None,
        "the plan puts visitors into arms, and no event of the visit has a visitor_id",
    )
    assert said("v2", "anna") == (arm_of("anna", "coupon"), None)
    told = service.add("v2", event | dict(visitor_id="berta", t=event["t"] + 5))["experiment"]
    assert told["arm"] is None and "name several visitors" in told["no_arm"]
    assert "no effects were given" in told["no_effect"]


def test_the_share_that_takes_part_is_the_plans(shop):
    place, log, _ = shop
    arms = VisitArms(Plan("coupon", by="session", ramp=[0.2, 1.0]), 0.2)
    service = Service(Settings(str(place / "demo")), ServedExperiment(arms))
    event, found = events_of(log, log["session_id"][0], service)[0], {}
    for n in range(60):
        told = service.add(f"v{n}", event)["experiment"]
        assert (told["arm"] or "") == arm_of(f"v{n}", "coupon", taking_part=0.2)
        assert (told["no_arm"] is None) == bool(told["arm"])
        found[told["arm"]] = told["no_arm"]
    assert set(found) == {None, "control", "treatment"}
    assert found[None] == "this session takes no part: 0.2 of all do by now"


def test_the_command_puts_everybody_into_the_arm_that_is_served(shop, tmp_path, capsys):
    from clickstream_conv.pipeline.experiment_commands import arm_command

    place, log, _ = shop
    shares = dict(control=0.5, a=0.3, b=0.2)
    three = Plan("three", by="session", shares=shares, ramp=[0.6])
    plan = str(save_plan(three, tmp_path / "three.json"))
    service = told_by(place, plan=plan, whom="")
    event = events_of(log, log["session_id"][0], service)[0]
    served = []
    for n in range(40):
        told = service.add(f"v{n}", event)["experiment"]
        arm_command(f"v{n}", plan=plan, taking_part=0.0)
        assert capsys.readouterr().out.strip() == (told["arm"] or told["no_arm"])
        served.append(told["arm"])
    assert {*served} == {None, *shares}
    steps = str(save_plan(replace(three, ramp=[0.1, 0.6]), tmp_path / "steps.json"))
    with pytest.raises(ValueError, match="Say where it is by now: --taking-part SHARE"):
        arm_command("v1", plan=steps, taking_part=0.0)


@pytest.mark.parametrize("days", [dict(ends=-3), dict(begins=3), dict(begins=-3, ends=3)])
def test_the_command_knows_the_days_as_the_service_does(shop, tmp_path, capsys, days):
    from clickstream_conv.pipeline.experiment_commands import arm_command

    place, log, _ = shop
    given = {name: str(date.today() + timedelta(far)) for name, far in days.items()}
    plan = save_plan(Plan("coupon", by="session", **given), tmp_path / "plan.json")
    service = told_by(place, plan=str(plan), whom="")
    event = events_of(log, log["session_id"][0], service)[0]
    now = int(datetime.now(UTC).timestamp() * 1e6)
    told = service.add("v1", event | dict(t=now))["experiment"]
    for run in ("", str(place / "demo")):
        arm_command("v1", plan=str(plan), taking_part=0.0, run=run)
        assert capsys.readouterr().out.strip() == (told["arm"] or told["no_arm"])
    assert bool(told["arm"]) == (len(days) == 2)


def test_a_day_that_hangs_on_the_zone_is_not_guessed(shop, tmp_path):
    plan = Plan("coupon", by="session", begins="2026-06-01")
    evening = int(datetime(2026, 5, 31, 20, tzinfo=UTC).timestamp() * 1e6)  # June in Tokyo
    with pytest.raises(ValueError, match="hangs on the zone of its log. Give its run"):
        why_not_running_anywhere(plan, evening)
    other = save_plan(replace(plan, log="shoes@1"), tmp_path / "plan.json")
    with pytest.raises(ValueError, match="was made for the log shoes@1"):
        days_of_run(load_plan(other), shop[0] / "demo")


def test_a_path_may_begin_at_home(shop, tmp_path, monkeypatch):
    place, _, _ = shop
    monkeypatch.setenv("HOME", str(place))
    assert load_plan("~/plan.json") == load_plan(place / "plan.json")
    settings = Settings("~/demo", plan="~/plan.json", whom="~/whom")
    assert served_experiment(settings).effects.kept is not None


def test_outside_of_its_days_there_is_no_arm(shop):
    place, log, _ = shop
    plan = Plan("coupon", by="session", begins="2026-06-03", ends="2026-06-04")
    service = Service(Settings(str(place / "demo")), ServedExperiment(VisitArms(plan)))
    event = events_of(log, log["session_id"][0], service)[0]
    days = {}
    for day in (2, 3, 4, 5):
        at = int(datetime(2026, 6, day, 12, tzinfo=UTC).timestamp() * 1e6)
        days[day] = service.add(f"v{day}", event | dict(t=at))["experiment"]
    assert [days[day]["arm"] is None for day in days] == [True, False, False, True]
    assert "has not begun" in days[2]["no_arm"] and "is over" in days[5]["no_arm"]


def test_a_visit_of_another_run_has_no_effect(shop, tmp_path):
    place, log, _ = shop
    for name in ("demo", "whom"):
        shutil.copytree(place / name, tmp_path / name)
    shutil.copy(place / "plan.json", tmp_path)
    quick_conversion(Run(tmp_path / "newer"), sessions=800, folds=2, seed=1)
    service = told_by(tmp_path)
    event = events_of(log, log["session_id"][0], service)[0]
    service.put_in_place("newer")
    told = service.add("v1", event)["experiment"]
    assert "effects were learned with the run demo@" in told["no_effect"]
    assert told["arm"] == arm_of("v1", "coupon")


def test_what_cannot_be_kept_is_said(shop, tmp_path):
    place, log, _ = shop
    shutil.copytree(place / "whom", tmp_path / "whom")
    file = tmp_path / "whom" / "metrics" / "whom.json"
    figures = json.loads(file.read_text())
    figures["learned"]["unkept"] = "the X-learner cannot be kept"
    file.write_text(json.dumps(figures))
    service = told_by(place, whom=str(tmp_path / "whom"))
    told = service.add("v1", events_of(log, log["session_id"][0], service)[0])["experiment"]
    assert (told["effect"], told["no_effect"]) == (None, "the X-learner cannot be kept")


@pytest.mark.parametrize(
    "what, says",
    [
        (dict(run="demo@0"), "effects were learned with the run demo@0, and demo@"),
        (dict(experiment="banner"), "of the experiment 'banner', and the plan is of 'coupon'"),
        (
            dict(experiment=""),
            "learned without a plan, so that nobody knows whether they are of 'c",
        ),
        (
            dict(by="visitor"),
            "learned of an experiment by visitor, and the plan 'coupon' is by session",
        ),
        (
            dict(arm="banner"),
            "learned of the arm 'banner', and the plan 'coupon' has control, treatment",
        ),
    ],
)
def test_effects_of_another_experiment_are_refused(shop, tmp_path, what, says):
    place, _, _ = shop
    shutil.copytree(place / "whom", tmp_path / "whom")
    folder = Run(tmp_path / "whom")
    kept, file = load_effects(folder), folder / "metrics/whom.json"
    figures = json.loads(file.read_text())
    figures["learned"] |= what
    file.write_text(json.dumps(figures))
    with pytest.raises(ValueError, match="not of one and the same experiment whom"):
        told_by(place, whom=str(folder.folder))
    keep_effects(folder, kept.encoder, kept.learner, figures["learned"])
    with pytest.raises(ValueError, match=says):
        told_by(place, whom=str(folder.folder))


def test_a_plan_of_another_log_is_refused_and_of_this_one_taken(shop, tmp_path):
    place, _, _ = shop
    scorer = Scorer.load(place / "demo")
    mark = log_mark(scorer.card, scorer.contract)
    own = save_plan(Plan("coupon", by="session", log=mark), tmp_path / "own.json")
    assert told_by(place, plan=str(own)).experiment.described()["name"] == "coupon"
    other = save_plan(Plan("coupon", by="session", log="shoes@1"), tmp_path / "other.json")
    with pytest.raises(ValueError, match="was made for the log shoes@1, and the run demo reads"):
        told_by(place, plan=str(other))


def test_what_was_changed_since_is_not_loaded(shop, tmp_path):
    place, _, _ = shop
    shutil.copytree(place / "whom", tmp_path / "whom")
    file = tmp_path / "whom" / "models" / "effects.skops"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="cannot be loaded. Make it again"):
        told_by(place, whom=str(tmp_path / "whom"))


def test_a_service_describes_its_experiment(shop):
    from fastapi.testclient import TestClient

    from clickstream_conv.serving.api import make_app

    place, log, _ = shop
    with_it, alone = told_by(place), Service(Settings(str(place / "demo")))
    event = events_of(log, log["session_id"][0], alone)[0]
    assert "experiment" not in alone.add("v1", event)
    for service, there in ((with_it, True), (alone, False)):
        app = make_app(service)
        post = app.openapi()["paths"]["/v1/visits/{visit_id}/events"]["post"]
        schema = post["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
        assert ("experiment" in schema) == there
        told = TestClient(app, base_url="http://127.0.0.1").get("/v1/model").json()["experiment"]
        assert (told is not None) == there
    assert [*schema] == [*alone.add("v2", event)]
    asked = TestClient(make_app(with_it), base_url="http://127.0.0.1")
    said = asked.post("/v1/visits/v3/events", json=event).json()["experiment"]
    assert said["arm"] == arm_of("v3", "coupon") and "after 4 events" in said["no_effect"]


def test_a_plan_knows_its_log_and_its_days(shop, tmp_path, capsys):
    from clickstream_conv.pipeline.experiment_commands import plan_command

    place, _, _ = shop
    out, days = tmp_path / "e" / "plan.json", dict(begins="2026-06-01", ends="2026-06-30")
    plan_command(run=str(place / "demo"), name="x", by="session", out=str(out), **days)
    plan, scorer = load_plan(out), Scorer.load(place / "demo")
    assert plan.log == log_mark(scorer.card, scorer.contract)
    assert (plan.begins, plan.ends) == ("2026-06-01", "2026-06-30")
    with pytest.raises(ValueError, match="ends on 2026-05-01, before it begins on 2026-06-01"):
        replace(plan, ends="2026-05-01")
    with pytest.raises(ValueError, match="begins is 'June'; it must be a day such as 2026-06-01"):
        replace(plan, begins="June")


def test_the_audience_shows_what_was_found_or_why_not(shop):
    place, _, found = shop
    scorer = Scorer.load(place / "demo")
    alone, told = Audience(scorer), Audience(scorer, whom=str(place / "whom"))
    for panel in (alone, told):
        panel.chosen.value = BY_EFFECT_FOUND
    assert "It takes a randomised log" in alone.answers[0].value
    assert "clickstream-conv experiment whom --run" in alone.answers[0].value
    assert found["headline"][0][1:].replace("<", "&lt;") in told.answers[0].value
    row = found["policies"][0]
    assert f"{row['gain_low']:+,.3f} to {row['gain_high']:+,.3f}" in told.answers[1].value


def test_the_page_shows_the_advice_with_its_interval(shop):
    testing = pytest.importorskip("streamlit.testing.v1", reason="the extra app is not installed")
    place, _, found = shop
    page = testing.AppTest.from_string(
        "from clickstream_conv.app.pages import shown_safely\n"
        "from clickstream_conv.app.threshold_page import page_contacts\n"
        f"shown_safely(page_contacts, {str(place / 'demo')!r})()",
        default_timeout=60,
    )
    page.session_state["whom"] = str(place / "whom")
    page.run()
    page.segmented_control[0].set_value("Effect: who would not have bought without it").run()
    assert (len(page.exception), len(page.error), len(page.info)) == (0, 0, 0)
    texts = "".join(one.value for one in page.markdown).replace("\\", "")
    assert found["headline"][0][1:] in texts
    page.session_state["whom"] = str(place / "demo")
    page.run()
    assert "holds nothing about whom to treat" in page.error[0].value


def test_the_app_refuses_another_runs_folder(shop, tmp_path):
    from clickstream_conv.app.serve import app_command, refuse_other_whom, start_app

    place, _, _ = shop
    refuse_other_whom(str(place / "demo"), str(place / "whom"))
    quick_conversion(Run(tmp_path / "other"), sessions=800, folds=2, seed=1)
    with pytest.raises(ValueError, match="was learned with the run demo@.*, and this is other@"):
        start_app(str(tmp_path / "other"), whom=str(place / "whom"))
    words = app_command(tmp_path / "page.py", "runs/demo", whom=str(place / "whom"))
    assert words[-2] == f"--whom={place / 'whom'}"


def test_rows_are_asked_at_the_landmark_alone(shop):
    "What comes after the landmark changes no row."
    place, log, found = shop
    kept, card = load_effects(Run(place / "whom")), Scorer.load(place / "demo").card
    some = log.filter(pl.col("session_id").is_in(log["session_id"].unique().sort()[:50].implode()))
    whole = rows_to_ask(kept, card, some)
    cut = rows_to_ask(kept, card, some.filter(pl.col("step") <= found["shown_after"]))
    assert len(whole) == len(cut) > 5 and whole.table.equals(cut.table)
    assert isinstance(kept.learner, ProfitLearner)
