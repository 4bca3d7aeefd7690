"""Fixtures shared by the tests: the folder of films, and a browser."""

import os
from pathlib import Path

import pytest

from ptx_app.process import set_environment

set_environment()  # before any test imports torch or albumentations


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of films, masks and cases, set by PTX_DATA. The repository may not contain them."""
    folder = os.environ.get("PTX_DATA")
    if not folder:
        pytest.skip("PTX_DATA is not set, so there are no films")
    return Path(folder)
