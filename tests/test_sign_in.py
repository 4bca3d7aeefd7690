"""Sign-in at a real provider: what each role may do, when it ends, and everything that must not get in."""

import http.client
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import cv2
import pytest
from websockets.sync.client import connect

from ptx_app.audit import Event, Trail
from ptx_app.model.manifest import ROOT
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, drop, films_of, running_server, until

pytest.importorskip("flask", reason="the provider needs Flask")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

KEY = "a key that only the operator of this test has"
SECRET = "a cookie secret that only this test's server has"
_CLIENT_SECRET = "the app's secret"
_IDLE_SECONDS = 12


_OURS = (sys.executable, "-m", "tests.support.oidc_provider")
_CERTIFIED = ROOT / "tests" / "support" / "certified_provider"


@contextmanager
def guarded(
    folder, idle_minutes: float = 15, provider: tuple[str, ...] = _OURS, more: str = "", **settings: str
) -> Iterator[SimpleNamespace]:
    """A server with a sign-in and an audit trail, and its provider, which is started by that command.

    `more` is added to the section `auth`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / "secrets.toml"
    file.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{{port}}/oauth2callback"\ncookie_secret = "{SECRET}"\n'
        f'client_id = "app"\nclient_secret = "{_CLIENT_SECRET}"\n'
        f'server_metadata_url = "http://127.0.0.1:{port}/.well-known/openid-configuration"\n{more}\n'
    )
    environment = {
        "PTX_AUDIT_FOLDER": str(folder / "trail"), "PTX_AUDIT_KEY": KEY, "PTX_IDLE_MINUTES": str(idle_minutes),
        **settings,
    }  # fmt: skip
    with running_server(options=[f"--secrets.files={file}"], environment=environment) as server:
        redirect = f"{server.address}/oauth2callback"
        words = [*provider, str(port), "app", _CLIENT_SECRET, redirect]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                until(lambda: _listens(port), 60)
                yield SimpleNamespace(server=server, trail=Trail(folder / "trail", KEY), provider=port)
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Iterator[SimpleNamespace]:
    with guarded(tmp_path_factory.mktemp("door")) as running:
        yield running


def visitor(browser, door, path: str = "/"):
    """A page in a browser of its own, at the sign-in."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{door.server.address}{path}")
    return page


def sign_in(page, who: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.locator(f"button[value={who}]").click()


def reader(browser, door, who: str = "jane"):
    page = visitor(browser, door)
    sign_in(page, who)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    return page


@cache
def film(width: int) -> bytes:
    return dicom_of(cv2.resize(simulated_film(), (width, width), interpolation=cv2.INTER_AREA))


def told(door, event: Event) -> list[dict]:
    assert door.trail.verify().faults == ()
    return [line.record for line in door.trail.lines() if line.record["event"] == event]


def cookies_of(page) -> dict[str, str]:
    return {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}


def only_the_door(page) -> None:
    """The page offers to sign in, and nothing else."""
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.get_by_test_id("stFileUploaderDropzone").count() == 0
    assert films_of(page).count() == 0
    assert page.get_by_role("button").count() == 1


def test_a_reader_signs_in_reads_and_signs_out(browser, door):
    page = visitor(browser, door)
    only_the_door(page)
    sign_in(page, "jane")
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    drop(page, ("film.dcm", film(400)))
    all_read(page, 1)
    page.get_by_text("Jane Reader").wait_for()
    assert page.get_by_role("button", name="Operator’s page").count() == 0
    (opened,) = [line for line in told(door, Event.FILM_OPENED) if line["film"] == door.trail.film(film(400))]
    assert opened["who"] == "jane"
    signed_in = [line for line in told(door, Event.SIGNED_IN) if line["session"] == opened["session"]]
    assert [(line["name"], line["roles"]) for line in signed_in] == [("Jane Reader", ["reader"])]
    page.get_by_role("button", name="Sign out").click()
    only_the_door(page)
    signed_out = [line for line in told(door, Event.SIGNED_OUT) if line["session"] == opened["session"]]
    assert [line["why"] for line in signed_out] == ["asked"]
    assert [line["session"] for line in told(door, Event.SESSION_ENDED)].count(opened["session"]) == 1
    # The page closes at once; the browser then goes to the address that takes the cookies away.
    until(lambda: not {"_streamlit_user", "_streamlit_user_tokens"} & set(cookies_of(page)), 10)
    page.context.close()


@pytest.mark.thorough
@pytest.mark.skipif(
    not shutil.which("node") or not (_CERTIFIED / "node_modules").is_dir(),
    reason="node or the certified provider is missing: run `npm ci` in tests/support/certified_provider",
)
def test_a_certified_provider_lets_in_whom_it_knows_with_their_roles(browser, tmp_path):
    def name_oneself(page, who: str) -> None:
        page.get_by_role("button", name="Sign in").click()
        page.get_by_placeholder("Enter any login").fill(who)
        page.get_by_placeholder("and password").fill("x")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()

    command = ("node", str(_CERTIFIED / "provider.mjs"))
    # Streamlit asks for the prompt "select_account", which this provider does not have.
    prompt = 'client_kwargs = { prompt = "login" }'
    with guarded(tmp_path, provider=command, more=prompt, PTX_ROLE_CLAIM="realm_access.roles") as door:
        page = visitor(browser, door)
        only_the_door(page)
        name_oneself(page, "jane")
        page.get_by_test_id("stFileUploaderDropzone").wait_for()
        drop(page, ("film.dcm", film(400)))
        all_read(page, 1)
        page.get_by_text("Jane Reader").wait_for()
        copied = cookies_of(page)
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Yes, sign me out").click()  # the provider asks, then sends back
        only_the_door(page)
        assert not {"_streamlit_user", "_streamlit_user_tokens"} & set(cookies_of(page))
        nothing_but_the_door(handshake(door, copied)[1])
        page.context.close()
        page = visitor(browser, door)
        name_oneself(page, "none")
        page.get_by_text("You are signed in as Nick Nobody, but have no role here").wait_for()
        assert page.get_by_test_id("stFileUploaderDropzone").count() == 0
        page.context.close()


def test_who_has_no_role_is_told_so_and_can_sign_out(browser, door):
    page = visitor(browser, door)
    sign_in(page, "none")
    page.get_by_text("You are signed in as Nick Nobody, but have no role here").wait_for()
    assert page.get_by_test_id("stFileUploaderDropzone").count() == 0
    page.get_by_role("button", name="Sign out").click()
    only_the_door(page)
    page.context.close()


def test_an_operator_checks_the_trail_and_sees_no_film(browser, door):
    page = visitor(browser, door)
    sign_in(page, "olga")
    page.get_by_role("heading", name="Audit and status").wait_for()
    assert page.get_by_test_id("stFileUploaderDropzone").count() == 0
    assert page.get_by_role("button", name="Back to the films").count() == 0
    page.get_by_role("button", name="Check the audit trail").click()
    page.get_by_text("The trail is unchanged.").wait_for()
    page.context.close()


def test_who_is_both_goes_to_and_fro(browser, door):
    page = reader(browser, door, "both")
    page.get_by_role("button", name="Operator’s page").click()
    page.get_by_role("heading", name="Audit and status").wait_for()
    page.get_by_role("button", name="Back to the films").click()
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    page.context.close()


def test_the_films_of_one_never_reach_another(browser, door):
    jane, john = reader(browser, door), visitor(browser, door)
    came: list[bytes] = []
    john.on("websocket", lambda stream: stream.on("framereceived", lambda data: came.append(_bytes(data))))
    sign_in(john, "john")
    john.get_by_test_id("stFileUploaderDropzone").wait_for()
    drop(jane, ("of-jane.dcm", film(402)))
    all_read(jane, 1)
    drop(john, ("of-john.dcm", film(404)))
    all_read(john, 1)
    assert b"of-john.dcm" in b"".join(came)
    assert b"of-jane.dcm" not in b"".join(came)
    assert films_of(john).first.get_attribute("title") == "of-john.dcm"
    jane.context.close()
    john.context.close()


def _bytes(data) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


# What follows tries to get in.


def handshake(
    door, cookies: dict[str, str], session: str = "", origin: str | None = None, first: Any = None
) -> tuple[str, list[bytes]]:
    """Open the page's connection by hand, ask for an example, and return what the server sends until it is done.

    `first` is sent before that.
    """
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    host = urlsplit(door.server.address).netloc
    token = cookies.get("_streamlit_xsrf") or _token(door)
    cookies = {**cookies, "_streamlit_xsrf": token}
    ask = BackMsg()
    ask.rerun_script.query_string = "example=pneumothorax"
    sent: list[bytes] = []
    begun = ""
    with connect(
        f"ws://{host}/_stcore/stream",
        origin=origin or door.server.address,
        subprotocols=["streamlit", token, *([session] if session else [])],
        additional_headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        max_size=None,
    ) as stream:
        if first is not None:
            stream.send(first.SerializeToString())
        stream.send(ask.SerializeToString())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            data = stream.recv(60)
            sent.append(data)
            message = ForwardMsg()
            message.ParseFromString(data)
            if message.WhichOneof("type") == "new_session":
                begun = message.new_session.initialize.session_id
            # A run may be cut short by the next one, which the page itself asks for.
            ended = message.WhichOneof("type") == "script_finished"
            if ended and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return begun, sent
    raise AssertionError("the page did not answer")


def asked(door, method: str, path: str, cookies: dict[str, str], headers: dict[str, str] | None = None):
    """What the server answers to a request by hand."""
    connection = http.client.HTTPConnection(urlsplit(door.server.address).netloc, timeout=30)
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    connection.request(method, path, headers=cookie | (headers or {}))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def _token(door) -> str:
    cookie = asked(door, "GET", "/_stcore/health", {}).headers["Set-Cookie"]
    return cookie.partition(";")[0].partition("=")[2]


def nothing_but_the_door(sent: list[bytes]) -> None:
    everything = b"".join(sent)
    assert b"Sign in to read films" in everything or b"You are being signed out" in everything
    for inside in (b"Drop chest films", b"film_list", b"Examples", b"Pneumothorax flagged", b"of-jane"):
        assert inside not in everything


def test_the_way_in_by_hand_works_for_who_has_signed_in(browser, door):
    page = reader(browser, door)
    _, sent = handshake(door, cookies_of(page))
    assert b"Drop chest films" in b"".join(sent), "else the attempts below would prove nothing"
    page.context.close()


def test_without_a_cookie_nobody_gets_in(browser, door):
    page = visitor(browser, door, "/?example=pneumothorax")
    only_the_door(page)
    page.context.close()
    _, sent = handshake(door, {})
    nothing_but_the_door(sent)


def forged(secret: str, name: str = "_streamlit_user", **changes: object) -> dict[str, str]:
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    claims = {"sub": "jane", "iss": "x", "iat": int(time.time()), "name": "Jane", "roles": ["reader", "operator"]}
    claims |= {"is_logged_in": True, "origin": "", "provider": "default"} | changes
    return {"_streamlit_user": create_signed_value(secret, name, json.dumps(claims)).decode()}


@pytest.mark.parametrize("how", ["empty secret", "guessed secret", "other cookie's", "not signed", "altered", "origin"])
def test_a_forged_cookie_opens_nothing(browser, door, how):
    here = {"origin": door.server.address}
    if how == "altered":
        page = reader(browser, door)
        cookies = cookies_of(page)
        value = cookies["_streamlit_user"]
        cookies["_streamlit_user"] = value[:10] + ("A" if value[10] != "A" else "B") + value[11:]
        page.context.close()
    else:
        cookies = {
            "empty secret": lambda: forged("", **here),
            "guessed secret": lambda: forged("secret", **here),
            "other cookie's": lambda: forged(SECRET, "_streamlit_session", **here),
            "not signed": lambda: {"_streamlit_user": json.dumps({"is_logged_in": True, "sub": "jane", **here})},
            "origin": lambda: forged(SECRET, origin="https://elsewhere.example"),
        }[how]()
    _, sent = handshake(door, cookies)
    nothing_but_the_door(sent)


@pytest.mark.parametrize("claims", [{"iat": 0}, {"iat": None}, {"sub": ""}, {"is_logged_in": False}, {"iat": "now"}])
def test_a_cookie_that_is_too_old_or_names_nobody_opens_nothing(door, claims):
    _, sent = handshake(door, forged(SECRET, origin=door.server.address, **claims))
    nothing_but_the_door(sent)


@pytest.mark.thorough
def test_a_copied_cookie_is_worth_nothing_once_its_owner_has_signed_out(browser, door):
    page = reader(browser, door)
    copied = cookies_of(page)
    _, sent = handshake(door, copied)
    assert b"Drop chest films" in b"".join(sent)
    page.get_by_role("button", name="Sign out").click()
    only_the_door(page)
    page.context.close()
    _, sent = handshake(door, copied)
    nothing_but_the_door(sent)


@pytest.mark.thorough
def test_a_stranger_cannot_make_the_server_forget_who_has_signed_out(browser, door):
    from streamlit.proto.BackMsg_pb2 import BackMsg

    page = reader(browser, door)
    copied = cookies_of(page)
    page.get_by_role("button", name="Sign out").click()
    only_the_door(page)
    page.context.close()
    handshake(door, {}, first=BackMsg(clear_cache=True))
    _, sent = handshake(door, copied)
    nothing_but_the_door(sent)


@pytest.mark.thorough
def test_leaving_without_the_button_ends_the_sign_in_and_no_other_site_can_ask_for_it(browser, door):
    page = reader(browser, door)
    copied = cookies_of(page)
    for site, status in (("cross-site", 403), ("same-origin", 302)):
        assert asked(door, "GET", "/auth/logout", copied, {"Sec-Fetch-Site": site}).status == status
        sent = handshake(door, copied)[1]
        assert (b"Drop chest films" in b"".join(sent)) == (site == "cross-site")
    nothing_but_the_door(sent)
    page.context.close()


def test_a_cookie_in_parts_opens_nothing(door):
    from streamlit.auth_util import set_cookie_with_chunks
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    def cookies(groups: int) -> dict[str, str]:
        made: dict[str, str] = {}
        claims = {
            "is_logged_in": True, "origin": door.server.address, "provider": "default", "iss": "x", "sub": "jane",
            "iat": int(time.time()), "groups": [secrets.token_hex(16) for _ in range(groups)], "roles": ["reader"],
        }  # fmt: skip
        sign = lambda name, value: create_signed_value(SECRET, name, value)  # noqa: E731
        keep = lambda name, value: made.update({name: sign(name, value).decode()})  # noqa: E731
        set_cookie_with_chunks(keep, sign, "_streamlit_user", claims, cookie_attr_size=60)
        return made

    whole, parts = cookies(10), cookies(200)
    assert len(whole) == 1 < len(parts)
    session, sent = handshake(door, whole)
    assert b"Drop chest films" in b"".join(sent), "else the attempt would prove nothing"
    nothing_but_the_door(handshake(door, parts)[1])
    assert _upload(door, session, parts | {"_streamlit_xsrf": _token(door)}) == 403


def test_a_sign_in_too_large_for_a_cookie_is_said(browser, door):
    page = visitor(browser, door)
    sign_in(page, "many")
    page.get_by_text("SIGN_IN_TOO_LARGE").wait_for()
    assert "_streamlit_user" not in cookies_of(page)
    page.get_by_role("link", name="Back to the page").click()
    only_the_door(page)
    page.context.close()


@pytest.mark.parametrize(
    ("error", "logged"), [("access_denied", "access_denied"), ("%1b%5b31mJane+Doe", "no known reason")]
)
def test_what_the_provider_refuses_is_said_and_nothing_of_a_strangers_is_logged(browser, door, error, logged):
    page = visitor(browser, door, f"/oauth2callback?error={error}&error_description=Jane+Doe")
    page.get_by_text("Your provider has refused the sign-in.").wait_for()
    assert "Jane" not in page.locator("body").inner_text()
    until(lambda: f"SIGN_IN_REFUSED by the provider: {logged}" in door.server.said, 10)
    assert "Jane Doe" not in door.server.said
    assert "\x1b" not in door.server.said
    page.context.close()


@pytest.mark.thorough
@pytest.mark.parametrize("who", ["nobody", "john"])
def test_another_ones_session_cannot_be_taken_over(browser, door, who):
    jane, session = jane_at_work(browser, door)
    cookies = {}
    if who == "john":
        john = reader(browser, door, "john")
        cookies = cookies_of(john)
    begun, sent = handshake(door, cookies, session=session)
    assert begun != session
    assert b"of-jane" not in b"".join(sent)
    jane.get_by_role("button", name="Inverse").or_(jane.get_by_role("button", name="Invert")).first.wait_for()
    assert films_of(jane).count() == 1, "and its owner keeps it"
    jane.context.close()
    if who == "john":
        john.context.close()


def jane_at_work(browser, door):
    """Jane's page with her film, and her session's number."""
    jane = visitor(browser, door)
    sessions: list[str] = []
    jane.on("request", lambda request: sessions.extend(re.findall(r"upload_file/([^/]+)/", request.url)))
    sign_in(jane, "jane")
    jane.get_by_test_id("stFileUploaderDropzone").wait_for()
    drop(jane, ("of-jane.dcm", film(406)))
    all_read(jane, 1)
    return jane, sessions[0]


@pytest.mark.thorough
def test_a_file_is_taken_from_readers_only(browser, door):
    another, _ = handshake(door, {})
    token = _token(door)
    nobody = visitor(browser, door)
    sign_in(nobody, "none")
    nobody.get_by_text("have no role here").wait_for()
    without_a_role = cookies_of(nobody)
    assert "_streamlit_user" in without_a_role
    (jane, session), john = jane_at_work(browser, door), reader(browser, door, "john")
    good = cookies_of(jane)
    others = (
        {},
        forged("secret", origin=door.server.address),
        {"_streamlit_user": "x"},
        without_a_role,
        cookies_of(john),
    )
    for cookies in others:
        assert _upload(door, session, cookies | {"_streamlit_xsrf": token}) == 403
    assert _upload(door, another, good) == 403, "the session of somebody else"
    assert _upload(door, session, good) == 400, "there is no file: with the right cookie only that is wrong"
    for each in (nobody, jane, john):
        each.context.close()
    until(lambda: door.server.held()["uploaded"] == 0, 90)


def came_back(door, query: str, cookies: dict[str, str]) -> tuple[int, str]:
    """Come back from the provider with these words: the status, and all cookies that are set."""
    answer = asked(door, "GET", f"/oauth2callback?{query}", cookies)
    return answer.status, " ".join(answer.headers.get_all("Set-Cookie") or [])


def test_neither_a_code_used_again_nor_a_forged_state_signs_anyone_in(browser, door):
    page = visitor(browser, door)
    page.get_by_role("button", name="Sign in").click()
    page.locator("button[value=jane]").wait_for()
    asked, before = urlsplit(page.url), cookies_of(page)
    page.context.close()
    provider = http.client.HTTPConnection(
        asked.netloc, timeout=30
    )  # by hand, so that the browser does not use the code
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    provider.request("POST", f"{asked.path}?{asked.query}", "who=jane", form)
    query = urlsplit(provider.getresponse().headers["Location"]).query
    provider.close()
    state = re.search(r"state=([^&]+)", query)
    assert state is not None

    def signs_in(query: str, cookies: dict[str, str]) -> bool:
        return bool(re.search(r"_streamlit_user=[^\";]", came_back(door, query, cookies)[1]))  # not an emptied one

    assert not signs_in(query, {}), "another browser"
    assert not signs_in(query.replace(state[1], "forged"), before)
    assert signs_in(query, before), "else the attempts would prove nothing"
    assert not signs_in(query, before), "used again"


def _upload(door, session: str, cookies: dict[str, str]) -> int:
    token = {"X-Xsrftoken": cookies["_streamlit_xsrf"]}
    return asked(door, "PUT", f"/_stcore/upload_file/{session}/1", cookies, token).status


@pytest.mark.thorough
def test_without_use_the_sign_in_ends_and_the_films_go_and_with_use_it_does_not(browser, tmp_path):
    with guarded(tmp_path, _IDLE_SECONDS / 60) as door:
        page = reader(browser, door)
        copied = cookies_of(page)
        drop(page, ("film.dcm", film(400)))
        begun = time.monotonic()
        while time.monotonic() < begun + 1.5 * _IDLE_SECONDS:
            page.mouse.move(100 + 50 * (time.monotonic() % 2), 100)
            page.wait_for_timeout(500)
        assert page.get_by_role("button", name="Sign in").count() == 0
        only_the_door(page)
        assert [line["why"] for line in told(door, Event.SIGNED_OUT)] == ["idle"]
        assert len(told(door, Event.SESSION_ENDED)) == 1
        _, sent = handshake(door, copied)
        nothing_but_the_door(sent)
        page.context.close()
