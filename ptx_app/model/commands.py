"""python -m ptx_app weights list | add | fetch | verify."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ptx_app.errors import WeightsError
from ptx_app.model.checking import check_file, check_head, digest, read_head
from ptx_app.model.download import Progress, download, plain_disk_errors
from ptx_app.model.fetch import cache_folder, cached_path, local_path, locate, parse_source
from ptx_app.model.manifest import MANIFEST_PATH, ROOT, OperatingPoint, Source, Weights, load_manifest, parse_manifest
from ptx_app.model.register import (
    Document,
    entry_like,
    read_document,
    with_entry,
    with_identity,
    with_source,
    write_document,
)

_BUNDLED = Path("ptx_app/model/bundled")
_MOST_BYTES = 2 * 1024**3  # for a file of which nothing is known yet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs of `weights`."""
    verbs = parser.add_subparsers(dest="weights_verb", required=True, metavar="list | add | fetch | verify")
    verbs.add_parser("list", help="show which weights there are, where they lie and what they scored")

    fetch = verbs.add_parser("fetch", help="bring a weights file onto this machine")
    fetch.add_argument("name", nargs="?", metavar="NAME", help="entry of the manifest (default: its default)")
    fetch.add_argument("--from", dest="source", metavar="SOURCE", help="drive:ID, a Drive link, an address or a path")

    verify = verbs.add_parser("verify", help="check size and hash of the files at hand, and that they load and run")
    verify.add_argument("name", nargs="?", metavar="NAME", help="entry of the manifest (default: all)")

    add = verbs.add_parser("add", help="add a source to an entry of the manifest, or a new entry")
    add.add_argument("--name", required=True, help="the entry; an existing one is given a further source")
    place = add.add_mutually_exclusive_group(required=True)
    place.add_argument("--drive", metavar="ID", help="id or link of a file on Google Drive")
    place.add_argument("--url", metavar="URL", help="https address of the file")
    place.add_argument("--file", metavar="PATH", type=Path, help=f"a file here; copied to {_BUNDLED} from outside")
    origin = add.add_mutually_exclusive_group()
    origin.add_argument(
        "--entry", metavar="FILE", type=Path, help="JSON that describes new weights, as publish writes it"
    )
    origin.add_argument(
        "--like", metavar="EXISTING", help="new weights with network, input and thresholds of this entry"
    )
    add.add_argument("--title", help="with --like: what the weights are, in a line")
    add.add_argument("--provenance", help="with --like: how and from which films they were trained")
    add.add_argument("--terms", help="with --like: on which terms they may be used")
    add.add_argument("--default", action="store_true", help="use these weights where none are named")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status. Raises WeightsError with a sentence to show."""
    verbs = {"list": _list, "fetch": _fetch, "verify": _verify, "add": _add}
    return verbs[arguments.weights_verb](arguments)


def _list(_arguments: argparse.Namespace) -> int:
    manifest = load_manifest(MANIFEST_PATH)
    rows = [("", "name", "size", "place", "at its default operating point", "figures")]
    for weights in manifest.weights:
        places = [place for place, path in _places(weights) if path.is_file()]
        missing = "to be fetched" if any(source.kind != "bundled" for source in weights.sources) else "missing"
        rows.append(
            (
                "*" if weights.name == manifest.default else "",
                weights.name,
                f"{weights.bytes / 1e6:.1f} MB",
                ", ".join(places) or missing,
                _measured(weights.operating_point()),
                _figures(weights.figures) or "none",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    _say("* is used where none are named")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    weights = load_manifest(MANIFEST_PATH).entry(arguments.name)
    given = parse_source(arguments.source) if arguments.source else None
    with _bar(weights.name) as progress:
        path = locate(weights, given=given, progress=progress)
    _say(f"{weights.name}: {path}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    manifest = load_manifest(MANIFEST_PATH)
    status = 0
    for weights in [manifest.entry(arguments.name)] if arguments.name else manifest.weights:
        files = [(place, path) for place, path in _places(weights) if path.is_file()]
        if not files:
            _say(f"{weights.name}: not on this machine")
            status = 1 if arguments.name else status
        for place, path in files:
            try:
                check_file(path, weights)
                _try_out(weights, path)
                _say(f"{weights.name} ({place}): size and hash as stated, loads and runs")
            except WeightsError as error:
                _say(f"{weights.name} ({place}): {error.message} [{error.code}]")
                status = 1
    return status


def _add(arguments: argparse.Namespace) -> int:
    document = read_document(MANIFEST_PATH)
    parse_manifest(document)
    draft = _draft(document, arguments)
    with _obtained(arguments) as (path, source):
        entry = with_source(with_identity(draft, path.stat().st_size, digest(path)), source)
        document = with_entry(document, entry)
        if arguments.default:
            document = document | {"default": arguments.name}
        weights = parse_manifest(document).entry(arguments.name)
        _try_out(weights, path)
        _keep(path, source, weights)
        write_document(document, MANIFEST_PATH)
    _say(f"{weights.name}: {weights.bytes:,} bytes, sha256 {weights.sha256}")
    for point in weights.operating_points:
        _say(f"  {_measured(point)}")
    return 0


def _draft(document: Document, arguments: argparse.Namespace) -> Document:
    """The entry as far as it is known before its file."""
    entries: dict[str, Document] = {entry["name"]: entry for entry in document["weights"]}
    if arguments.name in entries:
        if arguments.entry or arguments.like:
            raise WeightsError(
                "WEIGHTS_NAME_TAKEN",
                f"The manifest already has {arguments.name}. Choose another name, or leave out --entry and --like "
                "to give it a further source.",
            )
        return entries[arguments.name]
    if arguments.entry:
        return read_document(arguments.entry) | {"name": arguments.name}
    if not arguments.like or not (arguments.title and arguments.provenance and arguments.terms):
        raise WeightsError(
            "WEIGHTS_UNDESCRIBED",
            f"{arguments.name} is new. Describe it with --entry FILE, or with --like EXISTING and --title, "
            "--provenance and --terms.",
        )
    if arguments.like not in entries:
        raise WeightsError("WEIGHTS_UNKNOWN", f"The manifest knows no weights {arguments.like}. See: weights list")
    return entry_like(entries[arguments.like], arguments.name, arguments.title, arguments.provenance, arguments.terms)


@contextmanager
def _obtained(arguments: argparse.Namespace) -> Iterator[tuple[Path, Source]]:
    """The file that is to be added, and the source to state for it. A download is removed unless it was moved away."""
    if arguments.file:
        path = arguments.file.expanduser().resolve()
        check_head(read_head(path))
        inside = path.is_relative_to(ROOT)
        location = path.relative_to(ROOT) if inside else _BUNDLED / f"{arguments.name}.safetensors"
        yield path, Source("bundled", location.as_posix())
        return
    drive = arguments.drive if not arguments.drive or "/" in arguments.drive else f"drive:{arguments.drive}"
    source = parse_source(drive or arguments.url)
    part = cache_folder() / f"added-{os.getpid()}.part"
    with plain_disk_errors():
        part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _bar(arguments.name) as progress:
            download(source, part, most=_MOST_BYTES, progress=progress)
        yield part, source
    finally:
        part.unlink(missing_ok=True)


def _keep(path: Path, source: Source, weights: Weights) -> None:
    """Put the file where its entry will look for it."""
    with plain_disk_errors():
        if source.kind != "bundled":
            path.replace(cached_path(weights))
            return
        target = local_path(source)
        if target == path:
            return
        if target.exists() and digest(target) != weights.sha256:
            raise WeightsError("WEIGHTS_NAME_TAKEN", f"{source.location} is another file. Move it away first.")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        try:
            shutil.copyfile(path, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _try_out(weights: Weights, path: Path) -> None:
    """Load a file into its network and run it once. Raises WeightsError WEIGHTS_NOT_FINITE or as TorchNetwork."""
    from ptx_app.model.network import TorchNetwork  # torch takes seconds to import, and list needs none

    spec = weights.input
    output = TorchNetwork(weights, path)(np.zeros((1, spec.channels, spec.side, spec.side), np.float32))
    if not (np.isfinite(output.mask_logits).all() and np.isfinite(output.score_logits).all()):
        raise WeightsError(
            "WEIGHTS_NOT_FINITE", f"{weights.name} computes no finite numbers. Train or export it again."
        )


def _places(weights: Weights) -> list[tuple[str, Path]]:
    """Where the file of an entry may lie on this machine, each place named."""
    bundled = [("bundled", local_path(source)) for source in weights.sources if source.kind == "bundled"]
    return [*bundled, ("cached", cached_path(weights))]


def _measured(point: OperatingPoint) -> str:
    if point.sensitivity is None or point.specificity is None:
        return f"{point.name}: not measured"
    return (
        f"{point.name}: sensitivity {point.sensitivity:.2f}, specificity {point.specificity:.2f} ({point.films} films)"
    )


def _figures(figures: dict[str, Any]) -> str:
    """Those figures that are a number or have a value: "auc 0.91"."""
    values = {key: figure.get("value") if isinstance(figure, dict) else figure for key, figure in figures.items()}
    return ", ".join(f"{key} {value:g}" for key, value in values.items() if isinstance(value, int | float))


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """A bar on standard error, where that is a terminal and the work takes longer than a moment."""
    with tqdm(desc=name, unit="B", unit_scale=True, delay=0.3, disable=None) as bar:

        def progress(received: int, most: int) -> None:
            bar.total = most if most < _MOST_BYTES else None
            bar.update(received - bar.n)

        yield progress


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
