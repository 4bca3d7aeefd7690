"""What a real server with the repository's settings serves, refuses and deletes."""

import asyncio
import http.client
import itertools
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import cv2
import pytest
from streamlit import config

from ptx_app.model.manifest import ROOT
from ptx_app.ui.server import HEADERS, SecurityHeaders
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    all_read,
    drop,
    films_of,
    open_page,
    running_server,
    until,
)

SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
needs_browser = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

# Two more pages of the test's own, one that breaks and one that counts films in memory, before the app's own entry.
_SCRIPT = """
if __name__ == "__main__":
    import gc
    import streamlit as st
    if "break" in st.query_params:
        raise RuntimeError("a secret of the server")
    elif "count" in st.query_params:
        from ptx_app.ui.visit import Film
        look = st.session_state["look"] = st.session_state.get("look", -1) + 1
        st.text(f"look {look}: {sum(type(thing) is Film for thing in gc.get_objects())} films in memory")
        st.button("Look")
        st.stop()
""" + (ROOT / "app.py").read_text(encoding="utf-8")
_KEPT_SECONDS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    script = tmp_path_factory.mktemp("script") / "page.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    with running_server(script, options=[f"--server.disconnectedSessionTTL={_KEPT_SECONDS}"]) as running:
        yield running


@pytest.fixture(scope="module")
def films_in_memory(server, browser) -> Callable[[], int]:
    """Counts them on a page that stays open: opening or closing one would make Streamlit clean up."""
    page = browser.new_context().new_page()
    page.goto(f"{server.address}/?count=1")
    looks = itertools.count(1)

    def count() -> int:
        page.get_by_role("button", name="Look").click()
        said = page.get_by_text(f"look {next(looks)}:")
        said.wait_for()
        return int(said.inner_text().split()[2])

    page.get_by_text("look 0:").wait_for()
    return count


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer; redirects are not followed and the path is sent as it is."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_every_setting_is_one_that_streamlit_knows():
    known = config.get_config_options(force_reparse=True)
    sections = {**SETTINGS, "theme.light": SETTINGS["theme"]["light"]}
    named = {f"{section}.{name}" for section, values in sections.items() for name in values}
    assert named - set(known) == {"theme.light"}


def test_the_settings_are_strict():
    assert SETTINGS["server"]["enableXsrfProtection"] is True
    assert SETTINGS["server"]["enableCORS"] is True
    assert SETTINGS["server"]["enableStaticServing"] is False
    assert SETTINGS["server"]["enableAgentApi"] is False
    assert SETTINGS["server"]["maxUploadSize"] <= 100
    assert SETTINGS["server"]["disconnectedSessionTTL"] <= 60
    assert SETTINGS["client"]["showErrorDetails"] == "none"
    assert SETTINGS["browser"]["gatherUsageStats"] is False


def test_the_server_is_healthy_and_tells_no_other_site(server):
    status, headers, body = ask(server, "/_stcore/health", Origin="https://elsewhere.example")
    assert (status, body) == (200, "ok")
    assert "access-control-allow-origin" not in headers
    assert "SameSite=Lax" in headers["set-cookie"]


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static", "/media/", "/component/", "/app/static/", "/app/static/app.py", "/app.py",
     "/.streamlit/config.toml", "/ptx_app/ui/page.py", "/weights_manifest.json", "/../app.py", "/..%2fapp.py",
     "/static/..%2f..%2fapp.py", "//etc/passwd", "/_stcore/upload_file/", "/media/..%2f..%2fetc%2fpasswd"],
)  # fmt: skip
def test_neither_folders_nor_the_apps_own_files_are_served(server, path):
    status, _, body = ask(server, path)
    page = '<div id="root">' in body  # Streamlit's page, which it serves for any unknown address
    assert page or status in {301, 400, 403, 404, 405}
    for secret in ("import ", "[server]", "sha256", "root:", "Index of", "Directory listing"):
        assert secret not in body


def test_an_upload_without_token_is_refused(server):
    path = "/_stcore/upload_file/11111111-2222-3333-4444-555555555555/1"
    assert ask(server, path, "PUT")[0] == 403
    assert ask(server, path, "PUT", X_Xsrftoken="made up")[0] == 403
    assert ask(server, path, "DELETE")[0] == 403
    cookie = ask(server, "/_stcore/health")[1]["set-cookie"].partition(";")[0]
    token = cookie.partition("=")[2]
    assert ask(server, path, "PUT", Cookie=cookie)[0] == 403
    assert ask(server, path, "PUT", Cookie=cookie, X_Xsrftoken=token)[0] == 400, "an unknown session takes no file"
    assert server.held()["uploaded"] == 0


def test_another_sites_page_cannot_open_a_connection(server):
    def knock(origin: str) -> int:
        return ask(
            server, "/_stcore/stream", Origin=origin, Connection="Upgrade", Upgrade="websocket",
            Sec_WebSocket_Version="13", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )[0]  # fmt: skip

    assert knock("https://elsewhere.example") == 403


def headers_that_lack(headers: dict[str, str]) -> list[str]:
    return [name for name, value in HEADERS.items() if headers.get(name.lower()) != value]


def test_the_headers_are_strict():
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    assert HEADERS["Referrer-Policy"] == "no-referrer"
    assert all(f"{sense}=()" in HEADERS["Permissions-Policy"] for sense in ("camera", "microphone", "geolocation"))
    assert HEADERS["Content-Security-Policy"].startswith("frame-ancestors 'self' https://")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/_stcore/health", 200), ("GET", "/_stcore/metrics", 200),
     ("GET", "/media/nothing.png", 404), ("GET", "//etc/passwd", 400),
     ("PUT", "/_stcore/upload_file/1/1", 403), ("POST", "/_stcore/health", 405)],
)  # fmt: skip
def test_answers_have_the_security_headers_errors_too(server, method, path, status):
    answered, headers, _ = ask(server, path, method)
    assert (answered, headers_that_lack(headers)) == (status, [])


def test_the_answer_to_an_unexpected_error_has_them_too():
    async def stumble(scope, receive, send) -> None:
        raise RuntimeError("a secret of the server")

    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError):  # for the log
        asyncio.run(SecurityHeaders(stumble)({"type": "http"}, None, send))
    assert sent[0]["status"] == 500
    assert headers_that_lack({name.decode(): value.decode() for name, value in sent[0]["headers"]}) == []
    assert b"secret" not in sent[1]["body"]


@needs_browser
def test_everything_a_visit_loads_has_the_security_headers_uploads_included(server, browser):
    answers = []
    page = browser.new_context().new_page()
    page.on("response", lambda answer: answers.append(answer))
    page.goto(server.address)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    drop(page, ("one.dcm", dicom_of(_film(400))))
    page.get_by_role("group", name="Films of this visit").get_by_role("button").first.wait_for()
    fetched = {(answer.request.method, urlsplit(answer.url).path, answer.status): answer.headers for answer in answers
               if answer.url.startswith(server.address)}  # fmt: skip
    assert ("GET", "/", 200) in fetched
    assert any(path.endswith(".js") for _, path, _ in fetched)
    assert any((method, status) == ("PUT", 204) for method, path, status in fetched if "upload_file" in path)
    assert [answer for answer, headers in fetched.items() if headers_that_lack(headers)] == []
    page.context.close()


@needs_browser
@pytest.mark.parametrize(
    ("site", "shown"),
    [
        ("https://films.streamlit.app/", True),
        ("https://share.streamlit.io/", True),
        ("https://elsewhere.example/", False),
    ],
)
def test_other_sites_cannot_show_the_page_in_a_frame_but_its_host_can(server, browser, site, shown):
    def answer(route) -> None:
        if route.request.url == site:
            route.fulfill(body='<iframe src="https://page.example/"></iframe>', content_type="text/html")
        elif route.request.url == "https://page.example/":
            # Chromium lets no site frame this machine: the server's answer comes under another name
            route.fulfill(response=route.fetch(url=f"{server.address}/"))
        else:  # its scripts, which would be looked for in vain for seconds
            route.abort()

    page = browser.new_context().new_page()
    page.route("**", answer)
    page.goto(site)
    framed = page.frames[1].content()
    assert ('<div id="root">' in framed) == shown
    page.context.close()


def test_the_page_opens_in_a_browser_where_there_is_one(tmp_path):
    for name in ("xdg-open", "open"):  # what Linux and macOS open an address with
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n', encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    opened = tmp_path / "opened"
    opened.touch()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    options = ["--server.headless=false", "--server.showEmailPrompt=false"]
    with running_server(options=options, environment={"PATH": path}) as running:
        until(lambda: opened.read_text(encoding="utf-8") == f"{running.address}\n", 10)


def test_agents_are_not_served(server):
    assert ask(server, "/_stcore/agent/interact", "POST", Content_Type="application/json")[0] == 403


@needs_browser
def test_an_error_of_the_page_shows_neither_its_kind_nor_its_place(server, browser):
    page = browser.new_context().new_page()
    page.goto(f"{server.address}/?break=1")
    shown = page.get_by_test_id("stException").inner_text()
    for detail in ("secret", "RuntimeError", "Traceback", "page.py", "google", "ChatGPT"):
        assert detail.lower() not in shown.lower()
    page.context.close()
    until(lambda: "Unexpected RuntimeError at " in server.said, 10)  # the operator is told where
    assert "a secret of the server" not in server.said  # not its text, which may quote a header


_SCRIPTS = [
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "</td></table><svg onload=window.hurt=1>",
]


@needs_browser
@pytest.mark.parametrize("where", ["generated", pytest.param("case", marks=pytest.mark.thorough)])
def test_a_script_in_a_header_or_a_file_name_is_neither_run_nor_drawn(server, browser, where, request):
    if where == "generated":
        names = {"PatientName": _SCRIPTS[0], "StudyDescription": _SCRIPTS[1], "BodyPartExamined": _SCRIPTS[2]}
        film = dicom_of(_film(400), **names, Modality=_SCRIPTS[1][:16])
    else:
        film = (request.getfixturevalue("data_dir") / "dicom-cases" / "chest_made_xss_patient_name.dcm").read_bytes()
    dialogues: list[str] = []
    page = open_page(browser, server.address)
    page.on("dialog", lambda dialogue: (dialogues.append(dialogue.message), dialogue.dismiss()))
    drop(page, (f"{_SCRIPTS[1]}.dcm", film))
    page.get_by_text("About this film").click(timeout=60_000)
    assert films_of(page).first.get_attribute("title") == f"{_SCRIPTS[1]}.dcm"  # as text, to its owner
    page.wait_for_timeout(300)
    assert page.evaluate("window.hurt") is None
    assert not dialogues
    assert page.evaluate("document.querySelectorAll('[onerror], [onload]').length") == 0
    titled = re.sub(r'title="[^"]*"', "", page.content())
    assert "window.hurt" not in re.sub(r'<p class="small name" *>[^<]*</p>', "", titled)  # the name, as text, once
    page.context.close()


def _film(width: int):
    return cv2.resize(simulated_film(), (width, round(width * 1.062)), interpolation=cv2.INTER_AREA)


@needs_browser
def test_films_are_deleted_by_the_button_and_with_the_page(server, browser, films_in_memory):
    page = open_page(browser, server.address)
    drop(page, ("one.dcm", dicom_of(_film(400))), ("two.dcm", dicom_of(_film(420))))
    all_read(page, 2)
    assert server.held()["uploaded"] == 0
    assert films_in_memory() == 2
    page.get_by_role("button", name="Clear all films").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("No film at hand?").wait_for()
    assert films_in_memory() == 0

    drop(page, ("one.dcm", dicom_of(_film(400))))
    all_read(page, 1)
    page.context.close()
    until(lambda: server.held()["sessions"] == 1, 5)
    time.sleep(_KEPT_SECONDS)
    assert films_in_memory() == 0


@pytest.mark.thorough
@needs_browser
def test_a_page_that_lost_its_connection_finds_its_films_again(server, browser, films_in_memory):
    connections = []

    def pass_on(socket) -> None:
        connections.append((socket, socket.connect_to_server()))

    page = browser.new_context().new_page()
    page.route_web_socket(re.compile("_stcore/stream"), pass_on)
    page.goto(server.address)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    drop(page, ("one.dcm", dicom_of(_film(400))))
    films = all_read(page, 1)
    for end in connections[-1]:
        end.close()
    page.wait_for_timeout((_KEPT_SECONDS + 1) * 1000)
    assert len(connections) == 2, "the page did not come back"
    page.get_by_role("button", name="Inverse").click()
    assert films.count() == 1
    assert films_in_memory() == 1
    page.context.close()
