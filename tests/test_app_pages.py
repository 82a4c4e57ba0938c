"""The pages of the app, tried without a browser: each number on them is the one that the package gives."""

import io
import re
import zipfile

import pandas as pd
import polars as pl
import pytest
from conftest import metrics
from test_light import loaded_by

pytest.importorskip("streamlit", reason="the app is an extra: pip install clickstream-conv[app]")


@pytest.fixture(scope="module")
def scorer(run):
    "The same one as the pages have."
    from clickstream_conv.app.predictions import loaded_scorer

    return loaded_scorer(str(run))


def shown(run, name, **state):
    "A page as it is first seen."
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_string(
        "from clickstream_conv.app.pages import PAGES, shown_safely\n"
        f"shown_safely(PAGES[{name!r}][1], {str(run)!r})()",
        default_timeout=120,
    )
    for key, value in state.items():
        page.session_state[key] = value
    return sound(page.run())


def sound(page):
    "The page, once it is known to have shown no error but that of a model that is not fit."
    errors = [one.value for one in page.error if not one.value.startswith("Do not use")]
    assert (len(page.exception), errors) == (0, [])
    return page


def words(page):
    "All that can be read on a page, without what keeps Markdown from being read as such."
    parts = [
        one.value for kind in (page.title, page.header, page.markdown, page.caption) for one in kind
    ]
    parts += [one.value for kind in (page.info, page.warning) for one in kind]
    parts += [text for one in page.selectbox for text in (one.label, *one.options)]
    parts += [one.label for one in (*page.metric, *page.button, *page.segmented_control)]
    parts += [f"{one.value}" for one in page.metric]
    for table in (*page.table, *page.dataframe):
        frame = pd.DataFrame(table.value)
        parts += [str(frame.index.name or ""), *map(str, frame.columns)]
        parts += [str(cell) for cell in (*frame.index, *frame.to_numpy().ravel())]
    return re.sub(r"\\(.)", r"\1", "\n".join(map(str, parts)))


def tiles(page):
    "The figures of a page by their titles."
    return {one.label: one.value for one in page.metric}


def session_of(scorer, run, events=5):
    "A session of the test part that was at risk after so many events, and its events."
    from clickstream_conv.app.predictions import own_events
    from clickstream_conv.base.runs import Run

    log = own_events(Run(str(run)))
    scores = scorer.score(log, [events]).scores.filter(pl.col("status") == "scored")
    name = scores.sort("session_id")["session_id"][0]
    return name, log.filter(pl.col("session_id") == name)


def test_the_first_page_loads_no_model_and_no_library_that_draws(run):
    code = """
import sys
import clickstream_conv.app.pages
import clickstream_conv.app.serve
from clickstream_conv.app.landmarks import landmark_shares
from clickstream_conv.app.overview import figures_of_model, overview_of, ranking_svg
from clickstream_conv.base.runs import Run

run = Run(sys.argv[1])
assert overview_of(run).title and len(landmark_shares(run))
assert ranking_svg(figures_of_model(run)).startswith("<svg")
"""
    heavy = {"matplotlib", "plotly", "seaborn", "scipy", "sklearn", "skops", "xgboost", "shap"}
    assert heavy & {*loaded_by(code, run)} == set()


def test_the_first_picture_has_the_figures_of_the_run(run):
    from clickstream_conv.app.landmarks import landmark_shares
    from clickstream_conv.app.overview import drawn_landmarks, figures_of_model, ranking_svg
    from clickstream_conv.base.pictures import LIMIT
    from clickstream_conv.base.runs import Run

    figures, shares = figures_of_model(Run(str(run))), landmark_shares(Run(str(run)))
    at_risk = dict(zip(shares["landmark"].astype(str), shares["share_at_risk"]))
    drawing, own = ranking_svg(figures, at_risk), drawn_landmarks(figures)
    own = own[own["model"] != LIMIT]
    assert drawing.count("<title>") == len(own) > 1
    for row in own.itertuples():
        when = f"after {row.landmark} event{'' if row.landmark == '1' else 's'}"
        assert f"{when}: {row.roc_auc:.3f} ({row.roc_auc_low:.3f}" in drawing
        assert f">{at_risk[row.landmark]:.0%}<" in drawing
    evil = figures.assign(landmark=figures["landmark"].replace("1", "<script>"))
    assert "<script>" not in ranking_svg(evil)


def test_the_share_at_risk_is_counted_from_the_session_rows(run):
    from clickstream_conv.app.landmarks import landmark_shares, reach_in_words
    from clickstream_conv.base.runs import Run

    rows = pl.read_parquet(run / "sessions.parquet").filter(pl.col("part") == "train")
    whole = metrics(run)["source.json"]["parts"]["train"]
    counted = rows.group_by("landmark").agg(
        pl.col("session_id").n_unique(), pl.col("converted").mean()
    )
    shares = landmark_shares(Run(str(run)))
    for k, sessions, conversion in counted.iter_rows():
        row = shares[shares["landmark"] == k].iloc[0]
        assert row["at_risk"] == sessions and row["share_at_risk"] == sessions / whole
        assert row["conversion"] == pytest.approx(conversion)
        assert f"{sessions / whole:.1%}" in reach_in_words(shares, k)


def test_what_would_change_a_session(run, scorer):
    from clickstream_conv.app.changes import changes_in_words, next_table, not_an_effect, ways_of
    from clickstream_conv.app.details import scenario_from
    from clickstream_conv.app.landmarks import landmark_shares, reach_in_words
    from clickstream_conv.base.runs import Run
    from clickstream_conv.whatif.ways import ways_over

    name, events = session_of(scorer, run)
    page, shares = shown(run, "session", session=name), landmark_shares(Run(str(run)))
    chooser = page.selectbox[-1]
    for k in (3, 5):
        chooser.set_value(k)
        page = sound(page.run())
        chooser = page.selectbox[-1]
        scenario = scenario_from(scorer, events.filter(pl.col("step") <= k))
        table, says = ways_of(scorer, scenario)
        found = ways_over(scorer, scenario)
        assert table["probability"].tolist() == found["after"].tolist()
        assert found.attrs["says"].startswith(says) and says in words(page)
        assert reach_in_words(shares, k) in words(page)
        told = pd.DataFrame(page.table[-1].value)
        assert (
            told.to_numpy().tolist()
            == changes_in_words(next_table(scorer, scenario)).to_numpy().tolist()
        )
    assert not_an_effect() in words(page) and "only an experiment" in not_an_effect()


def test_what_comes_next_is_what_the_scorer_says(run, scorer):
    from clickstream_conv.app.changes import next_table
    from clickstream_conv.app.details import scenario_from
    from clickstream_conv.whatif.next_events import continuations

    _, events = session_of(scorer, run)
    scenario = scenario_from(scorer, events.filter(pl.col("step") <= 3))
    table, after = next_table(scorer, scenario), continuations(scorer, scenario)[:8]
    told = [
        scorer.score(one.scenario.events(scorer), "now").scores["probability"][0] for one in after
    ]
    assert table["probability"].tolist() == pytest.approx(told, nan_ok=True)
    assert table["share of sessions"].tolist() == [one.common for one in after]


def test_the_answer_to_a_changed_session(run, scorer):
    from clickstream_conv.app.details import scenario_from
    from clickstream_conv.app.page_parts import money_in_words
    from clickstream_conv.app.whatif_page import cautions_for
    from clickstream_conv.whatif.contradictions import scenario_doubts
    from clickstream_conv.whatif.paths import path_in_words, path_of

    name, events = session_of(scorer, run)
    start = scenario_from(scorer, events.filter(pl.col("step") <= 5))
    page = shown(run, "what-if", session=name)
    odd = start
    for _ in range(4):
        odd = odd.with_event(dict(event="remove", price=9_000.0, pause=1.0), 2)
    for scenario in (start, start.moved(1, 3), start.without_event(2), odd):
        page.session_state["what if"] = dict(name=name, scenario=scenario)
        page = sound(page.run())
        path = path_of(scorer, scenario)
        end, seen = path.iloc[-1], tiles(page)
        assert seen["probability"] == f"{end['probability']:.1%}"
        assert seen["expected revenue"] == f"{end['revenue']:,.2f}"
        assert seen["segment"] == (
            end["segment"] if isinstance(end["segment"], str) else "none yet"
        )
        told = path_in_words(scorer, path)
        assert f"{end['revenue_low']:,.2f} to {end['revenue_high']:,.2f}" in told
        assert told in words(page) and money_in_words(scorer) in words(page)
        warned = cautions_for(scorer, scenario)
        assert len(warned) == len(scenario_doubts(scorer, scenario)["warnings"])
        assert ("this session could not be" in words(page)) == bool(warned)
        assert all(one in words(page) for one in warned)
    assert warned and not cautions_for(scorer, start)


def test_an_event_is_moved_and_stays_the_chosen_one(run, scorer):
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_string(
        "import streamlit as st\n"
        "from clickstream_conv.app.details import scenario_from\n"
        "from clickstream_conv.app.predictions import loaded_scorer, own_events\n"
        "from clickstream_conv.app import whatif_page as page\n"
        "from clickstream_conv.base.runs import Run\n"
        f"scorer = loaded_scorer({str(run)!r})\n"
        f"log = own_events(Run({str(run)!r}))\n"
        "log = log.filter(log['session_id'] == st.session_state['name']).head(5)\n"
        "state = st.session_state.setdefault('what if', dict(scenario=scenario_from(scorer, log)))\n"
        "step = page._choose_event(state['scenario'])\n"
        "for by in (-1, 1):\n"
        "    st.button(str(by), on_click=page._apply, args=(page._moved_by(by),))\n",
        default_timeout=120,
    )
    page.session_state["name"], _ = session_of(scorer, run)
    page.run()
    first = page.session_state["what if"]["scenario"]
    assert page.selectbox[0].value == 5
    for _ in range(3):
        page.button[0].click().run()
    assert (page.selectbox[0].value, page.session_state["what if"]["scenario"]) == (
        2,
        first.moved(5, 2),
    )
    page.button[1].click().run()
    assert page.selectbox[0].value == 3
    for _ in range(4):
        page.button[0].click().run()
    assert page.selectbox[0].value == 1 and page.session_state["what if"][
        "scenario"
    ] == first.moved(5, 1)
    assert (len(page.exception), len(page.error)) == (0, 0)


def test_what_matters_is_what_the_run_found(run, scorer):
    from clickstream_conv.app.matters_page import (
        effect_in_words,
        effect_of,
        explained_columns,
        explained_rows,
        importance_of,
        plot_effect,
    )
    from clickstream_conv.base.runs import Run
    from clickstream_conv.explain.encoding import BASE
    from clickstream_conv.explain.overall import overall_importance
    from clickstream_conv.report.answer import read_figures
    from clickstream_conv.report.answers import answer_explain

    kept = explained_columns(Run(str(run))).set_index("column")
    explained = explained_rows(scorer)
    again = overall_importance(explained.contributions, explained.rows)
    both = kept["importance"].rename("kept").to_frame().join(again["importance"])
    assert both["importance"].to_numpy() == pytest.approx(both["kept"].to_numpy(), abs=1e-6)
    assert explained.usual == pytest.approx(metrics(run)["explain.json"]["usual"])
    page = shown(run, "matters")
    assert page.selectbox[0].value == kept.index[0]
    assert page.selectbox[0].options == kept["title"].tolist()
    first, units = pd.DataFrame(page.table[0].value), importance_of(Run(str(run)))
    assert first["share"].tolist() == [f"{v:.1%}" for v in units["share"].head(12)]
    told = answer_explain(read_figures(run)).bars  # what the report's first page shows
    assert [bar.rest.value for bar in told] == units["share"].head(len(told)).tolist()
    for column in (kept.index[0], "n_view", "weekday"):
        page.selectbox[0].set_value(column)
        page = sound(page.run())
        effect = effect_of(explained, column)
        score = explained.contributions[BASE] + explained.contributions[column]
        assert effect["probability"].tolist() == pytest.approx(
            explained.explainer.chance(score).tolist()
        )
        assert effect_in_words(effect, explained.usual) in words(page)
        drawn = plot_effect(effect, explained.usual).figure.data[0]
        assert list(drawn.y) == pytest.approx(effect["probability"].tolist())


def test_downloads_are_made_when_they_are_asked_for(run, scorer):
    from clickstream_conv.app.downloads_page import offers_of, size_in_words
    from clickstream_conv.app.predictions import download_of, own_scores
    from clickstream_conv.report.answer import read_figures
    from clickstream_conv.report.figure_tables import as_csv, figure_tables

    page = shown(run, "downloads")
    offered = {one.file: one for one in offers_of(scorer)}
    assert [one.value for one in page.header] == [one.title for one in offered.values()]
    assert page.session_state["made files"] == {}
    for name in ("model_card.md", "model_card.json"):
        assert offered[name].made() == (run / name).read_bytes()
        assert offered[name].size == (run / name).stat().st_size
        assert f"Size: {size_in_words(offered[name].size)}." in words(page)
    to_make = [name for name, one in offered.items() if one.size is None]
    assert {"tables.zip", "scores.csv"} <= {*to_make}
    for name in to_make:
        next(one for one in page.button if one.label == f"Make {name}").click()
        page = sound(page.run())
    made = {name: content for (_, name), content in page.session_state["made files"].items()}
    assert set(made) == set(to_make)
    assert all(f"Size: {size_in_words(len(content))}." in words(page) for content in made.values())
    assert made["scores.csv"] == download_of(own_scores(str(run)), "csv")
    figures = figure_tables(read_figures(run))
    with zipfile.ZipFile(io.BytesIO(made["tables.zip"])) as packed:
        assert packed.namelist() == [f"{name}.csv" for name in figures]
        assert all(
            packed.read(f"{name}.csv").decode() == as_csv(rows) for name, rows in figures.items()
        )
    if (run / "site" / "index.html").is_file():
        pages = {path.stem for path in (run / "site").glob("*.html")} - {"search"}
        text = made["report.html"].decode()
        assert text.startswith("<!DOCTYPE html>")
        assert all(f'<section id="{one}" class="page">' in text for one in pages)


@pytest.mark.parametrize("name", ["session", "what-if", "matters", "segments"])
def test_no_column_name_is_on_screen(run, scorer, name):
    page = shown(run, name)
    columns = [one for one in scorer.features if "_" in one]
    assert columns and [one for one in columns if re.search(rf"\b{one}\b", words(page))] == []


def test_a_run_that_was_changed_is_refused_before_the_app_starts(run, tmp_path):
    import shutil

    from clickstream_conv.scoring.loading import refuse_unsound

    refuse_unsound(run)
    shutil.copytree(
        run, tmp_path / "run", ignore=shutil.ignore_patterns("site", "notebooks", "sessions*")
    )
    model = tmp_path / "run" / "models" / "segments.skops"
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(ValueError, match="is not the file that this run made"):
        refuse_unsound(tmp_path / "run")
