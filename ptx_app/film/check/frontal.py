"""Is it a frontal chest film? Checks the header first, then the picture."""

from ptx_app.film.check.classifier import classify
from ptx_app.film.radiograph import FilmNote, Radiograph

_BLANK = FilmNote(
    "BLANK_PICTURE", "The picture is blank or nearly blank. Export the film again with a suitable window."
)
_NOT_A_CHEST_FILM = FilmNote(
    "NOT_A_CHEST_FILM", "This does not look like a frontal chest film. Open a frontal chest film."
)
_INVERTED = FilmNote(
    "INVERTED_FILM",
    "This film looks inverted: black and white are swapped. Export it with white bones and open it again.",
)
_TURNED = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees anticlockwise"}


def check(radiograph: Radiograph) -> tuple[FilmNote, ...]:
    """Why this is not an upright frontal chest film; empty if it is one.

    The header's rejections come first, then those of the picture: BLANK_PICTURE, NOT_A_CHEST_FILM, INVERTED_FILM,
    TURNED_FILM.
    """
    known = {rejection.code for rejection in radiograph.rejections}
    return (
        *radiograph.rejections,
        *(rejection for rejection in _picture_rejections(radiograph) if rejection.code not in known),
    )


def _picture_rejections(radiograph: Radiograph) -> list[FilmNote]:
    appearance = classify(radiograph.film)
    if appearance.blank:
        return [_BLANK]
    if not appearance.film:
        return [_NOT_A_CHEST_FILM]
    rejections = [_INVERTED] if appearance.inverted else []
    if appearance.turned:
        by = _TURNED[appearance.turned]
        rejections.append(
            FilmNote("TURNED_FILM", f"This film looks rotated by {by}. Rotate it upright and open it again.")
        )
    return rejections
