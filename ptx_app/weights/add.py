"""The steps of `weights add`: describe the weights, get their file, try it, keep it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ptx_app.errors import WeightsError
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import ROOT, Source, Weights
from ptx_app.model.manifest_editing import ManifestDocument, entry_like, read_document
from ptx_app.model.network import Network
from ptx_app.weights.download import Progress, download, plain_disk_errors
from ptx_app.weights.fetch import cache_folder, cached_path, local_path
from ptx_app.weights.load import network_of_onnx
from ptx_app.weights.verify import check_head, digest, read_head

BUNDLED = Path("ptx_app/weights/bundled")
MOST_BYTES = 2 * 1024**3  # for a file of unknown size


def entry_to_add(
    document: ManifestDocument,
    name: str,
    *,
    entry: Path | None,
    like: str | None,
    title: str | None,
    provenance: str | None,
    terms: str | None,
) -> ManifestDocument:
    """The manifest entry as far as it is known without the file: the existing one of that name, or a new one.

    Args:
        document: the manifest.
        name: name of the entry.
        entry: a JSON file that describes new weights.
        like: an existing entry with the same network, input and thresholds. `title`, `provenance` and `terms` are then
            required.
        title, provenance, terms: of the new weights.

    Raises:
        WeightsError: WEIGHTS_NAME_TAKEN, WEIGHTS_UNDESCRIBED, WEIGHTS_UNKNOWN, MANIFEST_UNREADABLE.
    """
    entries: dict[str, ManifestDocument] = {other["name"]: other for other in document["weights"]}
    if name in entries:
        if entry or like:
            raise WeightsError(
                "WEIGHTS_NAME_TAKEN",
                f"The manifest already has {name}. Choose another name, or leave out --entry and --like to add a "
                "source to it.",
            )
        return entries[name]
    if entry:
        return read_document(entry) | {"name": name}
    if not (like and title and provenance and terms):
        raise WeightsError(
            "WEIGHTS_UNDESCRIBED",
            f"{name} is new. Describe it with --entry FILE, or with --like EXISTING and --title, --provenance and "
            "--terms.",
        )
    if like not in entries:
        raise WeightsError(
            "WEIGHTS_UNKNOWN", f"The manifest has no weights {like}. Choose one of: {', '.join(entries)}."
        )
    return entry_like(entries[like], name, title, provenance, terms)


@contextmanager
def obtained(source: Source, name: str, progress: Progress) -> Iterator[tuple[Path, Source]]:
    """The file of a source, and the source to record in the manifest.

    A file on this machine stays where it is and is recorded as bundled. A download goes into the cache folder and is
    deleted afterwards unless `keep` has moved it. Raises WeightsError as `verify.read_head` and `download`.
    """
    if source.kind == "file":
        path = local_path(source).resolve()
        check_head(read_head(path))
        location = path.relative_to(ROOT) if path.is_relative_to(ROOT) else BUNDLED / f"{name}.safetensors"
        yield path, Source(kind="bundled", location=location.as_posix())
        return
    part = cache_folder() / f"added-{os.getpid()}.part"
    with plain_disk_errors():
        part.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(source, part, most=MOST_BYTES, progress=progress)
        yield part, source
    finally:
        part.unlink(missing_ok=True)


def keep(path: Path, source: Source, weights: Weights) -> None:
    """Put the file where its entry expects it. Raises WeightsError as `download`, or WEIGHTS_NAME_TAKEN."""
    with plain_disk_errors():
        if source.kind != "bundled":
            path.replace(cached_path(weights))
            return
        target = local_path(source)
        if target == path:
            return
        if target.exists() and digest(target) != weights.sha256:
            raise WeightsError(
                "WEIGHTS_NAME_TAKEN", f"{source.location} exists already and is another file. Move it away first."
            )
        copy_whole(path, target)


def bundled(file_name: str) -> Source:
    """The source of a file that is shipped with the project."""
    return Source(kind="bundled", location=(BUNDLED / file_name).as_posix())


def copy_whole(path: Path, target: Path) -> None:
    """Copy a file so that the target is the old one or the whole new one, whatever happens."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.copyfile(path, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def try_out(weights: Weights, path: Path) -> None:
    """Load a safetensors or ONNX file of an entry and run it once, with the first engine that can.

    Raises:
        WeightsError: WEIGHTS_NOT_FINITE, WEIGHTS_NEED_TORCH, or as the networks.
    """
    spec = weights.input
    output = _network_of(weights, path)(np.zeros((1, spec.channels, spec.side, spec.side), np.float32))
    if not (np.isfinite(output.mask_logits).all() and np.isfinite(output.score_logits).all()):
        raise WeightsError(
            "WEIGHTS_NOT_FINITE", f"The output of {weights.name} is not finite. Train or export it again."
        )


def _network_of(weights: Weights, path: Path) -> Network:
    if weights.onnx is not None and path.suffix == ".onnx":
        return network_of_onnx(weights.onnx, path, next(engine for engine in Engine if engine.installed))
    if not Engine.TORCH.installed:
        raise WeightsError("WEIGHTS_NEED_TORCH", "A safetensors file cannot be tried without torch. Install it.")
    from ptx_app.model.torch_network import TorchNetwork  # torch takes seconds to import, and `list` does not need it

    return TorchNetwork(weights, path)
