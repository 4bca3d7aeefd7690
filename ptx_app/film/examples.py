"""Example films, for users who have no film at hand.

Both are made from one real chest CR in the PyPI package pydicom-data (MIT; NEMA WG04's public sample RG1, 15 bit,
MONOCHROME1) without a known pneumothorax. In one of them a pneumothorax is drawn by code; a note on the film says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptx_app.errors import FilmError
from ptx_app.film.radiograph import FilmNote, Radiograph
from ptx_app.film.simulate import simulate_pneumothorax

FILE_NAME = "RG1_UNCR.dcm"

# Drawn by eye on RG1 as shares of width and height, on the patient's left: from the mediastinum over the apex and down
# the side.
_CHEST_WALL = np.array(
    [(0.552, 0.194), (0.567, 0.123), (0.609, 0.076), (0.668, 0.070), (0.726, 0.100), (0.774, 0.159), (0.812, 0.230),
     (0.837, 0.307), (0.852, 0.389), (0.865, 0.471), (0.876, 0.553), (0.886, 0.635)],
    dtype=np.float32,
)  # fmt: skip
_PLEURA = np.array(
    [(0.553, 0.205), (0.576, 0.162), (0.617, 0.131), (0.665, 0.129), (0.711, 0.156), (0.750, 0.210), (0.778, 0.274),
     (0.799, 0.343), (0.816, 0.415), (0.835, 0.486), (0.857, 0.558), (0.886, 0.635)],
    dtype=np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """An example film. `known` tells users what is known about it, so that they can judge the model's verdict."""

    name: str
    title: str
    known: str
    simulated: bool

    def load(self, read: Callable[[bytes], Radiograph]) -> Radiograph:
        """Read the film with the app's reader. Raises FilmError EXAMPLE_MISSING if the package is not installed."""
        film = read(example_bytes())
        if not self.simulated:
            return film
        pixels, _ = simulate_pneumothorax(film.pixels, _CHEST_WALL, _PLEURA)
        warning = FilmNote("SIMULATED", "The pneumothorax on this film is not real. It was drawn by code.")
        return replace(film, pixels=pixels, modality=None, warnings=(*film.warnings, warning))


EXAMPLES = (
    Example(
        "simulated",
        "Simulated pneumothorax",
        "A real film with a pneumothorax drawn into it by code, on the patient's left.",
        simulated=True,
    ),
    Example(
        "plain", "Without pneumothorax", "A real film with lung masses and no known pneumothorax.", simulated=False
    ),
)


def example_bytes() -> bytes:
    """The DICOM file that both examples are made from. Raises FilmError EXAMPLE_MISSING."""
    try:
        import data_store  # the package pydicom-data

        return (Path(data_store.__file__).parent / "data" / FILE_NAME).read_bytes()
    except (ImportError, OSError) as error:
        raise FilmError(
            "EXAMPLE_MISSING",
            "The example films are not installed. Install the package pydicom-data, or open your own film.",
        ) from error
