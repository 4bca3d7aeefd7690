"""What tests share: where the films are."""

import os
from pathlib import Path

import pytest

from ptx_app.process import set_environment

set_environment()  # before any test imports torch or albumentations


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of films, masks and cases that the repository may not hold; PTX_DATA names it."""
    folder = os.environ.get("PTX_DATA")
    if not folder:
        pytest.skip("PTX_DATA is not set: the films are not at hand")
    return Path(folder)
