"""Make the pictures of the report, the app and the lab anew: python tests/make_screenshots.py RUN

RUN is the folder of a finished run of the demo shop. It leaves report.png, report-dark.png, app.png and lab.png in nbs/images. A site shows NAME-dark.png instead of
NAME.png where a reader's system is dark. It needs chromium, and the extras run, app and lab.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES, LARGEST = ROOT / "nbs" / "images", 150_000  # bytes of a picture
SIZE = dict(width=1280, height=800)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BIN = Path(sys.executable).parent


def keep(page, name):
    "A picture of what is seen, in few colours."
    picture = Image.open(io.BytesIO(page.screenshot()))
    small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(IMAGES / f"{name}.png", optimize=True)
    size = (IMAGES / f"{name}.png").stat().st_size
    print(f"{name}.png: {size:,} bytes")
    assert size < LARGEST, f"{name}.png has {size:,} bytes; at most {LARGEST:,}"


@contextmanager
def served(words, address, **options):
    "A server, from the moment at which it answers."
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        for _ in range(180):
            try:
                urllib.request.urlopen(address, timeout=5)
                break
            except OSError:
                time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def report(browser, run):
    "The first page of a report, light and dark."
    with tempfile.TemporaryDirectory() as folder:
        from clickstream_conv.report.build import run_report

        home = run_report(run, Path(folder) / "site")
        for scheme, name in (("light", "report"), ("dark", "report-dark")):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(home.as_uri())
            page.wait_for_timeout(1_000)
            keep(page, name)
            page.close()


def app(browser, run):
    "The app: a session that is changed."
    port = 8597
    words = [BIN / "clickstream-conv", "app", "--run", run, "--port", port, "--no-browser"]
    with served([*map(str, words)], f"http://127.0.0.1:{port}/_stcore/health"):
        page = browser.new_page(viewport=SIZE)
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_text("What if", exact=False).first.wait_for(timeout=120_000)
        page.get_by_role("link", name="What if").click()
        page.locator(".js-plotly-plot").first.wait_for(timeout=180_000)
        page.wait_for_timeout(3_000)
        keep(page, "app")
        page.close()


def lab(browser, run):
    "The widgets of the lab in JupyterLab."
    port = 8598
    with tempfile.TemporaryDirectory() as folder:
        text = (ROOT / "nbs" / "10_whatif.ipynb").read_text(encoding="utf-8")
        (Path(folder) / "10_whatif.ipynb").write_text(
            text.replace('run: str = \\"\\"', f'run: str = \\"{run}\\"'), encoding="utf-8"
        )
        words = [BIN / "jupyter", "lab", "--no-browser", f"--port={port}", "--allow-root"]
        words += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
        with served(
            [*map(str, words)], f"http://127.0.0.1:{port}/api", cwd=folder, env={**os.environ}
        ):
            page = browser.new_page(viewport=dict(width=1280, height=960))
            page.goto(f"http://127.0.0.1:{port}/lab/tree/10_whatif.ipynb")
            page.locator(".jp-Notebook").wait_for(timeout=120_000)
            page.wait_for_timeout(8_000)  # until the kernel is there
            news = page.get_by_role("button", name="No", exact=True)  # asked once in a home
            if news.count():
                news.click()
            page.get_by_text("Run", exact=True).first.click()
            page.get_by_text("Run All Cells", exact=True).click()
            built = page.get_by_text("Session builder", exact=True).first
            built.wait_for(timeout=180_000)
            page.wait_for_timeout(8_000)
            page.keyboard.press("Control+b")  # the files at the side are put away
            built.evaluate("heading => heading.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(2_000)
            keep(page, "lab")
            page.close()


if __name__ == "__main__":
    folder, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["report", "app", "lab"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for what in wanted:
            dict(report=report, app=app, lab=lab)[what](opened, folder)
        opened.close()
