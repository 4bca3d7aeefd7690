"""With what a finding was made: the columns of the table, and the parameters in every DICOM object."""

from dataclasses import dataclass

from ptx_app import __version__
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import Weights

SETTING_COLUMNS = (
    "operating_point",
    "score_threshold",
    "mask_threshold",
    "smallest_region",
    "surest_pixel",
    "weights",
    "weights_sha256",
    "engine",
)


@dataclass(frozen=True)
class Setting:
    """Weights, operating point and thresholds.

    Attributes:
        weights: the manifest's entry.
        operating_point: name of the operating point, or "own" where the user set a threshold.
        thresholds: the thresholds used.
        engine: what computed the network, as `Network.engine` says it.
    """

    weights: Weights
    operating_point: str
    thresholds: Thresholds
    engine: str

    def facts(self) -> dict[str, str]:
        """Name and value, in a fixed order. Numbers are written so that reading them gives the same number."""
        used = self.thresholds
        numbers = (used.score, used.mask_threshold, used.smallest_region, used.surest_pixel)
        thresholds = (str(value) for value in numbers)
        values = (self.operating_point, *thresholds, self.weights.name, self.weights.sha256, self.engine)
        return dict(zip(SETTING_COLUMNS, values, strict=True))

    def line(self) -> str:
        """The facts and the program's version in one line."""
        return "; ".join([*(f"{name}={value}" for name, value in self.facts().items()), f"ptx_app={__version__}"])
