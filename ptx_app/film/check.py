"""Is it a frontal chest film? Header first, then the picture."""

from ptx_app.errors import NotAFilmError
from ptx_app.film.radiograph import Radiograph, Remark


def check(radiograph: Radiograph) -> tuple[Remark, ...]:
    """Why this is no frontal chest film that can be judged; empty where it is one."""
    return radiograph.objections


def require_frontal_film(radiograph: Radiograph) -> None:
    """Raise NotAFilmError with the first objection's code and sentence where there is one."""
    for objection in check(radiograph):
        raise NotAFilmError(objection.code, objection.message)
