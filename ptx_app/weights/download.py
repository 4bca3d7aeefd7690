"""Downloads from Google Drive (with gdown) or from an address into a file. Each failure has its own message."""

import errno
import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, cast
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError, SSLError

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import Source
from ptx_app.weights.verify import HEAD_BYTES, check_head

Progress = Callable[[int, int], None]
"""Called with the bytes received and the most that may come, which is the file's size if it is known."""

_CHUNK = 256 * 1024
_MOST_REDIRECTS = 5
_WORTH_A_RETRY = {"WEIGHTS_CUT", "WEIGHTS_TIMEOUT", "WEIGHTS_UNREACHABLE"}


@dataclass(frozen=True)
class Patience:
    """Time limits in seconds: for a connection, between two pieces, for the whole file, and for another start that
    downloads the same file. Also the number of tries, and the first pause between two tries (doubled each time)."""

    connect: float = 10.0
    read: float = 30.0
    whole: float = 1800.0
    other_start: float = 1800.0
    attempts: int = 3
    pause: float = 1.0


PATIENCE = Patience()


def download(
    source: Source, path: Path, *, most: int, progress: Progress | None = None, patience: Patience = PATIENCE
) -> tuple[int, str]:
    """Download a source of kind "drive" or "url" into `path`. Each try starts from the beginning.

    Args:
        source: where the file is. An address is https, or http on this machine.
        path: is overwritten; the caller deletes it if this raises.
        most: bytes; the download stops as soon as more arrive.
        progress: called for each piece.
        patience: time limits and number of tries.

    Returns:
        Size in bytes and sha256 of the downloaded file.

    Raises:
        WeightsError: WEIGHTS_CUT, WEIGHTS_TIMEOUT, WEIGHTS_UNREACHABLE (these three after the last try),
            WEIGHTS_REFUSED, WEIGHTS_DRIVE_QUOTA, WEIGHTS_DRIVE_REFUSED, WEIGHTS_TOO_LARGE, WEIGHTS_ADDRESS,
            WEIGHTS_DISK_FULL, WEIGHTS_CACHE_UNWRITABLE, or as `verify.check_head`.
    """
    get = {"drive": _from_drive, "url": _from_address}[source.kind]
    attempt = 1
    while True:
        with _Receiver(path, most, progress) as receiver:
            try:
                get(source.location, receiver, patience)
                return receiver.finish()
            except WeightsError as error:
                if error.code not in _WORTH_A_RETRY or attempt >= patience.attempts:
                    raise
        time.sleep(patience.pause * 2 ** (attempt - 1))
        attempt += 1


class _Receiver:
    """Writes, counts and hashes the download, and stops it if it cannot be the right file."""

    def __init__(self, path: Path, most: int, progress: Progress | None) -> None:
        self.received = 0
        self._most = most
        self._progress = progress
        self._head = b""
        self._hash = hashlib.sha256()
        with plain_disk_errors():
            self._file = path.open("wb", buffering=_CHUNK)

    def __enter__(self) -> Self:
        self._tell()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:  # write or finish has already raised the error
            if error is None:
                raise

    def write(self, chunk: bytes) -> int:
        self.received += len(chunk)
        if self.received > self._most:
            raise WeightsError(
                "WEIGHTS_TOO_LARGE",
                f"The download exceeds the expected {self._most:,} bytes, so it is another file. Check the address.",
            )
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES:
                check_head(self._head)
        self._hash.update(chunk)
        with plain_disk_errors():
            self._file.write(chunk)
        self._tell()
        return len(chunk)

    def flush(self) -> None:
        with plain_disk_errors():
            self._file.flush()

    def finish(self) -> tuple[int, str]:
        """Size in bytes and sha256, once everything is on disk."""
        check_head(self._head)
        self.flush()
        return self.received, self._hash.hexdigest()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.received, self._most)


class _StepByStep(requests.Session):
    """Follows no redirect and does not read a redirect's body, which requests would read to its end."""

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Generator[requests.Response, None, None]:  # noqa: ANN401
        yield from ()


def _from_address(address: str, receiver: _Receiver, patience: Patience) -> None:
    latest = time.monotonic() + patience.whole
    host = _host_of(address)
    with (
        _plain_network_errors(host, receiver),
        _StepByStep() as session,
        _answer(session, address, patience) as response,
    ):
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise WeightsError("WEIGHTS_REFUSED", f"{host} sends the file compressed. Use an address that does not.")
        # Take whatever has come, even one byte. Waiting for whole chunks, a trickling answer would never time out.
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            receiver.write(chunk)
            if time.monotonic() > latest:
                raise _timeout(host)


def _answer(session: _StepByStep, address: str, patience: Patience) -> requests.Response:
    """Follow redirects, but send no request to an address that is not allowed."""
    for _ in range(_MOST_REDIRECTS + 1):
        _host_of(address)
        response = session.get(
            address,
            stream=True,
            timeout=(patience.connect, patience.read),
            # Pieces must be the file's own bytes, uncompressed, so that they can be counted against its size.
            headers={"Accept-Encoding": "identity"},
        )
        try:
            target = session.get_redirect_target(response)
            if target is None:
                return response
            address = urljoin(address, target)
        except ValueError:
            address = ""
        response.close()
    raise requests.TooManyRedirects


def _from_drive(file_id: str, receiver: _Receiver, patience: Patience) -> None:
    import gdown  # slow to import, and most starts do not need it
    from gdown.exceptions import DownloadCancelled, DownloadError, FileURLRetrievalError

    cancel = threading.Event()  # stops a chain of confirmation pages and a trickling file
    limit = threading.Timer(patience.whole, cancel.set)
    limit.daemon = True
    limit.start()
    try:
        with _plain_network_errors("Google Drive", receiver):
            gdown.download(
                id=file_id,
                output=cast(BinaryIO, receiver),
                quiet=True,
                use_cookies=False,
                timeout=(patience.connect, patience.read),
                cancel=cancel,
            )
    except FileURLRetrievalError as error:
        _raise_refusal_of_drive(str(error), error)
    except DownloadError as error:
        raise _cut("Google Drive") from error
    except DownloadCancelled as error:
        raise _timeout("Google Drive") from error
    except KeyError as error:  # gdown expects headers that may be missing
        raise WeightsError(
            "WEIGHTS_UNREACHABLE", "Google Drive did not send a usable answer. Try again later."
        ) from error
    finally:
        limit.cancel()


def _raise_refusal_of_drive(page: str, error: Exception) -> NoReturn:
    words = " ".join(page.lower().split())  # gdown quotes the page's sentence
    if "too many users" in words or "quota" in words:
        raise WeightsError(
            "WEIGHTS_DRIVE_QUOTA",
            "The file was downloaded from Google Drive too often recently. Try again tomorrow, or use another source.",
        ) from error
    raise WeightsError(
        "WEIGHTS_DRIVE_REFUSED",
        "Google Drive refuses this file. Check its id, and that anyone with the link may view it.",
    ) from error


@contextmanager
def plain_disk_errors() -> Iterator[None]:
    """Turn a disk's OSError into WeightsError WEIGHTS_DISK_FULL or WEIGHTS_CACHE_UNWRITABLE."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                "WEIGHTS_DISK_FULL", "The disk is full. Free some space, or set PTX_CACHE to a folder on another disk."
            ) from error
        raise WeightsError(
            "WEIGHTS_CACHE_UNWRITABLE",
            "The folder for the weights is not writable. Set PTX_CACHE to a folder that is.",
        ) from error


@contextmanager
def _plain_network_errors(host: str, receiver: _Receiver) -> Iterator[None]:
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code
        if status == 429 or status >= 500:
            raise WeightsError(
                "WEIGHTS_UNREACHABLE", f"{host} has a server error ({status}). Try again later."
            ) from error
        raise WeightsError(
            "WEIGHTS_REFUSED", f"{host} does not provide this file ({status}). Check its address."
        ) from error
    except (requests.Timeout, ReadTimeoutError) as error:
        raise _timeout(host) from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        if any(isinstance(cause, ReadTimeoutError) for cause in error.args):  # how requests reports a stalled body
            raise _timeout(host) from error
        if receiver.received or isinstance(error, requests.exceptions.ChunkedEncodingError):
            raise _cut(host) from error
        raise WeightsError("WEIGHTS_UNREACHABLE", f"{host} cannot be reached. Check the network connection.") from error
    except (ProtocolError, SSLError) as error:  # raised where the body is read without requests
        raise _cut(host) from error
    except (requests.RequestException, HTTPError, UnicodeError) as error:  # UnicodeError: a name without an address
        raise WeightsError("WEIGHTS_REFUSED", f"{host} did not send a usable answer. Check the address.") from error


def _cut(host: str) -> WeightsError:
    return WeightsError("WEIGHTS_CUT", f"The connection to {host} broke before the whole file was received. Try again.")


def _timeout(host: str) -> WeightsError:
    return WeightsError(
        "WEIGHTS_TIMEOUT", f"{host} did not answer in time. Check the network connection, or try again later."
    )


def _host_of(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1"))):
        return host
    raise WeightsError("WEIGHTS_ADDRESS", "The address of the weights cannot be used. It must start with https://.")
