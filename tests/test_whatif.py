"""The analysis in JupyterLab: widgets of nbs/10_whatif.ipynb show what their headless twins say, and nbs/05_classification.ipynb run again is the same file."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

ROOT = Path(os.environ.get("CLICKSTREAM_CONV_ROOT", Path(__file__).resolve().parents[1]))
TOKEN, SESSIONS, SECONDS = (
    "what-if",
    800,
    int(os.environ.get("CLICKSTREAM_CONV_WAIT", "200")),
)  # seconds to wait for anything, at most
SCREEN = 1000  # pixels from the top of the page to its end
SHOTS = os.environ.get(
    "CLICKSTREAM_CONV_SHOTS", ""
)  # a folder for pictures of the widgets; empty: none are taken

SETTINGS = {  # JupyterLab: draw all cells, not only those near the window; ask nothing
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}


@pytest.fixture(scope="module")
def chromium():
    "The path of Debian's chromium, or a skipped test."
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return found or pytest.skip("no chromium on the path: apt-get install chromium")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    "The headless side: a small run, which the notebook will open too."
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.whatif.sessions import small_run

    return Scorer.load(
        small_run(str(tmp_path_factory.mktemp("run") / "demo"), sessions=SESSIONS).folder
    )


SHORT = dict(sessions=700, folds=2, resamples=10, compare_visitors=200, families=["xgboost"])


def shortened(notebook, **parameters):
    "The notebook as it stands, with other parameters and its outputs removed."
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"], cell["execution_count"] = [], None
        if "parameters" in cell["metadata"].get("tags", []):
            given = [f"{name} = {value!r}" for name, value in parameters.items()]
            cell["source"] = "\n".join(["".join(cell["source"]), *given])
    notebook["metadata"].pop("widgets", None)
    return notebook


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scorer):
    "A checkout with two notebooks of the analysis, and the hooks that CONTRIBUTING names."
    pytest.importorskip("nbdev", reason="nbdev is not installed")
    folder = tmp_path_factory.mktemp("lab")
    given = {"10_whatif": dict(run=str(scorer.folder)), "05_classification": SHORT}
    for name, parameters in given.items():
        notebook = json.loads((ROOT / "nbs" / f"{name}.ipynb").read_text(encoding="utf-8"))
        written = json.dumps(shortened(notebook, **parameters), indent=1, ensure_ascii=False)
        (folder / f"{name}.ipynb").write_text(written + "\n", encoding="utf-8")
    shutil.copy(ROOT / "settings.ini", folder)
    (folder / ".gitignore").write_text(".*\nlab.log\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "as it is kept")
    (folder / ".home").mkdir()
    hooks = [sys.executable, "-c", "from nbdev.clean import nbdev_install_hooks as f; f()"]
    subprocess.run(hooks, cwd=folder, env=dict(os.environ, HOME=str(folder / ".home")), check=True)
    return folder


def git(folder, *words):
    "What git says in a folder."
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def lab(folder):
    "JupyterLab over that folder; its address."
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = dict(
        os.environ,
        HOME=str(folder / ".home"),
        JUPYTER_CONFIG_DIR=str(folder / ".home" / ".jupyter"),
        JUPYTER_RUNTIME_DIR=str(folder / ".runtime"),
        JUPYTERLAB_SETTINGS_DIR=str(folder / ".settings"),
        JUPYTERLAB_WORKSPACES_DIR=str(folder / ".workspaces"),
        OMP_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        ),
    )
    for name, kept in SETTINGS.items():
        (folder / ".settings" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / ".settings" / name).write_text(json.dumps(kept))
    words = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}",
    ]
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(words, cwd=folder, env=own, stdout=log, stderr=subprocess.STDOUT)
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while not answers(f"{address}/api/status?token={TOKEN}"):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail((folder / "lab.log").read_text(errors="replace")[-3000:])
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def answers(address):
    "Whether a server answers."
    try:
        with urllib.request.urlopen(address, timeout=2) as said:
            return said.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def browser(chromium):
    "A browser."
    with sync_api.sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


def opened(browser, lab, name):
    "A notebook in a new page, 900 pixels wide beside JupyterLab's own columns."
    page = browser.new_page(viewport=dict(width=1080, height=SCREEN))
    page.set_default_timeout(1000 * SECONDS)
    page.goto(f"{lab}/doc/tree/{name}.ipynb?token={TOKEN}")
    page.locator(".jp-Notebook").wait_for()
    answer_dialogs(page)
    page.wait_for_function("window.jupyterapp || document.querySelector('.jp-Notebook .jp-Cell')")
    page.locator(".jp-Notebook .jp-Cell").first.click()
    return page


def prompts(page):
    "What stands before the cells: a number once one has run, a star while it waits or runs."
    return " ".join(page.locator(".jp-InputPrompt").all_inner_texts())


def answer_dialogs(page):
    "Accept what JupyterLab asks above the page, such as which kernel it is to start."
    accept = page.locator(".jp-Dialog .jp-mod-accept")
    if accept.count():
        accept.first.click()


def run_all(page):
    "Run a notebook from JupyterLab's menu, once its kernel is there."
    until = time.monotonic() + SECONDS
    while not re.search("[0-9]", said := prompts(page)):
        if time.monotonic() > until:
            pytest.fail(f"no cell was ever run: {errors(page)}")
        answer_dialogs(page)
        if "*" not in said:  # nothing waits: what is asked before a kernel is there is not kept
            ask_to_run(page)
        page.wait_for_timeout(2_000)


def ran_to_its_end(page):
    "Wait for the last cell's output; ask again where no cell waits, and say what failed."
    ended = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-OutputArea-output")
    until, idle = time.monotonic() + SECONDS, 0
    while not ended.count():
        failed = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
        assert failed.count() == 0, failed.first.inner_text()[-2_000:]
        assert time.monotonic() < until, f"not at its end: {prompts(page)} {errors(page)}"
        answer_dialogs(page)
        idle = 0 if "*" in prompts(page) else idle + 1
        if idle > 5:  # a kernel that came in between has forgotten what it was asked
            ask_to_run(page)
            idle = 0
        page.wait_for_timeout(1_000)


def ask_to_run(page):
    "Run all cells, from the menu; a dialog that comes in between is answered next."
    with contextlib.suppress(sync_api.TimeoutError):
        page.get_by_role("menuitem", name="Run", exact=True).click(timeout=10_000)
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=10_000)
    page.keyboard.press("Escape")
    page.wait_for_timeout(3_000)


@pytest.fixture(scope="module")
def page(lab, browser):
    "The what-if lab, all cells run."
    page = opened(browser, lab, "10_whatif")
    run_all(page)
    found(page, ".cc-ways .cc-probability")
    return page


def found(page, selector):
    "An element, once it is there, scrolled to."
    one = page.locator(selector).first
    try:
        one.wait_for(state="attached")
    except sync_api.TimeoutError:
        pytest.fail(f"{selector} never came: {errors(page)}")
    try:
        one.scroll_into_view_if_needed()
    except sync_api.Error:
        one.scroll_into_view_if_needed()  # it was drawn anew in between
    return one


def errors(page):
    "What failed in the notebook."
    return page.locator(
        ".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']"
    ).all_inner_texts()[:3]


def text_of(page, selector, becomes):
    "The text of an element once it is what was expected."
    sync_api.expect(found(page, selector)).to_have_text(becomes, timeout=1000 * 20)
    return page.locator(selector).first.inner_text()


def shot(page, name):
    "A picture of a widget, where pictures are wanted."
    if SHOTS:
        found(page, f".cc-{name}").screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def test_the_first_widget_is_on_the_first_screen(page):
    "Nobody scrolls to find out what this page is for."
    place = page.evaluate(
        """() => document.querySelector('.cc-builder').getBoundingClientRect().top
            - document.querySelector('.jp-Notebook .jp-Cell').getBoundingClientRect().top"""
    )
    assert 0 < place < SCREEN


def test_session_builder(page, scorer):
    from clickstream_conv.whatif.paths import path_of, percents_apart
    from clickstream_conv.whatif.scenario import just_before_purchase, scenario_of
    from clickstream_conv.whatif.sessions import find_sessions

    chosen = find_sessions(scorer, None, (4, 12))["session_id"][0]
    scenario, said = (
        just_before_purchase(scenario_of(scorer, chosen)),
        lambda s: percents_apart(path_of(scorer, s)["probability"].iloc[-1], scorer.threshold)[0],
    )
    before = found(page, ".cc-builder .cc-probability").inner_text()
    page.locator(".cc-builder").get_by_label("Real session").select_option(index=1)
    assert text_of(page, ".cc-builder .cc-probability", said(scenario)) != before
    for _ in range(2):  # until the question is open again, whatever the session was
        page.locator(".cc-builder").get_by_role("button", name="Remove").click()
        scenario = scenario.without_event(len(scenario))
        text_of(page, ".cc-builder .cc-probability", said(scenario))
    page.locator(".cc-builder").get_by_label("Kind").select_option("cart")
    sync_api.expect(page.locator(".cc-builder .cc-probability").first).not_to_have_text(
        said(scenario)
    )
    shot(page, "builder")


def test_sliders(page, scorer):
    from clickstream_conv.explain.words import feature_title
    from clickstream_conv.whatif.contradictions import nudge, useful_features
    from clickstream_conv.whatif.paths import percents_apart
    from clickstream_conv.whatif.sessions import past_of

    rows, landmark = past_of(scorer).rows, scorer.landmarks[len(scorer.landmarks) // 2]
    row = rows[rows["landmark"] == landmark].head(1)
    name = next(c for c in useful_features(scorer) if rows[c].dtype.kind in "if")
    found(page, ".cc-sliders .cc-probability")
    field = page.locator(".cc-sliders").get_by_label(feature_title(name), exact=True)
    field.fill("1")
    field.press("Tab")
    expected = nudge(scorer, row, {name: 1.0})
    after, before = percents_apart(expected["probability"], expected["before"])
    assert text_of(page, ".cc-sliders .cc-probability", after) != before
    assert text_of(page, ".cc-sliders .cc-percentile", f"{expected['percentile']:.1f}")
    shot(page, "sliders")


def test_a_number_beyond_its_limits_is_brought_back_where_it_was_typed(page, scorer):
    "Twice the same: the second time the field goes back to what it showed."
    panel = page.locator(".cc-audience")
    field = panel.get_by_label("Threshold", exact=True)
    for typed, used in (("999999", "1"), ("999999", "1"), ("-4", "0.0001"), ("cheap", "0.0001")):
        found(page, ".cc-audience .cc-profit")
        field.fill(typed)
        field.press("Tab")
        sync_api.expect(field).to_have_value(used)
        sync_api.expect(panel.get_by_text(f"{used} is used").first).to_be_visible()
        sync_api.expect(panel.locator("[role=slider]").first).to_have_attribute(
            "aria-valuenow", re.compile({"1": r"^(0|0\.0+)$"}.get(used, r"^-4(\.0+)?$"))
        )
    panel.get_by_role("button", name="The run's threshold").click()
    sync_api.expect(field).to_have_value(str(scorer.threshold))
    sync_api.expect(panel.get_by_text("is used")).to_have_count(0)


def test_a_slider_by_the_keyboard(page, scorer):
    from clickstream_conv.whatif.audience import audience

    handle, field = (
        found(page, ".cc-audience [role=slider]"),
        page.locator(".cc-audience").get_by_label("Threshold", exact=True),
    )
    assert (
        float(field.input_value()) == scorer.threshold
    )  # as the run has it, not rounded to a step of the slider
    handle.press("ArrowRight")
    sync_api.expect(field).not_to_have_value(str(scorer.threshold))
    moved = float(field.input_value())
    assert moved > scorer.threshold
    text_of(page, ".cc-audience .cc-profit", f"{audience(scorer, [moved]).iloc[0]['profit']:.2f}")
    page.locator(".cc-audience").get_by_role("button", name="The run's threshold").click()
    sync_api.expect(field).to_have_value(str(scorer.threshold))


def test_audience(page, scorer):
    from clickstream_conv.whatif.audience import audience

    found(page, ".cc-audience .cc-profit")
    page.locator(".cc-audience").get_by_label("Gain", exact=True).fill("35")
    page.locator(".cc-audience").get_by_label("Gain", exact=True).press("Tab")
    expected = audience(scorer, [scorer.threshold], gain=35.0).iloc[0]
    text_of(page, ".cc-audience .cc-profit", f"{expected['profit']:.2f}")
    shot(page, "audience")


def test_what_would_change_it(page, scorer):
    from clickstream_conv.whatif.paths import percents_apart
    from clickstream_conv.whatif.scenario import scenario_of
    from clickstream_conv.whatif.sessions import find_sessions
    from clickstream_conv.whatif.ways import ways_over

    found(page, ".cc-ways .cc-probability")
    page.locator(".cc-ways").first.get_by_label("Session").select_option(index=1)
    expected = ways_over(
        scorer, scenario_of(scorer, find_sessions(scorer, False, (2, 8))["session_id"][0])
    )
    first = expected["after"].iloc[0] if len(expected) else None
    before, after, _ = percents_apart(expected.attrs["before"], first, scorer.threshold)
    text_of(page, ".cc-ways .cc-probability", before)
    text_of(page, ".cc-ways .cc-after", after)
    text_of(page, ".cc-ways .cc-found", str(len(expected)))
    shot(page, "ways")


def test_every_control_has_a_name(page):
    for name in ("builder", "sliders", "audience", "ways"):
        found(page, f".cc-{name} .cc-probability, .cc-{name} .cc-profit")
        nameless = page.locator(
            f".cc-{name}"
        ).first.evaluate("""panel => [...panel.querySelectorAll("input, select, textarea, button")].filter(one => {
            const label = one.id && document.querySelector(`label[for="${one.id}"]`)
            return !(one.innerText || one.ariaLabel || (label && label.innerText)) }).map(one => one.outerHTML.slice(0, 120))""")
        assert nameless == [], (name, nameless)


def test_no_menu_is_drawn_empty(page):
    found(page, ".cc-ways .cc-probability")
    empty = page.evaluate(
        """() => [...document.querySelectorAll("[class*=cc-] select")].filter(one =>
            one.selectedIndex < 0 && !one.disabled).map(one => one.outerHTML.slice(0, 120))"""
    )
    assert empty == []


def kept(page, folder, name):
    "Run all of a notebook in JupyterLab, and save it."
    ran_to_its_end(page)
    page.keyboard.press("Control+s")
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(json.JSONDecodeError):  # it is being written
            saved = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))
            if saved["cells"][-1].get("outputs"):
                return
        time.sleep(0.2)
    pytest.fail(f"{name} was not saved: {errors(page)}")


def test_run_again_it_is_the_same_file(browser, lab, folder):
    "Neither counters nor clocks are kept: what a second run changes is what somebody changed."
    name = "05_classification"
    page = opened(browser, lab, name)
    run_all(page)
    kept(page, folder, name)
    git(folder, "commit", "-qam", "run once")
    page.close()
    page = opened(browser, lab, name)
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2_000)
    assert git(folder, "status", "--short").strip() == f"M {name}.ipynb"
    run_all(page)
    kept(page, folder, name)
    assert git(folder, "diff")[:3_000] == ""
