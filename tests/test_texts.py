"""A marker through every field of a log, a mapping and a run: pages, the app, tables and the terminal show it and do not obey it."""

import csv
import io
import json
import shutil

import polars as pl
import pytest
from conftest import QUICK, warm

from clickstream_conv.report.build import run_report

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SLOW = 60_000  # milliseconds to wait for an answer on a busy machine
KEPT = (
    "model",
    "landmark",
    "kind",
    "status",
    "part",
    "resolution",
    "source",
    "session_context",
    "event_context",
    "column",
    "equals",
)  # entries by which a report finds its figures: a marker there hides them
EVIL = '<img src=x onerror="pwned=1"><script>pwned=1</script> ![p](http://127.0.0.1:9/p.png) [a](javascript:pwned=1) $x$ $y$ {{7*7}} `b` | {raw}`html` <b>q</b>'


def mark(where):
    "A marker that says where it was put."
    return f"M{where} {EVIL}"


def rows():
    "A small log in which every value carries a marker; a session a minute, an eighth of them buy."
    for s in range(1_500):
        buys = s % 8 == 0
        words = (
            ["look", "look", "add", "look", "buy"]
            if buys
            else ["look", "look", "add"]
            if s % 5 == 0
            else ["look", "look", "look"]
        )
        for i, what in enumerate(words):
            when = f"2024-03-{1 + s // 60:02} {10 + s % 10}:{s % 60:02}:{i * 7 % 60:02}"
            device, page = (
                f"{mark(name)} {number}"
                for name, number in (("device", (s + buys) % 3), ("page", (s + i) % 4))
            )
            yield [
                f"=1+{s} {mark('session')}",
                f"@v{s} {mark('visitor')}",
                when,
                what,
                f"{mark('item')} \x1b[31m{(s * 7 + i) % 9}",
                f"{mark('category')}\n{(s + i) % 3}",
                f"{5 + (s * 3 + i) % 20}.50",
                device,
                page,
            ]


def mapping():
    "A mapping whose words carry markers."
    return json.dumps(
        dict(
            columns=dict(
                session_id="sid",
                visitor_id="who",
                t="when",
                event="what",
                item_id="sku",
                category="kind",
                price="price",
            ),
            session_context=dict(device="device"),
            event_context=dict(page="page"),
            events=dict(view=["look"], cart=["add"], purchase=["buy"]),
            time_format="%Y-%m-%d %H:%M:%S",
            outcome=dict(name=mark("outcome"), says=mark("says")),
        )
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A finished run of that log: its folder, and what was said while it was made."
    folder = tmp_path_factory.mktemp("texts")
    with open(folder / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["sid", "who", "when", "what", "sku", "kind", "price", "device", "page"], *rows()]
        )
    name = f"Mname {EVIL.replace('/', '_')} \x1b[2J.yaml"
    (folder / name).write_text(mapping())
    done = warm(
        "run",
        "--source",
        name,
        "--path",
        "log.csv",
        "--out",
        "run",
        "--landmarks",
        "1,2",
        "--no-report",
        *QUICK,
        cwd=folder,
    )
    assert done.returncode == 0, done.said
    return folder / "run", done


def altered(kept, name=""):
    "Figures in which every text has a marker more."
    if isinstance(kept, dict):
        return {key: altered(value, key) for key, value in kept.items()}
    if isinstance(kept, list):
        return [altered(value, name) for value in kept]
    return f"{kept} {mark('json')}" if isinstance(kept, str) and name not in KEPT else kept


def stained(run, place):
    "A copy of a run as somebody might send it: markers in its figures, its notebooks and its card."
    copy = place / "sent"
    shutil.copytree(run, copy)
    for path in [*(copy / "metrics").glob("*.json"), copy / "model_card.json"]:
        if path.stem != "leaks":
            path.write_text(json.dumps(altered(json.loads(path.read_text()))))
    kept = json.loads((copy / "metrics" / "eda.json").read_text())
    (copy / "metrics" / "eda.json").write_text(
        json.dumps(kept | {"../../out": [{f"=a {mark('key')}": "=1+1"}]})
    )
    (copy / "model_card.md").write_text(
        (copy / "model_card.md").read_text()
        + f"\n{mark('card')}\n\n```{{raw}} html\n<script>pwned=1</script>\n```\n\n<img src=x onerror=pwned=1>\n"
    )
    for path in (copy / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        title = next(
            cell
            for cell in notebook["cells"]
            if cell["cell_type"] == "markdown" and "".join(cell["source"]).startswith("# ")
        )
        title["source"] = (
            f"# {mark('title')}\n\n> {mark('lead')}\n\n```{{include}} /etc/passwd\n```\n\n{{download}}`/etc/passwd`"
        )
        chart = dict(
            data=[dict(type="bar", x=["<a href='javascript:pwned=1'>x</a>"], y=[1])],
            layout=dict(
                title=dict(text=mark("chart")), images=[dict(source="http://127.0.0.1:9/i.png")]
            ),
        )
        outputs = [
            {
                "text/html": f"<p>{mark('html').removesuffix('<b>q</b>')}</p><iframe src='http://127.0.0.1:9/f'></iframe>"
            },
            {"text/markdown": mark("markdown")},
            {"application/vnd.plotly.v1+json": chart, "text/plain": mark("alt")},
        ]
        shown = [dict(output_type="display_data", metadata={}, data=data) for data in outputs] + [
            dict(output_type="stream", name="stdout", text=mark("print"))
        ]
        notebook["cells"] += [
            dict(
                cell_type="code", metadata={}, source="shown", outputs=shown, execution_count=None
            ),
            dict(cell_type="markdown", metadata={}, source=mark("cell")),
        ]
        path.write_text(json.dumps(notebook))
    return copy


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    "The report of a run that was altered."
    place = tmp_path_factory.mktemp("sent")
    return run_report(stained(run[0], place), place / "site").parent


@pytest.fixture(scope="module")
def browser():
    "A browser."
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


def watched(browser, own):
    "A page, and the requests that it makes to other places than its own."
    page, foreign = browser.new_page(), []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((*own, "data:", "blob:"))
            else foreign.append(request.url)
        ),
    )
    page.on("dialog", lambda dialog: dialog.dismiss())
    return page, foreign


HARM = """() => ({ran: window.pwned, handlers: [...document.querySelectorAll('*')].filter(e => e.hasAttribute('onerror')).length,
  images: [...document.querySelectorAll('main img')].map(i => i.getAttribute('src')).filter(s => s === 'x' || s.includes('127.0.0.1:9')),
  links: [...document.querySelectorAll('a')].map(a => a.getAttribute('href') || '').filter(h => h.startsWith('javascript')),
  files: [...document.querySelectorAll('a')].map(a => a.getAttribute('href') || '').filter(h => h.includes('passwd')).length,
  bold: [...document.querySelectorAll('b, strong')].filter(b => b.textContent === 'q').length, text: [document.body.innerText, ...[...document.querySelectorAll('input')].map(i => i.value)].join('\\n')})"""


def refuse_harm(found, where):
    "Nothing ran, nothing was made of a marker but text."
    assert found["ran"] is None and found["handlers"] == 0, where
    assert (
        found["images"] == []
        and found["links"] == []
        and found["files"] == 0
        and found["bold"] == 0
    ), (where, found["images"], found["links"])
    assert "root:x:0" not in found["text"], where


def test_a_report_shows_every_word_and_obeys_none(report, browser):
    page, foreign = watched(browser, ("file:",))
    seen = ""
    for path in sorted(path for path in report.glob("*.html") if path.name != "search.html"):
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        if page.locator("figure.chart").count():
            page.wait_for_selector("figure.chart .main-svg", state="attached")
        found = page.evaluate(HARM)
        refuse_harm(found, path.name)
        seen += f"{page.title()}\n{found['text']}\n"
        for part in ("h1", ".bd-sidebar-primary", ".bd-header"):
            for text in page.locator(part).all_inner_texts():
                assert "\\<" not in text and "&lt;" not in text, (path.name, part, text)
    page.close()
    assert foreign == []
    for where in (
        "name",
        "says",
        "outcome",
        "json",
        "title",
        "lead",
        "html",
        "markdown",
        "print",
        "cell",
        "card",
        "device",
    ):
        assert f'M{where} <img src=x onerror="pwned=1">' in seen, where
    assert "M" + "name <img" in seen.splitlines()[0] + page_titles(report), "the title of the site"
    assert not (report.parent / "out.csv").exists() and not (report.parents[1] / "out.csv").exists()


def page_titles(report):
    "The titles of the pages, as a browser shows them."
    import html
    import re

    return "\n".join(
        html.unescape(re.search(r"<title>(.*?)</title>", path.read_text(), re.DOTALL)[1])
        for path in report.glob("*.html")
    )


def test_tables_of_a_report_hold_no_formula(report):
    tables, cells = sorted((report / "tables").glob("*.csv")), []
    for path in tables:
        cells += [cell for row in csv.reader(io.StringIO(path.read_text())) for cell in row]
    assert len(tables) > 10 and any(cell.startswith("'=") for cell in cells)
    assert [cell for cell in cells if cell.startswith(("=", "@", "\t", "\r"))] == []
    assert "apostrophe" in (report / "tables.html").read_text()


def test_a_scored_file_holds_no_formula_and_says_so(run, tmp_path):
    said = {}
    for ending in ("csv", "parquet"):
        done = warm(
            "score",
            "--run",
            run[0],
            "--events",
            run[0].parent / "log.csv",
            "--out",
            f"scored.{ending}",
            cwd=run[0].parent,
        )
        said[ending] = done.said
        assert (
            done.returncode == 0
            and ("apostrophe" in done.said) == (ending == "csv")
            and "\x1b" not in done.said
        ), done.said
    safe, whole = (
        pl.read_csv(run[0].parent / "scored.csv"),
        pl.read_parquet(run[0].parent / "scored.parquet"),
    )
    assert f"session_id: {len(whole):,}" in said["csv"]
    assert safe["session_id"].to_list() == [f"'{name}" for name in whole["session_id"]]
    assert safe["probability"].round(12).to_list() == whole["probability"].round(12).to_list()


def test_a_terminal_is_shown_words_and_obeys_none(run):
    assert "\x1b" not in run[1].said and "\\x1b[2J" in run[1].said
    assert "Mname <img" in run[1].said


def test_the_app_shows_every_word_and_obeys_none(run, report, browser, tmp_path):
    pytest.importorskip(
        "streamlit", reason="the app is an extra: pip install clickstream-conv[app]"
    )
    from test_app import end, PAGES, serve, settled

    sent = report.parent / "sent"
    shutil.copy(
        run[0] / "metrics" / "source.json", sent / "metrics" / "source.json"
    )  # with the markers of the mapping; an altered one is refused before anything is shown
    served, address = serve(sent, tmp_path)
    try:
        page, foreign = watched(browser, (address, address.replace("http", "ws")))
        seen = ""
        for name in PAGES:
            page.goto(f"{address}/{name}")
            settled(page)
            page.wait_for_timeout(500)
            if name == "upload":
                page.set_input_files("input[type=file]", run[0].parent / "log.csv")
                page.get_by_role("button", name="Download CSV").wait_for(timeout=SLOW)
                page.get_by_text("have an apostrophe before it").wait_for(timeout=SLOW)
                settled(page)
                own = page.locator("button[aria-label^='Download as CSV']")
                assert not any(own.nth(i).is_visible() for i in range(own.count())), (
                    "a file that Streamlit makes keeps formulas"
                )
            found = page.evaluate(HARM)
            refuse_harm(found, name)
            assert (
                "Traceback" not in found["text"]
                and page.locator("[data-testid=stException]").count() == 0
            ), found["text"]
            seen += found["text"]
        page.close()
    finally:
        end(served)
    assert foreign == []
    for where in ("name", "says", "json", "card", "session"):
        assert f'M{where} <img src=x onerror="pwned=1">' in seen, where
