"Tokens at the service's door: whatever is wrong with one, it lets nobody in, and the issuer is left in peace."

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from served import ASKS, routes_of

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
jwt = pytest.importorskip("jwt", reason="the extra serve is not installed")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

AUDIENCE = "the shop's service"
RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
SHORT = rsa.generate_private_key(65537, 1024)
MAKERS = {
    "RS256": "RSAAlgorithm",
    "PS256": "RSAAlgorithm",
    "ES256": "ECAlgorithm",
    "EdDSA": "OKPAlgorithm",
}


def published(key, name, algorithm="RS256"):
    "A public key as an issuer publishes it."
    told = getattr(jwt.algorithms, MAKERS[algorithm]).to_jwk(key.public_key())
    return json.loads(told) | dict(kid=name, use="sig")


class Login:
    "An issuer on this computer."

    def __init__(self):
        self.keys, self.asked, self.away, self.more = [published(RSA, "k1")], [], False, {}
        login = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                login.asked.append(self.path)
                if login.away:
                    return self.send_error(500)
                self.send_response(302 if self.path in login.more.get("moved", ()) else 200)
                self.send_header("Location", f"{login.url}/keys")
                self.end_headers()
                self.wfile.write(login.said(self.path))

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/shop"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def said(self, path):
        "What it answers."
        if path == "/shop/.well-known/openid-configuration":
            told = dict(issuer=self.url, jwks_uri=f"{self.url}/keys")
        else:
            told = dict(keys=self.keys)
        return json.dumps(told | self.more).encode()

    def token(self, key=RSA, algorithm="RS256", head=None, **claims):
        "A token that is good, but for what is given; None leaves a claim out."
        now = time.time()
        told = dict(
            iss=self.url, aud=AUDIENCE, sub="anna", azp="shop", scope="visits", exp=now + 99
        )
        told = {name: value for name, value in (told | claims).items() if value is not None}
        return jwt.encode(told, key, algorithm, dict(kid="k1") if head is None else head)


@pytest.fixture
def login():
    "An issuer that this test has for itself."
    one = Login()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(scope="module")
def service(run):
    "A service of which each test makes an application of its own."
    from clickstream_conv.serving.service import Service, Settings

    return Service(Settings(run=str(run)))


@contextmanager
def asked(service, login, **settings):
    "A client of the service that lets in tokens of an issuer, and its Api."
    from dataclasses import replace

    from clickstream_conv.serving.api import make_app

    told = dict(issuer=login.url, audience=AUDIENCE) | settings
    service.settings = replace(type(service.settings)(run=service.settings.run), **told)
    app = make_app(service)
    client = TestClient(app, base_url="http://shop.example", raise_server_exceptions=False)
    yield client, app.state.api


def status(client, token, path="/v1/model"):
    "How a request with a token is answered."
    return client.get(path, headers={"authorization": f"Bearer {token}"}).status_code


def secret_signed(told, head, secret):
    "A token that is signed with a secret, made by hand: libraries refuse to sign with a public key."

    def packed(one):
        return base64.urlsafe_b64encode(one).rstrip(b"=")

    signed = packed(json.dumps(head).encode()) + b"." + packed(json.dumps(told).encode())
    made = hmac.new(secret, signed, hashlib.sha256).digest() if secret else b""
    return (signed + b"." + packed(made)).decode()


@pytest.mark.filterwarnings("ignore:The .* key is")
def test_what_is_wrong_with_a_token_shuts_it_out(service, login):
    "Always in the same words."
    login.keys += [
        published(EC, "k2", "ES256"),
        published(ED, "k3", "EdDSA"),
        published(SHORT, "k4"),
    ]
    login.keys += [
        dict(kty="oct", k="c2VjcmV0", kid="k5"),
        published(OTHER, "k6") | dict(use="enc"),
    ]
    now = time.time()
    claims = dict(iss=login.url, aud=AUDIENCE, scope="visits", exp=now + 99)
    forms = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    pem = RSA.public_key().public_bytes(*forms)
    good = login.token()
    head, body, signature = good.split(".")
    wrong = {
        "expired": login.token(exp=now - 61),
        "without an end": login.token(exp=None),
        "an end that is no number": login.token(exp="soon"),
        "an end that is too large": login.token(exp=1e400),
        "not yet": login.token(nbf=now + 90),
        "of another issuer": login.token(iss=login.url + "/"),
        "without an issuer": login.token(iss=None),
        "for another": login.token(aud="another"),
        "for nobody": login.token(aud=None),
        "forged": login.token(key=OTHER),
        "changed": f"{head}.{body[:-2]}AA.{signature}",
        "without a signature": f"{head}.{body}.",
        "none": jwt.encode(claims, None, "none", dict(kid="k1")),
        "none in the header": secret_signed(claims, dict(alg="none", kid="k1"), b""),
        "public key as secret": secret_signed(claims, dict(alg="HS256", kid="k1", typ="JWT"), pem),
        "a published secret": jwt.encode(claims, "secret", "HS256", dict(kid="k5")),
        "of a key for RSA, said to be EC": login.token(EC, "ES256"),
        "of a key that is too short": login.token(SHORT, head=dict(kid="k4")),
        "of a key that signs nothing": login.token(OTHER, head=dict(kid="k6")),
        "with a longer hash": login.token(algorithm="RS512"),
        "asking for what is not understood": login.token(head=dict(kid="k1", crit=["x"], x=1)),
        "with a key of its own": login.token(
            OTHER, head=dict(kid="k1", jwk=published(OTHER, "k1"))
        ),
        "too long": login.token(more="x" * 8_192),
        "nested": secret_signed(claims, dict(alg="RS256", kid="k1"), b"x").replace("e", "[", 40),
        "no token": "a.b.c",
        "a key": "cc_00000000_" + "a" * 43,
        "nothing": "",
    }
    with asked(service, login) as (client, api):
        for token in (
            good,
            login.token(exp=now - 30),
            login.token(nbf=now + 30),
            login.token(aud=["another", AUDIENCE]),
            login.token(sub="\ud800", azp=["\ud800"]),
            login.token(algorithm="PS256"),
            login.token(EC, "ES256", dict(kid="k2")),
            login.token(ED, "EdDSA", dict(kid="k3")),
        ):
            assert status(client, token) == 200
        told = set()
        for name, token in wrong.items():
            done = client.get("/v1/model", headers={"authorization": f"Bearer {token}"})
            assert (name, done.status_code) == (name, 401)
            assert done.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            told.add(done.text)
            assert not token or token not in done.text
        told |= {client.get("/v1/model").text}
        told |= {client.get("/v1/model", headers={"authorization": f"Basic {good}"}).text}
        assert len(told) == 1 and json.loads(told.pop())["reason"] == "no key"
    assert len(login.asked) == 2


def test_every_route_asks_for_its_scope(service, login):
    "As it is, behind our name, in a list, or in a claim of another name; and without a token for nobody."
    with asked(service, login) as (client, api):
        assert routes_of(client.app) == {*ASKS}
        for (method, path), scope in ASKS.items():
            assert client.request(method, path, json={}).status_code == 401
            for held in (
                "visits",
                "openid clickstream-conv:score",
                ["admin", 7],
                "",
                "visitsx clickstream-conv:x",
                None,
                {"visits": 1},
            ):
                token = login.token(scope=held)
                shown = {"authorization": f"Bearer {token}"}
                done = client.request(method, path, headers=shown, json={})
                words = held.split() if isinstance(held, str) else held or ()
                ours = {str(one).removeprefix("clickstream-conv:") for one in words}
                ours = ours & {"visits", "score", "admin"} if not isinstance(held, dict) else set()
                kept_out = not ours or (scope and scope not in ours)
                assert (done.status_code == 403) == bool(kept_out), (path, held, done.text)
                assert done.status_code != 401 and token not in done.text
    with asked(service, login, scopes_claim="scp") as (client, _):
        assert status(client, login.token()) == 403
        assert status(client, login.token(scope=None, scp="visits")) == 200


def test_an_unknown_key_asks_the_issuer_once(service, login):
    "Whoever makes up names of keys cannot make the service press the issuer."
    with asked(service, login) as (client, api):
        assert status(client, login.token()) == 200
        assert len(login.asked) == 2
        for n in range(20):
            assert status(client, login.token(OTHER, head=dict(kid=f"made up {n}"))) == 401
        assert len(login.asked) == 2
        api.tokens.issuer._next = 0.0
        for n in range(20):
            assert status(client, login.token(OTHER, head=dict(kid=f"made up {n}"))) == 401
        assert len(login.asked) == 4


def test_an_issuer_without_keys_is_left_in_peace(service, login):
    login.keys = []
    with asked(service, login) as (client, _):
        found = {status(client, login.token(head=dict(kid=f"k{n}"))) for n in range(5)}
        assert found == {401} and len(login.asked) == 2


def test_an_issuer_that_stays_away_is_asked_less_and_less():
    from clickstream_conv.serving.tokens import Issuer

    now, asked = [0.0], []
    issuer = Issuer("https://login.example", lambda url: asked.append(now[0]) or {}, lambda: now[0])
    for second in range(200):
        now[0] = float(second)
        if (asking := issuer.ask()) is not None:
            asking.result(10)
    assert asked == [0, 2, 6, 14, 30, 60, 90, 120, 150, 180]


def test_keys_that_are_changed_are_found_and_those_taken_back_are_good_no_more(service, login):
    with asked(service, login) as (client, api):
        issuer = api.tokens.issuer
        old, new = login.token(), login.token(OTHER, head=dict(kid="k2"))
        assert (status(client, old), status(client, new)) == (200, 401)
        login.keys = [published(RSA, "k1"), published(OTHER, "k2")]
        issuer._next = 0.0
        assert (status(client, new), status(client, old)) == (200, 200)
        login.keys = [published(OTHER, "k2")]
        began = issuer._since
        issuer._since -= 301
        issuer._next = 0.0
        issuer.follow()
        until = time.monotonic() + 10
        while issuer._since <= began and time.monotonic() < until:
            time.sleep(0.01)
        assert (status(client, new), status(client, old)) == (200, 401)


def test_a_token_without_the_name_of_a_key(service, login):
    "It is good while the issuer has one key for its algorithm."
    with asked(service, login) as (client, api):
        assert status(client, login.token(head={})) == 200
        login.keys.append(published(OTHER, "k2"))
        api.tokens.issuer.fetch()
        assert status(client, login.token(head={})) == 401


def test_an_issuer_that_is_away(service, login, caplog):
    "At the start nobody can be checked; later, known keys are good for a while."
    login.away = True
    token = login.token()
    with asked(service, login) as (client, api), caplog.at_level(logging.DEBUG):
        done = client.get("/v1/model", headers={"authorization": f"Bearer {token}"})
        assert (done.status_code, done.headers["retry-after"]) == (503, "5")
        assert client.get("/health/ready").status_code == 503
        assert status(client, "a.b.c") == 401
        assert status(client, token) == 503 and len(login.asked) == 1
        login.away, api.tokens.issuer._next = False, 0.0
        assert status(client, token) == 200
        assert client.get("/health/ready").status_code == 200
        login.away, api.tokens.issuer._next = True, 0.0
        api.tokens.issuer._since -= 301
        assert status(client, login.token(OTHER, head=dict(kid="k2"))) == 401
        assert status(client, token) == 200
        api.tokens.issuer._since -= 3_600
        assert status(client, token) == 503
    said = caplog.text
    assert "could not be read" in said and token not in said and token.split(".")[1] not in said


def test_the_follower_reads_the_keys_before_anybody_asks(service, login):
    from clickstream_conv.serving.api import make_app

    with asked(service, login) as (client, api):
        pass
    closing, service.close = service.close, lambda: None
    try:
        with TestClient(make_app(service)) as client:
            until = time.monotonic() + 10
            while not client.app.state.api.tokens.issuer.known and time.monotonic() < until:
                time.sleep(0.01)
            assert client.app.state.api.tokens.issuer.known
    finally:
        service.close = closing


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(issuer="https://login.example"), "it calls itself 'https://login.example'"),
        (dict(jwks_uri="http://login.example/keys"), "must begin with https"),
        (dict(jwks_uri=None), "the place of its keys"),
        (dict(keys="none"), "no list of keys"),
        (dict(long="x" * 300_000), "more than can be a list of keys"),
        (dict(moved=["/shop/keys"]), "answered with status 302"),
    ],
    ids=["issuer", "place", "no place", "no list", "long", "moved"],
)
def test_an_issuer_that_answers_wrongly_lets_nobody_in(service, login, caplog, more, said):
    login.more = more
    with asked(service, login) as (client, _):
        assert status(client, login.token()) == 503
    assert said in caplog.text


def test_an_issuer_elsewhere_cannot_lead_to_this_computer():
    from clickstream_conv.serving.tokens import Issuer

    told = dict(issuer="https://login.example", jwks_uri="http://127.0.0.1/keys")
    with pytest.raises(ValueError, match="must begin with https"):
        Issuer("https://login.example", lambda url: told).fetch()


def test_a_slow_issuer_keeps_nobody_else_waiting(service, login, tmp_path):
    "The issuer is asked beside the requests."
    from clickstream_conv.serving.keys import add_key

    file, held = tmp_path / "keys.json", threading.Event()
    key = add_key(file, "shop", ("visits",))
    with asked(service, login, keys=str(file)) as (client, api):
        api.tokens.issuer._read = lambda url: held.wait(20) and {}
        waiting = threading.Thread(target=status, args=(client, login.token()), daemon=True)
        with client:
            pass_on, service.close = service.close, lambda: None
            waiting.start()
            time.sleep(0.1)
            began = time.perf_counter()
            assert status(client, key) == 200
            assert time.perf_counter() - began < 2 and waiting.is_alive()
            held.set()
            waiting.join(10)
        service.close = pass_on


def test_keys_and_tokens_are_both_good(service, login, tmp_path):
    from clickstream_conv.serving.keys import add_key

    file = tmp_path / "keys.json"
    key = add_key(file, "shop", ("visits",))
    with asked(service, login, keys=str(file)) as (client, _):
        login.away = True
        assert status(client, key) == 200 and login.asked == []
        login.away = False
        assert status(client, login.token()) == 200
        assert status(client, key[:-1]) == 401
        schemes = client.get("/openapi.json").json()
        assert schemes["security"] == [{"key": []}, {"token": []}]
        told = schemes["components"]["securitySchemes"]["token"]
        assert told["type"] == "openIdConnect"
        assert told["openIdConnectUrl"] == f"{login.url}/.well-known/openid-configuration"
    with asked(service, login) as (client, _):
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]
        assert status(client, key) == 401


def test_a_subject_may_ask_as_often_as_was_said(service, login):
    "Whatever token it shows; others are not kept from asking."
    with asked(service, login, token_rate=2.0) as (client, api):
        found = [status(client, login.token(n=n)) for n in range(3)]
        assert found == [200, 200, 429]
        assert status(client, login.token(sub="otto")) == 200
        api.tokens._allowance.most = 3
        for n in range(20):
            status(client, login.token(sub=f"s{n}"))
        assert len(api.tokens._allowance._left) == 3


def test_the_audit_log_names_the_program_and_no_person(service, login, tmp_path):
    file = tmp_path / "audit.jsonl"
    more = dict(email="anna@shop.example", name="Anna", scope="visits admin")
    with asked(service, login, audit=str(file)) as (client, api):
        tokens = [
            login.token(**more),
            login.token(sub="otto", **more),
            login.token(azp="other", **more),
        ]
        tokens.append(login.token(scope="visits"))
        found = [status(client, token, "/metrics") for token in tokens]
        assert found == [200, 200, 200, 403]
        assert status(client, "a.b.c") == 401
        counted = client.get("/metrics", headers={"authorization": f"Bearer {tokens[0]}"}).text
        assert 'refused_total{reason="no key"} ' in counted
        assert 'requests_total{route="/metrics",status="403"}' in counted
        api.audit.close()
    written = file.read_text()
    who = [json.loads(line)["key"] for line in written.splitlines()]
    assert who[0] == who[1] == who[3] != who[2] and who[4] == ""
    assert who[0].startswith("token:") and len(who[0]) == 14
    for word in ("anna", "Anna", "otto", *tokens, *(one.split(".")[2] for one in tokens)):
        assert word not in written and word not in counted


def test_what_cannot_go_together_is_refused():
    from clickstream_conv.serving.service import Settings
    from clickstream_conv.serving.start import refuse_together

    https = "https://login.example"
    refuse_together(Settings(issuer=https, audience="shop"), "0.0.0.0", 1)
    for told, said in (
        (dict(), "--issuer URL --audience NAME"),
        (dict(issuer=https), "--issuer is given without --audience"),
        (dict(audience="shop"), "no key is asked for"),
        (dict(issuer="http://login.example", audience="shop"), "must begin with https"),
        (dict(issuer="https://a:b@login.example", audience="shop"), "without a name, a password"),
    ):
        with pytest.raises(ValueError, match=said):
            refuse_together(Settings(**told), "0.0.0.0", 1)
