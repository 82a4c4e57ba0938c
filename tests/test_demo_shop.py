"The page of the demo shop in a browser: what is clicked is what the service knows, and what it says is what is shown."

import shutil

import pytest
from served import Served

sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def served(run):
    "A service of the demo shop, with its page."
    with Served(run, "--demo") as service:
        yield service


@pytest.fixture(scope="module")
def browser():
    "Debian's Chromium."
    if not (chromium := shutil.which("chromium")):
        pytest.skip("no chromium on this machine")
    with sync.sync_playwright() as tool:
        words = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = tool.chromium.launch(executable_path=chromium, args=words)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, served):
    "The page, opened; whatever its console says fails the test."
    context = browser.new_context()
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{served.port}/")
    sent(page, 1)
    yield page
    context.close()
    assert [one for one in said if "ERR_FAILED" not in one] == []


def sent(page, count):
    "Wait until so many events were answered."
    sync.expect(page.locator("#count")).to_have_text(str(count))


def stands(page, served):
    "How the service knows the page's visit."
    visit = page.evaluate("sessionStorage.getItem('clickstream-conv-visit')")
    return served.client.get(f"/v1/visits/{visit}").json()


def test_clicks_are_events_and_answers_are_shown(page, served):
    "To the purchase, with something that is put back on the way."
    page.click("#categories a >> nth=5")
    page.click(".goods a >> nth=2")
    page.click("text=Put into the basket")
    sent(page, 4)
    known = stands(page, served)
    assert known["events"] == 4
    shown = page.inner_text("#chance")
    assert shown == f"{known['answer']['probability']:.1%}"
    assert f"{known['answer']['revenue']:.2f}" in page.inner_text("#worth")
    assert "mean over many such visits" in page.inner_text("#worth-words")
    assert page.locator("#reasons b").count() == 3
    page.click("text=Basket")
    page.click("text=Remove")
    page.fill("#search input", "garden")
    page.press("#search input", "Enter")
    page.click(".goods a >> nth=0")
    page.click("text=Put into the basket")
    page.click("text=Basket")
    page.click("text=To the checkout")
    page.click("text=Pay")
    sent(page, 10)
    known = stands(page, served)
    assert (known["events"], known["answer"]["status"]) == (10, "converted already")
    assert page.inner_text("#chance-words") == "converted already"
    assert [page.inner_text(f"#{name}") for name in ("worth", "segment")] == ["–", "–"]
    assert page.locator("#worth-words").is_hidden()


def test_an_event_that_was_lost_on_the_way_is_sent_again_and_counted_once(page, served):
    "Once before the service heard of it, once after."
    lost = []

    def lose(route):
        if len(lost) < 2:
            lost.append(route.request.post_data)
            if len(lost) == 2:  # the service hears it, and the page does not hear the answer
                route.fetch()
            return route.abort()
        return route.continue_()

    page.route("**/events*", lose)
    page.click("#categories a >> nth=0")
    sent(page, 2)
    page.click("#categories a >> nth=1")
    sent(page, 3)
    assert len(lost) == 2
    assert stands(page, served)["events"] == 3


def test_a_new_visit_begins_with_who_comes(page, served):
    "Another visit, of whom the page was told."
    before = page.evaluate("sessionStorage.getItem('clickstream-conv-visit')")
    page.select_option("#who [name=channel]", "email")
    with page.expect_request("**/events*") as asked:
        page.click("text=Begin a new visit")
    sent(page, 1)
    assert asked.value.post_data_json["channel"] == "email"
    assert page.evaluate("sessionStorage.getItem('clickstream-conv-visit')") != before


def test_a_narrow_page_needs_no_sideways_scrolling(browser, served):
    "On a phone."
    page = browser.new_page(viewport=dict(width=360, height=700))
    page.goto(f"http://127.0.0.1:{served.port}/")
    sent(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()
