"""Whether a file is the weights file that it should be. Nothing is ever unpickled, nor opened to find out."""

import hashlib
from functools import lru_cache
from pathlib import Path

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import FilmCheck, Weights

HEAD_BYTES = 9
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors library itself


def check_head(head: bytes) -> None:
    """Refuse by its first `HEAD_BYTES` what is no safetensors file (8 bytes of length, then a JSON object).

    Raises:
        WeightsError: WEIGHTS_WEB_PAGE for HTML, WEIGHTS_PICKLED for a pickle or a zip (as torch.save writes them),
            WEIGHTS_NOT_SAFETENSORS for anything else.
    """
    if head[8:HEAD_BYTES] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return
    if head.lstrip().startswith(b"<"):
        raise WeightsError("WEIGHTS_WEB_PAGE", "A web page came instead of the file. Name the file's own address.")
    if head.startswith((b"\x80", b"PK\x03\x04")):
        raise WeightsError(
            "WEIGHTS_PICKLED",
            "This is a pickle or a zip, which can run foreign code when it is opened. Save the weights as safetensors.",
        )
    raise WeightsError("WEIGHTS_NOT_SAFETENSORS", "This is no safetensors file. Only such files are read.")


def check_file(path: Path, weights: Weights | FilmCheck) -> None:
    """Hold a file against size and hash of its entry. The hash is worked out once a process for an unchanged file.

    Raises:
        WeightsError: WEIGHTS_MISSING, WEIGHTS_UNREADABLE, WEIGHTS_WRONG_SIZE, WEIGHTS_WRONG_HASH, or as `check_head`.
    """
    check_head(read_head(path))
    check_identity(path.stat().st_size, digest(path), weights)


def check_identity(size: int, sha256: str, weights: Weights | FilmCheck) -> None:
    """Hold a size in bytes and a hash against an entry. Raises WEIGHTS_WRONG_SIZE or WEIGHTS_WRONG_HASH."""
    if size != weights.bytes:
        raise WeightsError(
            "WEIGHTS_WRONG_SIZE",
            f"The file has {size:,} bytes where {weights.name} has {weights.bytes:,}: it is cut short or another file.",
        )
    if sha256 != weights.sha256:
        raise WeightsError(
            "WEIGHTS_WRONG_HASH",
            f"The file's hash is not that of {weights.name}: it is damaged or another file. It is not used.",
        )


def read_head(path: Path) -> bytes:
    """The first `HEAD_BYTES` of a file. Raises WeightsError WEIGHTS_MISSING or WEIGHTS_UNREADABLE."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise WeightsError("WEIGHTS_MISSING", "The file is not there. Check its place or fetch it again.") from error
    except OSError as error:
        raise WeightsError("WEIGHTS_UNREADABLE", "The file cannot be opened. Check that it may be read.") from error


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; worked out again only where size, time or inode have changed."""
    state = path.stat()
    return _digest(path, (state.st_size, state.st_mtime_ns, state.st_ino))


@lru_cache(maxsize=64)
def _digest(path: Path, _state: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
