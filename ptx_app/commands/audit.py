"""ptx audit: check an audit trail, or show it."""

import argparse
import json
import os
import sys
from pathlib import Path

from ptx_app.audit import Trail
from ptx_app.errors import AuditError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    verify = what.add_parser("verify", help="say whether a line was removed, altered, reordered or cut, and which")
    verify.add_argument(
        "--noted", default="", metavar="NUMBER:SEAL", help="check that a last line noted earlier is still there"
    )
    show = what.add_parser("show", help="print the trail")
    show.add_argument("--film", type=Path, metavar="FILE", help="only lines about this film, given as its file")
    show.add_argument("--who", help="only lines about this person, by the sub claim of their sign-in")
    for each in (verify, show):
        each.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the trail")
        each.add_argument(
            "--key-file", type=Path, metavar="FILE", help="file with the trail's key (default: $PTX_AUDIT_KEY)"
        )


def run(arguments: argparse.Namespace) -> int:
    """Check or show the trail. Returns 1 if it was changed."""
    trail = Trail(arguments.folder, _key(arguments.key_file))
    return _verify(trail, arguments.noted) if arguments.what == "verify" else _show(trail, arguments)


def _key(file: Path | None) -> str:
    if file is None:
        return os.environ.get("PTX_AUDIT_KEY", "")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError("AUDIT_KEY_UNREADABLE", "The file with the audit trail's key cannot be read.") from error


def _verify(trail: Trail, noted: str) -> int:
    found = trail.verify(noted)
    _say(f"{found.lines} lines in {found.files} {'file' if found.files == 1 else 'files'}.")
    for fault in found.faults:
        _say(fault)
    if found.faults:
        _say("The trail was CHANGED.")
        return 1
    _say("The trail is unchanged.")
    _say(f"Last line: {found.last}. Write it down in another place, and check it next time with --noted.")
    return 0


def _show(trail: Trail, arguments: argparse.Namespace) -> int:
    film = None
    if arguments.film is not None:
        try:
            film = trail.film(arguments.film.read_bytes())
        except OSError as error:
            raise AuditError("FILM_UNREADABLE", "The film's file cannot be read.") from error
    sound = True
    for line in trail.lines():
        if line.record is None:
            sound = False
            _say(f"(A line that was altered or cut: {line.file}, line {line.place}.)")
            continue
        facts = {name: fact for name, fact in line.record.items() if name not in {"n", "at", "event", "before", "seal"}}
        if film in {None, facts.get("film")} and arguments.who in {None, facts.get("who")}:
            # As JSON: what others have named can hold no control characters then.
            told = " ".join(f"{name}={json.dumps(fact)}" for name, fact in facts.items())
            _say(f"{line.record['n']:>6}  {line.record['at']}  {line.record['event']:<16} {told}".rstrip())
    return 0 if sound else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
