"""The SIIM-ACR challenge's own layout: a folder of DICOM files named by UID, and a table of run lengths."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import SettingsError

NONE = "-1"  # the table's entry for a film without pneumothorax


def find_films(folder: Path) -> dict[str, Path]:
    """The DICOM files in a folder, searched recursively, by UID (the file's stem) and sorted by it.

    Raises:
        SettingsError: FILMS_MISSING if there are none.
    """
    films = {path.stem: path for path in sorted(folder.rglob("*.dcm"), key=lambda path: path.stem)}
    if not films:
        raise SettingsError("FILMS_MISSING", "The folder of DICOM films has no files named UID.dcm. Choose another.")
    return films


def read_run_lengths(table: Path) -> dict[str, list[str]]:
    """Run lengths by UID, from a table with the columns ImageId and EncodedPixels. A film may have several rows.

    Raises:
        SettingsError: RUN_LENGTHS_UNREADABLE.
    """
    rows: dict[str, list[str]] = {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            for row in reader:
                rows.setdefault(row["ImageId"].strip(), []).append(row["EncodedPixels"].strip())
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        raise SettingsError(
            "RUN_LENGTHS_UNREADABLE",
            "The table of run lengths cannot be read. It needs the columns ImageId and EncodedPixels.",
        ) from error
    return rows


def is_positive(rows: Sequence[str]) -> bool:
    """Whether a film with these rows has a pneumothorax."""
    return any(row != NONE for row in rows)


def decode_run_lengths(rows: Sequence[str], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The union of a film's masks, (H, W) bool.

    Args:
        rows: pairs "skip length skip length ..." down the columns, or "-1". Each skip is counted from the end of the
            previous run.
        shape: (H, W) of the film in px.

    Raises:
        SettingsError: RUN_LENGTHS_INVALID if they are not such pairs, or exceed the film.

    Example:
        Skip one pixel and take two, skip three and take one, in columns of three:

        >>> decode_run_lengths(["1 2 3 1"], (3, 3)).astype(int)
        array([[0, 0, 1],
               [1, 0, 0],
               [1, 0, 0]])
    """
    invalid = SettingsError(
        "RUN_LENGTHS_INVALID", "A row of the table of run lengths does not fit its film. Check the table."
    )
    flat = np.zeros(shape[0] * shape[1], np.bool_)
    for row in rows:
        if row == NONE:
            continue
        try:
            numbers = np.asarray([int(word) for word in row.split()], np.int64)
        except ValueError as error:
            raise invalid from error
        if not numbers.size or numbers.size % 2 or numbers.min() < 0 or numbers.sum() > flat.size:
            raise invalid
        edges = np.cumsum(numbers)
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            flat[start:end] = True
    return flat.reshape(shape[1], shape[0]).T
