"""HTTP to an archive: every answer is bounded in bytes and time, and every failure is one sentence.

Errors are raised `from None`: the text of their causes has addresses in it, and so UIDs and patient IDs.
"""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from ptx_app.errors import PtxError
from ptx_app.hospital.pacs_settings import PacsSettings

JSON = "application/dicom+json"
_RETRIES = 2
_PAUSE = 0.3  # seconds; the first retry comes at once, the second after twice as long
_NOT_BEGUN = (429, 503)
_BUSY = (*_NOT_BEGUN, 502, 504)
_ABSENT = (404, 410)
OF_THE_SETTING = ("PACS_UNREACHABLE", "PACS_TLS", "PACS_NOT_ALLOWED", "PACS_ELSEWHERE", "PACS_ADDRESS")
"""Codes that the next request would get, too, until someone changes a setting or mends the network."""


class PacsError(PtxError):
    """The archive cannot be reached, refused access, or did not do what it was asked."""


def error_of(code: str) -> PacsError:
    """The error of that code, with its sentence."""
    return PacsError(code, _SENTENCES[code])


_SENTENCES = {
    "PACS_UNREACHABLE": "The archive cannot be reached. Check its address in the settings, and the network.",
    "PACS_TLS": "No secure connection to the archive is possible. Check ca_bundle and certificate in the settings.",
    "PACS_TIMEOUT": "The archive did not answer in time. Try again later.",
    "PACS_CUT": "The connection to the archive broke before its whole answer was received. Try again.",
    "PACS_NOT_ALLOWED": "The archive does not allow this. Check token, password or certificate in the settings.",
    "PACS_ELSEWHERE": "The archive redirects to another address, such as a sign-in page. Check address and token.",
    "PACS_GONE": "The archive no longer has this. Search again.",
    "PACS_NO_PATIENT": "The study has no patient ID that can be searched for, so its prior films cannot be found.",
    "PACS_ADDRESS": "There is no DICOMweb service at this address. Check the address in the settings.",
    "PACS_BUSY": "The archive is busy. Try again later.",
    "PACS_FULL": "The archive is full. Ask its operator to free some space.",
    "PACS_FAILED": "The archive reported an error of its own. Its log says why.",
    "PACS_REFUSED": "The archive refused this request. Its log says why.",
    "PACS_TOO_LARGE": "The archive's answer is larger than allowed and was dropped.",
    "PACS_ANSWER": "The archive's answer cannot be understood. Check the address in the settings.",
    "PACS_NOT_DICOM": "What the archive sent is not a DICOM file. Ask its operator to look at this film.",
    "PACS_OTHER_FILM": "The archive sent a film other than the one asked for. It was not opened.",
}


class Session(requests.Session):
    """A session for one task. Its time runs from its making."""

    def __init__(self, settings: PacsSettings, most_bytes: int) -> None:
        """`most_bytes`: of each answer, once unpacked."""
        super().__init__()
        # Neither proxies, certificates nor passwords of the environment: what is used is what the settings say.
        self.trust_env = False
        self.auth = _auth(settings)
        self.verify = str(settings.ca_bundle) if settings.ca_bundle else True
        if settings.certificate:
            self.cert = (str(settings.certificate), str(settings.key)) if settings.key else str(settings.certificate)
        adapter = _Adapter(most_bytes, time.monotonic() + settings.whole_seconds)
        self.mount("https://", adapter)
        self.mount("http://", adapter)


class _Bearer(AuthBase):
    def __init__(self, settings: PacsSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token()}"
        return request

    def _token(self) -> str:
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        assert self._settings.token_file is not None  # noqa: S101  (there is one of both)
        try:
            return self._settings.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise error_of("PACS_NOT_ALLOWED") from None


def _auth(settings: PacsSettings) -> AuthBase | None:
    if settings.token is not None or settings.token_file is not None:
        return _Bearer(settings)
    if settings.user is not None and settings.password is not None:
        return HTTPBasicAuth(settings.user.encode(), settings.password.get_secret_value().encode())
    return None


class _Retry(Retry):
    """Nothing is stored again that may have arrived: behind a proxy that says 502 or 504, the archive may have it."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        if method == "POST" and status_code not in _NOT_BEGUN:
            return False
        return super().is_retry(method, status_code, has_retry_after)


class _Adapter(HTTPAdapter):
    """Tries again where no connection was made or the archive is busy, and bounds what is read.

    Nothing is tried again once the archive has begun to work on it and then kept silent: a slow one stays slow.
    """

    def __init__(self, most_bytes: int, latest: float) -> None:
        retry = _Retry(
            _RETRIES,
            read=False,
            other=0,  # such as encryption that breaks after the request
            status_forcelist=_BUSY,
            allowed_methods=None,
            backoff_factor=_PAUSE,
            raise_on_status=False,
            respect_retry_after_header=False,  # it might say a year
        )
        super().__init__(max_retries=retry)
        self._most_bytes, self._latest = most_bytes, latest
        self.poolmanager.pool_classes_by_scheme = _pools(latest)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401
        request.headers.pop("Host", None)  # dicomweb-client leaves the port out of it
        response = super().send(request, *args, **options)
        response.raw = _Bounded(response.raw, self._most_bytes, self._latest)
        if response.headers.get("Content-Type", "").startswith(JSON):
            response.headers["Content-Type"] = JSON  # dicomweb-client does not take it with a character set
        if response.is_redirect:
            response.close()
            raise error_of("PACS_ELSEWHERE")
        return response


def _pools(latest: float) -> dict[str, Any]:
    """Connections on which nothing is read after `latest`: neither headers nor what is read before another try.

    The time limits of requests and urllib3 are those of one read. Bytes that trickle in never exceed them.
    """

    class Answer(HTTPResponse):
        def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **options)
            self.fp = io.BufferedReader(_Until(self.fp, latest))

    class Plain(HTTPConnection):
        response_class = Answer

    class Encrypted(HTTPSConnection):
        response_class = Answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _Until(io.RawIOBase):
    """A stream that times out at `latest`, however often something comes."""

    def __init__(self, stream: io.BufferedReader, latest: float) -> None:
        self._stream, self._latest = stream, latest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        if time.monotonic() > self._latest:
            raise TimeoutError
        return self._stream.readinto1(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Bounded:
    """A body that ends with an error once it is too large or takes too long. Stands in for urllib3's response."""

    def __init__(self, raw: Any, most_bytes: int, latest: float) -> None:  # noqa: ANN401
        self._raw, self._left, self._latest = raw, most_bytes, latest

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._raw, name)

    def stream(self, size: int, decode_content: bool = True) -> Iterator[bytes]:
        # Take whatever has come, even one byte. Waiting for whole pieces, a trickling answer would never time out.
        while piece := self._raw.read1(size, decode_content=decode_content):
            self._left -= len(piece)
            if self._left < 0:
                self._raw.close()
                raise error_of("PACS_TOO_LARGE")
            if time.monotonic() > self._latest:
                self._raw.close()
                raise error_of("PACS_TIMEOUT")
            yield piece


@contextmanager
def plain_errors(absent: str) -> Iterator[None]:
    """Turn whatever goes wrong while talking to the archive into one PacsError.

    `absent`: the code for what the archive does not have.
    """
    try:
        yield
    except requests.HTTPError as error:
        raise error_of(code_of(error.response.status_code, absent)) from None
    except requests.exceptions.SSLError:
        raise error_of("PACS_TLS") from None
    except requests.ConnectTimeout:
        raise error_of("PACS_UNREACHABLE") from None
    except requests.Timeout:
        raise error_of("PACS_TIMEOUT") from None
    except requests.exceptions.ChunkedEncodingError:
        raise error_of("PACS_CUT") from None
    except requests.ConnectionError as error:
        raise error_of(_code_of_connection(error)) from None
    except (requests.RequestException, HTTPError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise error_of("PACS_ANSWER") from None
    except OSError:  # a certificate's file is gone
        raise error_of("PACS_TLS") from None


def _code_of_connection(error: requests.ConnectionError) -> str:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ReadTimeoutError):  # how requests reports a body that stalls
        return "PACS_TIMEOUT"
    return "PACS_UNREACHABLE" if isinstance(cause, MaxRetryError) else "PACS_CUT"


def code_of(status: int, absent: str) -> str:
    """The code for an HTTP status that is no success."""
    if status in (401, 403, 407):
        return "PACS_NOT_ALLOWED"
    if status in _ABSENT:
        return absent
    if status in _BUSY:
        return "PACS_BUSY"
    if status == 507:
        return "PACS_FULL"
    return "PACS_FAILED" if status >= 500 else "PACS_REFUSED"
