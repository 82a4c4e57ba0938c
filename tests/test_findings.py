"""Each sentence that a run shows rests on figures with rows and an interval, or says why not; the figures in it are those of the table."""

import html
import json
import re
from dataclasses import asdict

import pytest
from conftest import metrics

from clickstream_conv.base.findings import (
    AS_COUNTED,
    NO_FIGURE,
    rests_on,
    Sentence,
    UNKNOWN,
)
from clickstream_conv.base.texts import for_markdown, from_markdown, whole_sentence
from clickstream_conv.report import doubts as report_doubts
from clickstream_conv.report.actions import actions
from clickstream_conv.report.answer import read_figures

NUMBER = re.compile(
    r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:\s?%)?"
)  # a number, with its sign of percent


@pytest.fixture(scope="session")
def table(demo):
    "What each sentence of the demo's run rests on."
    return json.loads((demo[0] / "run" / "sentences.json").read_text())["sentences"]


def by_sentence(rows):
    "Sentences with their rows, by where they are shown."
    found = {}
    for row in rows:
        found.setdefault((row["where"], row["sentence"]), []).append(row)
    return found


STAGE_FIGURES = {  # stage: its figures, and its picture
    "02_sources": "source",
    "03_eda": "eda",
    "04_features": "features",
    "05_classification": "classification",
    "06_regression": "regression",
    "07_clustering": "clustering",
    "09_explain": "explain",
}


def fits(token, value):
    "Whether a written number is a value, to the digits that are written."
    bare = token.replace(",", "").replace("\N{NO-BREAK SPACE}", " ")
    percent, bare = bare.endswith("%"), bare.rstrip("% ")
    digits = len(bare.split(".")[1]) if "." in bare else 0
    shown = 100 * value if percent else value
    return abs(float(bare) - shown) <= 0.5000001 * 10**-digits


def unbacked(sentence, rows):
    "Numbers of a sentence that no figure in its rows has."
    text = sentence
    for name in sorted({name for row in rows for name in row["names"]}, key=len, reverse=True):
        text = text.replace(name, " ")
    known = [row[end] for row in rows for end in ("value", "low", "high") if row[end] is not None]
    known += [row["count"] for row in rows if row["count"] is not None]
    return [
        token for token in NUMBER.findall(text) if not any(fits(token, value) for value in known)
    ]


def plain(text):
    "Words with simple spaces."
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def test_every_figure_has_rows_and_an_interval_or_a_reason(table):
    assert {row["where"] for row in table} == {"first page", "card", "terminal"}
    for row in table:
        assert row["sentence"].strip() and row["code"]
        if row["figure"] is None:
            assert row["no_interval"]
            continue
        assert row["unit"] and row["rows"]
        assert row["low"] is not None and row["high"] is not None or row["no_interval"], row
        if row["low"] is not None:
            assert row["low"] <= row["high"], row


def test_the_numbers_of_a_sentence_are_those_of_its_figures(table):
    checked = 0
    for (where, sentence), rows in by_sentence(table).items():
        if rows[0]["figure"] is None and rows[0]["no_interval"] != NO_FIGURE:
            continue
        assert unbacked(sentence, rows) == [], (where, sentence)
        checked += len(NUMBER.findall(sentence))
    assert checked > 150
    assert not [row["sentence"] for row in table if row["no_interval"] == UNKNOWN]


def test_what_cannot_be_backed_is_seen():
    row = dict(names=["after 5 events"], value=0.7349, low=0.7, high=0.76, count=900)
    assert unbacked("after 5 events: 0.735 (0.700 to 0.760), 73% of 900", [row]) == []
    assert unbacked("0.736 of 901", [row]) == ["0.736", "901"]


def test_each_line_of_the_terminal_is_in_the_table(demo, table):
    said = {row["sentence"] for row in table if row["where"] == "terminal"}
    lines = [
        line for line in demo[1].stdout.splitlines() if line and not line.startswith("results: ")
    ]
    assert len(lines) > 20 and [line for line in lines if line not in said] == []


def test_each_sentence_of_the_card_is_in_the_table(demo, table):
    said = {row["sentence"] for row in table if row["where"] == "card"}
    text = (demo[0] / "run" / "model_card.md").read_text()
    limits = text[text.index("## What not to trust") : text.index("## Figures on the test part")]
    lines = [
        from_markdown(line.removeprefix("- "))
        for line in limits.splitlines()
        if line.startswith("- ")
    ]
    assert lines and [line for line in lines if line not in said] == []
    assert any(line.startswith("Predicts whether") for line in said) and all(
        for_markdown(line) in text for line in said if line.startswith("Predicts whether")
    )
    threshold = text[text.index("## Threshold") : text.index("## Data")]
    flagged = [
        from_markdown(line.removeprefix("- "))
        for line in threshold.splitlines()
        if line.startswith(("- threshold", "- the same line"))
    ]
    assert len(flagged) == 2 and set(flagged) <= said


def test_the_tables_of_the_card_are_the_figures_of_the_run(demo):
    text, kept = (
        (demo[0] / "run" / "model_card.md").read_text(),
        metrics(demo[0] / "run")["classification.json"],
    )
    for part, row in kept["at_threshold"].items():
        assert (
            f"| {part} | {row['decided']:,} | {row['converted']:,} | {row['flagged']:,} | {row['found']:,} |"
            in text
        )
    last = [row for row in kept["by_landmark"] if row["model"] == kept["model"]][-1]
    assert (
        f"{last['roc_auc_within']:.3f} ({last['roc_auc_within_low']:.3f} to {last['roc_auc_within_high']:.3f})"
        in text
    )
    assert f"{last['ece_chance']:.3f}, up to {last['ece_chance_high']:.3f}" in text
    assert f"reaches {kept['threshold']['value']:.4g}, and counts once" in text


def bare(text):
    "The words of a piece of HTML."
    return plain(html.unescape(re.sub(r"<[^>]+>", "", text)))


def items_of(page, kind):
    "The items of a list of the first page, without their links."
    found = re.search(rf'<ul class="{kind}">(.*?)</ul>', page)
    return (
        [bare(re.sub(r"<a .*?</a>", "", item)) for item in re.findall(r"<li>(.*?)</li>", found[1])]
        if found
        else []
    )


def test_each_sentence_of_the_first_page_is_in_the_table(demo, table):
    said = {plain(row["sentence"]) for row in table if row["where"] == "first page"}
    page = (demo[0] / "run" / "site" / "index.html").read_text()
    answers = re.findall(r'<div class="head[^"]*">(.*?)</div><p>(.*?)</p>', page)
    shown = [bare(f"{figure} {says}") for figure, says in answers]
    shown += [bare(text) for text in re.findall(r'<p class="sure">(.*?)</p>', page)]
    shown += [
        bare(f"{value} {name}")
        for value, name in re.findall(
            r'<span class="value">(.*?)</span>(.*?)<div class="track"', page
        )
    ]
    shown += [
        bare(text)
        for text in re.findall(
            r'<div class="verdict[^"]*"><p>(?:<strong>.*?</strong>)?(.*?)</p>', page
        )
    ]
    shown += [item for kind in ("facts", "do", "doubt", "split") for item in items_of(page, kind)]
    assert len(answers) == 4 and len(shown) > 25
    assert [text for text in shown if text not in said] == []
    assert [text for text in said if text not in shown] == []
    assert (
        'href="sentences.html"' in page and (demo[0] / "run" / "site" / "sentences.html").is_file()
    )


def test_advice_that_a_small_run_does_not_give_rests_on_figures_too(demo):
    figures = read_figures(demo[0] / "run")

    def ends(name, value):
        return {
            name: value,
            f"{name}_low": value - 0.02,
            f"{name}_high": value + 0.02,
        }

    moments = [
        dict(landmark=k, best=k == 5, asked=n, **ends("value", value))
        for k, value, n in ((1, 0.1, 300), (5, 0.4, 90), ("all", 0.5, 300))
    ]
    same = [
        dict(landmark=k, sessions=90, converted=12, **ends("roc_auc", auc))
        for k, auc in ((1, 0.61), (5, 0.88))
    ]
    figures["classification"]["moment"] = dict(
        moments=moments,
        same_sessions=same,
        gone=dict(landmark=5, first=1, converted=15, left=7, **ends("gone", 0.53)),
    )
    figures["model_card"]["fit_for_use"] = True
    advice = [one for one, _ in actions(figures)]
    assert {"act.line", "act.moment", "act.funnel"} <= {one.code for one in advice}
    for sentence, rows in by_sentence(rests_on("first page", advice)).items():
        assert rows[0]["figure"] and unbacked(sentence[1], rows) == [], sentence


def test_figures_of_the_table_are_those_of_the_stages(demo, table):
    kept = metrics(demo[0] / "run")["classification.json"]
    last = [row for row in kept["by_landmark"] if row["model"] == kept["model"]][-1]
    first = next(row for row in table if row["code"] == "classification.within_landmarks")
    assert (first["value"], first["low"], first["high"]) == (
        last["roc_auc_within"],
        last["roc_auc_within_low"],
        last["roc_auc_within_high"],
    )
    assert (
        f"{last['converted_sessions']:,} of {last['sessions']:,} sessions convert"
        in first["sentence"]
    )
    headline = [row["text"] for row in kept["findings"]]
    assert kept["headline"] == headline


def test_a_warning_is_left_out_by_its_code_and_not_by_a_word_in_it():
    outcome = dict(name="cart", says="the session fills a cart", proxy=True)
    said = [
        Sentence(
            "source.warning.proxy",
            "the log holds no purchase; the outcome is a proxy: it fills a cart",
            (),
            "caution",
            why=AS_COUNTED,
        ),
        Sentence(
            "source.warning",
            "3 rows have no value in the column 'proxy_server'",
            (),
            "caution",
            why=AS_COUNTED,
        ),
    ]
    warned, warnings = [asdict(one) for one in said], [one.text for one in said]
    card = dict(outcome=outcome, warned=warned, warnings=warnings)
    texts = [one.text for one in report_doubts._of_log(dict(source=card))]
    assert (
        "3 rows have no value in the column 'proxy_server'" in texts and said[0].text not in texts
    ), texts
    assert any(text.startswith("The outcome is a proxy") for text in texts)
    old = report_doubts._of_log(
        dict(source=dict(outcome=outcome, warnings=[one.text for one in said]))
    )
    assert {one.text for one in said} <= {one.text for one in old}, (
        "an old run keeps its warnings as they are"
    )


def test_each_stage_says_first_what_it_found(demo):
    "Above the way: sentences of its own figures, of this run and not of one before, and the picture that it kept."
    for stage, name in STAGE_FIGURES.items():
        notebook = json.loads((demo[0] / "run" / "notebooks" / f"{stage}.ipynb").read_text())
        cells = notebook["cells"]
        at = next(
            n for n, cell in enumerate(cells) if "".join(cell["source"]) == "## What was found"
        )
        said, drawn = cells[at + 1]["outputs"]
        lines = "".join(said["data"]["text/markdown"]).splitlines()
        told = [from_markdown(line.removeprefix("- ")) for line in lines]
        figures = metrics(demo[0] / "run")[f"{name}.json"]
        own = [whole_sentence(one["text"]) for one in figures["findings"]]
        assert 2 <= len(told) <= 3 and [line for line in told if line not in own] == [], stage
        kept = json.loads((demo[0] / "run" / "pictures" / f"{name}.json").read_text())
        assert "".join(drawn["data"]["image/png"]).strip() == kept["png"], stage


ONE_OF_MANY = re.compile(
    r"(?<![\d.,:/])1 (?:[a-z]+ )?(?:events|rows|sessions|visitors|orders|columns|pages|words|products|days|weeks|segments)\b"
)


def texts_of(folder):
    "All that a run says: figures with their sentences, executed notebooks, and what the terminal shows."
    for path in sorted([*folder.rglob("*.json"), *(folder / "notebooks").glob("*.ipynb")]):
        if path.parent.name != "pictures":
            yield path.name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["demo", "rees46", "eshop", "shoppers"])
def test_one_thing_is_not_many(name, request):
    "1 row, not 1 rows, nor 1 session that hold."
    folder, told = request.getfixturevalue(name)
    said = [*texts_of(folder / "run"), ("terminal", told.stdout)]
    assert [
        f"{of}: {text[max(found.start() - 20, 0) : found.end() + 40]}"
        for of, text in said
        for found in ONE_OF_MANY.finditer(text)
    ] == []
