"""What the app adds to Streamlit's server: memory limits, security headers, and what it says and opens on start."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.formparsers import MultiPartParser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import cli_util, config, net_util
from streamlit.runtime.app_session import AppSession
from streamlit.web.server import server_util

from ptx_app.process import begin
from ptx_app.ui import light_page, sign_in
from ptx_app.ui.engine import on_loopback
from ptx_app.ui.heap import limit_free_heap
from ptx_app.ui.session_log import end_all
from ptx_app.unexpected import keep_texts_out_of_the_log

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Streamlit Community Cloud shows every app in a frame of its own.
    "Content-Security-Policy": "frame-ancestors 'self' https://*.streamlit.app https://share.streamlit.io",
}


# Streamlit takes these messages from anyone who is connected, signed in or not. They empty what all sessions share,
# name files of the app's folder, and write into it. The page needs none of them.
_OPEN_TO_ANYONE = (
    "_handle_clear_cache_request",
    "_handle_git_information_request",
    "_handle_backend_operation_request",
)
_BUNDLES = "/_stcore/bidi-components/"  # their names change with their content


def prepare_process() -> None:
    """What the server's process needs before it imports the page; doing it again changes nothing."""
    begin()
    keep_texts_out_of_the_log()
    # Streamlit bounds an upload's size; this alone is what would bring it to the disk.
    MultiPartParser.spool_max_size = sys.maxsize
    limit_free_heap()
    # Otherwise Streamlit asks a stranger for this computer's external address before it refuses another site.
    net_util.get_external_ip = lambda: None
    for name in _OPEN_TO_ANYONE:
        setattr(AppSession, name, _ignored if iscoroutinefunction(getattr(AppSession, name)) else lambda *_: None)
    light_page.send_one_theme()


async def _ignored(*_: object) -> None:
    pass


class SecurityHeaders:
    """ASGI middleware that adds HEADERS to every HTTP response, errors included, and lets browsers keep bundles.

    Responses of uvicorn itself do not have them: to requests that are not HTTP, and to rejected WebSockets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if _BUNDLES in scope.get("path", "") and message["status"] == 200:
                    headers["Cache-Control"] = "public, max-age=31536000, immutable"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # Otherwise Starlette would answer this outside any middleware.
            if not begun:
                await PlainTextResponse("Internal Server Error", 500)(scope, receive, send_with_headers)
            raise


@asynccontextmanager
async def started(_app: st.App) -> AsyncIterator[None]:
    """Say on start where the page is and who reaches it, and open it in a browser unless `server.headless` is set. Tell
    the audit trail at the end that all sessions ended.

    Streamlit itself opens no browser for an `st.App`, and its own words on start (off in config.toml) would name the
    network's addresses and ask a stranger for the external one.
    """
    if config._server_mode == "starlette-app":  # else another server's address counts, which this one does not know
        sys.stdout.write(f"\n{announcement()}\n\n")
        sys.stdout.flush()
        if not config.get_option("server.headless"):
            asyncio.get_running_loop().call_soon(cli_util.open_browser, _url())
    yield
    end_all()


def announcement() -> str:
    """Where the page is and who can reach it, in one or two sentences for the operator."""
    if on_loopback(config.get_option("server.address")):
        return f"The page is at {_url()}. Only this computer can reach it."
    who = "they must sign in" if sign_in.is_on() else "there is no sign-in: whoever reaches it can use it"
    return f"The page is at {_url()}. Other computers can reach it, and {who}."


def _url() -> str:
    if config.is_manually_set("browser.serverAddress"):
        return str(server_util.get_url(config.get_option("browser.serverAddress")))
    return str(server_util.get_url(server_util.get_display_address(config.get_option("server.address") or "localhost")))
