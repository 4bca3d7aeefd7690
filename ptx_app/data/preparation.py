"""From the challenge's layout to a prepared folder, with the app's own film reader."""

import csv
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ptx_app.data.challenge import decode_run_lengths, find_films, is_positive, read_run_lengths
from ptx_app.data.index import MaskKind
from ptx_app.data.writing import IndexRow, index_row, index_table, stored_film, stored_mask
from ptx_app.errors import FilmError, SettingsError
from ptx_app.film.sandbox.reader import SandboxedReader

_WORKERS = 2


@dataclass(frozen=True)
class Prepared:
    """The result: films written, how many of them are positive, and number of files left out by error code."""

    films: int
    positives: int
    left_out: Mapping[str, int]


def prepare_folder(
    films: Path, table: Path, output: Path, *, patients: Path | None = None, validation: float = 0.1, seed: int = 1
) -> Prepared:
    """Write images (512 px, WebP), masks (the film's own size, 1-bit PNG) and index.csv, with a progress bar.

    Args:
        films: folder with files UID.dcm.
        table: their run lengths; a film without a row is left out.
        output: the prepared folder.
        patients: a table with the columns uid and patient, and optionally age and sex. Without it every film counts as
            a patient of its own.
        validation: share of the films in the validation split, whole patients.
        seed: seed of the split.

    Raises:
        SettingsError: FILMS_MISSING, RUN_LENGTHS_UNREADABLE, RUN_LENGTHS_INVALID, PATIENTS_UNREADABLE,
            OUTPUT_UNWRITABLE.
    """
    files, runs, known = find_films(films), read_run_lengths(table), read_patients(patients)
    left_out = Counter({"NO_RUN_LENGTHS": sum(uid not in runs for uid in files)})
    wanted = [uid for uid in files if uid in runs]
    rows = []
    try:
        for name in ("images", "masks"):
            (output / name).mkdir(parents=True, exist_ok=True)
        with SandboxedReader(processes=_WORKERS) as reader, ThreadPoolExecutor(_WORKERS) as pool:

            def prepared(uid: str) -> IndexRow | str:
                try:
                    return _prepare(reader, files[uid], runs[uid], output) | known.get(uid, {})
                except FilmError as error:
                    return error.code

            for result in tqdm(pool.map(prepared, wanted), "prepare", len(wanted), unit="film"):
                if isinstance(result, str):
                    left_out[result] += 1
                else:
                    rows.append(result)
        (output / "index.csv").write_bytes(index_table(split_by_patient(rows, validation, seed)))
    except OSError as error:
        raise SettingsError(
            "OUTPUT_UNWRITABLE", "The prepared folder cannot be written. Choose another, or free some disk space."
        ) from error
    return Prepared(len(rows), sum(row["label"] == "1" for row in rows), {c: n for c, n in left_out.items() if n})


def read_patients(table: Path | None) -> dict[str, IndexRow]:
    """Patient, age and sex by UID. Raises SettingsError PATIENTS_UNREADABLE."""
    if table is None:
        return {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return {
                row["uid"]: {"patient_id": row["patient"], "age": row.get("age", ""), "sex": row.get("sex", "")}
                for row in csv.DictReader(file)
            }
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise SettingsError(
            "PATIENTS_UNREADABLE", "The table of patients cannot be read. It needs the columns uid and patient."
        ) from error


def split_by_patient(rows: Sequence[IndexRow], validation: float, seed: int) -> list[IndexRow]:
    """The rows with their split. Whole patients, drawn at random by `seed`, go to "val" until it has its share."""
    groups: dict[str, list[IndexRow]] = {}
    for row in rows:
        groups.setdefault(row["patient_id"] or f"film {row['image_id']}", []).append(row)
    order = sorted(groups)
    random.Random(seed).shuffle(order)  # noqa: S311  (a split, no secret)
    split, missing = {}, validation * len(rows)
    for group in order:
        chosen = missing >= len(groups[group]) / 2
        missing -= len(groups[group]) if chosen else 0
        split[group] = "val" if chosen else "train"
    return [row | {"split": split[group]} for group, own in groups.items() for row in own]


def _prepare(reader: SandboxedReader, file: Path, runs: Sequence[str], output: Path) -> IndexRow:
    radiograph = reader.read(file.read_bytes())
    for rejection in radiograph.rejections:
        raise FilmError(rejection.code, rejection.message)
    positive = is_positive(runs)
    row = index_row(file.stem, positive=positive, masked=positive, kind=MaskKind.EXPERT, view=radiograph.view)
    (output / row["image"]).write_bytes(stored_film(radiograph.pixels))
    if positive:
        (output / row["mask"]).write_bytes(stored_mask(decode_run_lengths(runs, radiograph.shape)))
    return row
