"""ptx pacs: lists the studies of an archive, reads the films of one, and fetches those of many, over DICOMweb."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ptx_app.audit import Event, Log
from ptx_app.commands.archive_arguments import add_filters, films_of, worklist_of
from ptx_app.commands.film_arguments import add_film_arguments, detector_and_wanted
from ptx_app.errors import PtxError, SettingsError
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.output.results_table import open_table
from ptx_app.output.table import TABLE
from ptx_app.results import DICOM, Result, ResultMaker, row_of, tell_written
from ptx_app.settings import read_settings

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Instance, Pacs, Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = what.add_parser("list", help="list studies with chest films, newest first, as a tab-separated table")
    add_filters(listing)
    fetching = what.add_parser(
        "fetch", help="download the films of all matching studies into a folder, for ptx predict"
    )
    add_filters(fetching)
    fetching.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the films; those already there are kept"
    )
    reading = what.add_parser("read", help="analyse the films of a study")
    reading.add_argument("study", metavar="STUDY_UID", help="study instance UID")
    add_film_arguments(reading)
    reading.add_argument(
        "--store", action="store_true", help="store the results in the study, with the patient's own header"
    )


def run(arguments: argparse.Namespace) -> int:
    """List, fetch or read. Returns 1 if a film could not be had or read, or an object was not stored; else 0."""
    from ptx_app.hospital.dicomweb import Pacs
    from ptx_app.hospital.pacs_settings import read_pacs_settings

    pacs = Pacs(read_pacs_settings(os.environ))
    log = read_settings(os.environ).log_of(f"ptx pacs {arguments.what}")
    return {"list": _list, "fetch": _fetch, "read": _read}[arguments.what](pacs, arguments, log)


def _list(pacs: "Pacs", arguments: argparse.Namespace, log: Log) -> int:
    worklist = worklist_of(pacs, arguments, log)
    columns = ["date", "time", "accession_number", *(["patient_id"] if pacs.settings.patient_id else []), "uid"]
    sys.stdout.write("\t".join([*columns, "modalities", "films"]) + "\n")
    for study in worklist.studies:
        said = [str(getattr(study, column)) for column in columns]
        sys.stdout.write("\t".join([*said, study.modalities, _films(study)]) + "\n")
    return 0


def _fetch(pacs: "Pacs", arguments: argparse.Namespace, log: Log) -> int:
    """Write each film once, under a name that tells nothing of it; a run that was killed goes on."""
    from ptx_app.hospital.dicomweb_http import PacsError
    from ptx_app.hospital.inbox_files import write_atomically

    count: Counter[str] = Counter()
    try:
        arguments.output.mkdir(mode=0o700, parents=True, exist_ok=True)  # for films with their patients' headers
        for name, film in films_of(pacs, tqdm(worklist_of(pacs, arguments, log).studies, unit="study")):
            file = arguments.output / name
            if file.exists():
                count["already there"] += 1
                continue
            try:
                data = pacs.fetch(film)
            except PacsError as error:
                count[error.code] += 1
                continue
            log.tell(Event.FILE_DOWNLOADED, film=log.film(data), what="film with the patient's own header")
            write_atomically(file, data)
            count["fetched"] += 1
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE", "The output folder cannot be written. Choose another with --output."
        ) from error
    sys.stdout.write(", ".join(f"{number} {what}" for what, number in count.items()) + "\n" if count else "No film.\n")
    return 1 if set(count) - {"fetched", "already there"} else 0


def _films(study: "Study") -> str:
    return "" if study.films is None else str(study.films)


def _read(pacs: "Pacs", arguments: argparse.Namespace, log: Log) -> int:
    if arguments.store and arguments.dicom and not arguments.identified:
        raise SettingsError("STORE_DEIDENTIFIED", "What --store stores has the patient's header. Add --identified.")
    if arguments.store:
        pacs.require_storing()
    detector, wanted = detector_and_wanted(arguments, record=True)
    if arguments.store and wanted.overrule:
        raise SettingsError(
            "STORE_OVERRULED",
            "Results of films that the film check rejects are not stored. Leave out --all.",
        )
    if arguments.store:
        wanted = replace(wanted, dicom=True, identified=True)
    output = arguments.output
    if (output / TABLE).exists():
        raise SettingsError("OUTPUT_IN_USE", "The output folder holds the results of an earlier run. Choose another.")
    films = pacs.films(arguments.study)
    used = wanted.setting.thresholds
    thresholds = {"score_threshold": used.score, "mask_threshold": used.mask_threshold}
    statuses = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        with SandboxedReader(processes=arguments.jobs) as reader, open_table(output / TABLE, []) as add:
            maker = ResultMaker(replace(detector, read=reader.read), reader.read_source, wanted)
            for number, film in enumerate(films, 1):
                stem, result, told = _result(pacs, film, number, maker, log)
                row = row_of(stem, stem, result, wanted.setting)
                kept = {
                    ending: content
                    for ending, content in result.outputs.items()
                    if arguments.dicom or ending not in DICOM.values()
                }
                tell_written(log, replace(result, outputs=kept, audit_name=told), wanted)
                for ending, content in kept.items():
                    (output / f"{stem}{ending}").write_bytes(content)
                add(row)
                statuses.append(row["status"])
                found = f"flagged={row['flagged']} score={row['score']}" if row["status"] == "ok" else row["error_code"]
                sys.stdout.write(f"{stem}: {row['status']} {found}\n")
                if arguments.store:
                    statuses += _stored(pacs, film, result, log, {"film": told, **thresholds})
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE", "The output folder cannot be written. Choose another with --output."
        ) from error
    return 1 if "failed" in statuses else 0


def _result(
    pacs: "Pacs", film: "Instance", number: int, maker: ResultMaker, log: Log
) -> tuple[str, Result, str | None]:
    """The film's name among the results, which tells nothing of the patient, what became of it, and its name in the
    audit trail.
    """
    from ptx_app.hospital.inbox import key_of

    try:
        with tqdm(unit="B", unit_scale=True, desc=f"film {number}", leave=False) as bar:

            def tell(received: int, whole: int | None) -> None:
                bar.total = whole
                bar.update(received - bar.n)

            data = pacs.fetch(film, tell)
    except PtxError as error:
        return f"film-{number}", Result.of_error(error, named_a_film=True), None
    told = log.opened(data, "archive")
    own = partial(film.require_source, maker.read_source)
    return key_of(data), replace(maker, read_source=own).make(data, named_a_film=True), told


def _stored(pacs: "Pacs", film: "Instance", result: Result, log: Log, facts: Mapping[str, object]) -> Iterator[str]:
    """Store a film's objects, say what the archive says of each, and yield "failed" for those that it does not have.

    `facts`: which film it is, and with which thresholds, for the audit trail.
    """
    from ptx_app.hospital.dicomweb import STORED

    objects = {kind: result.outputs[ending] for kind, ending in DICOM.items() if ending in result.outputs}
    if not objects:
        return
    log.tell(Event.STORING_BEGUN, **facts)
    answers = pacs.store_all(objects, film.study)
    codes = {kind: said.code for kind, said in answers.items()}
    log.tell_after(Event.STORING_ENDED, film=facts["film"], objects=codes)
    for kind, said in answers.items():
        sys.stdout.write(f"  {STORED[kind]}: {said.message}\n")
        if not said.ok:
            yield "failed"
