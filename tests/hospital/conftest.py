"""A real archive for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Orthanc]:
    """The running archive."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def orthanc(archive) -> Orthanc:
    """The archive, empty."""
    archive.clear()
    return archive
