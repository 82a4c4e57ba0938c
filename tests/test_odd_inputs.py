"""Every odd input is accepted with the right figures or refused in a clear sentence: no hang, no traceback, nothing unclear, nothing silently wrong."""

import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import re
import resource
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import polars as pl
from odd_inputs import Accepts, ODD

SECONDS = 30  # after which an input counts as a hang
ROOM = (
    12 << 30
)  # bytes of addresses that a process may ask for; an endless log ends here at the latest
WAY_OUT = re.compile(
    r"\b(state|check|give|map|write|rename|choose|export|put|keep|use|save|unpack|download|mend|remove|read|flatten|close|make|allowed|set|add|empty|is needed|must|should|shorten|leave)\b"
    r"|looks like|such as|not one of|it has:|did you mean|see: clickstream-conv|there are:|known:|takes",
    re.IGNORECASE,
)
NOT_OURS = "clickstream-conv: an unexpected "
COUNTED = (
    "accepted right",
    "refused clearly",
    "hangs",
    "tracebacks",
    "unclear",
    "refused wrongly",
    "silently wrong",
)


@dataclass
class Answer:
    "What became of an input."

    kind: str  # accepted, refused, hang or traceback
    line: str = ""  # what was said on the error stream
    said: str = ""  # notes and warnings
    figures: dict = None


# ------------------------------------------------------------------ in a process of its own
def two_stages(folder, record, stages, jobs, progress, needs=None):
    "Reading and features as a run does them, without a process for each."
    from clickstream_conv.base.runs import Run
    from clickstream_conv.features.sessions import build_sessions
    from clickstream_conv.sources.prepare import prepare

    work = {"02_sources": prepare, "04_features": build_sessions}
    for stage in stages:
        given = {
            name: value
            for name, value in stage.parameters.items()
            if stage.name == "02_sources" or name in ("landmarks", "most_rows")
        }
        if stage.name in work:
            work[stage.name](Run(folder), **given)


def once():
    "The command line with the two stages in this process; what never changes between inputs is worked out once."
    import typer.main

    from clickstream_conv.base import models_kept
    from clickstream_conv.features import sessions
    from clickstream_conv.pipeline import again, lineage, run, stages

    if stages.run_side_by_side is two_stages:
        return
    stages.run_side_by_side = two_stages
    run.read_notebook = functools.cache(run.read_notebook)
    again.package_digest = functools.cache(again.package_digest)
    lineage.environment_record = functools.cache(lineage.environment_record)
    stages.code_record = functools.cache(stages.code_record)
    models_kept.package_version = functools.cache(models_kept.package_version)
    typer.main.get_command = functools.cache(typer.main.get_command)
    # in two folds, where a run has five: what is counted of an input is the same
    sessions.visitor_folds = functools.partial(sessions.visitor_folds, folds=2)


def figures_of(folder):
    "What the two stages left: figures counted from the tables, and what the card says."
    card = json.loads((folder / "metrics" / "source.json").read_text())
    made = (folder / "sessions.parquet").is_file()
    features = json.loads((folder / "metrics" / "features.json").read_text()) if made else {}
    files = sorted((folder / "events").glob("part-*.parquet")) or [folder / "events.parquet"]
    buys = pl.concat([pl.read_parquet(file, glob=False) for file in files]).filter(
        pl.col("event") == "purchase"
    )
    rows = pl.read_parquet(folder / "sessions.parquet", glob=False) if made else None
    first = (
        None
        if card["first"] is None
        else pl.Series([card["first"]]).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S")[0]
    )
    return dict(
        sessions=card["sessions"],
        buying=card["buying_sessions"],
        rejected=card["rejected"],
        revenue=(buys["price"] * buys["quantity"]).sum(),
        first=first,
        said=" ".join([*card["notes"], *card["warnings"], *features.get("headline", [])]),
        outcome=card["outcome"]["kind"],
        at_one=(rows["landmark"] == 1).sum() if made else None,
        in_parts=card["parts"]["train"] + card["parts"]["test"],
    )


def answer(name, place, pieces=False):
    "Give one input to the command line, in this process; in pieces, only its reading."
    from clickstream_conv.pipeline import command_line

    once()
    folder = place / "here"
    folder.mkdir(parents=True)
    os.chdir(folder)
    words = ODD[name].make(folder)
    words += [] if "--out" in words else ["--out", "out"]
    words += [] if {"--landmarks", "--config"} & set(words) else ["--landmarks", "1,2"]
    words += (
        ["--memory", "1", "--until", "02"]
        if pieces
        else []
        if "--until" in words
        else ["--until", "04"]
    )
    errors, out = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(out):
            code = command_line.command(["run", *words, "--no-report"])
    except BaseException as error:
        return Answer("traceback", f"{type(error).__name__}: {str(error)[:300]}")
    if [path.name for path in place.iterdir()] != ["here"]:
        return Answer("accepted", "a file was written outside the folder", figures={})
    lines = errors.getvalue().strip().splitlines()
    if code:
        return Answer(
            "refused" if len(lines) == 1 and len(lines[0]) < 2_000 else "traceback",
            " | ".join(lines)[:2_000],
        )
    figures = figures_of(folder / words[words.index("--out") + 1])
    return Answer("accepted", out.getvalue(), figures.pop("said"), figures)


def serve(pipe):
    "Answer for one input after the other."

    once()
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    pipe.send("ready")
    while True:
        name, place, pieces = pipe.recv()
        pipe.send(answer(name, Path(place), pieces))


# ------------------------------------------------------------------ in the test's own process
class Asker:
    "A process that is given inputs, and is replaced when one of them hangs or kills it."

    def __init__(self):
        self.process = None

    def start(self):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(other,), daemon=True
        )
        self.process.start()
        other.close()
        assert self.pipe.poll(120) and self.pipe.recv() == "ready"

    def ask(self, name, place, pieces):
        if self.process is None:
            self.start()
        self.name, self.until = name, time.monotonic() + SECONDS
        self.pipe.send((name, str(place), pieces))

    def told(self):
        "The answer, where there is one; a process that ended, or takes too long, is an answer too."
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except EOFError:
            return self.stop(
                Answer("traceback", f"its process ended at once, with {self.process.exitcode}")
            )
        return (
            self.stop(Answer("hang", f"no answer within {SECONDS} s"))
            if time.monotonic() > self.until
            else None
        )

    def stop(self, found=None):
        if self.process is not None:
            self.process.kill()
        self.process = None
        return found


def ask_all(names, place, pieces=False, askers=2):
    "The answer of every input; a few processes share them."
    waiting, answers, free, busy = list(enumerate(names)), {}, [Asker() for _ in range(askers)], []
    while waiting or busy:
        while waiting and free:
            number, name = waiting.pop(0)
            busy.append(free.pop())
            busy[-1].ask(name, place / f"{number:03d}", pieces)
        wait([asker.pipe for asker in busy], timeout=1)
        for asker in [*busy]:
            if (found := asker.told()) is None:
                continue
            answers[asker.name] = found
            busy.remove(asker)
            free.append(asker)
    for asker in free:
        asker.stop()
    return answers


def is_right(right, found):
    "Whether an answer is what is right."
    if isinstance(right, Accepts):
        return found.kind == "accepted" and fits(right, found)
    clear = found.kind == "refused" and not found.line.startswith(NOT_OURS)
    return (
        clear
        and all(word in found.line for word in right.words)
        and bool(WAY_OUT.search(found.line))
    )


def fits(right, found):
    "Whether the figures are these, and everything was said that should be."
    figures = found.figures
    if not figures or any(word not in found.said for word in right.says):
        return False
    stated = {
        name: value
        for name in ("sessions", "buying", "rejected", "first")
        if (value := getattr(right, name)) is not None
    }
    same = all(figures[name] == value for name, value in stated.items())
    sums = math.isfinite(figures["revenue"]) and (
        right.revenue is None
        or math.isclose(figures["revenue"], right.revenue, rel_tol=1e-9, abs_tol=1e-9)
    )
    rows = (
        figures["at_one"] in (None, figures["in_parts"])
        or figures["outcome"] != "event"
        or right.sessions is None
    )
    return same and sums and rows


def verdict(right, found):
    "What an answer counts as."
    if any(is_right(one, found) for one in right):
        return "accepted right" if found.kind == "accepted" else "refused clearly"
    if found.kind in ("hang", "traceback"):
        return f"{found.kind}s"
    if found.kind == "accepted":
        return "silently wrong"
    return (
        "unclear"
        if any(not isinstance(one, Accepts) for one in right) or found.line.startswith(NOT_OURS)
        else "refused wrongly"
    )


def counted(names, answers, what, capsys):
    "Print what the answers count as; and those that are wrong, in words."
    found = {name: verdict(ODD[name].right, answers[name]) for name in names}
    counts = Counter(found.values())
    with capsys.disabled():
        print(f"\n{len(names)} {what}: " + ", ".join(f"{counts[kind]} {kind}" for kind in COUNTED))
    wrong = [name for name, kind in found.items() if kind not in COUNTED[:2]]
    return "\n".join(
        f"{found[name]}: {name}: {answers[name].line.strip()[:500]!r} {answers[name].figures or ''} {answers[name].said[:300]}; right: {ODD[name].right}"
        for name in wrong
    )


def test_every_odd_input_is_accepted_right_or_refused_clearly(tmp_path, capsys):
    names = list(ODD)
    wrong = counted(names, ask_all(names, tmp_path), "odd inputs", capsys)
    assert len(names) >= 180 and not wrong, wrong


def test_in_pieces_too(tmp_path, capsys):
    "What concerns the log is answered alike where it is read in pieces, under a bound on memory."
    names = [name for name in ODD if not name.startswith(("110", "128", "17", "18"))]
    wrong = counted(names, ask_all(names, tmp_path, pieces=True), "odd inputs in pieces", capsys)
    assert not wrong, wrong
