"""The report of a run and the documentation, in a real browser that can reach no other host."""

import functools
import http.server
import json
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from clickstream_conv.base.texts import percent
from clickstream_conv.report.build import run_report
from clickstream_conv.report.docs import build_docs
from clickstream_conv.report.faults import faults
from clickstream_conv.report.what_if import what_if_page
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.whatif.switches import switchboard, switched

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
    "trackers",
    "glossary",
    "try_what_if",
    "score_in_production",
    "choose_a_threshold",
    "run_on_spark",
    "add_a_feature",
    "leakage",
    "compared",
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


def fits(page):
    "Whether a page is as wide as a phone, and its pictures or the boxes that they scroll in."
    box = "(i.closest('a.picture') ?? i).getBoundingClientRect().right"
    within = f"[...document.querySelectorAll('main img')].every(i => {box} <= 390)"
    return page.evaluate("document.documentElement.scrollWidth") <= 390 and page.evaluate(within)


def test_a_phone_does_not_scroll_sideways(report, visit):
    for path in pages(report):
        page, _ = visit(path.as_uri(), width=390)
        assert fits(page), path.name
        page.context.close()


def test_a_phone_shows_narrow_pictures_and_a_desk_wide_ones(report, visit):
    shown = """[...document.querySelectorAll('main a.picture img')].map(
        i => [i.currentSrc.endsWith('-narrow.png'), i.naturalWidth, i.getBoundingClientRect().width])"""
    for name in ("05_classification", "07_clustering", "09_explain"):
        for width, narrow in ((390, True), (1280, False)):
            page, _ = visit((report / f"{name}.html").as_uri(), width=width)
            page.evaluate("document.querySelectorAll('main img').forEach(i => i.loading = 'eager')")
            page.wait_for_load_state("networkidle")
            pictures = page.evaluate(shown)
            assert pictures and {which for which, *_ in pictures} == {narrow}, (name, width)
            if narrow:  # letters are at most three tenths smaller than they were drawn
                assert all(w > 0.7 * natural for _, natural, w in pictures), (name, pictures)
            page.context.close()


FIRST_FOUND = {
    "landmark": "glossary.html#landmark",
    "production": "score_in_production.html",
    "threshold": "choose_a_threshold.html",
    "Spark": "run_on_spark.html",
    "tracker": "trackers.html",
    "own log": "own_log.html",
    "change a feature": "add_a_feature.html",
    "session_features": "api.html#session-features",
}  # what is searched for: the page that should come first


def refused(wrong):
    "What a server did not have; what is asked for when a page is left goes unanswered."
    return [one for one in wrong if not one.startswith("failed")]


def first_found(page, home, words):
    "Where the first thing that a search finds leads to."
    page.goto(f"{home}/search.html?q={words.replace(' ', '+')}")
    return page.locator("#search-results li a").first.get_attribute("href")


def test_search_leads_to_what_is_meant_first(served, report, visit):
    page, wrong = visit(f"{served}/search.html")
    assert {words: first_found(page, served, words) for words in FIRST_FOUND} == FIRST_FOUND
    assert refused(wrong) == []
    page, wrong = visit(f"{report.as_uri()}/search.html?q=landmark")
    page.wait_for_selector("#search-results li a")
    assert wrong == []


TASKS = {
    "Your own log in ten minutes": "own_log.html",
    "Glossary": "glossary.html#landmark",  # what a landmark is: the second click, on the page
    "Score in production": "score_in_production.html",
    "Add or change a feature": "add_a_feature.html",
    "Run on Spark": "run_on_spark.html",
    "Which tracker do you have?": "trackers.html",
}  # what stands in the menu: where at most two clicks lead


@pytest.mark.parametrize("width", [1280, 390])
def test_two_clicks_from_the_home_page_are_enough(served, visit, width):
    page, wrong = visit(f"{served}/index.html", width=width)
    for words, target in TASKS.items():
        page.goto(f"{served}/index.html")
        menu = page.locator(".pst-sidebar-primary, .bd-sidebar-primary, dialog").get_by_role(
            "link", name=words, exact=True
        )
        clicks = 0
        if width < 600:
            page.get_by_role("button", name="Site navigation").click()
            clicks += 1
        menu.locator("visible=true").first.click()
        clicks += 1
        page.wait_for_load_state("load")
        anchor = urlsplit(target).fragment
        assert page.url.endswith(target.partition("#")[0]) and clicks <= 2
        assert not anchor or page.locator(f"[id='{anchor}']").count() == 1
    assert refused(wrong) == []


def test_the_menu_shows_what_one_gets_and_folds_the_rest(served, visit):
    page, _ = visit(f"{served}/api-features.table.html")
    opened = page.locator(".site-nav details[open]")
    assert page.locator(".site-nav details").count() > 2 and opened.count() == 1
    assert opened.locator("a[aria-current]").inner_text().strip() == "features.table"
    page.goto(f"{served}/api.html")
    page.get_by_role("link", name="All parameters of session_features").click()
    assert page.url.endswith("/api-features.table.html#features.table.session_features")
    page.locator("header a.version").first.click()
    assert page.url.endswith("/CHANGELOG.html")


def test_the_first_use_of_a_word_leads_to_the_glossary(docs):
    text = (docs / "choose_a_threshold.html").read_text(encoding="utf-8")
    linked = re.findall(r'<a class="term" href="glossary.html#([\w-]+)"', text)
    assert "threshold" in linked and len(linked) == len(set(linked))
    for name in ("glossary", "features-07_table"):  # itself, and the notebooks of the package
        assert 'class="term"' not in (docs / f"{name}.html").read_text(encoding="utf-8")


def of_a_visit(scorer, board, answer):
    "What the Scorer says of a combination of switches, told to it event by event."
    on = [one for one, is_on in zip(board.switches, answer["on"]) if is_on]
    visit = scorer.session()
    for event in switched(board.scenario, on).events(scorer).drop("step").to_dicts():
        said = visit.add(event)
    return said["probability"]


def test_each_number_of_the_what_if_is_the_scorers(demo, report, visit):
    scorer = Scorer.load(demo[0] / "run")
    board = switchboard(scorer)
    page, wrong = visit((report / "what_if.html").as_uri())
    kept = json.loads(page.locator(".what-if script").text_content())
    rows = page.locator(".what-if tbody tr")
    boxes = page.locator(".what-if input")
    assert len(kept) == rows.count() == 2 ** boxes.count() == 2 ** len(board.switches)
    for n, answer in enumerate(board.combinations):
        said = of_a_visit(scorer, board, answer)
        assert kept[n]["on"] == answer["on"]
        assert kept[n]["probability"] == pytest.approx(said, abs=1e-9)
        for place, on in enumerate(answer["on"]):
            boxes.nth(place).focus()
            if boxes.nth(place).is_checked() != bool(on):
                page.keyboard.press("Space")
        assert page.locator(".what-if .head").inner_text() == percent(said)
        assert (
            page.locator(".what-if tr[aria-current] td").all_inner_texts()
            == rows.nth(n).locator("td").all_inner_texts()
        )
        assert percent(said) in rows.nth(n).locator("td").all_inner_texts()
    assert "not effects" in page.inner_text(".what-if") and wrong == []


def test_without_a_script_the_what_if_is_a_table(report, visit):
    page, _ = visit((report / "what_if.html").as_uri(), java_script_enabled=False)
    assert page.locator(".what-if table").is_visible()
    assert not page.locator(".what-if .switches").is_visible()


def test_a_report_of_a_log_with_too_little_has_no_what_if(tmp_path):
    assert what_if_page(tmp_path) == ""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "conversion.skops").write_bytes(b"no model")
    (tmp_path / "events.parquet").write_bytes(b"no events")
    assert what_if_page(tmp_path) == ""


def test_the_documentation_loads_on_a_phone(docs, served, visit):
    for path in pages(docs):
        page, wrong = visit(f"{served}/{path.name}", width=390)
        assert wrong == [], path.name
        assert page.evaluate(SHOWN) == [] and fits(page), path.name
        page.context.close()


def test_the_home_page_begins_with_pictures_that_say_what_they_show(served, visit):
    page, _ = visit(f"{served}/index.html")
    alts = page.evaluate("[...document.querySelectorAll('main img')].map(i => i.alt)")
    assert len(alts) >= 2 and all(
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
    for path in [
        *(report / f"{name}.html" for name in ("index", "03_eda", "05_classification", "what_if")),
        *(
            docs / f"{name}.html"
            for name in (
                "index",
                "gallery",
                "own_log",
                "try_what_if",
                "compared",
                "eshop",
                "CONTRIBUTING",
                "api",
                "api-base.pictures",
            )
        ),
    ]:
        page, _ = visit(path.as_uri(), color_scheme=mode)
        page.add_script_tag(path=str(axe))
        found = page.evaluate(
            "what => axe.run(document, what).then(r => r.violations.map(v => ({id: v.id, impact: v.impact, where: v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))})))",
            {"runOnly": ["color-contrast"]} if mode == "dark" else {},  # nothing else differs
        )
        assert found == [], path.name
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
