"""ptx predict: films in; masks, overlays and one table out. A bad file becomes a row and never stops the run."""

import argparse
import csv
import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ptx_app.errors import FilmError, NotAFilmError, PtxError, SettingsError
from ptx_app.film.limits import Limits
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.inference.decide import Finding, Thresholds
from ptx_app.output.pictures import encoded, grey_picture, mask_picture, overlay_picture
from ptx_app.output.record import side_code
from ptx_app.pipeline import Detector, required_prediction
from ptx_app.settings import read_settings
from ptx_app.unexpected import unexpected

RESULT_COLUMNS = ("file", "status", "error_code", "score", "flagged", "side", "area_share", "regions", "seconds")
_ENDINGS = _MASK, _OVERLAY, _PROBABILITY = "_mask.png", "_overlay.png", "_probability.npy"
_STEM_BYTES = 200  # file systems allow 255 for the whole name, including number and ending


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("films", type=Path, nargs="+", help="files or folders; folders are searched recursively")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.csv and the pictures")
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")
    parser.add_argument("--operating-point", help="operating point of that entry")
    parser.add_argument("--probability", action="store_true", help="also write STEM_probability.npy, float16")
    parser.add_argument("--all", action="store_true", help="also analyse pictures that the film check rejects")


def run(arguments: argparse.Namespace) -> int:
    """Analyse every film. Returns 1 if any file failed, else 0 (a rejected film has not failed)."""
    settings = read_settings(os.environ)
    detector = Detector.load(
        arguments.weights or settings.weights, given=settings.weights_sources, engine=settings.engine
    )
    thresholds = Thresholds.of(detector.weights.operating_point(arguments.operating_point))
    files = list(walk(arguments.films))
    if not files:
        raise SettingsError("NO_FILES", "No files were found. Check the names.")
    try:
        require_apart(arguments.films, files, arguments.output)
        arguments.output.mkdir(parents=True, exist_ok=True)
        with SandboxedReader(workers=1) as reader:
            job = _Job(replace(detector, read=reader.read), thresholds, arguments.all, arguments.probability)
            failed = _write_all(files, arguments.output, job)
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE",
            "The output folder cannot be written. Choose another with --output, or free some disk space.",
        ) from error
    return 1 if failed else 0


@dataclass(frozen=True)
class _Job:
    """How to treat every file: detector, thresholds, whether to overrule rejections and to write the probability."""

    detector: Detector
    thresholds: Thresholds
    overrule: bool
    probability: bool


def walk(places: Iterable[Path]) -> Iterator[Path]:
    """The given files and those in the given folders, in order. Hidden files in folders are skipped.

    Raises:
        SettingsError: FILES_NOT_FOUND if a place does not exist.
    """
    for place in places:
        if place.is_dir():
            inside = (path for path in sorted(place.rglob("*")) if path.is_file())
            yield from (path for path in inside if not any(p.startswith(".") for p in path.relative_to(place).parts))
        elif place.exists():
            yield place
        else:
            raise SettingsError("FILES_NOT_FOUND", "One of the files or folders does not exist. Check the names.")


def stems(files: Sequence[Path]) -> list[str]:
    """A unique name for each file's results: its stem, cut to 200 bytes, with a number if two files share it."""
    taken: set[str] = set()
    names = []
    for file in files:
        stem = file.name if file.suffix.lower() not in (".dcm", ".dicom", ".png", ".jpg", ".jpeg") else file.stem
        stem = _first_bytes(stem, _STEM_BYTES)
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def _first_bytes(name: str, most: int) -> str:
    """As many whole characters from the start of a file's name as fit into so many bytes."""
    if len(os.fsencode(name)) <= most:
        return name
    sizes = accumulate(len(os.fsencode(character)) for character in name)
    return name[: sum(size <= most for size in sizes)]


def require_apart(places: Iterable[Path], files: Sequence[Path], output: Path) -> None:
    """Raise SettingsError OUTPUT_IS_INPUT if results would be written into an input folder or over an input file."""
    walked = {_identity(place) for place in places if place.is_dir()}
    home = output.resolve()
    within = any(_identity(folder) in walked for folder in (home, *home.parents) if folder.exists())
    read = {_identity(file) for file in files if file.exists()}
    names = ["results.csv", *(stem + ending for stem in stems(files) for ending in _ENDINGS)]
    if within or any(_identity(home / name) in read for name in names if (home / name).exists()):
        raise SettingsError(
            "OUTPUT_IS_INPUT", "The results would be written into a folder of films. Choose another with --output."
        )


def _identity(path: Path) -> tuple[int, int]:
    """The same value for the same file or folder, whatever name, link or case is used for it."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _write_all(files: Sequence[Path], output: Path, job: _Job) -> int:
    failed = 0
    # File names may not be UTF-8.
    with (output / "results.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
        writer = csv.DictWriter(table, RESULT_COLUMNS)
        writer.writeheader()
        for file, stem in zip(tqdm(files, unit="film"), stems(files), strict=True):
            started = time.perf_counter()
            row, outputs = _outcome(file, job)
            for ending, content in outputs.items():
                (output / f"{stem}{ending}").write_bytes(content)
            failed += row["status"] == "failed"
            writer.writerow(row | {"file": _cell(file), "seconds": f"{time.perf_counter() - started:.3f}"})
            table.flush()
    return failed


def _outcome(file: Path, job: _Job) -> tuple[dict[str, object], dict[str, bytes]]:
    """The table row of a file, and the files to write for it, by their endings."""
    try:
        examination = job.detector.examine(job.detector.read(_bytes_of(file)), overrule=job.overrule)
        prediction, radiograph = required_prediction(examination), examination.radiograph
        finding = job.detector.decide(prediction, radiograph.shape, job.thresholds)
        outputs = _pictures(grey_picture(radiograph.pixels), finding)
        if job.probability:
            outputs[_PROBABILITY] = _half_precision(prediction.over_picture(radiograph.shape))
        return {"status": "ok"} | _facts(finding), outputs
    except Exception as error:  # anything but a PtxError is a bug here or in a decoder
        known = error if isinstance(error, PtxError) else unexpected(error)
        return {"status": "refused" if isinstance(known, NotAFilmError) else "failed", "error_code": known.code}, {}


def _bytes_of(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(Limits().file_bytes + 1)  # one byte over the limit is rejected; a device never ends
    except OSError as error:
        raise FilmError("FILE_UNREADABLE", "This file cannot be opened. Check that you may read it.") from error


def _cell(file: Path) -> str:
    """The path, written so that no spreadsheet takes it for a formula."""
    text = str(file)
    return f"./{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _facts(finding: Finding) -> dict[str, object]:
    return {
        "score": f"{finding.score:.6f}",
        "flagged": int(finding.flagged),
        "side": side_code(finding),
        "area_share": f"{finding.share:.6f}",
        "regions": len(finding.regions),
    }


def _pictures(grey: NDArray[np.uint8], finding: Finding) -> dict[str, bytes]:
    return {_MASK: encoded(mask_picture(finding)), _OVERLAY: encoded(overlay_picture(grey, finding))}


def _half_precision(probability: NDArray[np.float32]) -> bytes:
    array = io.BytesIO()
    np.save(array, probability.astype(np.float16))
    return array.getvalue()
