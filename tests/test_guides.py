"Guides and case studies: pages that nbdev does not execute, since it looks at the numbered notebooks only."

import json
import re

import pytest
from conftest import ROOT

from clickstream_conv.pipeline.notebooks import Kernel
from clickstream_conv.report.docs import is_kept
from clickstream_conv.report.site_pages import COLLECTIONS

papermill = pytest.importorskip("papermill")
GUIDES, CASES = (
    sorted((ROOT / "nbs" / folder).glob("*.ipynb"))
    for folder in (COLLECTIONS["Guides"], COLLECTIONS["Case studies"])
)
LOGS = {
    "eshop": "uci-eshop-clothing-2008.csv",
    "online_shoppers": "uci-online-shoppers.csv",
    "rees46": "rees46-2019-10-sample.csv",
}  # case study: the log it tells of
FINISHED = {
    "demo_limit": "demo",
    "eshop": "eshop",
    "online_shoppers": "shoppers",
    "rees46": "rees46",
}  # case: the run that it reads
FEWER = {  # guide or case: of how many sessions it is executed here
    "add_a_metric": 2_000,
    "leakage": 4_000,
    "retrain": 2_500,
    "went_live": 4_000,
    "own_log": 2_000,
    "did_it_help": 3_000,
    "demo_limit": 2_000,  # of the second shop: the first is a run that other tests read too
}
LARGEST = 600_000  # bytes of a notebook
PLACES = re.compile(
    r"/(?:work|opt|root|home|Users|tmp|mnt)/|[A-Z]:\\\\"
)  # folders of somebody's computer


def name_of(path):
    return path.stem


def cells(path):
    "The cells of a notebook."
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def tags(cell):
    return cell["metadata"].get("tags", [])


@pytest.fixture(scope="module")
def shared_kernel():
    "A process that forgets one notebook before it executes the next, as the stages of a run have it."
    with Kernel() as kernel:
        yield kernel


@pytest.fixture
def kernel(request, path):
    "That process; one of its own for a guide that adds to the package, which nothing takes back."
    if not path.stem.startswith("add_"):
        yield request.getfixturevalue("shared_kernel")
        return
    with Kernel() as own:
        yield own


def execute(page, folder, kernel, monkeypatch, **parameters):
    "Execute a notebook in a folder of its own, so that what it writes does not touch the project."
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    papermill.execute_notebook(
        str(page),
        str(folder / page.name),
        parameters=parameters,
        cwd=str(folder),
        kernel_name="python3",
        language="python",
        progress_bar=False,
        km=kernel.ready(folder, {"OMP_NUM_THREADS": "1"}),
    )


def test_there_are_guides_and_cases():
    assert {path.stem for path in GUIDES} >= {"own_log", "leakage", "how_fast", "how_it_fits"} and {
        path.stem for path in CASES
    } == {*FINISHED}


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_a_guide_runs(path, tmp_path, monkeypatch, kernel, request):
    elsewhere = {
        "how_it_fits": dict(images=str(tmp_path / "images")),
        "how_fast": {
            name: str(path.with_name(f"{file}.json"))
            for name, file in (("figures", "benchmark"), ("runs", "large_run"))
        },
    }
    if path.stem == "try_what_if":
        elsewhere[path.stem] = dict(demo=str(request.getfixturevalue("run")))
    fewer = {"sessions": FEWER[path.stem]} if path.stem in FEWER else {}
    execute(path, tmp_path, kernel, monkeypatch, **elsewhere.get(path.stem, {}), **fewer)


@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_a_case_runs_on_its_log(path, tmp_path, monkeypatch, kernel, real_log, request):
    "On a run that other tests read too."
    folder, _ = request.getfixturevalue(FINISHED[path.stem])
    parameters = dict(finished=str(folder / "run"), resamples=20)
    if path.stem in FEWER:
        parameters["sessions"] = FEWER[path.stem]
    if path.stem in LOGS:
        parameters["path"] = str(real_log(LOGS[path.stem]))
    execute(path, tmp_path, kernel, monkeypatch, **parameters)


@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_a_case_is_kept_as_it_is_and_has_a_card(path):
    found = {
        tag: [cell for cell in cells(path) if tag in tags(cell)]
        for tag in ("parameters", "injected-parameters", "gallery", "finding")
    }
    assert (
        is_kept(path)
        and not found["injected-parameters"]
        and 'path: str = ""' in "".join(found["parameters"][0]["source"])
    )
    picture, finding = (found[tag][0]["outputs"][0] for tag in ("gallery", "finding"))
    assert (
        picture["metadata"]["image/png"]["alt"]
        and len("".join(finding["data"]["text/markdown"])) < 250
    )


@pytest.mark.parametrize("path", [*GUIDES, *CASES], ids=name_of)
def test_pages_are_executed_small_and_of_no_computer(path):
    text, code = (
        path.read_text(encoding="utf-8"),
        [cell for cell in cells(path) if cell["cell_type"] == "code"],
    )
    assert len(text) < LARGEST and not PLACES.search(text.replace("mktemp", "")), PLACES.search(
        text
    )
    assert not code or any(cell["outputs"] for cell in code)
    assert not any(out["output_type"] == "error" for cell in code for out in cell["outputs"])
    assert not any(out.get("name") == "stderr" for cell in code for out in cell["outputs"])


def test_the_home_page_names_every_notebook():
    home = "".join("".join(cell["source"]) for cell in cells(ROOT / "nbs" / "index.ipynb"))
    missing = [
        path.name
        for path in [*sorted((ROOT / "nbs").glob("[0-9]*.ipynb")), *GUIDES, *CASES]
        if path.name not in home
    ]
    assert missing == []
