"""One download of all films of the visit: the table of `ptx predict`, and overlay, mask and result of each film."""

import csv
import io
import re
import zipfile
from collections.abc import Sequence

import numpy as np

from ptx_app.inference.decide import decide
from ptx_app.inference.measure import measure
from ptx_app.output.caption import captioned_overlay
from ptx_app.output.feedback import Answer
from ptx_app.output.pictures import encoded, mask_picture
from ptx_app.output.record import finding_json, with_file
from ptx_app.output.setting import Setting
from ptx_app.output.table import LINE_END, MASK_ENDING, RESULT_COLUMNS, TABLE, cell, facts, reading_facts
from ptx_app.ui.visit import Case

_OVERLAY_PX = 1600  # longer side; a hundred overlays at full size would not fit into a small server's memory
_LONGEST_NAME = 60


def all_results(cases: Sequence[Case], setting: Setting, *, named: bool) -> bytes:
    """A zip with results.csv and, for each analysed film, overlay (JPEG), mask (PNG, full size) and result (JSON).

    A contour that the reader has drawn is there too (PNG, full size).

    Args:
        cases: those that are not done are left out.
        setting: thresholds and weights for all films.
        named: whether files and table have the names that the reader's files had, beside the number.
    """
    target, table = io.BytesIO(), io.StringIO(newline="")
    writer = csv.DictWriter(table, RESULT_COLUMNS, lineterminator=LINE_END, restval="")
    writer.writeheader()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # pictures do not get smaller
        for case in [case for case in cases if case.done]:
            file = cell(case.name) if named else f"film {case.number}"
            row, files = _results(case, setting, file, _stem(case, named))
            for name, content in files.items():
                archive.writestr(name, content)
            writer.writerow({"file": file} | row | setting.facts())
        archive.writestr(TABLE, table.getvalue())
    return target.getvalue()


def _results(case: Case, setting: Setting, file: str, stem: str) -> tuple[dict[str, object], dict[str, bytes]]:
    """A film's columns of the table, and its files: `file` names the film, `stem` its files."""
    film = case.film
    if film is None:
        return {"status": "failed", "error_code": case.error.code if case.error else ""}, {}
    if film.prediction is None:
        return {"status": "rejected", "error_code": film.rejections[0].code}, {}
    finding = decide(film.prediction, film.shape, setting.thresholds)
    grey = film.greys.grey_picture()
    overlay = captioned_overlay(grey, finding, setting, sides=film.frontal, longest=_OVERLAY_PX)
    sizes = measure(finding, film.lungs, film.spacing, film.field, film.view)
    record = finding_json(
        finding,
        setting,
        view=film.view,
        source_format=film.source_format,
        sizes=sizes,
        warnings=film.warnings,
        overruled=film.rejections if case.overruled else (),
        reading=case.reading,
    )
    mask, comment = f"{stem}{MASK_ENDING}", setting.line()
    files = {
        f"{stem}_overlay.jpg": encoded(overlay, ".jpg", comment),
        mask: encoded(mask_picture(finding), comment=comment),
        f"{stem}_result.json": with_file(record, file).encode(),
    }
    if case.reading and case.reading.mask and case.reading.answer is Answer.CONTOUR:
        files[f"{stem}_reading.png"] = encoded(case.reading.mask.mask().astype(np.uint8) * np.uint8(255))
    return {"status": "ok", "mask": mask} | facts(finding, sizes) | reading_facts(case.reading), files


def _stem(case: Case, named: bool) -> str:
    """The case's number, which makes it unique, and what every system allows of the file's name."""
    name = re.sub(r"[^\w.-]+", "_", case.name.rsplit("/", 1)[-1]).strip("._")[:_LONGEST_NAME] if named else ""
    return f"{case.number:03d}_{name}" if name else f"{case.number:03d}"
