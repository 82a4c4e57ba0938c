"The service: whatever processes answer, and however they end, answers are those of a batch over the same events."

import inspect
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

import polars as pl
import psutil
import pytest
from conftest import start
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from served import ASKS, free_port, routes_of, SECONDS, Served

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")

FIELDS = ("status", "probability", "flagged", "flagged_at", "revenue", "segment")


@pytest.fixture(scope="module")
def visits(run):
    "Visits of the run's test part: events by name, and what a batch says after each of them."
    from clickstream_conv.base.runs import Run
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.sources.card import load_events

    log = load_events(Run(run), "test").drop("visitor", "part")
    names = log["session_id"].unique(maintain_order=True).head(150)
    some = log.filter(pl.col("session_id").is_in(names.implode()))
    said = Scorer.load(run).score(some, "every").scores
    parts = some.group_by("session_id", maintain_order=True)
    events = {name: part.drop("session_id", "step").to_dicts() for (name,), part in parts}
    answers = {name: part.to_dicts() for (name,), part in said.group_by("session_id")}
    return events, answers


@pytest.fixture
def valkey(tmp_path):
    "The address of a server of Valkey or Redis that this test has for itself."
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    port = free_port()
    words = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


def same(said, batch):
    "Whether an answer is what the batch says."
    for name in FIELDS:
        assert said[name] == pytest.approx(batch[name], abs=1e-9), (name, said, batch)


def test_four_processes_answer_as_one_batch(run, visits, valkey):
    "Events of all visits, interleaved, each sent to whoever takes it; a process is killed on the way."
    events, answers = visits
    turns = sorted(
        (n, name) for name, own in events.items() for n in range(len(own))
    )  # first all first events
    with Served(run, "--workers", 4, "--visits", valkey) as served:
        killed, lasting = served.workers(), len(turns) // 2

        def send(turn):
            n, name = turn
            return name, n, served.send(name, events[name][n] | dict(event_id=f"e{n}"))

        with ThreadPoolExecutor(8) as pool:
            for number in sorted({n for n, _ in turns}):
                if number == 2:
                    os.kill(killed[0].pid, signal.SIGKILL)
                for name, n, said in pool.map(send, [turn for turn in turns if turn[0] == number]):
                    same(said, answers[name][n])
                    lasting -= 1
        longest = max(events, key=lambda name: len(events[name]))
        again = served.send(longest, events[longest][0] | dict(event_id="e0"))
        assert again["repeated"]
        same(again, answers[longest][0])
        page = served.client.get("/metrics").text
        taken = re.search(r'clickstream_conv_events_total\{became="taken"\} ([\d.e+]+)', page)
        assert float(taken[1]) <= len(turns)  # what the killed process had counted is gone
    assert not psutil.pid_exists(killed[0].pid)


def test_a_visit_goes_on_after_its_process_was_killed(run, visits, tmp_path):
    events, answers = visits
    name = max(events, key=lambda one: len(events[one]))
    place, half = f"file:{tmp_path / 'visits.db'}", len(events[name]) // 2
    with Served(run, "--visits", place) as served:
        for n in range(half):
            same(served.send(name, events[name][n]), answers[name][n])
        served.process.kill()
        served.process.wait()
    with Served(run, "--visits", place) as served:
        for n in range(half, len(events[name])):
            same(served.send(name, events[name][n]), answers[name][n])


def test_runs_are_put_in_place_while_visits_go_on(run, visits, tmp_path):
    "Visits keep the run that they began with; no request is dropped."
    events, answers = visits
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / name)
    manifest = tmp_path / "two" / "models" / "manifest.json"
    manifest.write_text(
        json.dumps(json.loads(manifest.read_text()), indent=2)
    )  # another run by its name
    names = sorted(events, key=lambda one: -len(events[one]))[:20]
    with Served(tmp_path / "one") as served:
        begun = [served.send(one, events[one][0])["run"] for one in names]
        assert served.client.post("/v1/model", json=dict(run="two")).status_code == 200
        for one, before in zip(names, begun, strict=True):
            for n, event in enumerate(events[one][1:], 1):
                said = served.send(one, event)
                assert said["run"] == before
                same(said, answers[one][n])
        other = served.send("another", events[names[0]][0])
        assert other["run"] != begun[0] and other["run"].startswith("two@")
        same(other, answers[names[0]][0])


def test_a_late_event_is_put_in_its_place(run, visits):
    from clickstream_conv.serving.service import Service, Settings

    events, _ = visits
    name = max(events, key=lambda one: len(events[one]))
    own, service = events[name][:5], Service(Settings(run=str(run)))
    whole = [service.add("whole", event) for event in own][-1]
    mixed = [service.add("mixed", own[n]) for n in (0, 2, 1, 4, 3)][-1]
    for field in (*FIELDS, "events"):
        assert mixed[field] == pytest.approx(whole[field], abs=1e-9), field
    from clickstream_conv.serving.problems import Problem

    with pytest.raises(Problem, match="older than the last of the visit") as late:
        service.add("mixed", own[0] | dict(t=own[4]["t"] - 301_000_000))
    assert late.value.reason == "late" and service.visit("mixed")["events"] == 5


def test_a_visit_ends_as_the_log_was_cut(eshop, rees46):
    "By silence where the log was cut by silence; where it names its sessions, they last as long as they last."
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.serving.visits import silence_of

    for folder, _ in (eshop, rees46):
        scorer = Scorer.load(folder / "run")
        cut = "session_id" not in scorer.contract.mapping.columns
        assert (silence_of(scorer) is not None) == cut


def test_the_log_s_own_rows_are_read_as_the_run_has_read_them(rees46, real_log):
    "Rows of the raw file, one by one, are the events that the run has kept."
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.serving.beside import read_own

    scorer = Scorer.load(rees46[0] / "run")
    raw = pl.read_csv(real_log("rees46-2019-10-sample.csv"), infer_schema=False, glob=False).head(
        40
    )
    kept = pl.read_parquet(rees46[0] / "run" / "events.parquet", glob=False)
    columns = [name for name in scorer.event_columns() if name != "session_id"]
    read = [read_own(scorer, row) for row in raw.to_dicts()]
    for one in read:
        found = kept.filter(pl.col("t") == one["t"], pl.col("visitor_id") == one["visitor_id"])
        assert {name: one[name] for name in columns} in found.select(columns).to_dicts()


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def client(run):
    "A client of a service in this process."
    from fastapi.testclient import TestClient

    from clickstream_conv.serving.api import make_app
    from clickstream_conv.serving.service import Service, Settings

    app = make_app(Service(Settings(run=str(run))))
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as one:
        assert one.get("/v1/model").status_code == 200
        yield one


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_nothing_that_is_sent_makes_it_fail(client, visits, data):
    "Sound events with any value in place of one, and bodies of any kind."
    events, _ = visits
    sound = data.draw(st.sampled_from(events[min(events)]))
    field = data.draw(st.sampled_from([*sound, "event_id", "session_id", "else"]))
    one = sound | {field: data.draw(ANYTHING)}
    body = data.draw(st.sampled_from([one, [sound, one], dict(events=[one]), data.draw(ANYTHING)]))
    name = data.draw(
        st.text(
            min_size=1, max_size=6, alphabet=st.characters(exclude_characters="/", codec="utf-8")
        )
    )
    form = data.draw(st.sampled_from(["canonical", "log"]))
    done = client.post(f"/v1/visits/{quote(name)}/events", params=dict(form=form), json=body)
    assert done.status_code < 500, (name, body, done.text)
    assert done.status_code != 421 and done.json() is not None


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_body_of_any_route_makes_it_fail(client, run, data):
    "Whatever JSON is, at every route that takes a body."
    path = data.draw(st.sampled_from(sorted(path for method, path in ASKS if method == "POST")))
    path = path.replace("/v2/models/v", f"/v2/models/{run.name}")
    done = client.post(path, json=data.draw(ANYTHING))
    assert done.status_code < 500, (path, done.text)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_nothing_that_a_platform_sends_makes_it_fail(client, run, data):
    "A sound request with any value in place of a part, and bodies of any kind."
    url = f"/v2/models/{run.name}/infer"
    told = client.app.openapi()["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]
    sound = told["content"]["application/json"]["example"]
    place = data.draw(st.integers(0, len(sound["inputs"]) - 1))
    part = data.draw(st.sampled_from(["name", "shape", "datatype", "data"]))
    changed = sound["inputs"][place] | {part: data.draw(ANYTHING)}
    inputs = [*sound["inputs"][:place], changed, *sound["inputs"][place + 1 :]]
    word = data.draw(st.sampled_from(["inputs", "outputs", "parameters", "id"]))
    bodies = [dict(inputs=inputs), sound | {word: data.draw(ANYTHING)}, data.draw(ANYTHING)]
    done = client.post(url, json=data.draw(st.sampled_from(bodies)))
    assert done.status_code in (200, 400, 413, 422), done.text
    assert client.post(url, json=sound).status_code == 200


def test_what_cannot_be_kept_changes_nothing(run, visits):
    "Half a character is no text: the event is refused before the visit has seen it."
    from clickstream_conv.serving.problems import Problem
    from clickstream_conv.serving.service import Service, Settings

    events, answers = visits
    service, name = Service(Settings(run=str(run))), max(events, key=lambda one: len(events[one]))
    for n, event in enumerate(events[name][:6]):
        for field in ("item_id", "page", "event_id"):
            with pytest.raises(Problem):
                service.add(name, event | {field: "\ud800"})
        same(service.add(name, event), answers[name][n])


def test_every_route_asks_for_its_key(run, tmp_path):
    "Without a key, with a forged one, one that has expired, one that was revoked, one of another scope."
    from fastapi.testclient import TestClient

    from clickstream_conv.serving.api import make_app
    from clickstream_conv.serving.keys import add_key, revoke_key, SCOPES
    from clickstream_conv.serving.service import Service, Settings

    file = tmp_path / "keys.json"
    keys = {scope: add_key(file, scope, (scope,)) for scope in SCOPES}
    revoked, expired = add_key(file, "revoked", SCOPES), add_key(file, "expired", SCOPES, days=1e-9)
    revoke_key(file, revoked.split("_")[1])
    forged = keys["admin"][:-1] + ("A" if keys["admin"][-1] != "A" else "B")
    app = make_app(Service(Settings(run=str(run), keys=str(file))))
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    assert routes_of(app) == {*ASKS}
    for (method, path), scope in ASKS.items():
        for key in ("", forged, revoked, expired):
            shown = {"authorization": f"Bearer {key}"} if key else {}
            assert client.request(method, path, headers=shown, json={}).status_code == 401
        for name, key in keys.items():
            done = client.request(method, path, headers={"authorization": f"Bearer {key}"}, json={})
            assert (done.status_code == 403) == bool(scope and name != scope), (path, name)


def test_what_cannot_go_together_is_refused(run):
    for words, said in (
        (("--address", "0.0.0.0"), "no key is asked for"),
        (("--workers", 2), "cannot share visits"),
        (("--visits", "attic"), "found 'attic'"),
        (("--late", "-1"), "late must be"),
        (("--keys", "nowhere.json"), "there is no file of keys"),
    ):
        process = start("serve", "--run", run, "--port", free_port(), *words, cwd=run.parent)
        told = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 2 or process.returncode == 1, told
        assert said in told, told


def test_a_log_of_finished_sessions_is_refused(shoppers):
    "There is no visit to follow."
    run = shoppers[0] / "run"
    process = start("serve", "--run", run, "--port", free_port(), cwd=run.parent)
    told = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1 and "event by event" in told and "fault" not in told, told


def test_every_option_of_the_command_reaches_the_service(monkeypatch, tmp_path):
    "One that is typed and not passed on would change nothing without a word."
    from clickstream_conv.pipeline import serving_commands
    from clickstream_conv.serving import start as starting

    told = {}
    monkeypatch.setattr(
        starting, "start_service", lambda settings, **more: told.update(vars(settings), **more)
    )
    monkeypatch.setattr("clickstream_conv.experiments.served.served_experiment", vars)
    monkeypatch.setenv("PLACE_OF_VISITS", "redis://:secret@127.0.0.1:6379/0")
    options = dict(
        run="other",
        port=8123,
        address="::1",
        workers=3,
        visits="env:PLACE_OF_VISITS",
        keys="k.json",
        issuer="https://login.example",
        audience="shop",
        scopes_claim="scp",
        token_rate=5.0,
        runs="many",
        verify="signed",
        audit="a.jsonl",
        demo=True,
        shadow="challenger",
        shadow_log="s.jsonl",
        watch="watched",
        plan="plan.json",
        whom="learned",
        taking_part=0.25,
        origins="https://a.example,https://b.example",
        late=7.0,
        minutes=9.0,
        most_visits=11,
        most_body=13_000,
        most_batch=17_000,
    )
    assert {*options} == {*inspect.signature(serving_commands.serve).parameters}
    serving_commands.serve(**options)
    reached = options | dict(
        visits="redis://:secret@127.0.0.1:6379/0",
        origins=("https://a.example", "https://b.example"),
    )
    assert {name: told[name] for name in options} == reached


def test_a_challenger_is_asked_in_the_shadow(run, visits, tmp_path):
    "Its answers are those of a batch, nobody hears them, and nobody waits for them."
    from clickstream_conv.serving.service import Service, Settings
    from clickstream_conv.serving.shadow import hash_of_visit, read_shadow

    for name in ("monday", "tuesday"):
        shutil.copytree(run, tmp_path / name)
    told = Settings(run=str(tmp_path / "monday"), shadow="tuesday")
    service = Service(replace(told, shadow_log=str(tmp_path / "shadow.jsonl")))
    alone = Service(Settings(run=str(run)))
    events, answers = visits
    some = [*events][:20]
    for name in some:
        for event in events[name]:
            said = service.add(name, event)
            assert said | dict(run="") == alone.add(name, event) | dict(run="")
    service.forget(some[0])
    service.close()
    both = read_shadow(tmp_path / "shadow.jsonl")
    assert len(both) == sum(len(events[name]) for name in some)
    for name in some:
        own = both.filter(pl.col("visit") == hash_of_visit(name))["challenger_probability"]
        expected = [one["probability"] for one in answers[name]]
        assert own.to_list() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert not any(name in (tmp_path / "shadow.jsonl").read_text() for name in some)
    assert service.shadow.counts.shadow.labels("asked")._value.get() == len(both)


def test_what_nothing_would_read_is_refused(run, visits):
    "A column that is spelled wrongly would be missed without a word."
    from clickstream_conv.serving.problems import Problem
    from clickstream_conv.serving.service import Service, Settings

    event, service = visits[0][min(visits[0])][0], Service(Settings(run=str(run)))
    for ask in (service.add, service.add_at_once):
        with pytest.raises(Problem, match="did you mean 'quantity'"):
            ask("v", event | dict(quantty=5))
    assert len(service.visits) == 0


def test_a_repeated_event_is_counted_once(run, visits):
    from clickstream_conv.serving.service import Service, Settings

    event, service = visits[0][min(visits[0])][0], Service(Settings(run=str(run)))
    for _ in range(3):
        service.add("v", event | dict(event_id="e"))
    page = service.counts.page().decode()
    assert 'clickstream_conv_answers_total{status="scored"} 1.0' in page
    assert 'clickstream_conv_events_total{became="repeated"} 2.0' in page


def test_visits_are_kept_as_long_as_the_run_in_place_asks_for(run):
    "A run whose log was cut by a longer silence keeps its visits longer."
    from clickstream_conv.serving.memory import InMemory
    from clickstream_conv.serving.service import kept_minutes, Service, Settings

    service = Service(Settings(run=str(run)))
    assert isinstance(service.visits, InMemory)
    before = service.visits.seconds
    scorer = service.scorer()
    columns = {k: v for k, v in scorer.contract.mapping.columns.items() if k != "session_id"}
    rules = replace(scorer.contract.rules, gap_minutes=600)
    mapping = replace(scorer.contract.mapping, columns=columns, rules=rules)
    scorer.contract = replace(scorer.contract, mapping=mapping)
    service.follow()
    assert service.visits.seconds == 60 * kept_minutes(service.settings, scorer) > before


def test_the_state_of_many_visits_is_that_of_a_model(run, visits):
    "In memory and in a file, with events of visits in any order, erased and begun anew."
    from clickstream_conv.serving.service import Service, Settings

    events, answers = visits
    draw, names = random.Random(0), sorted(events)[:12]
    service, stands = Service(Settings(run=str(run))), {}
    for _ in range(150):
        name = draw.choice(names)
        n = stands.get(name, 0)
        if draw.random() < 0.05 and n:
            service.forget(name)
            stands[name] = 0
        elif n < len(events[name]):
            said = service.add_at_once(name, events[name][n]) or service.add(name, events[name][n])
            assert said["opened"] == (n == 0)
            same(said, answers[name][n])
            stands[name] = n + 1
    assert len(service.visits) == sum(n > 0 for n in stands.values())


def test_the_server_s_parts_are_asked_for_by_the_extra_alone():
    "Neither the scorer nor the command line loads what serves."
    code = "import sys; import clickstream_conv.pipeline.command_line, clickstream_conv.scoring.scorer;"
    code += "print([name for name in ('fastapi', 'uvicorn', 'redis', 'prometheus_client') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
