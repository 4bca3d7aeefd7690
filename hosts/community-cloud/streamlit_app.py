"""Entry point for Streamlit Community Cloud: choose this file there. Its requirements lie beside it, without torch."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the host runs this file without installing the package

from ptx_app.ui.server import prepare_process

prepare_process()

from ptx_app.ui.page import show

show()
