"""Files of films: finding and reading them, naming their results, and keeping the two apart."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from ptx_app.errors import FilmError, SettingsError
from ptx_app.film.limits import Limits

_STEM_BYTES = 200  # file systems allow 255 for the whole name, including number and ending
_FILM_ENDINGS = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")


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


def stems(files: Sequence[Path], taken: Iterable[str] = ()) -> list[str]:
    """A unique name for each file's results: its stem, cut to 200 bytes, with a number if it is taken."""
    used = set(taken)
    names = []
    for file in files:
        stem = _first_bytes(file.stem if is_named_a_film(file) else file.name, _STEM_BYTES)
        name, number = stem, 1
        while name in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name)
        names.append(name)
    return names


def is_named_a_film(file: Path) -> bool:
    """Whether the file's name ends as the name of a DICOM file or a picture."""
    return file.suffix.lower() in _FILM_ENDINGS


def _first_bytes(name: str, most: int) -> str:
    """As many whole characters from the start of a file's name as fit into so many bytes."""
    if len(os.fsencode(name)) <= most:
        return name
    sizes = accumulate(len(os.fsencode(character)) for character in name)
    return name[: sum(size <= most for size in sizes)]


def require_apart(places: Iterable[Path], files: Sequence[Path], output: Path, names: Iterable[str]) -> None:
    """Raise SettingsError OUTPUT_IS_INPUT if results would be written into an input folder or over an input file.

    `names`: of all files that may be written into `output` or deleted there.
    """
    walked = {_identity(place) for place in places if place.is_dir()}
    home = output.resolve()
    within = any(_identity(folder) in walked for folder in (home, *home.parents) if folder.exists())
    read = {_identity(file) for file in files if file.exists()}
    if within or any(_identity(home / name) in read for name in names if (home / name).exists()):
        raise SettingsError(
            "OUTPUT_IS_INPUT", "The results would be written into a folder of films. Choose another with --output."
        )


def _identity(path: Path) -> tuple[int, int]:
    """The same value for the same file or folder, whatever name, link or case is used for it."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def bytes_of(file: Path) -> bytes:
    """The file's bytes, at most one more than a film may have: a device never ends. Raises FilmError."""
    try:
        with file.open("rb") as opened:
            return opened.read(Limits().file_bytes + 1)
    except OSError as error:
        raise FilmError("FILE_UNREADABLE", "This file cannot be opened. Check that you may read it.") from error
