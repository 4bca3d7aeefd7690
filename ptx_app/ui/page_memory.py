"""python -m ptx_app.ui.page_memory: peak memory of the page's process after one film, for `ptx benchmark`."""

import sys
import time

from streamlit.testing.v1 import AppTest

from ptx_app.peak_memory import peak_memory
from ptx_app.process import begin

_GOAL_BYTES = 0.33e9
_MOST_SECONDS = 120
_KEPT_OUT = (
    "albumentations",
    "matplotlib",
    "scipy",
    "torch",
    "ptx_app.training",
    "ptx_app.evaluation",
    "ptx_app.experiments",
)


def main() -> None:
    """Run the page until the example has its verdict, and print the peak memory."""
    begin()
    # Not app.py, which is not in the wheel.
    page = AppTest.from_string("from ptx_app.ui.page import show; show()", default_timeout=120)
    page.query_params["example"] = "pneumothorax"
    page.run()
    (case,) = page.session_state["visit"].cases
    deadline = time.monotonic() + _MOST_SECONDS
    while not case.done and time.monotonic() < deadline:  # it is read in the background
        time.sleep(0.1)
    page.run()
    if not (case.film and case.film.prediction):
        raise SystemExit("The example could not be analysed.")
    extra = [name for name in _KEPT_OUT if name in sys.modules]
    lines = (
        f"Memory of the page's process after one film: {peak_memory() / 1e6:.0f} MB (goal {_GOAL_BYTES / 1e6:.0f})",
        f"Modules imported that should not be: {', '.join(extra) or 'nothing'}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
