"What deploy/ holds: the image's own steps done without Docker, TLS in front of a service, and files that agree with the program."

import datetime
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path

import polars as pl
import pytest
import yaml
from conftest import here, ROOT

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")

DEPLOY = ROOT / "deploy"
SECONDS = 60
UNREACHABLE = ("Failed to fetch", "dns error", "Could not connect", "error sending request")
NOBODY = 65_534  # a user that owns nothing
FROM_THE_SYSTEM = re.compile(  # libraries of every Debian, and those that Python's own modules need
    r"ld-linux|lib(c|m|dl|rt|pthread|util|resolv|gcc_s|stdc\+\+|z|nss_\w+"
    r"|ssl|crypto|ffi|sqlite3|bz2|lzma|uuid|expat|readline|ncursesw|tinfo|python3\.\d+)[.-]"
)


def free_port():
    "A port that nobody listens at."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def stages():
    "The stages of the Dockerfile: for each its instructions, as word and rest."
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, rest = line.strip().split(None, 1)
            if word == "FROM":
                found.append([])
            found[-1].append((word, rest))
    return found


def words_of(stage, instruction):
    "The words of an instruction that is written as a list."
    (rest,) = [rest for word, rest in stage if word == instruction]
    return yaml.safe_load(rest.removeprefix(rest[: rest.index("[")]))


def set_in(stage):
    "The environment variables of a stage."
    pairs = [one for word, rest in stage if word == "ENV" for one in shlex.split(rest)]
    return dict(one.split("=", 1) for one in pairs)


@pytest.fixture(scope="module")
def visit(run):
    "The events of a visit, and the probability after each as this environment has it."
    from clickstream_conv.base.runs import Run
    from clickstream_conv.scoring.scorer import Scorer
    from clickstream_conv.sources.card import load_events

    log = load_events(Run(run), "test").drop("visitor", "part")
    name = log.group_by("session_id").len().sort("len", "session_id")["session_id"][-1]
    own = log.filter(pl.col("session_id") == name).drop("session_id", "step").to_dicts()[:8]
    live = Scorer.load(run).session()
    return own, [live.add(event)["probability"] for event in own]


@pytest.fixture(scope="module")
def place():
    "A folder that other users can look into."
    made = Path(tempfile.mkdtemp(prefix="clickstream-conv-deploy-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_the_build_is_sent_what_it_copies_and_no_more():
    "What is not named in the ignore file is not sent, so each COPY must be named there, and nothing else is."
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    sent = {line[1:] for line in rules if line.startswith("!")}
    copied = {one for word, rest in stages()[0] if word == "COPY" for one in rest.split()[:-1]}
    assert rules[0] == "*" and sent == copied
    assert all((ROOT / one).exists() for one in copied)


@pytest.fixture(scope="module")
def image(place):
    "The virtual environment that the image holds, made by the image's own steps from what its build is sent."
    build, to = place / "build", place / "image"
    for word, rest in stages()[0]:
        if word == "COPY":
            *names, _ = rest.split()
            for name in names:
                (build / name).parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, build / name)
    mine = {one.name: one.version for one in distributions() if one.name != "clickstream-conv"}
    releases = "\n".join(f"{name}=={version}" for name, version in mine.items())
    (build / "deploy" / "constraints.txt").write_text(f"{releases}\n")
    (step,) = [rest for word, rest in stages()[0] if word == "RUN" and "install.sh" in rest]
    known = (
        "HOME",
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "UV_CACHE_DIR",
        "SSL_CERT_FILE",
        "PIP_INDEX_URL",
    )
    clean = {name: os.environ[name] for name in known if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    clean |= dict(PATH=path, PYTHON=sys.executable, CC="/bin/false", CXX="/bin/false")
    done = subprocess.run(
        step.replace("/opt/clickstream-conv", str(to)),
        shell=True,
        cwd=build,
        env=clean,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    print(subprocess.run(["du", "-sm", to], capture_output=True, text=True).stdout)
    return to


def test_the_image_holds_nothing_of_a_graphics_card_and_nothing_that_compiles(image):
    packages = next((image / "lib").glob("python*")) / "site-packages"
    names = {path.name.lower() for path in packages.iterdir()}
    spare = ("nvidia", "xgboost-", "uv-", "pip-", "pytest")
    assert not [name for name in names if name.startswith(spare)]
    assert any(name.startswith("xgboost_cpu-") for name in names) and "xgboost" in names
    assert (image / "installed.txt").read_text().count("==") > 40
    compilers = {"cc", "gcc", "c++", "g++", "clang", "uv", "pip"}
    assert not compilers & {path.name for path in (image / "bin").iterdir()}
    last = stages()[-1]
    assert not [rest for word, rest in last if word == "RUN" and re.search(r"apt|pip|uv ", rest)]


class Started:
    "A process that answers at a port until it is told to end."

    def __init__(self, words, port, **options):
        self.process = subprocess.Popen(
            [str(word) for word in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        until = time.monotonic() + SECONDS
        while not self.listens(port):
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                pytest.fail(self.process.stdout.read())
            time.sleep(0.05)

    def listens(self, port):
        "Whether somebody takes connections."
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", port)) == 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.said = self.process.stdout.read()


def as_nobody(program):
    "Words before a program that is to run as a user that owns nothing; none where that cannot be done."
    words = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]
    words = [str(word) for word in words]
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    tried = subprocess.run([*words, str(program), "-c", ""], capture_output=True)
    return words if tried.returncode == 0 else []


def listing(folder):
    "Files of a folder with size and time of the last change."
    found = {}
    for path in folder.rglob("*"):
        seen = path.lstat()
        found[path.relative_to(folder).as_posix()] = seen.st_size, seen.st_mtime_ns
    return found


def test_the_image_answers_as_this_environment_does(image, place, run, visit):
    "By the words of the Dockerfile, as a user that owns nothing, from a run that cannot be written to."
    last, port = stages()[-1], free_port()
    runs, keys, work = place / "runs", place / "keys", place / "work"
    shutil.copytree(run, runs / "demo", ignore=shutil.ignore_patterns("site", "notebooks"))
    (runs / "current").symlink_to("demo")
    work.mkdir()
    keys.mkdir()
    made = here("keys", "add", "--keys", keys / "keys.json", "a shop", cwd=place)
    key = made.stdout.split()[-1]
    before = as_nobody(image / "bin" / "python")
    if before:
        os.chown(work, NOBODY, NOBODY)
        os.chown(keys / "keys.json", NOBODY, NOBODY)
        subprocess.run(["chmod", "-R", "a-w,a+rX", runs], check=True)
    put = {"/runs/": f"{runs}/", "/keys/": f"{keys}/", "0.0.0.0": "127.0.0.1"}

    def placed(word):
        for old, new in put.items():
            word = word.replace(old, new)
        return word

    told = {name: value.replace("/tmp", str(work)) for name, value in set_in(last).items()}
    told |= dict(PATH=f"{image / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", TMPDIR=str(work))
    words = [*words_of(last, "ENTRYPOINT"), *map(placed, words_of(last, "CMD")), "--port", port]
    words[0] = image / "bin" / words[0]
    kept = listing(runs), listing(image)
    with Started([*before, *words], port, cwd=work, env=told) as served:
        if before:
            status = Path(f"/proc/{served.process.pid}/status").read_text()
            assert f"\nUid:\t{NOBODY}\t" in status and "\nCapEff:\t0000000000000000" in status
        address = f"http://127.0.0.1:{port}"
        said = []
        with httpx.Client(base_url=address, timeout=SECONDS) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            for event in visit[0]:
                said.append(client.post("/v1/visits/v1/events", json=event).json())
            why = client.get("/v1/visits/v1?reasons=true").json()["answer"]["why"]["reasons"]
        loaded = Path(f"/proc/{served.process.pid}/maps").read_text()
        health = [word.replace(":8000", f":{port}") for word in words_of(last, "HEALTHCHECK")]
        asked = subprocess.run(health, cwd=work, env=told, capture_output=True, text=True)
        assert asked.returncode == 0, asked.stderr
    assert [one["probability"] for one in said] == pytest.approx(visit[1], abs=1e-9) and why
    libraries = {Path(one) for one in re.findall(r"/\S+\.so\S*", loaded)}
    others = {one for one in libraries if not one.is_relative_to(image)}
    assert any(one.is_relative_to(image) for one in libraries)
    others = {one.name for one in others if one.parent.name != "lib-dynload"}  # Python's own
    assert {name for name in others if not FROM_THE_SYSTEM.match(name)} == set()
    ended = subprocess.run(health, cwd=work, env=told, capture_output=True, text=True)
    assert ended.returncode != 0  # nobody is there any more
    assert (listing(runs), listing(image)) == kept


def certificate(folder):
    "A certificate for this computer that nobody else has signed; its file and that of its key."
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(signed.public_bytes(form))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "tls.key").write_bytes(key.private_bytes(form, *plain))


def nginx_program():
    "The program nginx, which Debian keeps where a user does not look."
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def secured(run, tmp_path_factory):
    "A service with a key behind nginx, by deploy/nginx.conf: address, key, where http is, the certificate, what was written."
    program = nginx_program()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    certificate(folder)
    inside, plain, secure = free_port(), free_port(), free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in {
        "service:8000": f"127.0.0.1:{inside}",
        "listen 8080": f"listen 127.0.0.1:{plain}",
        "listen 8443": f"listen 127.0.0.1:{secure}",
        " /tmp/": f" {folder}/",
        "/run/secrets/": f"{folder}/",
        "/dev/stdout": f"{folder}/access.log",
        "/dev/stderr": f"{folder}/error.log",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    key = here("keys", "add", "--keys", folder / "keys.json", "a shop", cwd=folder).stdout.split()[
        -1
    ]
    script = Path(sys.executable).with_name("clickstream-conv")
    serve = [script, "serve", "--run", run, "--port", inside, "--keys", folder / "keys.json"]
    own = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # whose folder it is
    proxy = [program, "-e", folder / "error.log", "-c", folder / "nginx.conf", "-g", own]
    with Started(serve, inside, cwd=folder), Started(proxy, secure, cwd=folder):
        trusted = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        yield f"https://localhost:{secure}", key, f"http://localhost:{plain}", trusted, folder


def test_an_event_is_answered_over_tls(secured, visit):
    address, key, plain, trusted, folder = secured
    with httpx.Client(base_url=address, verify=trusted, timeout=SECONDS) as client:
        path, event = "/v1/visits/visit-of-somebody/events?reasons=false", visit[0][0]
        assert client.post(path, json=event).status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        answers = [client.post(path, json=event) for event in visit[0]]
        assert [one.json()["probability"] for one in answers] == pytest.approx(visit[1], abs=1e-9)
        assert "max-age" in answers[0].headers["strict-transport-security"]
        assert client.get("/health/ready").json()["ready"]
        assert client.get("/metrics").status_code == client.get("/").status_code == 404
        other = client.get("/v1/visits/visit-of-somebody", headers={"Host": "shop.example"})
        assert other.json()["events"] == len(answers)  # with a key any host is answered
    with httpx.Client(base_url=plain, timeout=SECONDS) as client:
        assert (
            client.post(path, json=event, headers={"Authorization": f"Bearer {key}"}).status_code
            == 403
        )
    written = "".join(one.read_text() for one in folder.glob("*.log"))
    assert "POST visits 200" in written and "GET health 200" in written
    for secret in ("visit-of-somebody", "reasons", key, "Bearer", "127.0.0.1"):
        assert secret not in written, secret


def test_a_body_over_the_limit_is_refused_at_the_door(secured):
    "In the form in which the service refuses; one that is at the limit gets to the service."
    address, key, _, trusted, _ = secured
    from clickstream_conv.serving.service import Settings

    with httpx.Client(base_url=address, verify=trusted, timeout=SECONDS) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        client.headers["Content-Type"] = "application/json"
        most = Settings.most_body
        over = client.post("/v1/visits/v2/events", content=b" " * (most + 1))
        assert over.status_code == 413 and over.json()["reason"] == "too large"
        assert over.headers["content-type"] == "application/problem+json"
        from clickstream_conv.serving.problems import Problem

        assert set(over.json()) == set(Problem("too large", "").told())
        at = client.post("/v1/visits/v2/events", content=b" " * most)
        assert at.status_code == 400, at.text  # no JSON, said by the service


def options_of_serve():
    "The command serve as a parser."
    import typer

    from clickstream_conv.pipeline.command_line import app

    return typer.main.get_command(app).commands["serve"]


def refuse_unknown(words):
    "The values of a command's options, or a failure where one is not an option of serve."
    assert words[0] == "serve"
    return options_of_serve().make_context("serve", list(words[1:])).params


def documents(name):
    "What a file of YAML holds."
    return [one for one in yaml.safe_load_all((DEPLOY / name).read_text()) if one]


def of_kind(name, kind):
    "The documents of a kind."
    return [one for one in documents(name) if one["kind"] == kind]


@pytest.fixture(scope="module")
def routes(run):
    "Addresses that the service has, as it describes them itself."
    from clickstream_conv.serving.api import make_app
    from clickstream_conv.serving.service import Service, Settings

    return set(make_app(Service(Settings(run=str(run)))).openapi()["paths"])


PORT = 8000
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")  # an image with a whole version


def test_the_words_of_every_place_are_options_of_serve():
    "An option that is renamed is missed here, not when somebody starts it."
    compose = documents("compose.yaml")[0]["services"]["service"]
    (deployment,) = of_kind("kubernetes/service.yaml", "Deployment")
    (pod,) = deployment["spec"]["template"]["spec"]["containers"]
    found = [words_of(stages()[-1], "CMD"), compose["command"], pod["args"]]
    for words in found:
        told = refuse_unknown(words)
        assert told["run"] == "/runs/current" and told["keys"] == "/keys/keys.json"
        assert told["port"] == PORT and told["address"] == "0.0.0.0"
    assert refuse_unknown(compose["command"])["workers"] == 2
    for words in found[1:]:
        assert refuse_unknown(words)["visits"] == "env:VISITS"


def test_the_words_of_the_readme_are_known():
    text = (DEPLOY / "README.md").read_text()
    for line in re.findall(r"service keys add (.*?)(?: >.*)?$", text, re.M):
        import typer

        from clickstream_conv.pipeline.command_line import app

        keys = typer.main.get_command(app).commands["keys"].commands["add"]
        assert keys.make_context("add", shlex.split(line)).params["name"]
    for name in re.findall(r"`([\w./-]+\.(?:ya?ml|sh|conf|txt))`", text):
        assert (DEPLOY / name).is_file(), name


def test_compose_publishes_the_proxy_alone():
    whole = documents("compose.yaml")[0]
    services = whole["services"]
    assert [name for name, one in services.items() if "ports" in one] == ["proxy"]
    assert whole["networks"]["inside"]["internal"]
    assert [name for name, one in services.items() if "outside" in one["networks"]] == ["proxy"]
    for name, one in services.items():
        assert PINNED.fullmatch(one["image"]), one["image"]
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and one["mem_limit"] and one["cpus"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert name == "service" or "healthcheck" in one  # the service's is the image's own
    assert services["service"]["volumes"][0].endswith(":/runs:ro")
    assert not re.search(
        r"cc_[0-9a-f]{8}_|redis://:(?!PASSWORD)", (DEPLOY / "compose.yaml").read_text()
    )
    ours = {place["file"] for place in whole["secrets"].values()}
    assert all(one.startswith("secrets/") for one in ours)
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_prometheus_reads_what_is_there(routes):
    (job,) = documents("prometheus.yml")[0]["scrape_configs"]
    assert job["metrics_path"] in routes
    assert job["static_configs"][0]["targets"] == [f"service:{PORT}"]
    compose = documents("compose.yaml")[0]
    key = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert key in compose["secrets"] and key in compose["services"]["prometheus"]["secrets"]


def test_the_proxy_agrees_with_the_service(routes):
    from clickstream_conv.serving.service import Settings

    text = (DEPLOY / "nginx.conf").read_text()
    passed = re.findall(r"location (?:= )?(/\S+) \{([^}]*)proxy_pass", text)
    assert len(passed) == 6
    for path, inner in passed:
        assert any(one.startswith(path) for one in {*routes, "/openapi.json"}), path
        most = Settings.most_batch if path == "/v1/score" else Settings.most_body
        size = re.search(r"client_max_body_size (\d+);", inner)
        assert size is None or int(size[1]) == most
    closed = {"/metrics", "/health/live"}
    for route in routes - closed:
        assert any(route.startswith(path) for path, _ in passed), route
    assert f"server service:{PORT};" in text
    ports = documents("compose.yaml")[0]["services"]["proxy"]["ports"]
    inner = {one.rpartition(":")[2] for one in ports}
    assert inner == set(re.findall(r"listen (\d+)", text))


def test_the_image_checks_its_health_at_a_route(routes):
    asked = words_of(stages()[-1], "HEALTHCHECK")[-1]
    port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", asked).groups()
    assert int(port) == PORT and path in routes
    assert ("EXPOSE", str(PORT)) in stages()[-1]
    users = [rest for word, rest in stages()[-1] if word == "USER"]
    assert users == ["10001:10001"]
    bases = {rest.split()[0] for stage in stages() for word, rest in stage if word == "FROM"}
    assert len(bases) == 1 and PINNED.fullmatch(*bases) and "slim" in min(bases)


@pytest.mark.parametrize(
    "name, kind", [("service.yaml", "Deployment"), ("valkey.yaml", "StatefulSet")]
)
def test_pods_may_do_as_little_as_they_need(name, kind):
    (one,) = of_kind(f"kubernetes/{name}", kind)
    pod = one["spec"]["template"]["spec"]
    own = pod["securityContext"]
    assert own["runAsNonRoot"] and own["runAsUser"] > 0
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    labels = one["spec"]["template"]["metadata"]["labels"]
    assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for container in pod["containers"]:
        assert PINNED.fullmatch(container["image"])
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {*container["resources"]["limits"]} == {"cpu", "memory"}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {
            claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed


def test_probes_and_ports_of_the_pods_are_those_of_the_service(routes):
    (deployment,) = of_kind("kubernetes/service.yaml", "Deployment")
    (pod,) = deployment["spec"]["template"]["spec"]["containers"]
    assert pod["ports"] == [{"name": "http", "containerPort": PORT}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = pod[probe]["httpGet"]
        assert asked["path"] in routes and asked["port"] == "http", probe
    assert pod["livenessProbe"]["httpGet"]["path"] == "/health/live"
    (service,) = of_kind("kubernetes/service.yaml", "Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (budget,) = of_kind("kubernetes/service.yaml", "PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    (policy,) = of_kind("kubernetes/service.yaml", "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": PORT}]
    (valkey,) = of_kind("kubernetes/valkey.yaml", "Service")
    (guard,) = of_kind("kubernetes/valkey.yaml", "NetworkPolicy")
    assert guard["spec"]["ingress"][0]["ports"] == [{"port": valkey["spec"]["ports"][0]["port"]}]
    assert policy["spec"]["egress"][0]["ports"] == guard["spec"]["ingress"][0]["ports"]
    seconds = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    start = (ROOT / "clickstream_conv" / "serving" / "start.py").read_text()
    assert seconds > int(re.search(r"timeout_graceful_shutdown=(\d+)", start)[1])
