"A service in processes of its own, for the tests that ask one over HTTP."

import re
import signal
import socket
import subprocess
import time

import psutil
import pytest
from conftest import start

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")

SECONDS = 60
ASKS = {  # route, v for what stands in its address: the scope that it asks for; empty: any
    ("POST", "/v1/visits/v/events"): "visits",
    ("GET", "/v1/visits/v"): "visits",
    ("DELETE", "/v1/visits/v"): "visits",
    ("POST", "/v1/score"): "score",
    ("GET", "/v1/model"): "",
    ("POST", "/v1/model"): "admin",
    ("GET", "/metrics"): "admin",
    ("GET", "/v2"): "",
}
for _model in ("/v2/models/v", "/v2/models/v/versions/v"):
    ASKS |= {("GET", _model): "score", ("GET", f"{_model}/ready"): "score"}
    ASKS |= {("POST", f"{_model}/infer"): "score"}


def routes_of(app):
    "All routes that a service describes, but those that say whether it is well."
    return {
        (method.upper(), re.sub(r"\{\w+\}", "v", path))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if "/health/" not in path
    }


def free_port():
    "A port that nobody listens at."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Served:
    "A service in processes of its own."

    def __init__(self, run, *words):
        self.port = free_port()
        self.process = start("serve", "--run", run, "--port", self.port, *words, cwd=run.parent)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS)
        until = time.monotonic() + SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                pytest.fail(self.process.stdout.read())
            time.sleep(0.1)

    def answers(self):
        "Whether it is ready."
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def send(self, name, event, **asked):
        "The answer to an event, sent again while nobody listens."
        until = time.monotonic() + SECONDS
        while True:
            try:
                done = self.client.post(f"/v1/visits/{name}/events", json=event, params=asked)
            except httpx.TransportError:
                done = None
            if done is not None and done.status_code != 503:
                assert done.status_code == 200, done.text
                return done.json()
            assert time.monotonic() < until, done
            time.sleep(0.05)

    def workers(self):
        "The processes that answer."
        return [
            one
            for one in psutil.Process(self.process.pid).children(recursive=True)
            if "spawn_main" in " ".join(one.cmdline())
        ]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            for one in (*self.workers(), self.process):
                one.kill()
        self.client.close()
