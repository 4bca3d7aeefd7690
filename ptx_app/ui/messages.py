"""The sentences on the page. A verdict is never advice, and never "no pneumothorax": "none flagged"."""

from ptx_app.inference.decide import Finding, Side, Thresholds
from ptx_app.model.manifest import OperatingPoint

NOT_MEASURED_ON_SUCH = (
    "The model knows frontal chest films only. No figures were stated_rates on pictures such as this."
)
SIDE_WORDS = {
    Side.RIGHT: "right side of the patient (left of the picture)",
    Side.LEFT: "left side of the patient (right of the picture)",
}


def verdict(finding: Finding) -> str:
    """The verdict in one sentence."""
    if not finding.flagged:
        return "None flagged"
    return "Pneumothorax flagged"


def where(finding: Finding) -> str:
    """Side and size, or why there are none."""
    if not finding.flagged:
        return "The score is under the threshold, so nothing is outlined."
    if not finding.regions:
        return "No region reaches the mask threshold. Lower it, or look at the heat map."
    sides = " and ".join(SIDE_WORDS[side] for side in finding.sides)
    return f"{sides[0].upper()}{sides[1:]}, {share(finding.share)} of the film."


def share(value: float) -> str:
    """A share in [0, 1] as a percentage that never reads 0 where there is something."""
    if 0 < value < 0.0005:
        return "under 0.1 %"
    return f"{100 * value:.1f} %"


def stated_rates(point: OperatingPoint, thresholds: Thresholds) -> str:
    """The score in words: what the model did at this setting on films whose truth is known."""
    if thresholds.score != point.score:
        return "The score threshold is set by hand: no figures were stated_rates there."
    if point.sensitivity is None or point.specificity is None:
        return "No figures were stated_rates at this setting."
    flagged, false = round(100 * point.sensitivity), round(100 * (1 - point.specificity))
    return (
        f"At this setting the model flagged {flagged} of 100 films with pneumothorax and {false} of 100 without "
        f"({point.films} films: {point.measured_on})."
    )


def alt_text(finding: Finding, shape: tuple[int, int]) -> str:
    """What a person who cannot see the film is told of it."""
    return f"Chest film, {shape[1]} by {shape[0]} pixels. {verdict(finding)}. {where(finding)}"
