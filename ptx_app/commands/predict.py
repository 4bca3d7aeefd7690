"""ptx predict: films in; masks, overlays and one table out. A bad file becomes a row and never stops the run."""

import argparse
import io
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ptx_app.commands.film_files import bytes_of, is_named_a_film, require_apart, stems, walk
from ptx_app.commands.results_table import earlier_rows, open_table, stem_of
from ptx_app.errors import NotAFilmError, PtxError, SettingsError
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.film.source import SourceReference
from ptx_app.inference.decide import Finding, Thresholds
from ptx_app.output.dicom.objects import KINDS, dicom_objects
from ptx_app.output.pictures import encoded, grey_picture, mask_picture, overlay_picture
from ptx_app.output.setting import Setting
from ptx_app.output.table import MASK_ENDING, TABLE, Row, cell, facts
from ptx_app.pipeline import Detector, required_prediction
from ptx_app.settings import read_settings
from ptx_app.unexpected import unexpected

_OVERLAY, _PROBABILITY = "_overlay.png", "_probability.npy"
_DICOM = {kind: f"_{kind}.dcm" for kind in KINDS}
_ENDINGS = (MASK_ENDING, _OVERLAY, _PROBABILITY, *_DICOM.values())
_OTHER_FORMATS = ("FORMAT_UNKNOWN", "FORMAT_UNSUPPORTED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("films", type=Path, nargs="+", help="files or folders; folders are searched recursively")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.csv and the pictures")
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")
    parser.add_argument("--operating-point", help="operating point of that entry")
    parser.add_argument("--probability", action="store_true", help="also write STEM_probability.npy, float16")
    parser.add_argument(
        "--dicom", action="store_true", help="also write STEM_seg.dcm, _sc.dcm, _sr.dcm and _gsps.dcm, de-identified"
    )
    parser.add_argument(
        "--identified",
        action="store_true",
        help="with --dicom: keep the patient and the study of DICOM films, and refer to these films",
    )
    parser.add_argument("--all", action="store_true", help="also analyse pictures that the film check rejects")
    parser.add_argument("--strict", action="store_true", help="exit with 1 also where a file is no chest film")
    parser.add_argument("--jobs", type=_jobs, default=2, help="files to work on at once (default: 2)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--overwrite", action="store_true", help="delete the results of an earlier run in the folder")
    earlier.add_argument("--resume", action="store_true", help="finish an earlier run in the folder")


def _jobs(text: str) -> int:
    jobs = int(text)
    if not 1 <= jobs <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return jobs


def run(arguments: argparse.Namespace) -> int:
    """Analyse every film.

    Returns:
        1 if any file could not be read, or with --strict if any is no chest film; else 0.
    """
    if arguments.identified and not arguments.dicom:
        raise SettingsError("IDENTIFIED_ALONE", "--identified is about DICOM files. Add --dicom.")
    settings = read_settings(os.environ)
    detector = Detector.load(
        arguments.weights or settings.weights, given=settings.weights_sources, engine=settings.engine
    )
    point = detector.weights.operating_point(arguments.operating_point)
    wanted = _Wanted(
        setting=Setting.of(detector.weights, point, Thresholds.of(point), detector.network.engine),
        overrule=arguments.all,
        probability=arguments.probability,
        dicom=arguments.dicom,
        identified=arguments.identified,
    )
    files = list(walk(arguments.films))
    if not files:
        raise SettingsError("NO_FILES", "No files were found. Check the names.")
    try:
        plan = _planned(files, arguments, wanted)
        require_apart(arguments.films, files, arguments.output, plan.names)
        arguments.output.mkdir(parents=True, exist_ok=True)
        with SandboxedReader(workers=arguments.jobs) as reader:
            job = _Job(replace(detector, read=reader.read), reader.read_source, wanted, arguments.jobs)
            made = _write_all(plan, arguments.output, job)
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE",
            "The output folder cannot be written. Choose another with --output, or free some disk space.",
        ) from error
    rows = [*plan.done, *made]
    sys.stdout.write(_summary(rows, len(plan.done), arguments.output / TABLE))
    status = Counter(row["status"] for row in rows)
    return 1 if status["failed"] or (arguments.strict and status["refused"]) else 0


@dataclass(frozen=True)
class _Wanted:
    """What to make of every film, and with what. `identified`: keep the patient in DICOM files of DICOM films."""

    setting: Setting
    overrule: bool
    probability: bool
    dicom: bool
    identified: bool

    def endings(self) -> list[str]:
        """The files that every analysed film gets."""
        dicom = [ending for kind, ending in _DICOM.items() if kind != "film" or not self.identified]
        return [MASK_ENDING, _OVERLAY, *([_PROBABILITY] if self.probability else []), *(dicom if self.dicom else [])]

    def is_met_by(self, row: Row, output: Path) -> bool:
        """Whether an earlier run's row, and the files beside it, are what this run would make."""
        if any(row[name] != value for name, value in self.setting.facts().items()):
            return False
        if row["status"] != "ok":
            return not (self.overrule and row["status"] == "refused")
        stem = stem_of(row)
        missing = not all((output / f"{stem}{ending}").exists() for ending in self.endings())
        # Only de-identified objects need a film of their own.
        return not missing and not (self.identified and (output / f"{stem}{_DICOM['film']}").exists())


@dataclass(frozen=True)
class _Plan:
    """What is left to do, and what of an earlier run stays.

    Attributes:
        kept: rows of an earlier run that stay in the table.
        done: those of them that are about files of this run.
        to_do: the other files, each with the stem of its results.
        stale: stems of results that are deleted first.
    """

    kept: list[Row]
    done: list[Row]
    to_do: list[tuple[Path, str]]
    stale: list[str]

    @property
    def names(self) -> list[str]:
        """Every name that may be written or deleted in the output folder."""
        stems = [*(stem for _, stem in self.to_do), *self.stale]
        return [TABLE, *(stem + ending for stem in stems for ending in _ENDINGS)]


def _planned(files: Sequence[Path], arguments: argparse.Namespace, wanted: _Wanted) -> _Plan:
    """Compare the files with the table of an earlier run.

    Raises:
        SettingsError: OUTPUT_IN_USE if there is one and the user did not say what to do with it; TABLE_FOREIGN.
    """
    output: Path = arguments.output
    if not (output / TABLE).exists():
        return _Plan([], [], list(zip(files, stems(files), strict=True)), [])
    if not arguments.overwrite and not arguments.resume:
        raise SettingsError(
            "OUTPUT_IN_USE",
            "The output folder holds the results of an earlier run. Choose another folder, finish that run with "
            "--resume, or delete its results with --overwrite.",
        )
    if arguments.overwrite:
        return _Plan([], [], list(zip(files, stems(files), strict=True)), _stems_in(output / TABLE))
    rows = earlier_rows(output / TABLE)
    # Two files can have one name in the table only if bytes of it had to be escaped. Both are analysed again.
    named, times = Counter(cell(str(file)) for file in files), Counter(row["file"] for row in rows)
    done = [row for row in rows if named[row["file"]] == times[row["file"]] == 1 and wanted.is_met_by(row, output)]
    finished = {row["file"] for row in done}
    kept = [row for row in rows if row["file"] not in named or row["file"] in finished]
    left = [file for file in files if cell(str(file)) not in finished]
    named_stems = stems(left, filter(None, map(stem_of, kept)))
    stale = [stem_of(row) for row in rows if row["file"] in named and row["file"] not in finished]
    return _Plan(list(kept), list(done), list(zip(left, named_stems, strict=True)), list(filter(None, stale)))


def _stems_in(table: Path) -> list[str]:
    """The stems of the results that a table names; none if it is not one that this version writes."""
    try:
        return list(filter(None, map(stem_of, earlier_rows(table))))
    except SettingsError:
        return []


@dataclass(frozen=True)
class _Job:
    """How to treat every file. `jobs` files are worked on at once, of which one has the network."""

    detector: Detector
    read_source: Callable[[bytes], SourceReference | None]
    wanted: _Wanted
    jobs: int
    network: Lock = field(default_factory=Lock)


def _write_all(plan: _Plan, output: Path, job: _Job) -> list[Row]:
    """Delete what is stale, then write the results and the row of every file. Returns the rows."""
    for stem in plan.stale:
        for ending in _ENDINGS:
            (output / f"{stem}{ending}").unlink(missing_ok=True)
    rows: list[Row] = []
    with open_table(output / TABLE, plan.kept) as add:
        for file, stem, outcome in tqdm(_outcomes(plan.to_do, job), total=len(plan.to_do), unit="film"):
            for ending, content in outcome.outputs.items():
                (output / f"{stem}{ending}").write_bytes(content)
            mask = f"{stem}{MASK_ENDING}" if MASK_ENDING in outcome.outputs else ""
            names = {"file": cell(str(file)), "mask": cell(mask)}
            row = outcome.facts | job.wanted.setting.facts() | names | {"seconds": f"{outcome.seconds:.3f}"}
            add(row)
            rows.append(row)
    return rows


def _summary(rows: Sequence[Row], earlier: int, table: Path) -> str:
    """The counts and the table's place, as a line for the user."""
    status = Counter(row["status"] for row in rows)
    flagged = sum(str(row.get("flagged", "")) == "1" for row in rows)
    files = f"{len(rows)} file{'' if len(rows) == 1 else 's'}"
    before = f", {earlier} of them in the earlier run" if earlier else ""
    counts = f"{status['ok']} analysed ({flagged} flagged), {status['refused']} refused, {status['failed']} failed"
    return f"{files}{before}: {counts}. Table: {cell(str(table))}\n"


@dataclass(frozen=True)
class _Outcome:
    """What a file became: part of its table row, the files to write for it by their endings, and how long it took."""

    facts: dict[str, object]
    outputs: dict[str, bytes]
    seconds: float


def _outcomes(files: Iterable[tuple[Path, str]], job: _Job) -> Iterator[tuple[Path, str, _Outcome]]:
    """The outcome of each file, in order. While one film is in the network, others are read, encoded and written."""

    def timed(file: Path) -> _Outcome:
        started = time.perf_counter()
        facts, outputs = _outcome(file, job)
        return _Outcome(facts, outputs, time.perf_counter() - started)

    with ThreadPoolExecutor(job.jobs) as pool:
        begun: deque[tuple[Path, str, Future[_Outcome]]] = deque()
        try:
            for file, stem in files:
                begun.append((file, stem, pool.submit(timed, file)))
                if len(begun) > job.jobs:  # more would only fill the memory
                    first, name, future = begun.popleft()
                    yield first, name, future.result()
            for first, name, future in begun:
                yield first, name, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(file: Path, job: _Job) -> tuple[dict[str, object], dict[str, bytes]]:
    """Part of the table row of a file, and the files to write for it, by their endings."""
    try:
        data = bytes_of(file)
        examination = job.detector.examine(
            job.detector.read(data), overrule=job.wanted.overrule, turn=lambda: job.network
        )
        prediction, radiograph = required_prediction(examination), examination.radiograph
        finding = job.detector.decide(prediction, radiograph.shape, job.wanted.setting.thresholds)
        outputs = _pictures(grey_picture(radiograph.pixels), finding)
        if job.wanted.probability:
            outputs[_PROBABILITY] = _half_precision(prediction.over_picture(radiograph.shape))
        if job.wanted.dicom:
            source = job.read_source(data) if job.wanted.identified else None
            objects = dicom_objects(radiograph, finding, job.wanted.setting, source)
            outputs |= {_DICOM[kind]: content for kind, content in objects.items()}
        return {"status": "ok"} | facts(finding), outputs
    except Exception as error:  # anything but a PtxError is a bug here or in a decoder
        known = error if isinstance(error, PtxError) else unexpected(error)
        return {"status": "refused" if _is_no_film(known, file) else "failed", "error_code": known.code}, {}


def _is_no_film(error: PtxError, file: Path) -> bool:
    """Whether the file is merely something else. A file named as a film that is none has failed."""
    return isinstance(error, NotAFilmError) or (error.code in _OTHER_FORMATS and not is_named_a_film(file))


def _pictures(grey: NDArray[np.uint8], finding: Finding) -> dict[str, bytes]:
    return {MASK_ENDING: encoded(mask_picture(finding)), _OVERLAY: encoded(overlay_picture(grey, finding))}


def _half_precision(probability: NDArray[np.float32]) -> bytes:
    array = io.BytesIO()
    np.save(array, probability.astype(np.float16))
    return array.getvalue()
