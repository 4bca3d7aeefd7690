"""With what a finding was made: the columns of the table, and the parameters in every DICOM object."""

from dataclasses import dataclass

from ptx_app import __version__
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import OperatingPoint, Weights

SETTING_COLUMNS = (
    "operating_point",
    "score_threshold",
    "mask_threshold",
    "smallest_region",
    "surest_pixel",
    "smallest_relative",
    "weights",
    "weights_sha256",
    "engine",
)
_BY_HAND = "own"


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

    @property
    def by_hand(self) -> bool:
        """Whether the user set a threshold."""
        return self.operating_point == _BY_HAND

    @classmethod
    def of(cls, weights: Weights, point: OperatingPoint, thresholds: Thresholds, engine: str) -> "Setting":
        """The setting of a point, called "own" if the thresholds are not the point's."""
        return cls(weights, point.name if thresholds == Thresholds.of(point) else _BY_HAND, thresholds, engine)

    def facts(self) -> dict[str, str]:
        """Name and value, in a fixed order. Numbers are written so that reading them gives the same number."""
        used = self.thresholds
        numbers = (
            used.score,
            used.mask_threshold,
            used.smallest_region,
            used.surest_pixel,
            used.smallest_relative,
        )
        values = (self.operating_point, *map(str, numbers), self.weights.name, self.weights.sha256, self.engine)
        return dict(zip(SETTING_COLUMNS, values, strict=True))

    def line(self) -> str:
        """The facts and the program's version in one line."""
        return "; ".join([*(f"{name}={value}" for name, value in self.facts().items()), f"ptx_app={__version__}"])
