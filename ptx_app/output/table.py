"""One row for each film: the columns of results.csv, on the command line and in the page's download of all films."""

from collections.abc import Iterable, Mapping

from ptx_app.inference.decide import Finding, Side
from ptx_app.inference.measure import SideMeasure
from ptx_app.output.feedback import Reading
from ptx_app.output.record import side_code
from ptx_app.output.setting import SETTING_COLUMNS

TABLE = "results.csv"
PARQUET = "results.parquet"
MASK_ENDING = "_mask.png"
LINE_END = "\r\n"
RESULT_COLUMNS = (
    "file", "status", "error_code", "score", "flagged", "grade", "side", "area_share",
    "right_hemithorax_share", "left_hemithorax_share", "regions", "seconds",
    *SETTING_COLUMNS, "reading", "reading_pneumothorax", "mask",
)  # fmt: skip
Row = Mapping[str, object]


def cell(name: str) -> str:
    """A name of any bytes as a cell: readable as UTF-8, and no formula for a spreadsheet."""
    safe = f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
    return safe.encode("utf-8", "backslashreplace").decode()


def reading_facts(reading: Reading | None) -> dict[str, object]:
    """The columns that a reader's answer fills: what was answered, and whether there is a pneumothorax."""
    return {"reading": reading.answer, "reading_pneumothorax": int(reading.positive)} if reading else {}


def facts(finding: Finding, sizes: Iterable[SideMeasure]) -> dict[str, object]:
    """The columns that a finding and what was measured on each side fill."""
    shares = {each.side: each.hemithorax_share for each in sizes}

    def share(side: Side) -> str:
        if side not in finding.sides and Side.UNKNOWN not in finding.sides:
            return f"{0:.6f}"
        known = shares.get(side)
        return "" if known is None else f"{known:.6f}"

    return {
        "score": f"{finding.score:.6f}",
        "flagged": int(finding.flagged),
        "grade": finding.grade.value,
        "side": side_code(finding),
        "area_share": f"{finding.share:.6f}",
        "right_hemithorax_share": share(Side.RIGHT),
        "left_hemithorax_share": share(Side.LEFT),
        "regions": len(finding.regions),
    }
