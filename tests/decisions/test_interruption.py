"""After an interrupted reading, the next user never gets the interrupted film."""

import numpy as np
import pytest

from ptx_app.film import read_film
from ptx_app.film.sandbox.reader import SandboxedReader
from tests.support.films import dicom_of


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whoever_reads_after_an_interruption_gets_their_own_film(interruption, monkeypatch):
    chance = np.random.default_rng(1)
    first, second, third = (dicom_of(chance.random((side, 80), np.float32)) for side in (90, 100, 110))

    def interrupted(*_: object) -> bytes:
        raise interruption  # as when a page is stopped while the child process is answering

    with SandboxedReader(processes=1, seconds=120) as reader:
        with monkeypatch.context() as patch:
            patch.setattr("ptx_app.film.sandbox.reader.receive", interrupted)
            with pytest.raises(interruption):
                reader.read(first)
        for film in (second, third):
            assert np.array_equal(reader.read(film).pixels, read_film(film).pixels)
