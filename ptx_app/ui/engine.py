"""What all sessions of the server share: settings, reader, detector, and the fair queue for the network."""

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from ptx_app.errors import PtxError, SettingsError
from ptx_app.fair_queue import FairQueue
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.radiograph import Radiograph, grey_picture
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.film.source import SourceReference
from ptx_app.model.manifest import Weights
from ptx_app.output.pictures import encoded, shrunk
from ptx_app.pipeline import Detector
from ptx_app.settings import Settings, pacs_is_set, read_settings
from ptx_app.ui import own_thread
from ptx_app.ui.data_url import data_url
from ptx_app.ui.heap import trim_heap


@dataclass(frozen=True)
class SharedDetector:
    """The detector, and the fair queue for its network."""

    detector: Detector
    fair_queue: FairQueue

    @property
    def weights(self) -> Weights:
        """The weights in use."""
        return self.detector.weights


def secrets() -> Mapping[str, Any]:
    """What secrets.toml says; nothing if there is none.

    Raises:
        SettingsError: SECRETS_UNREADABLE if there is one that cannot be read: it may switch on the sign-in.
    """
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError as error:
        if error.error_id == "no-secrets-found":
            return {}
        raise SettingsError(
            "SECRETS_UNREADABLE", "The file secrets.toml cannot be read. Correct it, then restart."
        ) from error


def operator_values() -> dict[str, str]:
    """What the operator has set, by name. Environment variables override secrets. Raises as `secrets`."""
    said = {name: str(value) for name, value in secrets().items() if name.startswith("PTX_")}
    return said | {name: value for name, value in os.environ.items() if name.startswith("PTX_")}


def settings() -> Settings:
    """The operator's settings. Raises SettingsError."""
    return read_settings(operator_values())


def has_archive() -> bool:
    """Whether the operator has set an archive, and not everybody who knows the page's address can search there.

    What the browser says of the page's address is not enough: whoever opens the connection by hand can say anything.
    """
    if not pacs_is_set(operator_values()):
        return False
    if "auth" in secrets():
        return True
    said = settings().public_host
    return not said if said is not None else _for_this_computer_only() and not on_public_host()


def warm_up() -> None:
    """Load the engine in the background, once for the server, while the first visitor looks for a film."""
    _warm_up_once()


@st.cache_resource(show_spinner=False)
def _warm_up_once() -> None:
    def load() -> None:
        with suppress(PtxError):  # whoever needs the engine is told
            engine(lambda *_: None)

    own_thread.start(load, "warm-up")  # and is not kept: it would keep the first visitor's session


def engine(progress: Callable[[int, int], None]) -> SharedDetector:
    """The server's engine. The first session builds it while the others wait."""
    return _build(settings(), progress)


@st.cache_resource(show_spinner=False)
def _build(wanted: Settings, _progress: Callable[[int, int], None]) -> SharedDetector:
    detector = Detector.load(
        wanted.weights,
        given=wanted.weights_sources,
        progress=_progress,
        read=read,
        engine=wanted.engine,
        lungs=True,
    )
    # Streamlit collects garbage after every run. What is loaded by now stays, so it need not be searched each time.
    gc.collect()
    gc.freeze()
    trim_heap()
    return SharedDetector(detector, FairQueue())


def read(data: bytes, on_wait: Callable[[int], None] = lambda _: None) -> Radiograph:
    """Read a file as the app does: in a child process, under limits; `on_wait` as for `FairQueue.turn`."""
    return _reader().read(data, on_wait)


def read_source(data: bytes) -> SourceReference | None:
    """Read what a film's own header says of the patient, in the same way. Only where the reader asks."""
    return _reader().read_source(data)


@st.cache_resource(show_spinner=False)
def _reader() -> SandboxedReader:
    return SandboxedReader()


@st.cache_data(show_spinner=False)
def example_thumbnails() -> dict[str, str]:
    """The picture of each example as a data URL, by the example's name."""
    return {
        example.name: data_url(encoded(shrunk(grey_picture(example.load(read).pixels), 360), ".jpg"), "image/jpeg")
        for example in EXAMPLES
    }


def on_loopback(address: str | None) -> bool:
    """Whether a server at this address can be reached from its own machine only. None is every address."""
    try:
        return address is not None and ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _for_this_computer_only() -> bool:
    """Whether nobody else reaches this page: no other address is open, no proxy has passed the request on, and the
    browser does not know this computer under another site's name.
    """
    headers = {name.lower(): value for name, value in st.context.headers.items()}
    forwarded = any(name.startswith(("forwarded", "x-forwarded-", "x-real-ip", "via")) for name in headers)
    asked = urlsplit(f"//{headers.get('host', 'localhost')}").hostname
    return on_loopback(st.get_option("server.address")) and on_loopback(asked) and not forwarded


def on_public_host() -> bool:
    """Whether the page is public: as the operator has set it, else judged by its address."""
    said = settings().public_host
    if said is not None:
        return said
    host = urlsplit(st.context.url or "").hostname or "localhost"
    try:
        return not ip_address(host).is_private
    except ValueError:
        return host != "localhost"
