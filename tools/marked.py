"""Writes figures into a document that is otherwise written by hand, between two marks."""

import re
from pathlib import Path

from ptx_app.model.manifest import load_manifest
from ptx_app.process import typed_command

_MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- /measured -->)", re.DOTALL)


def write_measured(document: Path, table: list[str]) -> None:
    """Replace what stands between the marks by a table, with the command and the weights that it was made with."""
    weights = load_manifest().entry()
    made = f"Written by `{typed_command()}`. Weights: `{weights.name}`, sha256 `{weights.sha256[:16]}…`."
    text = document.read_text(encoding="utf-8")
    lines = "\n".join([made, "", *table, ""])
    document.write_text(_MEASURED.sub(lambda _: lines, text), encoding="utf-8")
