"""The sentences on the page. A verdict is never advice. It says "none flagged", never "no pneumothorax"."""

from ptx_app.inference.decide import Finding, Side, Thresholds
from ptx_app.model.manifest import OperatingPoint

NOT_MEASURED_ON_SUCH = (
    "The model was trained on frontal chest films only. No figures were measured on pictures like this."
)
SIDE_WORDS = {
    Side.RIGHT: "right side of the patient (left of the picture)",
    Side.LEFT: "left side of the patient (right of the picture)",
    Side.UNKNOWN: "side not clear, as the picture shows more than a film",
}


def verdict(finding: Finding) -> str:
    """The verdict in one sentence."""
    if not finding.flagged:
        return "None flagged"
    return "Pneumothorax flagged"


def where(finding: Finding) -> str:
    """Side and size, or why there are none."""
    if not finding.flagged:
        return "The score is below the threshold. Nothing is outlined."
    if not finding.regions:
        return "No region reaches the mask threshold. Lower it, or look at the heat map."
    sides = " and ".join(SIDE_WORDS[side] for side in finding.sides)
    return f"{sides[0].upper()}{sides[1:]}, {share(finding.share)} of the film."


def share(value: float) -> str:
    """A share in [0, 1] as a percentage. Only an exact 0 reads as 0."""
    if 0 < value < 0.0005:
        return "less than 0.1 %"
    return f"{100 * value:.1f} %"


def stated_rates(point: OperatingPoint, thresholds: Thresholds) -> str:
    """Sensitivity and specificity of the operating point in words."""
    if thresholds.score != point.score:
        return "The score threshold was set by hand. No figures were measured at it."
    if point.sensitivity is None or point.specificity is None:
        return "No figures were measured at this operating point."
    flagged, false = round(100 * point.sensitivity), round(100 * (1 - point.specificity))
    return (
        f"At this operating point the model flagged {flagged} of 100 films with pneumothorax and {false} of 100 "
        f"without ({point.films} films: {point.measured_on})."
    )


def alt_text(finding: Finding, shape: tuple[int, int]) -> str:
    """The film and its verdict in words, for screen readers."""
    return f"Chest film, {shape[1]} by {shape[0]} pixels. {verdict(finding)}. {where(finding)}"
