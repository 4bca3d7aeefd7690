"""python -m ptx_app.ui.page_memory: what the page's process takes with one film done, for `ptx benchmark`."""

import sys

from streamlit.testing.v1 import AppTest

from ptx_app.peak_memory import peak_memory
from ptx_app.process import begin

_GOAL_BYTES = 1.0e9
_KEPT_OUT = ("albumentations", "matplotlib", "ptx_app.training", "ptx_app.evaluation", "ptx_app.experiments")


def main() -> None:
    """Run the page until the example's verdict stands, and print what it took."""
    begin()
    # Not app.py, which the wheel has not.
    page = AppTest.from_string("from ptx_app.ui.page import show; show()", default_timeout=120)
    page.query_params["example"] = "simulated"
    page.run()
    if not page.session_state["visit"].cases[0].film:
        raise SystemExit("The example was not read.")
    extra = [name for name in _KEPT_OUT if name in sys.modules]
    lines = (
        f"Memory of the page's process with one film done: {peak_memory() / 1e6:.0f} MB (goal {_GOAL_BYTES / 1e6:.0f})",
        f"Imported there though it should not: {', '.join(extra) or 'nothing'}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
