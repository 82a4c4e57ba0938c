"""Who may see the app: before somebody has logged in, nothing of the run is loaded, counted or named."""

import os
import re
import time

import pytest
from conftest import here
from test_app import browser, end, serve, settled, shuts_nobody_out  # noqa: F401

pytest.importorskip("streamlit", reason="the app is an extra: pip install clickstream-conv[app]")
PASSWORD = "correct horse battery"
AUTH = """[auth]
redirect_uri = "http://localhost:8501/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "app"
client_secret = "hidden-from-all"
server_metadata_url = "https://login.example/.well-known/openid-configuration"
"""


@pytest.fixture
def logins(tmp_path):
    "A file in which one person is."
    from clickstream_conv.app.logins import add_login

    add_login(tmp_path / "logins.json", "anna", PASSWORD)
    return tmp_path / "logins.json"


@pytest.fixture
def loaded(monkeypatch):
    "What of the run was loaded or shown."
    from clickstream_conv.app import login_page, logins, pages

    found = []
    for name, (title, page) in list(pages.PAGES.items()):
        monkeypatch.setitem(
            pages.PAGES, name, (title, lambda *words, page=page: found.append("page"))
        )
    monkeypatch.setattr(pages, "shown_safely", lambda page, folder: lambda: found.append(folder))
    monkeypatch.setattr(pages, "make_ready", lambda folder: found.append(folder))
    monkeypatch.setattr(login_page, "_guard", logins.Guard(lambda: 0.0))
    return found


def shown(folder, login):
    "The app as it is first seen."
    from streamlit.testing.v1 import AppTest

    script = (
        "from clickstream_conv.app.pages import show_pages\n"
        f"show_pages({str(folder)!r}, {str(login)!r})"
    )
    return AppTest.from_string(script, default_timeout=60).run()


def typed(page, name, password):
    "The page after a name and a password."
    page.text_input[0].input(name)
    page.text_input[1].input(password)
    return page.button[0].click().run()


def labels(page):
    "What can be pressed."
    return [one.label for one in page.button]


def test_nothing_is_shown_before_the_login(logins, loaded):
    page = shown("/runs/of-the-shop", logins)
    assert ([one.value for one in page.title], labels(page)) == (["clickstream-conv"], ["Log in"])
    assert len(page.exception) == 0 and loaded == []
    assert "of-the-shop" not in str(page) and "anna" not in str(page)
    typed(page, "anna", "wrong")
    assert [one.value for one in page.error] == ["The name or the password is wrong."]
    assert loaded == []
    typed(page, "anna", PASSWORD)
    assert (labels(page), len(page.text_input)) == (["Log out"], 0)
    assert loaded == ["/runs/of-the-shop"] * 2
    page.session_state["upload"] = "a log"
    page.button[0].click().run()
    assert labels(page) == ["Log in"] and len(loaded) == 2
    assert "upload" not in page.session_state and PASSWORD not in str(page.session_state)


def test_who_was_removed_or_has_a_new_password_sees_nothing_more(logins, loaded):
    from clickstream_conv.app.logins import add_login, remove_login

    page, other = shown("/runs/a", logins), shown("/runs/a", logins)
    typed(page, "anna", PASSWORD)
    typed(other, "anna", PASSWORD)
    add_login(logins, "otto", PASSWORD)
    assert labels(page.run()) == ["Log out"]
    add_login(logins, "anna", "another password")
    assert labels(page.run()) == ["Log in"]
    typed(page, "anna", "another password")
    remove_login(logins, "anna")
    assert labels(page.run()) == labels(other.run()) == ["Log in"]
    logins.write_text("[")
    typed(page, "otto", PASSWORD)
    assert labels(page) == ["Log in"] and len(page.exception) == 0
    said = "Nobody can log in now: the file of logins cannot be read."
    assert [one.value for one in page.error] == [said]


def test_guessing_is_slow_and_tells_nothing(logins, loaded, monkeypatch):
    "A name that nobody has is treated like one with a wrong password."
    from clickstream_conv.app import logins as module

    told, hashed, first = {}, [], module._hash
    monkeypatch.setattr(
        module, "_hash", lambda *words: hashed.append((len(words[1]), words[2])) or first(*words)
    )
    for name in ("anna", "nobody"):
        page = shown("/runs/a", logins)
        hashed.clear()
        said = []
        for _ in range(5):
            typed(page, name, "wrong")
            said += [one.value for one in page.error]
        told[name] = said, list(hashed)
    assert told["anna"] == told["nobody"]
    assert told["anna"][0][:3] == ["The name or the password is wrong."] * 3
    assert all("Too many wrong passwords" in one for one in told["anna"][0][3:])
    typed(page, "anna", PASSWORD)
    assert labels(page) == ["Log in"] and loaded == []


class User(dict):
    "What Streamlit knows of who is there."


def test_an_issuer_logs_in(tmp_path, loaded, monkeypatch):
    "Only the login is shown before; who is not meant sees nothing after it."
    import streamlit as st

    file, asked = tmp_path / "logins.toml", []
    monkeypatch.setattr(st, "login", lambda *names: asked.append(names))
    monkeypatch.setattr(st, "logout", lambda: asked.append("out"))
    monkeypatch.setattr(st, "user", User(is_logged_in=False))
    file.write_text(AUTH + '[clickstream-conv]\nallowed_domains = ["shop.example"]\n')
    page = shown("/runs/of-the-shop", file)
    assert (labels(page), loaded, len(page.text_input)) == (["Log in"], [], 0)
    assert "of-the-shop" not in str(page) and "hidden-from-all" not in str(page)
    page.button[0].click().run()
    assert asked == [()]
    for claims in (
        dict(email="eve@other.example", email_verified=True),
        dict(email="anna@shop.example"),
        dict(email="anna@shop.example", email_verified=False),
        dict(email="anna@shop.example", email_verified="true"),
        dict(email="anna@shop.example@other.example", email_verified=True),
        dict(email=None, email_verified=True),
        {},
    ):
        monkeypatch.setattr(st, "user", User(is_logged_in=True, **claims))
        page.run()
        assert (labels(page), loaded, len(page.exception)) == (["Log out"], [], 0), claims
        assert "may not see this app" in page.error[0].value
    anna = User(is_logged_in=True, email="Anna@shop.example", email_verified=True)
    monkeypatch.setattr(st, "user", anna)
    page.run()
    assert (labels(page), len(loaded), len(page.error)) == (["Log out"], 2, 0)
    page.button[0].click()
    page.run()
    assert asked[-1] == "out"
    file.write_text(AUTH + '[clickstream-conv]\nallowed_emails = ["otto@shop.example"]\n')
    loaded.clear()
    page.run()
    assert loaded == [] and "may not see this app" in page.error[0].value
    for broken in ("x =", AUTH + "[clickstream-conv]\nallowed = []\n"):
        file.write_text(broken)
        page.run()
        assert loaded == [] and len(page.exception) == 0
    monkeypatch.setattr(st, "user", User(is_logged_in=False))
    page.run()
    assert [one.value for one in page.error] == [
        "Nobody can log in now: the file of logins cannot be read."
    ]


def test_several_providers_are_several_buttons(tmp_path, loaded, monkeypatch):
    import streamlit as st

    head, _, one = AUTH.partition("client_id")
    file, asked = tmp_path / "logins.toml", []
    file.write_text(f"{head}[auth.google]\nclient_id{one}[auth.company]\nclient_id{one}")
    monkeypatch.setattr(st, "user", User(is_logged_in=False))
    monkeypatch.setattr(st, "login", lambda *names: asked.append(names))
    page = shown("/runs/a", file)
    assert labels(page) == ["Log in with google", "Log in with company"]
    page.button[1].click().run()
    assert asked == [("company",)] and loaded == []


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "cannot be read"),
        ("x =", "it is no TOML"),
        ("x = 1", r"no table \[auth\]"),
        (AUTH.replace("/oauth2callback", "/"), "/oauth2callback"),
        (AUTH.replace("abcdef", ""), "cookie_secret"),
        (AUTH.replace("client_secret", "secret"), "lacks client_secret"),
        (AUTH + "[clickstream-conv]\nallowed_domain = ['a']", "found 'allowed_domain'"),
        (AUTH + "[clickstream-conv]\nallowed_domains = 'a'", "should be a list of texts"),
        (AUTH + "[clickstream-conv]\ntrust_emails = 1", "should be true or false"),
    ],
    ids=["missing", "no TOML", "no table", "redirect", "cookie", "lacks", "typo", "text", "number"],
)
def test_a_file_of_no_use_is_refused_before_the_app_starts(tmp_path, text, said):
    "And nothing secret of it is repeated."
    from clickstream_conv.app.logins import refuse_logins

    file = tmp_path / "logins.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=said) as refused:
        refuse_logins(file)
    assert "hidden-from-all" not in str(refused.value)


def test_the_secrets_of_an_issuer_are_no_words_of_the_command(tmp_path):
    from clickstream_conv.app.serve import app_command

    file = tmp_path / "logins.toml"
    file.write_text(AUTH)
    words = app_command(tmp_path / "page.py", "runs/demo", login=str(file))
    assert words[words.index("--secrets.files") + 1] == str(file)
    assert words[-2] == f"--login={file}" and "hidden-from-all" not in " ".join(words)


def test_the_page_is_not_shown_to_a_network_by_mistake(run, logins, tmp_path):
    for words, said in (
        (("--address", "0.0.0.0"), "--login FILE, which clickstream-conv logins add NAME makes"),
        (("--address", "::"), "--open-to-all"),
        (("--address", "0.0.0.0", "--login", logins, "--open-to-all"), "were both given"),
        (("--login", tmp_path / "none.json"), "there is no file of logins"),
        (("--login", tmp_path / "none.toml"), "cannot be read"),
    ):
        done = here("app", "--run", run, "--no-browser", *words, cwd=tmp_path)
        assert done.returncode == 1 and said in done.said, done.said
        assert len(done.said.strip().splitlines()) == 1


def test_people_are_added_listed_and_removed(tmp_path, monkeypatch):
    import io
    import sys

    from clickstream_conv.app.logins import read_logins

    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\nshort\n"))
    done = here("logins", "add", "anna", cwd=tmp_path)
    assert done.returncode == 0 and PASSWORD not in done.said
    file = tmp_path / "logins.json"
    assert oct(file.stat().st_mode)[-3:] == "600" and PASSWORD not in file.read_text()
    assert "the password has 5 letters" in here("logins", "add", "otto", cwd=tmp_path).said
    assert here("logins", "list", cwd=tmp_path).said.split()[1:] == ["anna"]
    assert here("logins", "remove", "anna", cwd=tmp_path).returncode == 0
    assert read_logins(file) == {}
    assert "holds no login" in here("app", "--login", "logins.json", cwd=tmp_path).said


def sent(page, address, session):
    "How a file is taken that is sent past the pages."
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    return page.request.put(
        f"{address}/_stcore/upload_file/{session}/one",
        multipart={"file": dict(name="log.csv", mimeType="text/csv", buffer=b"a,b\n1,2\n")},
        headers={"X-Xsrftoken": cookies.get("_streamlit_xsrf", "")},
    ).status


def test_the_door_in_a_browser(run, logins, browser, axe_if_there, tmp_path):  # noqa: F811
    "The page that was asked for is there after the login; files are taken only then."
    served, address = serve(run, tmp_path, "--login", str(logins))
    frames = []
    try:
        page = browser.new_page(viewport=dict(width=1280, height=900))
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda data: frames.append(bytes(data))),
        )
        page.goto(f"{address}/upload")
        settled(page)
        body = page.inner_text("body")
        assert "Log in to see the pages" in body and "Overview" not in body, body
        assert page.title() == "clickstream-conv" and "not found" not in body
        shuts_nobody_out(page, axe_if_there)
        session = re.findall(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"".join(frames))
        sessions = {one.decode() for one in session}
        if place := os.environ.get("CLICKSTREAM_CONV_SCREENSHOTS"):
            page.screenshot(path=f"{place}/login.png")
        assert sessions and {sent(page, address, one) for one in sessions} == {400}
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Log out").wait_for(timeout=60_000)
        page.get_by_role("heading", name="Score a log").wait_for(timeout=60_000)
        assert page.url == f"{address}/upload"
        if place := os.environ.get("CLICKSTREAM_CONV_SCREENSHOTS"):
            time.sleep(1)
            page.screenshot(path=f"{place}/inside.png")
        assert 204 in {sent(page, address, one) for one in sessions}
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Name").wait_for(timeout=60_000)
        assert "Overview" not in page.inner_text("body")
        assert {sent(page, address, one) for one in sessions} == {400}
        page.close()
    finally:
        said = end(served)
    assert "Traceback" not in said and PASSWORD not in said, said
