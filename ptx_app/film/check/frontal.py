"""Is it a frontal chest film? Header first, then the picture."""

from ptx_app.errors import NotAFilmError
from ptx_app.film.check.classifier import look_at
from ptx_app.film.radiograph import Radiograph, Remark

_BLANK = Remark(
    "BLANK_PICTURE", "The picture is blank, or nearly so. Export the film anew, with a window that shows it."
)
_NOT_A_CHEST_FILM = Remark(
    "NOT_A_CHEST_FILM", "This does not look like a frontal chest film. The model knows nothing else: open such a film."
)
_INVERTED = Remark(
    "INVERTED_FILM",
    "This film looks inverted: black and white are exchanged. Export it with white bones, open it anew.",
)
_TURNED = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees anticlockwise"}


def check(radiograph: Radiograph) -> tuple[Remark, ...]:
    """Why this is no frontal chest film that can be judged; empty where it is one.

    The header's objections come first, then those to the picture: BLANK_PICTURE, NOT_A_CHEST_FILM, INVERTED_FILM,
    TURNED_FILM.
    """
    known = {objection.code for objection in radiograph.objections}
    return (
        *radiograph.objections,
        *(objection for objection in _objections_to_picture(radiograph) if objection.code not in known),
    )


def require_frontal_film(radiograph: Radiograph) -> None:
    """Raise NotAFilmError with the first objection's code and sentence where there is one."""
    for objection in check(radiograph):
        raise NotAFilmError(objection.code, objection.message)


def _objections_to_picture(radiograph: Radiograph) -> list[Remark]:
    appearance = look_at(radiograph.pixels)
    if appearance.blank:
        return [_BLANK]
    if not appearance.film:
        return [_NOT_A_CHEST_FILM]
    objections = [_INVERTED] if appearance.inverted else []
    if appearance.turned:
        by = _TURNED[appearance.turned]
        objections.append(Remark("TURNED_FILM", f"This film looks turned by {by}. Turn it upright and open it again."))
    return objections
