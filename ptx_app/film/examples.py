"""Two real example films, for users who have no film at hand. Their licences are in `example_films/LICENCES.md`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptx_app.film.radiograph import Radiograph

_FOLDER = Path(__file__).with_name("example_films")


@dataclass(frozen=True)
class Example:
    """An example film. `known` tells users what is known about it, `credit` who made it and under which licence."""

    name: str
    title: str
    known: str
    credit: str
    file: str

    def data(self) -> bytes:
        """The bytes of its file, PNG or JPEG."""
        return (_FOLDER / self.file).read_bytes()

    def load(self, read: Callable[[bytes], Radiograph]) -> Radiograph:
        """Read the film with the app's reader."""
        return read(self.data())


EXAMPLES = (
    Example(
        "pneumothorax",
        "Large pneumothorax",
        "A large pneumothorax on the patient's left. The mediastinum is shifted.",
        "“Pneumothorax CXR”, Clinical Cases, Wikimedia Commons, CC BY-SA 2.5",
        "pneumothorax-left.jpg",
    ),
    Example("normal", "Normal film", "A normal PA film.", "Mikael Häggström, Wikimedia Commons, CC0", "normal.png"),
)
