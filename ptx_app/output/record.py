"""A finding as data: JSON for one film, a row in a table for many. Nothing in it identifies the patient."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ptx_app import __version__
from ptx_app.film.radiograph import FilmNote, View
from ptx_app.inference.decide import Finding
from ptx_app.inference.measure import SideMeasure
from ptx_app.output.feedback import Reading
from ptx_app.output.setting import Setting

NOTICE = "Research and teaching only. Not a medical device."


def side_code(finding: Finding) -> str:
    """ "patient-right", "patient-left", "both", "side-unknown", or "" if there is no region."""
    sides = finding.sides
    if not sides:
        return ""
    return "both" if len(sides) > 1 else str(sides[0])


def finding_json(
    finding: Finding,
    setting: Setting,
    *,
    view: View,
    source_format: str,
    sizes: Iterable[SideMeasure],
    warnings: Iterable[FilmNote] = (),
    overruled: Iterable[FilmNote] = (),
    reading: Reading | None = None,
) -> str:
    """The result of one film as JSON text.

    Args:
        finding: the decision.
        setting: with what it was made.
        view: the film's view position.
        source_format: what the file was, in words.
        sizes: what was measured on each side.
        warnings: the film's warnings; their codes are recorded.
        overruled: the rejections that the user overruled; their codes are recorded.
        reading: the reader's answer, if there is one.
    """
    height, width = finding.mask.shape
    places = {size.side: iter(size.region_places) for size in sizes}
    record: dict[str, Any] = {
        "notice": NOTICE,
        "made_by": f"ptx_app {__version__}",
        "film": {
            "width": width,
            "height": height,
            "view": str(view),
            "format": source_format,
            "warnings": [warning.code for warning in warnings],
            "overruled": [rejection.code for rejection in overruled],
        },
        "weights": {"name": setting.weights.name, "sha256": setting.weights.sha256},
        "engine": setting.engine,
        "operating_point": setting.operating_point,
        "thresholds": {
            "score": setting.thresholds.score,
            "mask_threshold": setting.thresholds.mask_threshold,
            "smallest_region": setting.thresholds.smallest_region,
            "surest_pixel": setting.thresholds.surest_pixel,
            "smallest_relative": setting.thresholds.smallest_relative,
        },
        "flagged": finding.flagged,
        "grade": finding.grade.value,
        "score": round(finding.score, 6),
        "side": side_code(finding),
        "area_share": round(finding.share, 6),
        "regions": [
            {
                "side": str(region.side),
                "place": str(next(places.get(region.side, iter(())), "")),
                "area_share": round(region.share, 6),
                "box": list(region.box),
            }
            for region in finding.regions
        ],
        "sizes": [asdict(size, dict_factory=_rounded) for size in sizes],
    }
    if reading is not None:
        record["reading"] = reading.facts()
    return json.dumps(record, indent=2) + "\n"


def with_file(record: str, file: str) -> str:
    """The JSON text of `finding_json` with the name that the film's row in results.csv has.

    The name is added last because what makes the results never sees it.
    """
    known = json.loads(record)
    return json.dumps(known | {"film": {"file": file} | known["film"]}, indent=2) + "\n"


def _rounded(facts: list[tuple[str, Any]]) -> dict[str, Any]:
    # The regions have their places themselves.
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in facts if name != "region_places"
    }
