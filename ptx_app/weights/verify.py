"""Checks that a file is the expected weights file. Nothing is ever unpickled."""

import hashlib
from functools import lru_cache
from pathlib import Path

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import FilmCheck, ListedFile, OnnxFile

HEAD_BYTES = 9
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors library itself
_ONNX_HEAD = b"\x08"  # the field of the format's version, which exporters write first


def check_head(head: bytes) -> None:
    """Reject a file that is not safetensors (8 bytes of length, then a JSON object) by its first `HEAD_BYTES`.

    Raises:
        WeightsError: WEIGHTS_WEB_PAGE for HTML, WEIGHTS_PICKLED for a pickle or a zip (as torch.save writes them),
            WEIGHTS_NOT_SAFETENSORS for anything else.
    """
    if head[8:HEAD_BYTES] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return
    if head.lstrip().startswith(b"<"):
        raise WeightsError("WEIGHTS_WEB_PAGE", "This is a web page, not the file. Use the direct address of the file.")
    if head.startswith((b"\x80", b"PK\x03\x04")):
        raise WeightsError(
            "WEIGHTS_PICKLED",
            "This is a pickle or zip file, which could run code when opened. Save the weights as safetensors.",
        )
    raise WeightsError("WEIGHTS_NOT_SAFETENSORS", "This is not a safetensors file. Save the weights as safetensors.")


def check_file(path: Path, weights: ListedFile | FilmCheck) -> None:
    """Compare a file with size and hash of its entry. The hash of an unchanged file is computed once per process.

    Raises:
        WeightsError: WEIGHTS_MISSING, WEIGHTS_UNREADABLE, WEIGHTS_WRONG_SIZE, WEIGHTS_WRONG_HASH, or as `check_head`.
    """
    head = read_head(path)
    if not (isinstance(weights, OnnxFile) and head.startswith(_ONNX_HEAD)):
        check_head(head)
    check_identity(path.stat().st_size, digest(path), weights)


def check_identity(size: int, sha256: str, weights: ListedFile | FilmCheck) -> None:
    """Compare a size in bytes and a hash with an entry. Raises WEIGHTS_WRONG_SIZE or WEIGHTS_WRONG_HASH."""
    if size != weights.bytes:
        raise WeightsError(
            "WEIGHTS_WRONG_SIZE",
            f"The file has {size:,} bytes, {weights.name} has {weights.bytes:,}. It is truncated or another file.",
        )
    if sha256 != weights.sha256:
        raise WeightsError(
            "WEIGHTS_WRONG_HASH",
            f"The file's hash is not that of {weights.name}. It is damaged or another file, so it is not used.",
        )


def read_head(path: Path) -> bytes:
    """The first `HEAD_BYTES` of a file. Raises WeightsError WEIGHTS_MISSING or WEIGHTS_UNREADABLE."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise WeightsError(
            "WEIGHTS_MISSING", "The file does not exist. Check its path, or download it again."
        ) from error
    except OSError as error:
        raise WeightsError("WEIGHTS_UNREADABLE", "The file cannot be opened. Check its permissions.") from error


def digest(path: Path) -> str:
    """The sha256 of a file in hexadecimal. It is computed again only if size, time or inode have changed."""
    state = path.stat()
    return _digest(path, (state.st_size, state.st_mtime_ns, state.st_ino))


@lru_cache(maxsize=64)
def _digest(path: Path, _state: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
