"""Finds the file of a manifest entry on this machine: bundled, in the cache, or downloaded into it."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import ROOT, ListedFile, Manifest, OnnxFile, Source, Weights
from ptx_app.weights.download import PATIENCE, Patience, Progress, download, plain_disk_errors
from ptx_app.weights.verify import check_file, check_head, check_identity, digest, read_head

_FAILS_FOR_EVERY_SOURCE = {"WEIGHTS_DISK_FULL", "WEIGHTS_CACHE_UNWRITABLE"}


def select(manifest: Manifest, wanted: str | None, given: Sequence[Source] = ()) -> tuple[Weights, tuple[Source, ...]]:
    """The requested entry, and the sources that the operator has set for its file.

    Args:
        manifest: which weights there are.
        wanted: None for the default, an entry's name, or the path of a safetensors file that belongs to an entry; such
            a file comes first among the sources.
        given: further sources set by the operator.

    Raises:
        WeightsError: WEIGHTS_UNKNOWN, WEIGHTS_NOT_LISTED for a file without an entry, or as `read_head`.
    """
    named = wanted is None or any(entry.name == wanted for entry in manifest.weights)
    if wanted is None or named or not _looks_like_path(wanted):
        return manifest.entry(wanted), tuple(given)
    path = Path(wanted).expanduser()
    check_head(read_head(path))
    sha256 = digest(path)
    for entry in manifest.weights:
        if entry.sha256 == sha256:
            return entry, (Source(kind="file", location=str(path)), *given)
    raise WeightsError(
        "WEIGHTS_NOT_LISTED",
        "This weights file has no entry in the manifest, so its network and input are unknown. "
        "Add it with ptx weights add.",
    )


def locate(
    weights: ListedFile,
    *,
    given: Sequence[Source] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
    offline: bool = False,
    patience: Patience = PATIENCE,
) -> Path:
    """The file of an entry, with size and hash checked: a local file, the cached one, else a download into the cache.

    If a source fails, the next one is tried. Starts that run at the same time download once. No partial file is left
    behind, whatever happens.

    Args:
        weights: the entry.
        given: further sources set by the operator, see `named_sources`; tried before the entry's own. A given file
            that does not match the entry is an error; it is not skipped.
        cache: folder; None for `cache_folder()`.
        progress: called with the bytes received and the bytes of the whole file.
        offline: do not use the network.
        patience: time limits and number of tries.

    Raises:
        WeightsError: the source's own error if there is one source, else WEIGHTS_UNAVAILABLE with the error of each;
            WEIGHTS_NOT_THIS_FILE for a file set by the operator, WEIGHTS_OFFLINE, WEIGHTS_BUSY if another start
            holds the download for too long, WEIGHTS_DISK_FULL, WEIGHTS_CACHE_UNWRITABLE.
    """
    sources = [*given, *weights.sources]
    failures: list[tuple[Source, WeightsError]] = []
    for source in sources:
        if source.kind == "file":
            return _checked_named_file(source, weights)
    for source in sources:
        if source.kind == "bundled":
            try:
                check_file(local_path(source), weights)
                return local_path(source)
            except WeightsError as error:
                failures.append((source, error))
    cached = cached_path(weights, cache)
    if _is_whole(cached, weights):
        return cached
    remote = [source for source in sources if source.kind in ("drive", "url")]
    if remote and offline:
        raise WeightsError("WEIGHTS_OFFLINE", f"{weights.name} is not on this machine, and downloads are turned off.")
    if remote:
        with _locked(cached, patience.other_start):
            if _is_whole(cached, weights):
                return cached
            for source in remote:
                try:
                    _download_into(cached, source, weights, progress, patience)
                    return cached
                except WeightsError as error:
                    if error.code in _FAILS_FOR_EVERY_SOURCE:
                        raise
                    failures.append((source, error))
    raise _all_failed(weights, failures)


def local_path(source: Source) -> Path:
    """The path of a source of kind "bundled" or "file"."""
    return ROOT / source.location if source.kind == "bundled" else Path(source.location).expanduser()


def cache_folder() -> Path:
    """The folder in PTX_CACHE, else the user's cache folder on this operating system."""
    named = os.environ.get("PTX_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("ptx_app", appauthor=False)


def cached_path(weights: ListedFile, cache: Path | None = None) -> Path:
    """Path of an entry's file in the cache after its download. The name contains the hash."""
    suffix = ".onnx" if isinstance(weights, OnnxFile) else ".safetensors"
    return (cache or cache_folder()) / f"{weights.name.removesuffix(suffix)}-{weights.sha256[:12]}{suffix}"


def named_sources(*, file: Path | None = None, drive: str | None = None, url: str | None = None) -> tuple[Source, ...]:
    """The sources set by an operator: a file on this machine, a Google Drive id or link, an https address.

    Raises:
        WeightsError: WEIGHTS_ADDRESS if the id or link cannot be that of a file.
    """
    named = [Source(kind="file", location=str(file))] if file else []
    if drive:
        named.append(Source(kind="drive", location=_drive_id(drive)))
    if url:
        named.append(Source(kind="url", location=url))
    return tuple(named)


def _drive_id(text: str) -> str:
    if "/" in text:
        from gdown.parse_url import parse_url

        text = parse_url(text)[0] or ""
    if not re.fullmatch(r"[\w-]{10,}", text):
        raise WeightsError(
            "WEIGHTS_ADDRESS", "This is not the id of a file on Google Drive. Copy the id from the file's link."
        )
    return text


def _checked_named_file(source: Source, weights: ListedFile) -> Path:
    path = local_path(source)
    try:
        check_file(path, weights)
    except WeightsError as error:
        if error.code not in ("WEIGHTS_WRONG_SIZE", "WEIGHTS_WRONG_HASH"):
            raise
        raise WeightsError(
            "WEIGHTS_NOT_THIS_FILE",
            f"This file is not that of {weights.name}. Choose the weights that it belongs to, or add it with "
            "ptx weights add.",
        ) from error
    return path


def _download_into(
    target: Path, source: Source, weights: ListedFile, progress: Progress | None, patience: Patience
) -> None:
    part = target.with_suffix(".part")
    try:
        size, sha256 = download(source, part, most=weights.bytes, progress=progress, patience=patience)
        check_identity(size, sha256, weights)
        with plain_disk_errors():
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(target: Path, seconds: float) -> Iterator[None]:
    lock = FileLock(target.with_suffix(".lock"))
    with plain_disk_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            raise WeightsError(
                "WEIGHTS_BUSY",
                "Another process has been downloading these weights for too long. Stop it and try again.",
            ) from error
    try:
        yield
    finally:
        lock.release()


def _is_whole(path: Path, weights: ListedFile) -> bool:
    try:
        check_file(path, weights)
    except WeightsError:
        return False
    return True


def _looks_like_path(wanted: str) -> bool:
    path = Path(wanted).expanduser()
    return path.suffix == ".safetensors" or len(path.parts) > 1 or path.exists()


def _all_failed(weights: ListedFile, failures: list[tuple[Source, WeightsError]]) -> WeightsError:
    if not failures:
        return WeightsError(
            "WEIGHTS_WITHOUT_SOURCE",
            f"{weights.name} is not on this machine, and its entry has no source. Add one with ptx weights add.",
        )
    if len(failures) == 1:
        return failures[0][1]
    places = {"bundled": "Bundled file", "drive": "Google Drive", "url": "Address"}
    told = " ".join(f"{places[source.kind]}: {error.message}" for source, error in failures)
    return WeightsError("WEIGHTS_UNAVAILABLE", f"No source could provide {weights.name}. {told}")
