"""ptx weights list | add | fetch | verify."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import (
    MANIFEST_PATH,
    ROOT,
    Figures,
    ListedFile,
    OperatingPoint,
    load_manifest,
    parse_manifest,
)
from ptx_app.model.manifest_editing import read_document, with_entry, with_identity, with_source, write_document
from ptx_app.weights.add import BUNDLED, MOST_BYTES, entry_to_add, keep, obtained, try_out
from ptx_app.weights.download import Progress
from ptx_app.weights.fetch import cached_path, local_path, locate, named_sources
from ptx_app.weights.verify import check_file, digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `weights`."""
    verbs = parser.add_subparsers(dest="weights_verb", required=True, metavar="list | add | fetch | verify")
    verbs.add_parser("list", help="show all weights, where they are and how they scored")

    fetch = verbs.add_parser("fetch", help="download a weights file")
    fetch.add_argument("name", nargs="?", metavar="NAME", help="entry of the manifest (default: its default)")
    _add_remote_arguments(fetch.add_mutually_exclusive_group())

    verify = verbs.add_parser("verify", help="check size and hash of the local files, and that they load and run")
    verify.add_argument("name", nargs="?", metavar="NAME", help="entry of the manifest (default: all)")

    add = verbs.add_parser("add", help="add a source to an entry of the manifest, or a new entry")
    add.add_argument("--name", required=True, help="name of the entry; an existing entry gets a further source")
    place = add.add_mutually_exclusive_group(required=True)
    _add_remote_arguments(place)
    place.add_argument(
        "--file", metavar="PATH", type=Path, help=f"a local file; copied to {BUNDLED} if it is elsewhere"
    )
    origin = add.add_mutually_exclusive_group()
    origin.add_argument(
        "--entry", metavar="FILE", type=Path, help="JSON file that describes new weights, as publish writes it"
    )
    origin.add_argument("--like", metavar="EXISTING", help="take network, input and thresholds from this entry")
    add.add_argument("--title", help="with --like: the weights in one line")
    add.add_argument("--provenance", help="with --like: how they were trained, and on which films")
    add.add_argument("--terms", help="with --like: terms of use")
    add.add_argument("--default", action="store_true", help="make these weights the default")


def _add_remote_arguments(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--drive", metavar="ID", help="id or link of a file on Google Drive")
    group.add_argument("--url", metavar="URL", help="https address of the file")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status. Raises WeightsError with a message to show."""
    verbs = {"list": _list, "fetch": _fetch, "verify": _verify, "add": _add}
    return verbs[arguments.weights_verb](arguments)


def _list(_arguments: argparse.Namespace) -> int:
    manifest = load_manifest(MANIFEST_PATH)
    rows = [("", "name", "size", "place", "at its default operating point", "figures")]
    for weights in manifest.weights:
        places = [place for place, path in _places(weights) if path.is_file()]
        missing = "not downloaded" if any(source.kind != "bundled" for source in weights.sources) else "missing"
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
    _say("* is the default")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    weights = load_manifest(MANIFEST_PATH).entry(arguments.name)
    given = named_sources(drive=arguments.drive, url=arguments.url)
    with _bar(weights.name) as progress:
        path = locate(weights, given=given, progress=progress)
    _say(f"{weights.name}: {path}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    manifest = load_manifest(MANIFEST_PATH)
    status = 0
    for weights in [manifest.entry(arguments.name)] if arguments.name else manifest.weights:
        listed: list[ListedFile] = [weights, weights.onnx] if weights.onnx else [weights]
        files = [(entry, place, path) for entry in listed for place, path in _places(entry) if path.is_file()]
        if not files:
            _say(f"{weights.name}: not on this machine")
            status = 1 if arguments.name else status
        for entry, place, path in files:
            try:
                check_file(path, entry)
                try_out(weights, path)
                _say(f"{entry.name} ({place}): size and hash correct, loads and runs")
            except WeightsError as error:
                _say(f"{entry.name} ({place}): {error.message} [{error.code}]")
                status = 1
    lungs = manifest.lung_fields
    for entry in [lungs, lungs.onnx] if lungs and lungs.onnx and not arguments.name else []:
        for place, path in _places(entry):
            if path.is_file():
                check_file(path, entry)
                _say(f"{entry.name} ({place}): size and hash correct")
    if manifest.film_check and not arguments.name:
        check_file(ROOT / manifest.film_check.location, manifest.film_check)
        _say(f"{manifest.film_check.name} (bundled): size and hash correct")
    return status


def _add(arguments: argparse.Namespace) -> int:
    document = read_document(MANIFEST_PATH)
    parse_manifest(document)
    description = {key: getattr(arguments, key) for key in ("entry", "like", "title", "provenance", "terms")}
    draft = entry_to_add(document, arguments.name, **description)
    with _bar(arguments.name) as progress:
        sources = named_sources(file=arguments.file, drive=arguments.drive, url=arguments.url)
        with obtained(sources[0], arguments.name, progress) as (path, source):
            entry = with_source(with_identity(draft, path.stat().st_size, digest(path)), source)
            document = with_entry(document, entry)
            if arguments.default:
                document = document | {"default": arguments.name}
            weights = parse_manifest(document).entry(arguments.name)
            try_out(weights, path)
            keep(path, source, weights)
            write_document(document, MANIFEST_PATH)
    _say(f"{weights.name}: {weights.bytes:,} bytes, sha256 {weights.sha256}")
    for point in weights.operating_points:
        _say(f"  {_measured(point)}")
    return 0


def _places(weights: ListedFile) -> list[tuple[str, Path]]:
    """Where the file of an entry may be on this machine: name of each place to its path."""
    bundled = [("bundled", local_path(source)) for source in weights.sources if source.kind == "bundled"]
    return [*bundled, ("cached", cached_path(weights))]


def _measured(point: OperatingPoint) -> str:
    if point.sensitivity is None or point.specificity is None:
        return f"{point.name}: not measured"
    return (
        f"{point.name}: sensitivity {point.sensitivity:.2f}, specificity {point.specificity:.2f} ({point.films} films)"
    )


def _figures(figures: dict[str, Figures]) -> str:
    """What was measured on the validation films, or "" if nothing was."""
    measured = figures.get("validation_films")
    if not measured:
        return ""
    return f"AUC {measured.auc:.3f}, Dice on positives {measured.dice_positive:.3f} ({measured.films} films)"


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """A progress bar on standard error, if that is a terminal and the work takes longer than a moment."""
    with tqdm(desc=name, unit="B", unit_scale=True, delay=0.3, disable=None) as bar:

        def progress(received: int, most: int) -> None:
            bar.total = most if most < MOST_BYTES else None
            bar.update(received - bar.n)

        yield progress


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
