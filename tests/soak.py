"""A service under load for minutes, while runs are put in place, a process is killed and Valkey is restarted: python tests/soak.py RUN OTHER_RUN

Both runs lie in one folder. Every answer is compared with the batch of the run that it names. Errors are counted by
when they happened; an event that met one is sent again under its id.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import polars as pl
import psutil
from served import free_port

from clickstream_conv.base.runs import Run
from clickstream_conv.base.trust import run_name
from clickstream_conv.scoring.scorer import Scorer
from clickstream_conv.sources.card import load_events

START = "from clickstream_conv.pipeline.command_line import main; main()"
COMPARED = ("status", "probability", "flagged", "flagged_at", "revenue", "segment")


def sessions_of(run, count):
    "Visits of a run's test part: name, events."
    log = load_events(Run(run), "test").drop("visitor", "part")
    names = log["session_id"].unique(maintain_order=True).head(count)
    some = log.filter(pl.col("session_id").is_in(names.implode()))
    parts = some.group_by("session_id", maintain_order=True)
    return some, {name: part.drop("session_id", "step").to_dicts() for (name,), part in parts}


def batches_of(runs, some):
    "What each run says after each event of each visit."
    found = {}
    for run in runs:
        said = Scorer.load(run).score(some, "every").scores
        parts = said.group_by("session_id")
        found[run_name(run)] = {name: part.sort("events").to_dicts() for (name,), part in parts}
    return found


def valkey(port, folder):
    "A server that keeps what it was told."
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    words += ["--appendonly", "yes"]
    return subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)


class Soak:
    "What is sent, and what came back."

    def __init__(self, address, events, batches, rate):
        self.address, self.events, self.batches = address, events, batches
        self.pause, self.counts, self.wrong, self.number = 1 / rate, Counter(), [], 0
        self.errors, self.next, self.largest = Counter(), 0.0, 0.0

    async def turn(self):
        "Wait until the next request may go out."
        now = time.monotonic()
        self.next = max(self.next + self.pause, now - 1)
        await asyncio.sleep(max(0.0, self.next - now))

    async def send(self, client, visit, event):
        "The answer to an event, sent again while nobody answers."
        while True:
            await self.turn()
            try:
                done = await client.post(f"/v1/visits/{visit}/events", json=event)
            except httpx.TransportError as error:
                self.error(type(error).__name__)
                continue
            if done.status_code == 503:
                self.error("503")
                await asyncio.sleep(0.2)
                continue
            if done.status_code != 200:
                self.wrong.append((visit, done.status_code, done.text[:200]))
                return None
            return done.json()

    def error(self, what):
        "Count an error by the second in which it happened."
        self.errors[round(time.monotonic() - self.began), what] += 1

    def compare(self, said, name, place):
        "Whether an answer is that of the batch."
        expected = self.batches[said["run"]][name][place]
        for column in COMPARED:
            one, other = said[column], expected[column]
            if isinstance(one, float) and isinstance(other, float):
                self.largest = max(self.largest, abs(one - other))
                right = abs(one - other) <= 1e-9
            else:
                right = one == other
            if not right or said["events"] != place + 1:
                self.wrong.append((name, place, column, one, other, said["events"]))

    async def visits(self, client, until):
        "One visit after the other."
        names = list(self.events)
        while time.monotonic() < until:
            self.number += 1
            visit, name = f"{self.number}", random.choice(names)
            asked = None
            for place, event in enumerate(self.events[name]):
                said = await self.send(client, visit, event | {"event_id": f"{visit}-{place}"})
                if said is None:
                    break
                self.compare(said, name, place)
                self.counts["events"] += 1
                self.counts["sent again and known"] += said["repeated"]
                if said["run"] != (asked := asked or said["run"]):
                    self.wrong.append((visit, "asked of two runs", asked, said["run"]))
                self.counts[said["run"]] += 1
            await client.delete(f"/v1/visits/{visit}")
            self.counts["visits"] += 1


def memory(process):
    "Resident MB of the processes that answer."
    workers = [
        one for one in process.children(recursive=True) if "spawn_main" in " ".join(one.cmdline())
    ]
    return {one.pid: one.memory_info().rss // 2**20 for one in workers}


async def happen(soak, minutes, process, runs, place):
    "Two runs put in place, a process killed, Valkey restarted."
    port, folder, server = place
    step = 60 * minutes / 6
    async with httpx.AsyncClient(base_url=soak.address, timeout=30) as client:
        for number in range(1, 6):
            await asyncio.sleep(step)
            at = round(time.monotonic() - soak.began)
            print(
                f"{at} s: {soak.counts['events']:,} events; MB of the processes: {memory(process)}",
                flush=True,
            )
            if number in (1, 4):
                run = runs[1 if number == 1 else 0]
                done = await client.post("/v1/model", json=dict(run=run.name))
                print(f"{at} s: put in place: {done.json()}", flush=True)
            if number == 2:
                killed = next(iter(memory(process)))
                os.kill(killed, signal.SIGKILL)
                print(f"{at} s: killed process {killed}", flush=True)
            if number == 3:
                server[0].terminate()
                server[0].wait()
                await asyncio.sleep(2)
                server[0] = valkey(port, folder)
                print(f"{at} s: Valkey was away for 2 s", flush=True)


async def soaked(soak, told, connections, *place):
    "All of it."
    soak.began = time.monotonic()
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=soak.address, timeout=30, limits=limits) as client:
        until = soak.began + 60 * told.minutes
        tasks = [soak.visits(client, until) for _ in range(connections)]
        await asyncio.gather(happen(soak, told.minutes, *place), *tasks)


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("runs", nargs=2, type=Path)
    asked.add_argument("--minutes", type=float, default=10)
    asked.add_argument("--rate", type=float, default=500, help="requests a second")
    asked.add_argument("--workers", type=int, default=4)
    told = asked.parse_args()
    some, events = sessions_of(told.runs[0], 400)
    batches = batches_of(told.runs, some)
    with tempfile.TemporaryDirectory() as folder:
        port, own = free_port(), free_port()
        server = [valkey(own, folder)]
        words = ["--run", told.runs[0], "--port", port, "--workers", told.workers]
        words += ["--visits", f"redis://127.0.0.1:{own}/0"]
        command = [
            sys.executable,
            "-c",
            START,
            "serve",
            *map(str, words),
        ]
        served = subprocess.Popen(command)
        soak = Soak(f"http://127.0.0.1:{port}", events, batches, told.rate)
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    if httpx.get(f"{soak.address}/health/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            process = psutil.Process(served.pid)
            asyncio.run(soaked(soak, told, 16, process, told.runs, (own, folder, server)))
            print(f"MB of the processes at the end: {memory(process)}")
        finally:
            served.send_signal(signal.SIGINT)
            served.wait(30)
            server[0].terminate()
    print(json.dumps(dict(soak.counts)))
    print("errors, by second and kind:", sorted(soak.errors.items()))
    print(f"largest difference to the batch: {soak.largest}; wrong answers: {len(soak.wrong)}")
    print(*soak.wrong[:5], sep="\n")
    return bool(soak.wrong)


if __name__ == "__main__":
    sys.exit(main())
