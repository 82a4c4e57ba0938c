"""The report of a run and the documentation, in a real browser that can reach no other host."""

import functools
import http.server
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from clickstream_conv.report.build import run_report
from clickstream_conv.report.docs import build_docs
from clickstream_conv.report.faults import faults

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")
NOTEBOOKS = (
    "base-01_pictures",
    "features-07_table",
    "03_eda",
    "04_features",
    "own_log",
    "leakage",
    "eshop",
    "demo_limit",
)  # of the documentation that is built here
SHOWN = "() => [...document.querySelectorAll('main img')].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.src)"
DRAWN = "() => [...document.querySelectorAll('figure.chart')].filter(c => !c.querySelector('.main-svg')).length"


@pytest.fixture(scope="module")
def browser():
    "A browser."
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(demo, tmp_path_factory):
    "The report of a run, as a folder."
    return run_report(
        demo[0] / "run", tmp_path_factory.mktemp("report") / "site", strict=True
    ).parent


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    "The documentation with a few of the committed notebooks, as a folder."
    return build_docs(
        ROOT, tmp_path_factory.mktemp("docs") / "site", only=NOTEBOOKS, strict=True
    ).parent


@pytest.fixture(scope="module")
def served(docs):
    "The documentation on a web server: its address."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *said):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(docs))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(browser):
    "Open an address; the page and what went wrong with it."
    contexts = []

    def opened(address, width=1280, **options):
        context = browser.new_context(viewport=dict(width=width, height=900), **options)
        contexts.append(context)
        wrong, host, page = [], urlsplit(address).netloc, context.new_page()

        def only_here(route):
            here = urlsplit(route.request.url)
            if here.scheme in ("file", "data", "blob") or here.netloc == host:
                return route.continue_()
            wrong.append(f"asks for {route.request.url}")
            route.abort()

        context.route("**/*", only_here)
        page.on(
            "console",
            lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on(
            "response",
            lambda answer: (
                wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None
            ),
        )
        page.goto(address)
        page.wait_for_load_state("load")
        if page.locator("figure.chart").count():
            page.wait_for_function(f"({DRAWN})() === 0")
        return page, wrong

    yield opened
    for context in contexts:
        context.close()


def pages(folder):
    "The pages of a site, but not the one of the search, which is a form."
    return sorted(path for path in Path(folder).glob("*.html") if path.name != "search.html")


def with_chart(folder):
    "A page that has a chart."
    return next(
        path for path in pages(folder) if 'class="chart"' in path.read_text(encoding="utf-8")
    )


def test_nothing_is_broken(report, docs):
    assert faults(report) == [] and faults(docs) == []


def test_each_page_of_a_report_shows_all_of_its_figures_from_the_file_system(report, visit):
    seen = 0
    for path in pages(report):
        page, wrong = visit(path.as_uri())
        assert wrong == [], path.name
        assert page.evaluate(SHOWN) == [], path.name
        seen += page.locator("main img").count() + page.locator("figure.chart").count()
        assert page.locator("main img:not([alt]), main img[alt='']").count() == 0, path.name
        page.context.close()
    assert seen > 10


def test_the_first_page_answers(report, visit):
    page, _ = visit((report / "index.html").as_uri())
    assert page.locator(".answer").count() == 4
    for heading in ("The answers", "What to do", "What not to trust"):
        assert page.get_by_role("heading", name=heading).count() == 1
    with page.expect_download() as taken:
        page.goto((report / "tables.html").as_uri())
        page.locator("a[download]").first.click()
    assert taken.value.suggested_filename.endswith(".csv")


def test_a_chart_answers_to_the_pointer(report, visit):
    page, wrong = visit(with_chart(report).as_uri())
    plot = page.locator("figure.chart .plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    steps = [(x / 40, y / 24) for y in range(1, 24) for x in range(1, 40)]
    for x, y in steps:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if page.locator("figure.chart .hoverlayer .hovertext, .hoverlayer .hovertext").count():
            break
    assert page.locator(".hoverlayer .hovertext").count() >= 1 and wrong == []


def test_code_is_folded_and_opens(report, visit):
    page, _ = visit(next(path for path in pages(report) if path.name.startswith("05_")).as_uri())
    code = page.locator("details.hide").nth(1)
    assert not code.locator("pre").is_visible()
    code.locator("summary").click()
    assert code.locator("pre").is_visible()


def brightness(page, script):
    "How bright a colour of a page is, 0 to 1."
    return page.evaluate(
        "colour => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = colour; c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return (d[0] + d[1] + d[2]) / 765 }",
        page.evaluate(script),
    )


def test_dark_follows_the_system_and_the_button(report, visit):
    ground, ink = (
        "getComputedStyle(document.body).backgroundColor",
        "getComputedStyle(document.querySelector('figure.chart text')).fill",
    )
    page, wrong = visit(with_chart(report).as_uri(), color_scheme="dark")
    assert brightness(page, ground) < 0.2 and brightness(page, ink) > 0.6
    button = page.locator("header .theme-switch-button")
    for _ in range(3):
        button.click()
        if page.locator("header .theme-change-button[data-mode=light]").count():
            page.locator("header .theme-change-button[data-mode=light]").click()
        if page.evaluate("document.documentElement.dataset.theme") == "light":
            break
    page.wait_for_timeout(500)
    assert brightness(page, ground) > 0.9 and brightness(page, ink) < 0.4 and wrong == []


def test_a_phone_does_not_scroll_sideways(report, docs, visit):
    for path in [*pages(report), *pages(docs)]:
        page, _ = visit(path.as_uri(), width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name
        assert page.evaluate(
            "[...document.querySelectorAll('main img')].every(i => i.getBoundingClientRect().right <= 390)"
        ), path.name
        page.context.close()


@pytest.mark.parametrize("word", ["load_sessions", "landmark"])
def test_search_finds_a_word(served, report, visit, word):
    for home in (served, report.as_uri()):
        page, wrong = visit(f"{home}/search.html?q={word}")
        page.wait_for_selector("#search-results li a")
        assert wrong == []


def test_the_documentation_loads(docs, served, visit):
    for path in pages(docs):
        page, wrong = visit(f"{served}/{path.name}")
        assert wrong == [], path.name
        assert page.evaluate(SHOWN) == [], path.name
        page.context.close()


def test_the_home_page_begins_with_pictures_that_say_what_they_show(served, visit):
    page, _ = visit(f"{served}/index.html")
    alts = page.evaluate("[...document.querySelectorAll('main img')].map(i => i.alt)")
    assert len(alts) == 2 and all(
        len(alt) > 60 and any(letter.isdigit() for letter in alt) for alt in alts
    )
    assert page.locator("main img").first.bounding_box()["y"] < 400


def test_the_gallery_leads_to_the_cases(served, visit):
    page, _ = visit(f"{served}/gallery.html")
    cards = page.locator("a.study")
    assert cards.count() == 2
    for i in range(cards.count()):
        assert (
            cards.nth(i).locator("img").get_attribute("alt")
            and len(cards.nth(i).locator("span").inner_text()) > 40
        )
    title = cards.first.locator("strong").inner_text()
    cards.first.click()
    page.wait_for_load_state("load")
    assert title in page.locator("main h1").inner_text()


def test_a_guide_shows_commands_as_they_are_typed(served, visit):
    page, _ = visit(f"{served}/own_log.html")
    text = page.inner_text("main")
    assert "clickstream-conv map" in text and "%%bash" not in text and "#|" not in text


def test_a_name_in_the_prose_leads_to_its_reference(served, visit):
    page, _ = visit(f"{served}/leakage.html")
    link = page.locator("main a.named").first
    name = link.inner_text()
    anchor = urlsplit(link.get_attribute("href")).fragment
    link.click()
    page.wait_for_selector(f"span[id='{anchor}']", state="attached")
    assert "/api-" in page.url and name.removesuffix("()") in page.inner_text("main")


def test_programs_find_every_page(docs):
    "Each page stands in llms.txt once, with its title, and each address there is a page."
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", (docs / "llms.txt").read_text(), re.M)
    made = {path.name for path in docs.glob("*.html")} - {"genindex.html", "search.html"}
    assert len(listed) == len(set(listed)) and set(listed) == made


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_nobody_is_shut_out(report, docs, visit, axe, mode):
    stages = [path for path in pages(report) if path.name.startswith(("03_", "05_"))]
    for path in [
        report / "index.html",
        *stages,
        *(
            docs / f"{name}.html"
            for name in (
                "index",
                "gallery",
                "own_log",
                "leakage",
                "eshop",
                "CONTRIBUTING",
                "04_features",
                "api-base.pictures",
            )
        ),
    ]:
        page, _ = visit(path.as_uri(), color_scheme=mode)
        page.add_script_tag(path=str(axe))
        found = page.evaluate(
            "axe.run().then(r => r.violations.map(v => ({id: v.id, impact: v.impact, where: v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))})))"
        )
        assert [one for one in found if one["impact"] in ("serious", "critical")] == [], path.name
        page.context.close()


def test_a_report_in_one_file_loads_nothing_and_has_every_page(browser, report, tmp_path):
    from clickstream_conv.report.single_file import single_file

    alone = tmp_path / "alone" / "report.html"  # beside nothing that it could load
    alone.parent.mkdir()
    single_file(report, alone)
    titles = {page.stem for page in report.glob("*.html")} - {"search"}
    for width, theme in ((1280, "light"), (390, "dark")):
        page = browser.new_page(viewport=dict(width=width, height=900), color_scheme=theme)
        asked, faults = [], []
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda one: faults.append(str(one)))
        page.goto(alone.as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('figure.chart')].every(one => one.querySelector('svg'))"
        )
        assert [one for one in asked if not one.startswith("data:")] == [alone.as_uri()]
        assert faults == []
        ids = page.evaluate("[...document.querySelectorAll('section.page')].map(one => one.id)")
        assert set(ids) == titles and ids[0] == "index"
        broken = page.evaluate(
            """[...document.querySelectorAll('.single a')].map(one => one.getAttribute('href'))
            .filter(to => to.startsWith('#') ? !document.getElementById(to.slice(1)) : !to.includes(':'))"""
        )
        assert broken == []
        unseen = "[...document.images].filter(one => one.complete && !one.naturalWidth).length"
        assert page.evaluate(unseen) == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        twice = "[...document.querySelectorAll('[id]')].map(one => one.id).filter((one, i, all) => all.indexOf(one) < i)"
        assert page.evaluate(twice) == []
        page.close()
