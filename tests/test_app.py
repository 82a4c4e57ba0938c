"""The app in a real browser: every page, an upload, a file that is none."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import zlib

import polars as pl
import pytest
from conftest import COMMAND, command, DATA

pytest.importorskip("streamlit", reason="the app is an extra: pip install clickstream-conv[app]")
PAGES = {
    "": "Overview",
    "upload": "Upload",
    "session": "One session",
    "what-if": "What if",
    "contacts": "Whom to contact",
    "matters": "What matters",
    "segments": "Segments",
    "card": "Model card",
    "downloads": "Downloads",
}
# rules that an element of Streamlit's own breaks, and the element
OF_STREAMLIT = {"presentation-role-conflict": "stFileUploaderDropzone"}
REES46 = "rees46-2019-10-sample.csv"
SLOW = 60_000  # milliseconds to wait for an answer on a busy machine


def free_port():
    "A port that nobody uses now."
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def png():
    "A picture of one pixel."

    def part(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
        + part(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + part(b"IEND", b"")
    )


def serve(run, spare, *more):
    "The app of a run; its process and address. Whatever it writes to a temporary place lands in the folder spare."
    port = free_port()
    served = subprocess.Popen(
        [*COMMAND, "app", "--run", str(run), "--port", str(port), "--no-browser", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(spare)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # a test run in the background ignores Ctrl-C
    for _ in range(600):
        if served.poll() is not None:
            raise AssertionError(served.stdout.read())
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", port)) == 0:
                return served, f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    raise AssertionError("the app did not start")


def end(served):
    "Ctrl-C, and what was said."
    served.send_signal(signal.SIGINT)
    said, _ = served.communicate(timeout=30)
    return said


@pytest.fixture(scope="module")
def asked(request, tmp_path_factory):
    "A run, a log to upload, and how many sessions that has: of a real log where it is there, else of the demo shop."
    folder = tmp_path_factory.mktemp("asked")
    if (DATA / REES46).is_file():
        place, _ = request.getfixturevalue("rees46")
        lines = (DATA / REES46).read_text().splitlines()[:4_000]
        (folder / "log.csv").write_text("\n".join(lines) + "\n")
        return place / "run", folder / "log.csv", len({line.split(",")[-1] for line in lines[1:]})
    from clickstream_conv.demo.simulate import simulate

    place, _ = request.getfixturevalue("demo")
    log = simulate(400, 7)
    log.drop("step", strict=False).write_csv(folder / "log.csv")
    return place / "run", folder / "log.csv", log["session_id"].n_unique()


@pytest.fixture(scope="module")
def app(asked, tmp_path_factory):
    "The address of the served app, and the folder of its temporary files."
    spare = tmp_path_factory.mktemp("spare")
    served, address = serve(asked[0], spare)
    yield address, spare
    end(served)


@pytest.fixture(scope="module")
def browser():
    "Debian's Chromium."
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (chromium := shutil.which("chromium")):
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


def opened(browser, address, name="", width=1280, theme="light"):
    "A page once it has settled, with the requests to other machines that it made."
    page = browser.new_page(
        viewport=dict(width=width, height=900), color_scheme=theme, accept_downloads=True
    )
    page.foreign = []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
            else page.foreign.append(request.url)
        ),
    )
    page.goto(f"{address}/{name}")
    settled(page)
    return page


def settled(page):
    "Wait until the page has been run to its end."
    page.wait_for_selector("h1", timeout=SLOW)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]').dataset.testScriptState !== 'running'",
        timeout=SLOW,
    )


def is_sound(page):
    "No traceback, nothing of Streamlit's own, nothing wider than the page."
    text = page.inner_text("body")
    assert "Traceback" not in text and page.locator("[data-testid=stException]").count() == 0, text
    assert page.locator("[data-testid=stAppDeployButton]").count() == 0
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    assert (
        page.evaluate(
            "() => { const main = document.querySelector('[data-testid=stMain]'); return main.scrollWidth - main.clientWidth }"
        )
        <= 0
    )
    assert page.foreign == []


def shuts_nobody_out(page, axe_if_there):
    "No rule of axe-core is broken, but where Streamlit breaks it: contrast, names, order of headings."
    script, _ = axe_if_there
    if script is None:
        return
    page.add_script_tag(path=str(script))
    found = page.evaluate(
        "axe.run().then(r => r.violations.flatMap(v => v.nodes.map(n => [v.id, n.html.slice(0, 300)])))"
    )
    ours = [one for one in found if OF_STREAMLIT.get(one[0], "no element") not in one[1]]
    assert ours == [], page.url


def focus_is_seen(page):
    "Whoever goes on with the keyboard sees where."
    for _ in range(4):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth] }"
        )
        assert outline == ["solid", "3px"]


def test_every_page_on_a_desk(app, browser, axe_if_there):
    page = opened(browser, app[0])
    is_sound(page)
    focus_is_seen(page)
    shuts_nobody_out(page, axe_if_there)
    for title in list(PAGES.values())[1:]:
        page.get_by_role("link", name=title, exact=True).click()
        page.wait_for_url(
            f"**/{next(name for name, one in PAGES.items() if one == title)}", timeout=SLOW
        )
        settled(page)
        is_sound(page)
        shuts_nobody_out(page, axe_if_there)
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_on_a_telephone_in_the_dark(app, browser, axe_if_there, name):
    page = opened(browser, app[0], name, width=390, theme="dark")
    is_sound(page)
    shuts_nobody_out(page, axe_if_there)
    page.close()


def upload(page, name, content):
    "Choose a file."
    page.set_input_files("input[type=file]", dict(name=name, mimeType="text/csv", buffer=content))


def downloaded(page, folder):
    "What the button gives."
    with page.expect_download(timeout=SLOW) as waiting:
        page.get_by_role("button", name="Download CSV").click()
    waiting.value.save_as(folder / "scored.csv")
    return pl.read_csv(folder / "scored.csv")


def test_upload_and_a_picture_with_the_name_of_a_log(app, asked, browser, tmp_path):
    (address, spare), (_, log, sessions) = app, asked
    page = opened(browser, address, "upload")
    upload(page, "log.csv", log.read_bytes())
    page.get_by_role("button", name="Download CSV").wait_for(timeout=SLOW)
    settled(page)
    is_sound(page)
    assert "flagged (" in page.inner_text("body")
    scored = downloaded(page, tmp_path)
    assert len(scored) == scored["session_id"].n_unique() == sessions
    assert scored["probability"].drop_nulls().is_between(0, 1).all() and scored[
        "probability"
    ].drop_nulls().is_sorted(descending=True)
    assert [path.name for path in spare.rglob("*") if path.is_file()] == [
        "page.py"
    ]  # nothing of the upload is left on disk

    page.get_by_role("button", name="Forget it").click()
    page.get_by_text("at most 200 MB").wait_for(timeout=SLOW)
    upload(page, "picture.csv", png())
    page.get_by_text("picture.csv is a PNG picture, not text").wait_for(timeout=SLOW)
    is_sound(page)
    assert [path.name for path in spare.rglob("*") if path.is_file()] == ["page.py"]
    page.close()


def test_a_log_with_other_columns_is_mapped(app, asked, browser, tmp_path):
    header, _, rest = asked[1].read_text().partition("\n")
    renamed = (
        header.replace("user_session", "sid")
        .replace("session_id", "sid")
        .replace("event_time", "when")
    )
    page = opened(browser, app[0], "upload")
    upload(page, "odd.csv", f"{renamed}\n{rest}".encode())
    button = page.get_by_role("button", name="Score with this mapping")
    button.wait_for(timeout=SLOW)
    is_sound(page)
    shown = page.inner_text("body")
    assert (
        "So read, the file says" in shown
        and f"sessions: {asked[2]:,} of " in shown
        and "local hours (UTC): most events at" in shown
    )
    button.click()
    page.get_by_role("button", name="Download CSV").wait_for(timeout=SLOW)
    assert len(downloaded(page, tmp_path)) == asked[2]
    page.close()


def test_the_form_asks_what_map_asks(app, browser):
    "Before anything is scored: the questions of the proposal, and the one screen; a known tracker is recognised."
    rows = "".join(
        f"s{n // 2},u{n // 4},2024-03-01 09:{n:02d}:00,{('look', 'buy')[n % 2]},{n}.50,5\n"
        for n in range(40)
    )
    page = opened(browser, app[0], "upload")
    upload(page, "odd.csv", f"sid,user_id,when,what,amount,pieces\n{rows}".encode())
    page.get_by_text("So read, the file says").wait_for(timeout=SLOW)
    settled(page)
    is_sound(page)
    shown = page.inner_text("body")
    assert (
        "which zone? The times name none and are read as UTC: most events at 9 h (100.0%)" in shown
    )
    assert (
        "sessions: 20 of 10 visitors; 20 with a purchase (100.0%)" in shown
        and "each purchase event counts as an order, since no order_id is mapped" in shown
    )
    page.close()
    sent = '{"messageId":"m%d","anonymousId":"u%d","type":"track","event":"Product Viewed","timestamp":"2024-03-01T09:0%d:00.000Z","context":{},"properties":{"sku":"p"}}'
    page = opened(browser, app[0], "upload")
    upload(page, "segment.jsonl", "\n".join(sent % (n, n // 2, n) for n in range(6)).encode())
    page.get_by_text("So read, the file says").wait_for(timeout=SLOW)
    settled(page)
    shown = page.inner_text("body")
    assert (
        "the columns are those of segment, and its mapping is used" in shown
        and "no row has a session id, so visits are those of a visitor" in shown
    )
    page.close()


def test_the_model_answers_a_changed_session(app, browser):
    page = opened(browser, app[0], "what-if")
    page.get_by_role("button", name="Add this event at the end").click()
    page.get_by_text("The model says").wait_for(timeout=SLOW)
    is_sound(page)
    page.close()


def test_a_session_is_chosen_by_outcome_and_by_chance(asked):
    from streamlit.testing.v1 import AppTest

    from clickstream_conv.app.session_page import ended_sessions
    from clickstream_conv.base.runs import Run

    page = AppTest.from_string(
        "from clickstream_conv.app.pages import PAGES, shown_safely\n"
        f"shown_safely(PAGES['session'][1], {str(asked[0])!r})()",
        default_timeout=120,
    ).run()
    ended = ended_sessions(Run(str(asked[0])))
    for title, converted in (("converted", 1), ("not converted", 0)):
        page.segmented_control[0].set_value(title).run()
        drawn = set()
        for _ in range(4):
            page.button[0].click().run()
            errors = [one.value for one in page.error if not one.value.startswith("Do not use")]
            assert (len(page.exception), errors) == (0, [])
            drawn.add(page.session_state["session"])
            assert page.selectbox[0].value == page.session_state["session"]
        assert len(drawn) > 1
        assert set(ended.filter(pl.col("session_id").is_in([*drawn]))["converted"]) == {converted}
    page.slider[0].set_value((99.5, 100.0)).run()
    assert len(page.exception) == 0 and page.selectbox[0].value
    assert "so all are offered" in page.info[0].value


def rows_of_events(page):
    "How many events the table of the scenario holds, once it is there."
    table = page.locator("[data-testid=stDataFrame] table").last
    table.wait_for(state="attached", timeout=SLOW)
    return int(table.get_attribute("aria-rowcount")) - 1


def wait_for_rows(page, count):
    "Until the last table has so many rows, its head among them."
    page.wait_for_function(
        "count => [...document.querySelectorAll('[data-testid=stDataFrame] table')].at(-1)?.getAttribute('aria-rowcount') == count",
        arg=str(count),
        timeout=SLOW,
    )


def test_ten_rapid_clicks_are_ten_events(app, browser):
    page = opened(browser, app[0], "what-if")
    button, before = (
        page.get_by_role("button", name="Add this event at the end"),
        rows_of_events(page),
    )
    for _ in range(10):
        button.click()
    wait_for_rows(page, before + 11)
    settled(page)
    assert rows_of_events(page) == before + 10
    page.get_by_text("Change an event", exact=True).click()
    button = page.get_by_role("button", name="Leave it out")
    for _ in range(3):
        button.click()
    wait_for_rows(page, before + 8)
    page.get_by_role("button", name="Undo all changes").click()
    page.get_by_text("The model says").wait_for(state="detached", timeout=SLOW)
    settled(page)
    is_sound(page)
    assert rows_of_events(page) == before
    put_first_and_move_the_last(page, before)
    page.close()


def put_first_and_move_the_last(page, before):
    "An event is added before all others; the chosen one, at first the last, goes up by the button Earlier."
    page.get_by_text("Add an event", exact=True).click()
    settled(page)
    page.get_by_label("Where").click()
    page.get_by_role("option").nth(1).click()
    page.get_by_role("button", name="Add this event there").click()
    wait_for_rows(page, before + 2)
    page.get_by_text("Change an event", exact=True).click()
    chosen = page.get_by_label("Event", exact=True)
    chosen.wait_for(timeout=SLOW)
    assert chosen.input_value().startswith(f"{before + 1}. ")
    page.get_by_role("button", name="Earlier").click()
    page.wait_for_function(
        "start => document.querySelector('input[aria-label=Event]')?.value.startsWith(start)",
        arg=f"{before}. ",
        timeout=SLOW,
    )
    settled(page)
    is_sound(page)


def matrix(page):
    "The confusion matrix of the page: the words of its cells, row by row."
    rows = page.locator("[data-testid=stTable] table").first.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def test_a_threshold_moves_the_matrix(app, asked, browser):
    "Typed, pushed along the slider, and brought back: the page shows what its headless twin counts."
    from clickstream_conv.app.threshold_page import contacts_at, judged_part, matrix_in_words
    from clickstream_conv.scoring.scorer import Scorer

    scorer = Scorer.load(asked[0])
    part = judged_part(scorer)

    def told(threshold):
        return matrix_in_words(contacts_at(part, threshold)).to_numpy().tolist()

    def shows(page, threshold):
        "Whether the page comes to show a threshold, and its matrix."
        page.get_by_text(f"Flagged from a probability of {threshold:.4f} on.").wait_for(
            timeout=SLOW
        )
        for _ in range(100):
            if matrix(page) == told(threshold):
                return True
            page.wait_for_timeout(200)  # the table is drawn after the sentence
        return False

    page = opened(browser, app[0], "contacts")
    assert shows(page, scorer.threshold)
    lower = round(scorer.threshold / 2, 4)
    field = page.get_by_label("Threshold, typed")
    field.fill(str(lower))
    field.press("Enter")
    assert shows(page, lower) and told(lower) != told(scorer.threshold)
    slider = page.get_by_role("slider")
    for _ in range(5):
        slider.press("ArrowRight")
    page.get_by_text(f"Flagged from a probability of {lower:.4f} on.").wait_for(
        state="detached", timeout=SLOW
    )
    page.wait_for_timeout(1000)
    settled(page)
    moved = float(slider.input_value())
    assert moved > lower and shows(page, moved)
    page.get_by_role("link", name="Segments", exact=True).click()
    page.wait_for_url("**/segments", timeout=SLOW)
    settled(page)
    page.get_by_role("link", name="Whom to contact", exact=True).click()
    assert shows(page, moved)  # another page in between changes nothing
    page.get_by_role("button", name="The run's threshold").click()
    assert shows(page, scorer.threshold)
    is_sound(page)
    page.close()


def test_the_app_refuses_in_a_sentence(asked, tmp_path):
    refused = command("app", "--run", tmp_path / "nowhere", cwd=tmp_path)
    assert refused.returncode == 1 and "there is no folder" in refused.said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = command("app", "--run", asked[0], "--port", taken.getsockname()[1], cwd=tmp_path)
    assert (
        refused.returncode == 1
        and "cannot be used: Address already in use. Give another with --port" in refused.said
    )


def test_without_streamlit_the_app_says_how_to_get_it(monkeypatch):
    from clickstream_conv.app import serve as app
    from clickstream_conv.base import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "clickstream-conv\[app\]"'):
        app.start_app("run")


def test_the_app_ends_with_ctrl_c(asked, tmp_path):
    served, address = serve(asked[0], tmp_path)
    said = end(served)
    assert "The app has ended" in said and "Traceback" not in said, said
    with socket.socket() as door:
        assert door.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0
    assert list(tmp_path.iterdir()) == []
