"""A run's folder as something received: altered, cut short, exchanged, pointing elsewhere; and runs of earlier releases."""

import json
import os
import re
import shutil
import zipfile

import polars as pl
import pytest
from conftest import command, QUICK, record, ROOT, warm
from hypothesis import assume, given, HealthCheck, settings
from hypothesis import strategies as st

from clickstream_conv.base.models_kept import NUMBERS, package_version, save_model, seal_of
from clickstream_conv.base.runs import read_json, read_run_table, Run
from clickstream_conv.base.signature import files_read, SCORING_READS, sign_run, verify_run
from clickstream_conv.base.trust import write_record
from clickstream_conv.models.kept import load_model
from clickstream_conv.pipeline.again import due, Stage
from clickstream_conv.pipeline.ending import make_report
from clickstream_conv.pipeline.folder import claim, remove_run
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_events

DEMO = ("run", "--sessions", 3000, "--out", "run", *QUICK)
SAME = "the same numbers"


@pytest.fixture(scope="module")
def asked(demo):
    "Events to ask about, and what the run says of them as it is."
    run = Run(demo[0] / "run")
    events = load_events(run, "test").head(120)
    return events, Scorer.load(run).score(events, "every").scores


def copied(demo, folder):
    "A run's files but for its pages and notebooks."
    shutil.copytree(
        demo[0] / "run",
        folder / "run",
        ignore=shutil.ignore_patterns("site", "notebooks", "*.lock"),
    )
    return Run(folder / "run")


# 40 alterations of what scoring reads, each with what is said of it.


def edit(run, name, change):
    "Change what a JSON file says."
    said = json.loads((run / name).read_text())
    change(said)
    (run / name).write_text(json.dumps(said, indent=2))


def entry(name, change, sealed=False):
    "An alteration of one entry of the manifest; sealed: by somebody who makes a fitting seal."

    def alter(run):
        def both(manifest):
            change(manifest[name])
            if sealed:
                manifest[name]["seal"] = seal_of(manifest[name])

        edit(run, "models/manifest.json", both)

    return alter


def of(name, change):
    return lambda run: edit(run, name, change)


def put(**values):
    return lambda said: said.update(values)


def drop(name):
    return lambda said: said.pop(name)


def cut(name, share=0.5):
    return lambda run: (run / name).write_bytes(
        (run / name).read_bytes()[: int((run / name).stat().st_size * share)]
    )


def text(name, content):
    return lambda run: (run / name).write_text(content)


def swapped_files(run):
    "The model files of two roles change places."
    one, other = run / "models/conversion.skops", run / "models/segments.skops"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def swapped_with_manifest(run):
    "The segments become the conversion model, with sums and seals that fit."
    shutil.copy(run / "models/segments.skops", run / "models/conversion.skops")

    def change(manifest):
        manifest["conversion"] |= {key: manifest["segments"][key] for key in ("sha256", "type")}
        manifest["conversion"]["seal"] = seal_of(manifest["conversion"])

    edit(run, "models/manifest.json", change)


def same_name_twice(run):
    "A second threshold for the conversion model, which most readers would take instead of the first."
    whole = (run / "models/manifest.json").read_text()
    (run / "models/manifest.json").write_text(
        whole.replace('"threshold": {', '"threshold": {"value": 0.9}, "threshold": {', 1)
    )


def flipped(name):
    "An alteration of one byte."

    def alter(run):
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(bytes(content))

    return alter


def linked(name):
    "A file of the run becomes a link to the same file elsewhere."

    def alter(run):
        elsewhere = run.folder.parent / "elsewhere"
        shutil.move(run / name, elsewhere)
        (run / name).symlink_to(elsewhere)

    return alter


def line(value):
    return lambda said: said["threshold"].update(value=value)


CHANGED, SENSELESS = (
    "was changed after the run wrote it",
    "must be a probability above 0 and at most 1",
)
ALTERED = {
    "model files change places": (swapped_files, "is not the file that this run made"),
    "segments as conversion, manifest fits": (
        swapped_with_manifest,
        "which is no model for 'conversion': it has no predict_proba",
    ),
    "one byte of the model": (
        flipped("models/conversion.skops"),
        "is not the file that this run made",
    ),
    "model cut": (cut("models/conversion.skops"), "is not the file that this run made"),
    "model empty": (cut("models/revenue.skops", 0), "is not the file that this run made"),
    "model gone": (
        lambda run: (run / "models/conversion.skops").unlink(),
        "holds no finished run: it has no models/conversion.skops",
    ),
    "model is a link outside": (linked("models/conversion.skops"), "leads out of the run's folder"),
    "encoder gone": (
        lambda run: (run / "models/features.skops").unlink(),
        "holds no model 'features'",
    ),
    "revenue model gone": (
        lambda run: (run / "models/revenue.skops").unlink(),
        "holds no model 'revenue'",
    ),
    "threshold edited": (entry("conversion", line(0.01)), CHANGED),
    "threshold 0, sealed": (entry("conversion", line(0), True), SENSELESS),
    "threshold 7, sealed": (entry("conversion", line(7), True), SENSELESS),
    "threshold as text, sealed": (entry("conversion", line("0.3"), True), SENSELESS),
    "threshold NaN": (entry("conversion", line(float("nan"))), "NaN, which is no number"),
    "threshold a huge number": (
        lambda run: (run / "models/manifest.json").write_text(
            re.sub(
                r'("value": )[\d.]+',
                r"\g<1>1e999",
                (run / "models/manifest.json").read_text(),
                count=1,
            )
        ),
        "1e999, which is no number",
    ),
    "threshold twice": (same_name_twice, "it says 'threshold' more than once"),
    "threshold gone": (
        entry("conversion", drop("threshold")),
        "says nothing of the conversion model's threshold",
    ),
    "threshold a list, sealed": (entry("conversion", put(threshold=[0.3]), True), SENSELESS),
    "features in another order": (
        entry("conversion", lambda said: said["features"].reverse()),
        CHANGED,
    ),
    "a feature less": (entry("conversion", lambda said: said["features"].pop()), CHANGED),
    "a feature that is none, sealed": (
        entry("conversion", lambda said: said["features"].append("horoscope"), True),
        "reads 'horoscope', and sessions.parquet has no such column",
    ),
    "features a number, sealed": (
        entry("conversion", put(features=3), True),
        "must be a list of different names of columns",
    ),
    "landmarks edited": (entry("features", put(landmarks=[1, 2])), CHANGED),
    "landmarks 0, sealed": (
        entry("features", put(landmarks=[0, 1]), True),
        "must be a list of different positive whole numbers",
    ),
    "landmarks huge, sealed": (
        entry("features", put(landmarks=[1, 10**30]), True),
        "must be a list of different positive whole numbers",
    ),
    "landmarks fractions, sealed": (
        entry("features", put(landmarks=[1.5]), True),
        "must be a list of different positive whole numbers",
    ),
    "clock edited, sealed": (
        entry("features", put(resolution="day"), True),
        "says that resolution is day; it must be that of the log's card: us",
    ),
    "sha256 edited": (entry("conversion", put(sha256="0" * 64)), CHANGED),
    "sha256 a number": (entry("conversion", put(sha256=1)), "says no sha256"),
    "versions of another release": (
        entry("conversion", lambda said: said["versions"].update({"scikit-learn": "0.24.1"})),
        "was made with scikit-learn 0.24.1",
    ),
    "versions a list": (entry("conversion", put(versions=[])), "does not say which versions"),
    "outcome of the model, sealed": (
        entry("conversion", lambda said: said["outcome"].update(equals="cart"), True),
        "must be that of the log's card",
    ),
    "seal gone": (entry("conversion", drop("seal")), "has no seal"),
    "type edited, sealed": (
        entry("conversion", put(type="os.system"), True),
        "and the manifest says 'os.system'",
    ),
    "an unknown entry": (of("models/manifest.json", put(horoscope={"sha256": 1})), SAME),
    "manifest a list": (
        text("models/manifest.json", "[]"),
        "it holds a list instead of names and values",
    ),
    "entry a text": (
        of("models/manifest.json", put(features="yes")),
        "holds a str instead of names and values",
    ),
    "manifest cut": (cut("models/manifest.json"), "manifest.json is damaged"),
    "manifest empty": (cut("models/manifest.json", 0), "manifest.json is damaged"),
    "manifest too deep": (text("models/manifest.json", "[" * 100_000), "manifest.json is damaged"),
    "card: outcome edited": (
        of("metrics/source.json", lambda said: said["outcome"].update(equals="cart")),
        "must be that of the log's card",
    ),
    "card: title edited": (
        of("metrics/source.json", put(title="another log")),
        "source.json is not the one that the model",
    ),
    "card: ready made": (
        of("metrics/source.json", put(ready_made=True)),
        "source.json is not the one that the model",
    ),
    "card: a context less": (
        of("metrics/source.json", lambda said: said["session_context"].pop()),
        "says that session_context is",
    ),
    "card: clock unknown": (
        of("metrics/source.json", put(resolution="fortnight")),
        "resolution is 'fortnight' and should be one of",
    ),
    "card: half as many rows again may be lost": (
        of("metrics/source.json", put(max_rejected=1.5)),
        "max_rejected is 1.5; it must be a share from 0 to 1",
    ),
    "card: any number of rows may be lost": (
        of("metrics/source.json", put(max_rejected="any")),
        "max_rejected is any",
    ),
    "card: outcome gone": (of("metrics/source.json", drop("outcome")), "says nothing of"),
    "card: cut": (cut("metrics/source.json"), "source.json is damaged"),
    "card: written otherwise": (
        lambda run: (run / "metrics/source.json").write_text(
            json.dumps(read_json(run, "metrics/source.json"))
        ),
        "source.json is not the one that the model",
    ),
    "record: source edited": (
        of("run.json", lambda said: said["parameters"].update(source="../../mine.yaml")),
        "run.json was changed after the run wrote it",
    ),
    "record: a list": (text("run.json", "[1]"), "it holds a list instead of names and values"),
    "record: cut": (cut("run.json"), "run.json is damaged"),
    "record: seal gone": (of("run.json", drop("seal")), SAME),
    "record: written otherwise": (of("run.json", lambda said: None), SAME),
    "table cut": (cut("sessions.parquet"), "sessions.parquet is damaged"),
    "model card edited": (of("model_card.json", put(fit_for_use=True)), SAME),
    "figures edited": (of("metrics/classification.json", put(model="magic")), SAME),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_folder_is_named_or_answers_the_same(demo, asked, tmp_path, name):
    alter, wanted = ALTERED[name]
    run, (events, expected) = copied(demo, tmp_path), asked
    alter(run)
    if wanted == SAME:
        assert Scorer.load(run).score(events, "every").scores.equals(expected)
        return
    with pytest.raises(ValueError) as refused:
        Scorer.load(run).score(events, "every")
    assert (
        wanted in str(refused.value)
        and "\n" not in str(refused.value)
        and str(tmp_path) in str(refused.value)
        or "was made with scikit-learn" in wanted
    )
    print(f"{name}: {str(refused.value).replace(str(tmp_path), '')}")


def test_at_least_25_alterations():
    assert len(ALTERED) >= 25


def test_the_command_line_says_one_line(demo, tmp_path):
    run = copied(demo, tmp_path)
    ALTERED["threshold 0, sealed"][0](run)
    done = command("score", "--run", run.folder, "--events", run / "events.parquet", cwd=tmp_path)
    assert (
        done.returncode == 1
        and len(done.said.splitlines()) == 1
        and "the threshold is 0" in done.said
    )


def test_what_is_said_plainly_not_to_be_guarded(demo, asked, tmp_path):
    "Model and manifest replaced together load; only a signature tells."
    run, key = copied(demo, tmp_path), tmp_path / "run.key"
    key.write_text("a secret of at least sixteen bytes")
    key.chmod(0o600)
    sign_run(run, key)
    expected = Scorer.load(run, key).score(asked[0], "every").scores
    assert expected.equals(asked[1])
    about = read_json(run, "models/manifest.json")["conversion"]
    rest = {
        name: value
        for name, value in about.items()
        if name not in ("sha256", "type", "beside", "versions", "seal")
    }
    model = load_model(run, "conversion")
    model.level_["shift"] = 5.0
    save_model(run, "conversion", model, about=rest)
    assert not Scorer.load(run).score(asked[0], "every").scores.equals(expected)
    with pytest.raises(ValueError, match="conversion.skops is not the file that was signed"):
        Scorer.load(run, key)


# Any single change of a JSON file.

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**40),
    st.floats(allow_nan=True),
    st.sampled_from(["", "x", "../../etc/passwd", "/etc/passwd", "0.5", "\ud800"]),
    st.just([]),
    st.just({}),
    st.just([1]),
    st.just({"x": 1}),
)


def changed_somewhere(data, value):
    "The same JSON value with one thing removed, added or replaced."
    inner = (
        sorted(value)
        if isinstance(value, dict)
        else list(range(len(value)))
        if isinstance(value, list)
        else []
    )
    if inner and data.draw(st.integers(0, 3)):
        place, copy = data.draw(st.sampled_from(inner)), value.copy()
        if data.draw(st.integers(0, 3)):
            copy[place] = changed_somewhere(data, value[place])
        else:
            del copy[place]
        return copy
    if isinstance(value, dict) and data.draw(st.booleans()):
        return value | {data.draw(st.sampled_from(["x", "seal", "value", "files"])): data.draw(ODD)}
    if isinstance(value, list) and data.draw(st.booleans()):
        return [*value, data.draw(ODD)]
    return data.draw(ODD)


@pytest.fixture(scope="module")
def asked_by_numbers(demo, asked):
    "What is said of the same events without loading the models."
    return Scorer.for_batches(demo[0] / "run").score(asked[0], "every").scores


@pytest.fixture(scope="module")
def alterable(demo, tmp_path_factory):
    return copied(demo, tmp_path_factory.mktemp("altered"))


def stages_of(kept):
    "The stages as the run's own record has them, so that nothing but its files can be a reason to run again."
    return [
        Stage(name, {}, one["parameters"], one["fingerprint"])
        for name, one in kept["stages"].items()
    ]


def without_notebooks(kept):
    for stage in kept["stages"].values():
        stage["files"] = {
            name: of_it
            for name, of_it in stage["files"].items()
            if not name.startswith("notebooks/")
        }
    return kept


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_single_change_of_a_json_file_is_named_or_answers_the_same(
    alterable, asked, asked_by_numbers, data
):
    run, (events, expected) = alterable, asked
    read = [name for name in files_read(run) if name.endswith(".json")]
    others = [
        "model_card.json",
        *(path.relative_to(run.folder).as_posix() for path in run.files("metrics/*.json")),
    ]
    name = data.draw(st.sampled_from(read * 4 + others))
    load = Scorer.load
    if name == NUMBERS:
        load, expected = Scorer.for_batches, asked_by_numbers
    whole = (run / name).read_text()
    said = json.loads(whole)
    if data.draw(st.integers(0, 4)):
        altered = json.dumps(changed_somewhere(data, said), indent=2)
    else:
        altered = whole[: data.draw(st.integers(0, len(whole) - 3))]
    assume(altered.strip() != whole.strip())
    kept = without_notebooks(record(run.folder))
    (run / name).write_text(altered)
    try:
        try:
            assert load(run).score(events, "every").scores.equals(expected), (
                f"other answers without a word after a change of {name}"
            )
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) > 30
        try:
            again = due(
                stages_of(kept), without_notebooks(claim(run.folder, "demo"))["stages"], run.folder
            )
        except ValueError as error:
            again = {"run.json": str(error)}
        if name not in ("run.json", "models/manifest.json", NUMBERS):  # made anew at the end
            assert any(name in why for why in again.values())
    finally:
        (run / name).write_text(whole)


# What a stage left.


def test_a_table_cut_short_is_made_again(demo, tmp_path):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    whole = (tmp_path / "run/events.parquet").read_bytes()
    (tmp_path / "run/events.parquet").write_bytes(whole[:1000])
    with pytest.raises(
        ValueError, match="events.parquet is damaged and cannot be read .* Repeat the command"
    ):
        read_run_table(Run(tmp_path / "run"), "events.parquet")
    again = warm(*DEMO, "--until", "02", "--no-report", cwd=tmp_path)
    assert (
        again.stderr.splitlines()[0]
        == f"02_sources: events.parquet is not what the stage left (1,000 bytes instead of {len(whole):,})"
    )
    assert (tmp_path / "run/events.parquet").read_bytes() == whole


@pytest.mark.parametrize(
    "alter, why",
    [
        (
            flipped("out_of_fold.parquet"),
            "05_classification: out_of_fold.parquet is not what the stage left (its sha256 differs)",
        ),
        (
            entry("segments", put(names=["a"])),
            "07_clustering: models/manifest.json is not what the stage left",
        ),
        (cut("notebooks/03_eda.ipynb"), "03_eda: notebooks/03_eda.ipynb is damaged"),
        (of("notebooks/03_eda.ipynb", lambda notebook: notebook["cells"].pop()), ""),
    ],
)
def test_what_is_due_after_an_accident(demo, tmp_path, alter, why):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    alter(run)
    kept = record(run.folder)["stages"]
    found = [
        f"{name}: {said}"
        for name, said in due(stages_of(dict(stages=kept)), kept, run.folder).items()
    ]
    assert len(found) == bool(why) and why in "".join(found)


def test_a_report_is_made_again_by_what_it_tells_of_not_by_dates(demo, tmp_path):
    shutil.copytree(demo[0] / "run", tmp_path / "run")
    folder, page = tmp_path / "run", tmp_path / "run/site/index.html"
    whole = page.read_text()
    os.utime(page, (4e9, 4e9))
    edit(Run(folder), "metrics/source.json", put(title="another log"))
    make_report(folder)
    assert "another log" in page.read_text().lower() and page.stat().st_mtime < 3e9
    edit(
        Run(folder),
        "metrics/source.json",
        put(title=read_json(Run(demo[0] / "run"), "metrics/source.json")["title"]),
    )
    page.write_text(whole[:100])
    make_report(folder)
    made = page.stat().st_mtime_ns
    assert (
        len(page.read_text()) > 1000
        and make_report(folder) == page
        and page.stat().st_mtime_ns == made
    )


# Names that lead elsewhere.


@pytest.mark.parametrize(
    "name",
    [
        "../precious.txt",
        "/absolute/precious.txt",
        "metrics/../../precious.txt",
        "linked/precious.txt",
        "linked.txt",
    ],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_a_record_cannot_reach_outside(demo, tmp_path, name, fresh):
    shutil.copytree(demo[0] / "run", tmp_path / "run", ignore=shutil.ignore_patterns("site"))
    precious, run = tmp_path / "precious.txt", Run(tmp_path / "run")
    precious.write_text("mine")
    (run.folder / "linked").symlink_to(tmp_path)
    (run.folder / "linked.txt").symlink_to(precious)
    kept = record(run.folder)
    kept["stages"]["02_sources"]["files"][name.replace("/absolute", str(tmp_path))] = {}
    write_record(run, kept)
    done = warm(
        *DEMO, "--until", "02", "--no-report", *(["--fresh"] if fresh else []), cwd=tmp_path
    )
    assert (
        done.returncode == 1
        and "leads out of the run's folder" in done.said
        and precious.read_text() == "mine"
    )
    assert (run / "events.parquet").is_file()


def test_links_are_not_followed_when_a_run_is_removed(tmp_path):
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "theirs.skops").write_text("theirs")
    run.mkdir()
    (run / "models").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out of the run's folder"):
        remove_run(run)
    assert (outside / "theirs.skops").read_text() == "theirs"


def test_a_run_folder_may_be_a_link(demo, asked, tmp_path):
    (tmp_path / "here").symlink_to(copied(demo, tmp_path).folder)
    assert Scorer.load(tmp_path / "here").score(asked[0], "every").scores.equals(asked[1])


# Signatures.


@pytest.fixture(scope="module")
def signed(demo, tmp_path_factory):
    "A signed run, its key, and what was said."
    folder = tmp_path_factory.mktemp("signed")
    shutil.copytree(demo[0] / "run", folder / "run")
    (folder / "run.key").write_text("9f2c" * 16)
    (folder / "run.key").chmod(0o600)
    return folder, command(*DEMO, "--sign", "run.key", cwd=folder)


def test_a_signed_run_scores_and_says_what_is_not_signed(signed, tmp_path):
    folder, done = signed
    assert done.returncode == 0 and "files that scoring reads (signature.json)" in done.stdout, (
        done.said
    )
    assert (
        "not signed, since no answer depends on it: events.parquet, fold_tables.parquet,"
        " model_card.json"
    ) in done.stdout
    assert set(read_json(Run(folder / "run"), "signature.json")["signed"]) == {
        name for name in SCORING_READS if (folder / "run" / name).is_file()
    }
    scored = command(
        "score",
        "--run",
        folder / "run",
        "--events",
        folder / "run/events.parquet",
        "--verify",
        folder / "run.key",
        cwd=tmp_path,
    )
    assert scored.returncode == 0 and scored.stdout.startswith("verified: "), scored.said


@pytest.mark.parametrize(
    "alter, why",
    [
        (
            of("metrics/source.json", put(licence="free")),
            "source.json is not the file that was signed",
        ),
        (
            of("signature.json", lambda said: said["signed"]["run.json"].update(size=1)),
            "was not made with this key, or was changed since",
        ),
        (of("signature.json", put(hmac_sha256=3)), "signature.json is damaged"),
        (text("signature.json", "[]"), "signature.json is damaged"),
        (lambda run: (run / "signature.json").unlink(), "is not signed: it has no signature.json"),
        (
            lambda run: (run / "contract.json").write_text("{}"),
            "contract.json is not the file that was signed",
        ),
        (
            lambda run: (run / "models/segments.skops").unlink(),
            "segments.skops was signed and is gone",
        ),
    ],
)
def test_a_changed_signed_run_is_refused(signed, tmp_path, alter, why):
    shutil.copytree(
        signed[0] / "run", tmp_path / "run", ignore=shutil.ignore_patterns("site", "notebooks")
    )
    run = Run(tmp_path / "run")
    alter(run)
    with pytest.raises(ValueError, match=why):
        Scorer.load(run, signed[0] / "run.key")


def test_keys_that_are_none(signed, tmp_path):
    run, key = Run(signed[0] / "run"), tmp_path / "run.key"
    with pytest.raises(ValueError, match="there is no key file"):
        verify_run(run, key)
    key.write_text("\n")
    key.chmod(0o600)
    with pytest.raises(ValueError, match="holds 0 bytes, and must hold at least 16"):
        verify_run(run, key)
    key.write_text("another secret of another shop")
    with pytest.raises(ValueError, match="was not made with this key"):
        verify_run(run, key)
    key.chmod(0o640)
    if os.name == "posix":
        with pytest.raises(ValueError, match="can be read or changed by others. .*chmod 600"):
            verify_run(run, key)
    (run / "metrics/run.key").write_text("9f2c" * 16)
    with pytest.raises(ValueError, match="lies in the run's folder"):
        verify_run(run, run / "metrics/run.key")
    (run / "metrics/run.key").unlink()


# Runs that releases left.

FIXTURES = sorted((ROOT / "tests/fixtures").glob("run-*.zip"))


def unpacked(archive, folder):
    "A run folder of a release, what it is asked, and what that release answered."
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return (
        Run(folder),
        pl.read_parquet(folder / "asked.parquet"),
        json.loads((folder / "answers.json").read_text()),
    )


def test_this_release_has_left_a_run():
    release = ".".join(package_version().split(".")[:2])
    assert f"run-{release}.zip" in [path.name for path in FIXTURES], (
        "make it: python tests/make_fixture.py"
    )


@pytest.mark.parametrize("archive", FIXTURES, ids=lambda path: path.stem)
def test_a_run_of_a_release_answers_as_it_did_or_is_refused_in_a_sentence(archive, tmp_path):
    run, events, answers = unpacked(archive, tmp_path)

    def release(text):
        return text.split(".")[:2]

    made_with = read_json(run, "models/manifest.json")["conversion"]["versions"]
    same = all(release(package_version(name)) == release(then) for name, then in made_with.items())
    try:
        scorer = Scorer.load(run)
        found = scorer.score(events, "every").scores.to_dicts()
    except ValueError as refused:
        assert (
            not same and "was made with" in str(refused) and "Make it again with" in str(refused)
        ), str(refused)
        return
    assert len(found) == len(answers)
    for now, then in zip(found, answers):
        assert now.keys() - then.keys() == {"flagged_at", "highest", "fit_for_use"}
        answered = now["probability"] is not None
        over = now["probability"] >= scorer.threshold if answered else None
        assert then.pop("flagged") == over  # was of the asked row alone; is of the session so far
        for name, value in then.items():
            assert now[name] == (
                pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            ), name
