"""The table of results as Parquet, with types: for programs, where the CSV file is for people. Needs pyarrow."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ptx_app.output.table import PARQUET, RESULT_COLUMNS

_TYPES = {
    "score": pa.float64(),
    "flagged": pa.bool_(),
    "area_share": pa.float64(),
    "right_hemithorax_share": pa.float64(),
    "left_hemithorax_share": pa.float64(),
    "regions": pa.int32(),
    "seconds": pa.float64(),
    "score_threshold": pa.float64(),
    "mask_threshold": pa.float64(),
    "smallest_region": pa.float64(),
    "surest_pixel": pa.float64(),
    "smallest_relative": pa.float64(),
    "reading_pneumothorax": pa.bool_(),
}
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in RESULT_COLUMNS])


def write_parquet(table: Path) -> Path:
    """Write a finished results.csv as results.parquet beside it, in the same order. Returns its path.

    Numbers and flags that are empty in the CSV file are null, texts stay empty. Raises OSError.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = [{name: _typed(name, text) for name, text in row.items()} for row in csv.DictReader(file)]
    target = table.with_name(PARQUET)
    part = target.with_name(f"{PARQUET}.new")
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part)
    part.replace(target)
    return target


def _typed(name: str, text: str) -> object:
    kind = _TYPES.get(name)
    if kind is None:
        return text
    if not text:
        return None
    if kind == pa.bool_():
        return text == "1"
    return int(text) if kind == pa.int32() else float(text)
