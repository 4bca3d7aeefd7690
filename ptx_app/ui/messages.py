"""The sentences on the page. A verdict is never advice. It says "none flagged", never "no pneumothorax": only
a reader says that.
"""

from collections.abc import Iterable, Sequence
from html import escape

from ptx_app.errors import PtxError
from ptx_app.film.radiograph import FilmNote, View
from ptx_app.inference.decide import Finding, Grade, Side, Thresholds
from ptx_app.inference.measure import SideMeasure
from ptx_app.model.manifest import OperatingPoint
from ptx_app.output.feedback import Answer, Reading
from ptx_app.output.setting import Setting

NOT_MEASURED_ON_SUCH = (
    "The model was trained on frontal chest films only. No figures were measured on pictures like this."
)
MISSED = "Small pneumothoraces are missed most often."
NO_HEADER = (
    "DICOM downloads of this film are de-identified: it was opened without “Keep the patient’s header”, or its header "
    "is incomplete."
)
HEADER_KEPT = "This film’s DICOM downloads carry the patient’s own header."
SIDE_WORDS = {
    Side.RIGHT: "right side of the patient (left of the picture)",
    Side.LEFT: "left side of the patient (right of the picture)",
    Side.UNKNOWN: "side unknown: the film is not frontal, is turned or mirrored, or the picture shows more than "
    "one film",
}

SIDE_NAMES = {Side.RIGHT: "Right", Side.LEFT: "Left", Side.UNKNOWN: "Side unknown"}


def verdict(finding: Finding) -> str:
    """The verdict in one sentence."""
    if finding.grade is Grade.BORDERLINE:
        return "Borderline, flagged" if finding.flagged else "Borderline, none flagged"
    return "Pneumothorax flagged" if finding.flagged else "None flagged"


def where(finding: Finding) -> str:
    """The side, or why there is none; and the size where `size` cannot say it, because the side is unknown."""
    if not finding.flagged:
        just = "just " if finding.grade is Grade.BORDERLINE else ""
        return f"The score is {just}below the threshold. Nothing is outlined."
    if not finding.regions:
        return "No region can be outlined: the model is not sure where it is."
    sides = " and ".join(SIDE_WORDS[side] for side in finding.sides)
    area = f" {share(finding.share)} of the film's area." if Side.UNKNOWN in finding.sides else ""
    return f"{sides[0].upper()}{sides[1:]}.{area}"


def hint(finding: Finding, view: View) -> str:
    """How to take what is said below the verdict, on the page only."""
    said = ["The score is close to the threshold: trust neither verdict."] if finding.grade is Grade.BORDERLINE else []
    if not finding.flagged:
        said.append(MISSED)
    elif finding.regions:
        said.append("An area on a film is not a volume.")
    else:
        said.append("Heat map (H) and Why (Y) show what the score may come from.")
    if view is View.AP:
        said.append("AP films are read less well than PA films.")
    return " ".join(said)


def size(found: SideMeasure) -> str:
    """Place and size on one side. An area on a film is no volume, so the estimate of a volume says how it was made."""
    places = f", {' and '.join(found.places)}" if found.places else ""
    parts = [f"{SIDE_NAMES[found.side]}{places}: {share(found.film_share)} of the film's area"]
    if found.hemithorax_share is not None:
        parts.append(f"{share(found.hemithorax_share)} of the hemithorax's area")
    if found.apical_mm:
        parts.append(f"apical {found.apical_mm:.0f} mm")
    if found.lateral_mm:
        parts.append(f"lateral {found.lateral_mm:.0f} mm")
    if found.at_detector and (found.apical_mm or found.lateral_mm):
        parts[-1] += " at the detector"
    estimate = ""
    if found.collins_percent is not None:
        how = ", from distances at the detector" if found.at_detector else ""
        estimate = f" Collins estimate {found.collins_percent:.0f} % of the volume, if the film is erect PA{how}."
    return f"{', '.join(parts)}.{estimate}"


def share(value: float) -> str:
    """A share in [0, 1] as a percentage. Only an exact 0 reads as 0."""
    if 0 < value < 0.0005:
        return "less than 0.1 %"
    return f"{100 * value:.1f} %"


def stated_rates(point: OperatingPoint, thresholds: Thresholds) -> str:
    """What was measured at the operating point, as counts with their 95 % intervals."""
    if thresholds.score != point.score:
        return "The score threshold was set by hand. No figures were measured at it."
    counts = point.counts
    if counts is None:
        return "No figures were measured at this operating point."
    return (
        f"In tests at this setting, {counts.flagged} of {counts.positives} films with a pneumothorax were flagged"
        f"{_between(point.sensitivity_interval)}, and {counts.passed} of {counts.negatives} without were not"
        f"{_between(point.specificity_interval)}."
    )


def _between(interval: tuple[float, float] | None) -> str:
    return f" (95 % interval {percent(interval[0])} to {percent(interval[1])} %)" if interval else ""


def percent(value: float) -> str:
    """A rate in [0, 1] as the number of a percentage, without decimals unless it would then read as all or none.

    >>> percent(0.946), percent(0.9971), percent(1.0)
    ('95', '99.7', '100')
    """
    whole = f"{100 * value:.0f}"
    return f"{100 * value:.1f}" if whole in ("0", "100") and value not in (0, 1) else whole


def worth_of_a_flag(point: OperatingPoint, prevalence: float) -> str:
    """How many flagged films have a pneumothorax where this share of all films, in (0, 1), does.

    "" if that is not known: nothing was measured, or of the measured films none or all were flagged.
    """
    if point.sensitivity is None or point.specificity is None:
        return ""
    true, false = point.sensitivity * prevalence, (1 - point.specificity) * (1 - prevalence)
    missed, passed = (1 - point.sensitivity) * prevalence, point.specificity * (1 - prevalence)
    if not (true + false and missed + passed):
        return ""
    flagged, others = 100 * true / (true + false), share(missed / (missed + passed))
    return f"Then {flagged:.0f} % of flagged films have a pneumothorax, and so do {others} of the others."


def report_text(
    finding: Finding,
    sizes: Sequence[SideMeasure],
    setting: Setting,
    view: View,
    warnings: Iterable[FilmNote] = (),
    answered: Reading | None = None,
) -> str:
    """A text for the reader's own report: technique, finding, measurement, the reader's answer if any, limits."""
    named = f"{view} chest film" if view in (View.PA, View.AP) else "Chest film"
    lines = [
        f"Technique: {named}, analysed by {setting.weights.name} {at(setting)}.",
        f"Finding: {verdict(finding)}. {where(finding)}",
        " ".join([f"Measurement: score {finding.score:.3f}.", *map(size, sizes)]),
        *([f"Reader: {_reader(answered, finding)}"] if answered else []),
        f"Limits: an area on a film is not a volume. {MISSED} "
        + "".join(f"{warning.message} " for warning in warnings)
        + "Research and teaching only; not a medical device.",
    ]
    return "\n".join(lines)


def at(setting: Setting) -> str:
    """Operating point and thresholds in words."""
    used = setting.thresholds
    how = "with thresholds set by hand" if setting.by_hand else f"at the operating point {setting.operating_point}"
    return f"{how} (score threshold {used.score:.3f}, mask threshold {used.mask_threshold:.2f})"


def alt_text(finding: Finding, shape: tuple[int, int]) -> str:
    """The film and its verdict in words, for screen readers."""
    return f"Chest film, {shape[1]} by {shape[0]} pixels. {verdict(finding)}. {where(finding)}"


def hidden_alt_text(shape: tuple[int, int]) -> str:
    """The film in words while its result is hidden."""
    return f"Chest film, {shape[1]} by {shape[0]} pixels. The result is hidden until you have read the film."


def reading(answered: Reading, now: Thresholds) -> str:
    """A reader's answer in words, and at which thresholds it was given if they are others now."""
    then = answered.setting.thresholds
    if not answered.is_of_verdict_at(now) and answered.answer is not Answer.CONTOUR:
        return f"You said {_said(answered)}, at score threshold {then.score:.3f}."
    said = _reading(answered, "like this" if then == now else "as it was then")
    if then == now or answered.answer is Answer.CONTOUR:
        return said
    return f"{said} You said so at score threshold {then.score:.3f} and mask threshold {then.mask_threshold:.2f}."


def _reading(answered: Reading, how: str) -> str:
    if answered.answer is Answer.CONTOUR:
        if answered.mask is None:
            return "Your contour is empty: no pneumothorax."
        return f"Your contour: {_drawn(answered)}."
    said = _said(answered)
    if answered.unseen:
        where = " Show where with “Adjust contour”." if answered.positive else ""
        stands = "agrees" if answered.answer is Answer.AGREE else "disagrees"
        return f"You said {said}; the model {stands}.{where}"
    if answered.answer is Answer.AGREE:
        return f"You agree: {said}{f', outlined {how}' if answered.mask else ''}."
    return f"You disagree: {said}.{' Show where with “Adjust contour”.' if answered.positive else ''}"


def whose(answered: Reading | None) -> str:
    """Whose result the files of one film hold, if the reader's is another; else ""."""
    if answered is None or (answered.answer is not Answer.CONTOUR and not answered.differs):
        return ""
    if answered.mask is None:
        return "Overlay, mask and DICOM hold the model’s result, not your answer. The JSON has both."
    return (
        "Overlay, mask and DICOM hold the model’s outline, not yours. Yours is in “Download all films” and in “For "
        "training”."
    )


def _reader(answered: Reading, finding: Finding) -> str:
    """The reader's answer, and how it stands to the finding that is reported, which may be at another threshold."""
    if answered.answer is Answer.CONTOUR:
        return f"own contour, {_said(answered)}{f': {_drawn(answered)}' if answered.mask else ''}."
    stands = "agrees" if answered.positive is finding.flagged else "disagrees"
    return f"own reading, {_said(answered)}; {stands}." if answered.unseen else f"{stands}, {_said(answered)}."


def _said(answered: Reading) -> str:
    return "a pneumothorax" if answered.positive else "no pneumothorax"


def _drawn(answered: Reading) -> str:
    """Side and size of the reader's own contour."""
    assert answered.mask is not None  # noqa: S101  (only contours that hold something are described)
    named = " and ".join("side unknown" if side is Side.UNKNOWN else SIDE_WORDS[side] for side in answered.sides)
    return f"{named}, {share(float(answered.mask.mask().mean()))} of the film's area"


def again(numbers: Sequence[int]) -> str:
    """What to say of films that were opened once more, by their numbers; "" if there is none.

    >>> again([3]), again([3, 3, 5])
    ('Already in the list: film 3.', 'Already in the list: 3 of the files.')
    """
    if not numbers:
        return ""
    return f"Already in the list: {f'film {numbers[0]}' if len(numbers) == 1 else f'{len(numbers)} of the files'}."


def trouble(error: PtxError) -> str:
    """An error below the reader's answer, as HTML."""
    return f"{escape(error.message)} <code>{escape(error.code)}</code>"
