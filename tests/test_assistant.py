"An assistant that asks a run over the Model Context Protocol: each figure it is told stands in the named file at the named key, and nothing is changed."

import asyncio
import json
import os
import shutil

import polars as pl
import pytest
from conftest import COMMAND

mcp = pytest.importorskip("mcp", reason="the extra mcp is not installed")

SECONDS = 120
OF_THE_RUN = {  # question: what is asked with it; answered from the files of the run alone
    "about_the_run": {},
    "how_good": {},
    "fit_for_use": {},
    "leaks": {},
    "by_landmark": {},
    "threshold": {},
    "calibration": {},
    "by_group": {},
    "by_group, one": dict(column="device"),
    "what_matters": dict(most=5),
    "segments": {},
    "revenue": {},
    "funnel": {},
    "funnel, by": dict(column="channel"),
    "conversion_by": {},
    "conversion_by, one": dict(column="channel"),
    "log_checks": {},
    "look_up": dict(file="metrics/classification.json", key="/at_threshold/test"),
    "look_up, a value": dict(file="run.json", key="/parameters/seed"),
}
WRONG = {  # what is asked, with what, and words of the refusal
    "no tool": (
        "delete_run",
        {},
        "there is no tool 'delete_run'; there are: about_the_run, how_good",
    ),
    "no parameter": ("funnel", dict(colum="x"), "funnel has no parameter 'colum'; it has: column"),
    "another type": ("what_matters", dict(most="many"), "valid integer"),
    "nothing given": ("look_up", {}, "Field required"),
    "above the run": ("look_up", dict(file="../secret.json"), "there is no file '../secret.json'"),
    "a whole path": ("look_up", dict(file="/etc/passwd"), "there is no file '/etc/passwd'"),
    "no key": ("look_up", dict(file="run.json", key="/parametres"), "there is no 'parametres'"),
    "no column": ("by_group", dict(column="colour"), "there are groups by: channel, device"),
    "no word": ("glossary", dict(word="landmrk"), "the glossary has no word 'landmrk'"),
    "no events": ("score_events", dict(events=[]), "a visit has 1 to 500 events"),
    "strange event": ("score_events", dict(events=[dict(evnt="view")]), "did you mean 'event'?"),
}


@pytest.fixture(scope="module")
def visit(run):
    "The events of a visit of the test part that has not converted by then."
    from clickstream_conv.base.runs import Run
    from clickstream_conv.sources.card import load_events

    log = load_events(Run(run), "test").drop("visitor", "part")
    views = pl.col("event").ne("purchase").all().over("session_id")
    left = log.filter(views, pl.len().over("session_id") == 4)
    return left.filter(pl.col("session_id") == left["session_id"][0]).drop("step")


def listing(folder):
    "Files of a folder with size and time of the last change."
    seen = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {str(path): (one.st_size, one.st_mtime_ns) for path, one in seen.items()}


def asked_of(folder, talk, cwd):
    "What a talk with a server of its own gives, over standard input and output."
    command, *words = [*COMMAND, "mcp", "--run", str(folder)]
    server = mcp.StdioServerParameters(command=command, args=words, env=dict(os.environ), cwd=cwd)

    async def whole():
        async with mcp.Client(server, read_timeout_seconds=SECONDS) as client:
            return await talk(client)

    return asyncio.run(whole())


@pytest.fixture(scope="module")
def talk(run, visit, tmp_path_factory):
    "One talk with a server: all that was asked and answered; and the run's files before and after."
    events = visit.drop("session_id").to_dicts()
    own = visit.to_dicts()
    asks = {name: (name.partition(",")[0], given) for name, given in OF_THE_RUN.items()}
    asks |= {name: (name, dict(events=events)) for name in ("score_events", "why_so")}
    asks |= {"what_would_change_it": ("what_would_change_it", dict(events=events))}
    asks |= {"own columns": ("score_events", dict(events=own, own_columns=True))}
    asks |= {"columns_needed": ("columns_needed", {}), "words": ("glossary", {})}
    asks |= {"glossary": ("glossary", dict(word="Landmark"))}
    asks |= {f"wrong, {name}": (tool, given) for name, (tool, given, _) in WRONG.items()}

    async def all_of_it(client):
        told = {name: await client.call_tool(*ask) for name, ask in asks.items()}
        told["tools"] = (await client.list_tools()).tools
        told["pages"] = (await client.list_resources()).resources
        told["read"] = {
            str(one.uri): (await client.read_resource(str(one.uri))).contents[0].text
            for one in told["pages"]
        }
        told["about"] = client.instructions
        try:
            await client.read_resource("run://../secret.txt")
        except mcp.MCPError as error:
            told["no page"] = str(error)
        return told

    before = listing(run)
    told = asked_of(run, all_of_it, tmp_path_factory.mktemp("elsewhere"))
    return told | dict(before=before, after=listing(run))


def found_at(run, file, key):
    "What a file of the run holds under a key, read here on its own."
    content = json.loads((run / file).read_text())
    for step in key.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        content = content[int(name)] if isinstance(content, list) else content[name]
    return content


def numbers_in(value):
    "All numbers of an answer."
    if isinstance(value, dict):
        return [n for one in value.values() for n in numbers_in(one)]
    if isinstance(value, list):
        return [n for one in value for n in numbers_in(one)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", OF_THE_RUN)
def test_each_figure_stands_where_it_is_said_to_stand(run, talk, name):
    told = talk[name]
    assert not told.is_error, told.content[0].text
    answer = told.structured_content
    assert json.loads(told.content[0].text) == answer
    assert answer["facts"] and "note" not in answer
    checked = []
    for fact in answer["facts"]:
        row = found_at(run, fact["file"], fact["key"])
        assert fact["values"], fact
        assert {n: row[n] for n in fact["values"]} == fact["values"], fact
        checked += numbers_in(fact["values"])
    for one in answer["says"]:
        if one["file"]:
            kept = found_at(run, one["file"], one["key"])
        if one["figures"] or one["key"].startswith("/findings"):
            assert one["text"] == kept["text"]
        for figure in one["figures"]:
            kept = found_at(run, one["file"], figure["key"])
            values = {n: value for n, value in figure.items() if n != "key"}
            assert {n: kept[n] for n in values} == values
            checked += numbers_in(values)
    assert sorted(numbers_in(answer)) == sorted(checked)  # no figure but those
    assert checked or name == "leaks"


def test_the_figures_that_decide_are_told(run, talk):
    "ROC-AUC with its interval, the limit, F1, the threshold, and whether it may be used."
    values = {
        (fact["about"].partition(",")[0], n): value
        for fact in talk["how_good"].structured_content["facts"]
        for n, value in fact["values"].items()
    }
    kept = json.loads((run / "metrics" / "classification.json").read_text())
    model = kept["model"]
    for name in ("roc_auc_within", "roc_auc_within_low", "roc_auc_within_high", "log_loss"):
        assert (model, name) in values and ("limit", name) in values, name
    assert ("what the threshold does", "f1_low") in values
    card = json.loads((run / "model_card.json").read_text())
    assert values["fitness for use", "fit_for_use"] == card["fit_for_use"]
    fit = talk["fit_for_use"].structured_content
    missing = [fact for fact in fit["facts"] if fact["key"].startswith("/missing/")]
    assert [one["values"]["text"] for one in missing] == [one["text"] for one in card["missing"]]
    texts = " ".join(one["text"] for one in fit["says"])
    assert card["verdict"] in texts and "simulated" in texts
    line = talk["threshold"].structured_content["facts"][0]
    assert line["key"] == "/threshold" and line["values"]["value"] == kept["threshold"]["value"]


def test_events_are_answered_as_the_scorer_answers_them(run, talk, visit):
    from clickstream_conv.scoring.scorer import Scorer

    scorer = Scorer.load(run)
    live = scorer.session("asked")
    answers = [live.add(event) for event in visit.drop("session_id").to_dicts()]
    for name in ("score_events", "own columns", "why_so", "what_would_change_it"):
        answer = talk[name].structured_content["answer"]
        for field in ("status", "probability", "flagged", "revenue", "segment"):
            assert answer[field] == pytest.approx(answers[-1][field], abs=1e-9), (name, field)
    each = talk["score_events"].structured_content["after_each"]
    assert [one["probability"] for one in each] == [one["probability"] for one in answers]
    (_, line) = talk["score_events"].structured_content["facts"]
    assert found_at(run, line["file"], line["key"])["value"] == scorer.threshold
    assert talk["why_so"].structured_content["why"]["reasons"]
    assert talk["what_would_change_it"].structured_content["change"]["sentence"]
    needed = talk["columns_needed"].structured_content
    assert {*needed["example"]} == {*scorer.event_columns()} - {"session_id"}
    assert needed["landmarks"] == list(scorer.landmarks)


def test_words_are_those_of_the_glossary(talk):
    from clickstream_conv.report.terms import glossary_notebook, glossary_terms

    words = talk["words"].structured_content["words"]
    assert {*words} == {*glossary_terms(glossary_notebook())}
    assert len(talk["glossary"].structured_content["means"]) > 50


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_asked_is_refused_in_a_sentence(talk, name):
    told, words = talk[f"wrong, {name}"], WRONG[name][2]
    assert told.is_error and words in told.content[0].text
    assert "Traceback" not in told.content[0].text


def test_every_tool_says_what_it_is_for_and_only_reads(talk):
    from clickstream_conv.serving.assistant import ASKED

    assert [tool.name for tool in talk["tools"]] == list(ASKED)
    tried = {name.partition(",")[0] for name in talk}
    for tool in talk["tools"]:
        assert tool.name in tried, f"{tool.name} is asked by no test"
        assert len(tool.description) > 20 and tool.annotations.read_only_hint
        assert tool.input_schema["additionalProperties"] is False
        for name, about in tool.input_schema["properties"].items():
            assert about["description"], (tool.name, name)
    assert "fit_for_use" in talk["about"]


def test_summary_and_card_can_be_read(run, talk):
    assert talk["read"]["run://summary.txt"] == (run / "summary.txt").read_text()
    assert talk["read"]["run://model_card.md"] == (run / "model_card.md").read_text()
    assert talk["no page"]


def test_nothing_of_the_run_is_changed(talk):
    assert talk["before"] == talk["after"]


def test_a_received_run_leads_nowhere_else(run, tmp_path):
    "A link in the folder of a run that comes from elsewhere is not followed."
    got = shutil.copytree(run, tmp_path / "got", ignore=shutil.ignore_patterns("site"))
    (tmp_path / "secret.json").write_text('{"password": "sesame"}')
    (got / "metrics" / "secret.json").symlink_to(tmp_path / "secret.json")
    (got / "summary.txt").unlink()
    (got / "summary.txt").symlink_to(tmp_path / "secret.json")

    async def ask(client):
        told = [await client.call_tool("look_up", dict(file="metrics/secret.json"))]
        told.append(await client.call_tool("fit_for_use", {}))
        try:
            told.append((await client.read_resource("run://summary.txt")).contents[0].text)
        except mcp.MCPError as error:
            told.append(str(error))
        return told

    *refused, page = asked_of(got, ask, tmp_path)
    for one in refused:
        assert one.is_error and "leads out of the run's folder" in one.content[0].text
    assert "sesame" not in page


def test_a_run_of_finished_sessions_answers_too(shoppers):
    "Whatever it has no figures of, it says so; sessions are scored as the Scorer does."
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.serving.assistant import ASKED
    from clickstream_conv.serving.event_questions import Questions

    folder, done = shoppers
    assert done.returncode == 0, done.said
    asked, scorer = Questions(folder / "run"), Scorer.load(folder / "run")
    rows = pl.read_parquet(folder / "run" / "sessions.parquet", glob=False).head(3)
    own = rows.select(scorer.card.session_context).to_dicts()
    of_events = ("score_events", "why_so", "what_would_change_it", "look_up")
    for name in (one for one in ASKED if one not in of_events):
        answer = getattr(asked, name)()
        for fact in answer["facts"]:
            row = found_at(folder / "run", fact["file"], fact["key"])
            assert {n: row[n] for n in fact["values"]} == fact["values"]
    assert "note" in asked.funnel() and "note" not in asked.how_good()
    told = [one["probability"] for one in asked.score_events(own)["answers"]]
    assert (
        told
        == scorer.score_sessions(pl.DataFrame(own, orient="row")).scores["probability"].to_list()
    )
    with pytest.raises(ValueError, match="finished sessions, no events"):
        asked.why_so(own)
