"""The options that search an archive, shared by `ptx pacs` and `ptx predict`, and the films that a search finds."""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ptx_app.audit import Event, Log

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Instance, Pacs, Study, Worklist

_MOST_STUDIES = 200


def add_filters(parser: argparse._ActionsContainer) -> None:
    """Add the options."""
    parser.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD", help="first day of the study")
    parser.add_argument("--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="last day of the study")
    parser.add_argument("--accession", metavar="NUMBER", help="accession number")
    parser.add_argument("--patient-id", metavar="ID", help="patient ID, if the archive's settings allow it")
    parser.add_argument(
        "--limit", type=_number, metavar="N", help=f"at most so many studies, the newest (default: {_MOST_STUDIES})"
    )


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


def has_filters(arguments: argparse.Namespace) -> bool:
    """Whether any of the options was given."""
    given = (arguments.since, arguments.until, arguments.accession, arguments.patient_id, arguments.limit)
    return any(each is not None for each in given)


def worklist_of(pacs: "Pacs", arguments: argparse.Namespace, log: Log) -> "Worklist":
    """The studies that fit. Says so if there are more. Raises as `Filters`, `Log.tell` and `Pacs.worklist`."""
    from ptx_app.hospital.dicomweb import Filters

    filters = Filters(arguments.since, arguments.until, arguments.accession, arguments.patient_id)
    log.tell(Event.ARCHIVE_SEARCHED)
    worklist = pacs.worklist(filters, arguments.limit or _MOST_STUDIES)
    if worklist.cut:
        sys.stderr.write(
            "There are more studies. Search fewer days, or raise --limit. "
            "A search returns at most 1,000 series of CR and as many of DX.\n"
        )
    return worklist


def films_of(pacs: "Pacs", studies: Iterable["Study"]) -> Iterator[tuple[Path, "Instance"]]:
    """The films of these studies, each with the file name to use for it, which tells nothing of it.

    Studies that have no film, or no longer have one, are left out.
    """
    from ptx_app.hospital.dicomweb_http import PacsError

    for study in studies:
        try:
            films = pacs.films(study.uid, [series.uid for series in study.series])
        except PacsError as error:
            if error.code != "PACS_GONE":
                raise
            continue
        for film in films:
            yield Path(f"{hashlib.sha256(film.uid.encode()).hexdigest()[:32]}.dcm"), film
