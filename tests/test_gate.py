"""What is refused before Streamlit sees it, without a server: tests/test_sign_in.py tries the rest on a real one."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.responses import PlainTextResponse

from ptx_app.ui import sign_in
from ptx_app.ui.gate import SignInGate
from ptx_app.ui.sign_in import Person, Role

_CLOSED = {
    "auth": {
        "redirect_uri": "https://films.example.org/oauth2callback", "cookie_secret": "x" * 32, "client_id": "app",
        "client_secret": "secret", "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
    }
}  # fmt: skip


def answered(*cookies: str) -> tuple[int, str]:
    """Status and text of what someone gets who comes back from the provider, where Streamlit sets these cookies."""

    async def streamlit(scope, receive, send):
        answer = PlainTextResponse("from Streamlit")
        for cookie in cookies:
            answer.headers.append("Set-Cookie", cookie)
        await answer(scope, receive, send)

    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/oauth2callback", "query_string": b"code=1", "headers": []}
    asyncio.run(SignInGate(streamlit)(scope, None, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("_streamlit_user=abc; Path=/", True),
        ("_streamlit_user_tokens=abc; Path=/", True),
        ('_streamlit_user_1=""; Max-Age=0; Path=/', True),  # an earlier sign-in's part is taken away
        ("_streamlit_user_1=; Max-Age=0; Path=/", True),
        ("_streamlit_user_1=abc; Path=/", False),
        ('_streamlit_user_12="abc"; Path=/', False),
    ],
)
def test_a_cookie_in_parts_is_not_given(monkeypatch, cookie, kept):
    monkeypatch.setattr(sign_in, "secrets", lambda: _CLOSED)
    status, text = answered("_streamlit_user=abc; Path=/", cookie)
    assert (status, text == "from Streamlit") == ((200, True) if kept else (403, False))
    assert ("SIGN_IN_TOO_LARGE" in text) != kept


@pytest.mark.parametrize(("length", "taken"), [(32, True), (31, False)])
def test_where_settings_close_the_page_no_upload_is_taken(monkeypatch, length, taken):
    jane = Person("jane", "Jane", frozenset({Role.READER}), "her sign-in", 0.0)
    session = SimpleNamespace(session=SimpleNamespace(_user_info={}))
    monkeypatch.setattr(sign_in, "secrets", lambda: {"auth": _CLOSED["auth"] | {"cookie_secret": "x" * length}})
    monkeypatch.setattr(sign_in, "_of_cookies", lambda _: jane)
    monkeypatch.setattr(sign_in, "claimed", lambda *_: jane)
    monkeypatch.setattr(sign_in, "settings", lambda: None)
    monkeypatch.setattr(sign_in, "sign_ins", lambda: SimpleNamespace(alive=lambda *_: True))
    manager = SimpleNamespace(get_session_info=lambda _: session)
    monkeypatch.setattr(sign_in, "get_instance", lambda: SimpleNamespace(_session_mgr=manager))
    assert sign_in.may_upload({}, "1") is taken
