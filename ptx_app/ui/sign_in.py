"""The sign-in: who has signed in at the operator's OpenID provider, and what they may do. Off where none is set."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from html import escape
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.auth_util import is_authlib_installed
from streamlit.runtime import get_instance
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from ptx_app.errors import PtxError, SettingsError
from ptx_app.settings import Settings
from ptx_app.ui.component import component
from ptx_app.ui.engine import secrets, settings
from ptx_app.ui.sign_ins import SignIns

_NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_SHORTEST_SECRET = 32
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_mount_idle = component("idle")


class Role(StrEnum):
    """What a person may do: read films, or look after the page. One person may have both."""

    READER = "reader"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Person:
    """Who has signed in.

    Attributes:
        id: the provider's own number for the person (claim `sub`).
        name: how the person is greeted.
        roles: what the person may do.
        sign_in: names this sign-in; another one of the same person has another name.
        since: when it began, in seconds since 1970.
    """

    id: str
    name: str
    roles: frozenset[Role]
    sign_in: str
    since: float


def is_on() -> bool:
    """Whether the operator has set a provider: a section `auth` in secrets.toml, complete or not.

    Raises:
        SettingsError: SECRETS_UNREADABLE, so that a broken file never opens the page.
    """
    return "auth" in secrets()


def check_settings() -> None:
    """Raise SettingsError SIGN_IN_INVALID if the section `auth` cannot be used, or would not be safe."""
    section = secrets()["auth"]
    if not (isinstance(section, Mapping) and all(section.get(name) for name in _NEEDED)):
        raise _invalid(f"these are needed: {', '.join(_NEEDED)}")
    if not is_authlib_installed():
        raise _invalid("the package Authlib is missing; install ptx_app[sign-in]")
    if len(str(section["cookie_secret"])) < _SHORTEST_SECRET:
        raise _invalid(f"cookie_secret needs at least {_SHORTEST_SECRET} random characters")
    for name in ("redirect_uri", "server_metadata_url"):
        address = urlsplit(str(section[name]))
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            raise _invalid(f"{name} must begin with https")
    if not urlsplit(str(section["redirect_uri"])).path.endswith("/oauth2callback"):
        raise _invalid("redirect_uri must end with /oauth2callback")


def person() -> Person | None:
    """Who has signed in and still is; None if nobody. Only where sign-in is on."""
    who = claimed(st.user.to_dict(), settings())
    return who if who is not None and sign_ins().alive(who.sign_in, who.since) else None


def is_closed() -> bool:
    """Whether the page is for people who have signed in, or for nobody because its settings cannot be read."""
    try:
        return is_on()
    except SettingsError:
        return True


def may_upload(cookies: Mapping[str, str], session: str) -> bool:
    """Whether a request with these cookies may send a file to a session, or delete one there. Only where sign-in is on.

    It must be a reader's who is signed in, and the session of the same sign-in.
    """
    try:
        check_settings()
        who = _of_cookies(cookies)
        if who is None or Role.READER not in who.roles or not sign_ins().alive(who.sign_in, who.since):
            return False
        known = get_instance()._session_mgr.get_session_info(session)  # its own check looks at the number alone
        owner = claimed(known.session._user_info, settings()) if known else None
    except PtxError:
        return False
    return owner is not None and owner.sign_in == who.sign_in


def leave(cookies: Mapping[str, str]) -> None:
    """End the sign-in of a request with these cookies, in all its pages; nothing if there is none."""
    with suppress(PtxError):
        who = _of_cookies(cookies)
        if who is not None and sign_ins().alive(who.sign_in, who.since):
            sign_ins().end(who.sign_in, "asked")


def _of_cookies(cookies: Mapping[str, str]) -> Person | None:
    """Whom a cookie with a good signature describes, whether or not the sign-in goes on. Raises SettingsError."""
    signed = _get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE_NAME)
    try:
        return claimed(json.loads(signed), settings()) if signed else None
    except ValueError:
        return None


def claimed(claims: Mapping[str, Any], wanted: Settings) -> Person | None:
    """The person whom verified claims describe; None if they describe none."""
    if claims.get("is_logged_in") is not True or not claims.get("sub") or not isinstance(claims.get("iat"), int):
        return None
    values = set(_texts(_claim(claims, wanted.role_claim)))
    named = {Role.READER: wanted.reader_roles, Role.OPERATOR: wanted.operator_roles}
    roles = frozenset(role for role, names in named.items() if values & set(names))
    name = next((str(claims[key]) for key in ("name", "preferred_username", "email") if claims.get(key)), "you")
    sign_in = "\n".join(str(claims.get(key, "")) for key in ("iss", "sub", "iat", "nonce"))
    return Person(str(claims["sub"]), name, roles, sign_in, float(claims["iat"]))


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, else by its path through objects, as in `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: object) -> Iterable[str]:
    """A claim's values: a list, or one text. A text is not split: a group's name may have spaces."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


_making = threading.Lock()


def sign_ins() -> SignIns:
    """The server's list of sign-ins. A thread of its own ends those that nobody uses, whether or not a page asks."""
    with _making:  # two at once would each make a list
        return _sign_ins()


@cache  # Streamlit's own cache can be emptied from outside
def _sign_ins() -> SignIns:
    known = SignIns(settings().idle_minutes * 60)

    def watch() -> None:
        while True:
            time.sleep(min(5.0, known.idle_seconds / 4))
            known.end_idle()

    threading.Thread(target=watch, name="sign-ins", daemon=True).start()
    return known


def keep_watch(who: Person) -> None:
    """Let the browser tell when the person is at work, and when no more: then the page is drawn again, without films.

    It is no fragment: of a fragment's message and a click that come at once, Streamlit loses the click.
    """
    seconds = sign_ins().idle_seconds
    with st.container(key="idle_watch"):
        _mount_idle(
            key="idle",
            data={"seconds": seconds, "every": seconds / 10},
            on_alive_change=lambda: sign_ins().use(who.sign_in),
            on_idle_change=lambda: None,
        )


def show_sign_in() -> None:
    """Draw the page of someone who has not signed in. Whoever still has the cookie of an ended sign-in loses it.

    Streamlit throws the order to leave for the address that takes the cookie away if the page is drawn again before it
    is sent. So each drawing repeats it; at that address the session ends.
    """
    if st.user.get("is_logged_in") or st.session_state.get("leaving"):
        st.session_state["leaving"] = True
        st.html('<p class="centre" role="status">You are being signed out.</p>')
        st.logout()
        return
    with st.container(key="empty"):
        st.html("<h1>Pneumothorax on chest films</h1><p class='centre'>Sign in to read films.</p>")
        if st.button("Sign in", key="sign_in", type="primary", width="stretch"):
            st.login()
        minutes = f"{sign_ins().idle_seconds / 60:g}"
        st.html(f'<p class="small centre">You are signed out after {minutes} minutes without use.</p>')


def show_not_allowed(who: Person) -> None:
    """Draw the page of someone who has signed in but has no role."""
    with st.container(key="empty"):
        st.html(
            '<div class="problem" role="alert"><h1>Not allowed</h1>'
            f"<p>You are signed in as {escape(who.name)}, but have no role here: you may neither read films nor look "
            "after this page. Ask its operator to give you a role, then sign in again.</p><code>NO_ROLE</code></div>"
        )
        offer_sign_out(who)


def offer_sign_out(who: Person) -> None:
    """Draw the button that signs out, in all pages of this sign-in."""
    if st.button("Sign out", key="sign_out", type="tertiary", help=f"Signed in as {who.name}"):
        sign_ins().end(who.sign_in, "asked")
        st.rerun()


def _invalid(why: str) -> SettingsError:
    return SettingsError("SIGN_IN_INVALID", f"Sign-in is not set up: in the section auth of secrets.toml, {why}.")
