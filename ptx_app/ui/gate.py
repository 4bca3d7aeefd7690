"""What the server refuses where there is a sign-in, before Streamlit sees it."""

import logging
import re
from collections.abc import Iterable

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ptx_app.ui import sign_in

_LOG = logging.getLogger(__name__)
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]*)")
_PART_OF_A_COOKIE = re.compile(rb"\s*_streamlit_user_\d+\s*=")
_EMPTIED = re.compile(rb'[^=]*=\s*(""|)\s*(;|$)')
_CODE = re.compile(r"[a-z_]{1,40}")  # of an OAuth error, such as access_denied

_REFUSED = (
    "Your provider has refused the sign-in. Try again. If it is refused again, ask the operator of this page: the "
    "reason is in the server's log."
)
_TOO_LARGE = (
    "Your provider sends more about you than fits into a cookie, for example many groups. Ask the operator of this "
    "page to let it send only what the page needs: an ID, a name, and the roles."
)


class SignInGate:
    """ASGI middleware, for what Streamlit leaves open. Without a sign-in it changes nothing.

    - Only a reader who is signed in may send or delete a file, and only in a session of that sign-in.
    - A sign-in's cookie is taken whole or not at all. Streamlit signs each part of a large one by itself, so parts of
      two persons' could be put together.
    - To leave ends the sign-in, not only the cookie; another site cannot ask for it.
    - What the provider refuses, and a sign-in too large for a cookie, is said. Streamlit only shows the page again, and
      writes the text of whoever made the address into the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not sign_in.is_closed():
            await self._app(scope, receive, send)
            return
        scope = dict(scope, headers=list(_without_parts(scope["headers"])))
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        refusal = _refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["path"].endswith("/oauth2callback"):
            await self._app(scope, receive, _Callback(scope, receive, send))
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    """The answer to a request that Streamlit must not get."""
    path, cookies = scope["path"], Request(scope).cookies
    upload = _UPLOAD.search(path)
    if upload is not None and not sign_in.may_upload(cookies, upload[1]):
        return PlainTextResponse("Sign in first", 403)
    if path.endswith("/auth/logout"):
        if Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            return PlainTextResponse("Sign out on the page itself", 403)
        sign_in.leave(cookies)
    if path.endswith("/oauth2callback") and "error" in (query := QueryParams(scope["query_string"])):
        said = query["error"]
        _LOG.warning("SIGN_IN_REFUSED by the provider: %s", said if _CODE.fullmatch(said) else "no known reason")
        return _said(_REFUSED, "SIGN_IN_REFUSED")
    return None


def _said(sentence: str, code: str) -> Response:
    back = '<p><a href="./">Back to the page</a></p>'
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign-in</title>'
        f'<body style="background:#101112;color:#e4e5e6;font:1rem sans-serif;max-width:40rem;margin:15vh auto">'
        f'<main role="alert"><h1>Not signed in</h1><p>{sentence}</p><code>{code}</code>{back}</main>'
        "<style>a{color:#ffb000}</style>",
        403,
    )


def _without_parts(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name.lower() == b"cookie":
            value = b";".join(each for each in value.split(b";") if not _PART_OF_A_COOKIE.match(each))
        yield name, value


class _Callback:
    """Passes on what Streamlit answers to someone who comes back from the provider, unless the cookie is in parts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send, self._replaced = scope, receive, send, False

    async def __call__(self, message: Message) -> None:
        cookies = [value for name, value in message.get("headers", []) if name.lower() == b"set-cookie"]
        # An emptied part is one that Streamlit takes away, of an earlier sign-in.
        if any(_PART_OF_A_COOKIE.match(cookie) and not _EMPTIED.match(cookie) for cookie in cookies):
            self._replaced = True
            _LOG.warning("SIGN_IN_TOO_LARGE: the provider sends more claims than fit into a cookie")
            await _said(_TOO_LARGE, "SIGN_IN_TOO_LARGE")(self._scope, self._receive, self._send)
        elif not self._replaced:
            await self._send(message)
