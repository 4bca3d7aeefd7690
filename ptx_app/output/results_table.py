"""results.csv: one row for each file. Written row by row, so that an interrupted run can be finished."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.output.table import LINE_END, MASK_ENDING, RESULT_COLUMNS, TABLE, Row


def stem_of(row: Row) -> str:
    """The stem of a row's results, or "" if it has none. Never a path, even if the table was edited."""
    mask = str(row["mask"]).removeprefix("./")
    return mask.removesuffix(MASK_ENDING) if mask.endswith(MASK_ENDING) and Path(mask).name == mask else ""


def earlier_rows(table: Path) -> list[dict[str, str]]:
    """The rows that an earlier run finished. A row cut short is left out.

    Raises:
        SettingsError: TABLE_FOREIGN if the table has other columns.
    """
    text = table.read_bytes().decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise _foreign() from error
    if tuple(reader.fieldnames or ()) != RESULT_COLUMNS:
        raise _foreign()
    if rows and not text.endswith(LINE_END):
        rows.pop()
    return [row for row in rows if None not in row and None not in row.values()]


def _foreign() -> SettingsError:
    return SettingsError(
        "TABLE_FOREIGN",
        f"{TABLE} in the output folder is damaged or was written by another version, so nothing can be added to it. "
        "Choose another folder, or delete its results with --overwrite.",
    )


@contextmanager
def open_table(table: Path, kept: Iterable[Row]) -> Iterator[Callable[[Row], None]]:
    """Replace the table by one with the kept rows, and yield a function that adds a row and saves it at once."""
    beginning = table.with_name(f"{TABLE}.new")
    with beginning.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, RESULT_COLUMNS, lineterminator=LINE_END)
        writer.writeheader()
        writer.writerows(kept)
    beginning.replace(table)
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, RESULT_COLUMNS, lineterminator=LINE_END)

        def add(row: Row) -> None:
            writer.writerow(row)
            file.flush()

        yield add
