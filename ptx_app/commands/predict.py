"""ptx predict: films in; masks, overlays and one table out. A bad file becomes a row and never stops the run."""

import argparse
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ptx_app.audit import Log
from ptx_app.commands.archive_arguments import add_filters, films_of, has_filters, worklist_of
from ptx_app.commands.film_arguments import add_film_arguments, detector_and_wanted
from ptx_app.errors import FilmError, SettingsError
from ptx_app.film.files import bytes_of, is_named_a_film, require_apart, stems, walk
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.output.record import with_file
from ptx_app.output.results_table import earlier_rows, open_table, stem_of
from ptx_app.output.table import PARQUET, TABLE, Row, cell
from ptx_app.pipeline import Detector
from ptx_app.results import DICOM, ENDINGS, RECORD, NamedResults, Result, ResultMaker, Wanted, row_of, tell_written
from ptx_app.settings import read_settings

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Instance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "films", type=Path, nargs="*", default=[], help="files or folders; folders are searched recursively"
    )
    where.add_argument("--dicomweb", action="store_true", help="read films from the archive in place of files")
    add_filters(parser.add_argument_group("which studies, with --dicomweb"))
    add_film_arguments(parser)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="spread the films over a Dask cluster, such as tcp://10.0.0.5:8786, in place of --jobs; with --dicomweb, "
        "each worker fetches its own films",
    )
    parser.add_argument("--parquet", action="store_true", help="also write the table as results.parquet")
    parser.add_argument("--json", action="store_true", help="also write STEM_result.json")
    parser.add_argument("--strict", action="store_true", help="exit with 1 also if a file is not a chest film")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--overwrite", action="store_true", help="delete the results of an earlier run in the folder")
    earlier.add_argument("--resume", action="store_true", help="finish an earlier run in the folder")


def run(arguments: argparse.Namespace) -> int:
    """Analyse every film.

    Returns:
        1 if any file could not be read, or with --strict if any is no chest film; else 0.
    """
    if arguments.parquet:
        import pyarrow.parquet  # noqa: F401  (if it is missing, say so before the work)
    if arguments.scheduler:
        import ptx_app.cluster  # noqa: F401
    films = _films(arguments)
    detector, wanted = detector_and_wanted(arguments, record=arguments.json)
    try:
        plan = _planned(films.files, arguments, wanted)
        if films.instances is None:
            require_apart(arguments.films, films.files, arguments.output, plan.names)
        arguments.output.mkdir(parents=True, exist_ok=True)
        with _results_of(plan, films, detector, wanted, arguments) as results:
            made = _write_all(plan, arguments.output, wanted, results, films.log)
        if arguments.parquet:
            from ptx_app.output.parquet import write_parquet

            write_parquet(arguments.output / TABLE)
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE",
            "The output folder cannot be written. Choose another with --output, or free some disk space.",
        ) from error
    rows = [*plan.done, *made]
    sys.stdout.write(_summary(rows, len(plan.done), arguments.output / TABLE))
    status = Counter(row["status"] for row in rows)
    return 1 if status["failed"] or (arguments.strict and status["rejected"]) else 0


@dataclass(frozen=True)
class _Films:
    """The films of a run.

    Attributes:
        files: what names each in the table.
        read: gives the bytes of one to this machine. Raises FilmError.
        log: the audit trail, told of each film before it is read, and of its result before that is written.
        instances: where each is in the archive; None if they are files of this machine.
    """

    files: list[Path]
    read: Callable[[Path], bytes]
    log: Log
    instances: "Mapping[Path, Instance] | None" = None

    def opened(self, file: Path) -> tuple[bytes, str | None]:
        """A film's bytes, and its name in the audit trail. Raises FilmError or AuditError."""
        data = self.read(file)
        return data, self.log.opened(data, "file" if self.instances is None else "archive")


def _films(arguments: argparse.Namespace) -> _Films:
    """Look for the films. Raises SettingsError if there is none, and as `walk` or `Pacs`."""
    log = read_settings(os.environ).log_of("ptx predict")
    if not arguments.dicomweb:
        if has_filters(arguments):
            raise SettingsError(
                "FILTERS_ALONE",
                "--since, --until, --accession, --patient-id and --limit search an archive. Add --dicomweb.",
            )
        files = list(walk(arguments.films))
        if not files:
            raise SettingsError("NO_FILES", "No files were found. Check the names.")
        return _Films(files, bytes_of, log)
    from ptx_app.hospital.dicomweb import Pacs
    from ptx_app.hospital.pacs_settings import read_pacs_settings

    pacs = Pacs(read_pacs_settings(os.environ))
    instances = dict(films_of(pacs, tqdm(worklist_of(pacs, arguments, log).studies, unit="study")))
    if not instances:
        raise SettingsError("NO_FILMS", "No film in the archive fits the search. Widen it.")
    return _Films(sorted(instances), lambda file: pacs.bytes_of(instances[file]), log, instances)


def _is_met(wanted: Wanted, row: Row, output: Path) -> bool:
    """Whether an earlier run's row, and the files beside it, are what this run would make."""
    if any(row[name] != value for name, value in wanted.setting.facts().items()):
        return False
    if row["status"] != "ok":
        if str(row["error_code"]).startswith(("WORKER_LOST", "PACS_")):  # it was never read
            return False
        return not (wanted.overrule and row["status"] == "rejected")
    stem = stem_of(row)
    missing = not all((output / f"{stem}{ending}").exists() for ending in wanted.endings())
    # Only de-identified objects need a film of their own.
    return not missing and not (wanted.identified and (output / f"{stem}{DICOM['film']}").exists())


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
        return [TABLE, PARQUET, *(stem + ending for stem in stems for ending in ENDINGS)]


def _planned(files: Sequence[Path], arguments: argparse.Namespace, wanted: Wanted) -> _Plan:
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
    done = [row for row in rows if named[row["file"]] == times[row["file"]] == 1 and _is_met(wanted, row, output)]
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


@contextmanager
def _results_of(
    plan: _Plan, films: _Films, detector: Detector, wanted: Wanted, arguments: argparse.Namespace
) -> Iterator[NamedResults]:
    """The results of what is left to do, made on this machine or on a cluster while the block runs."""
    if arguments.scheduler and plan.to_do:
        from ptx_app.cluster import spread

        with spread(plan.to_do, wanted, arguments.scheduler, films.instances, films.log) as results:
            yield results
        return
    with SandboxedReader(processes=arguments.jobs) as reader:
        maker = ResultMaker(replace(detector, read=reader.read), reader.read_source, wanted)
        yield _results(plan.to_do, films.opened, maker, arguments.jobs)


def _write_all(plan: _Plan, output: Path, wanted: Wanted, results: NamedResults, log: Log) -> list[Row]:
    """Delete what is stale, then write the results and the row of every file. Returns the rows."""
    for stem in plan.stale:
        for ending in ENDINGS:
            (output / f"{stem}{ending}").unlink(missing_ok=True)
    if (output / TABLE).exists():
        (output / PARQUET).unlink(missing_ok=True)  # it would no longer be the table's
    rows: list[Row] = []
    with open_table(output / TABLE, plan.kept) as add:
        for file, stem, result in tqdm(results, total=len(plan.to_do), unit="film"):
            row = row_of(str(file), stem, result, wanted.setting)
            tell_written(log, result, wanted)
            for ending, content in result.outputs.items():
                named = with_file(content.decode(), str(row["file"])).encode() if ending == RECORD else content
                (output / f"{stem}{ending}").write_bytes(named)
            add(row)
            rows.append(row)
    return rows


def _summary(rows: Sequence[Row], earlier: int, table: Path) -> str:
    """The counts and the table's place, as a line for the user."""
    status = Counter(row["status"] for row in rows)
    flagged = sum(str(row.get("flagged", "")) == "1" for row in rows)
    files = f"{len(rows)} file{'' if len(rows) == 1 else 's'}"
    before = f", {earlier} of them in the earlier run" if earlier else ""
    counts = f"{status['ok']} analysed ({flagged} flagged), {status['rejected']} rejected, {status['failed']} failed"
    return f"{files}{before}: {counts}. Table: {cell(str(table))}\n"


def _results(
    files: Iterable[tuple[Path, str]],
    opened: Callable[[Path], tuple[bytes, str | None]],
    maker: ResultMaker,
    jobs: int,
) -> NamedResults:
    """The result of each file, in order. While one film is in the network, others are read, encoded and written."""

    def result(file: Path) -> Result:
        named = is_named_a_film(file)
        try:
            data, told = opened(file)
            return replace(maker.make(data, named_a_film=named), audit_name=told)
        except FilmError as error:
            return Result.of_error(error, named_a_film=named)

    with ThreadPoolExecutor(jobs) as pool:
        begun: deque[tuple[Path, str, Future[Result]]] = deque()
        try:
            for file, stem in files:
                begun.append((file, stem, pool.submit(result, file)))
                if len(begun) > jobs:  # more would only fill the memory
                    first, name, future = begun.popleft()
                    yield first, name, future.result()
            for first, name, future in begun:
                yield first, name, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
