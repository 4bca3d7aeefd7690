"""What one visit tells the audit trail. The page has one such object; without a trail it does nothing.

Each method is called before what it tells of is done. It raises AuditError if the trail cannot be written, and then it
is not done.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakSet

from ptx_app.audit import Event, Trail
from ptx_app.errors import AuditError
from ptx_app.inference.decide import Thresholds, grade

if TYPE_CHECKING:
    from ptx_app.ui.visit import Case

_LOG = logging.getLogger(__name__)


class SessionLog:
    """The audit trail as one visit writes to it."""

    def __init__(self, trail: Trail | None = None, who: str | None = None) -> None:
        """A log of one visit.

        Args:
            trail: None if the operator keeps none.
            who: the person, as the sign-in knows them; None without sign-in.
        """
        self._trail, self._who = trail, who
        # Not Streamlit's own number of the session: with that one, its films can be had.
        self._session = secrets.token_hex(8)
        self._open = False
        self._setting: Mapping[str, object] | None = None
        self._shown: tuple[object, ...] = ()
        self._listed: set[tuple[int, bool, bool]] = set()
        _all.add(self)

    def tell(self, event: Event, **facts: object) -> None:
        """Write a line. Raises AuditError as `Trail.record`."""
        if self._trail is not None:
            self._trail.record(event, who=self._who, session=self._session, **facts)
            self._open = True

    def opened(self, content: bytes, how: str) -> str | None:
        """Tell that a film was opened, and return its name in the trail. `how`: dropped, zip, archive or example."""
        if self._trail is None:
            return None
        film = self._trail.film(content)
        self.tell(Event.FILM_OPENED, film=film, how=how)
        return film

    def listed(
        self, cases: Iterable["Case"], thresholds: Thresholds | None, hidden: Callable[["Case"], bool] = lambda _: False
    ) -> None:
        """Tell of each film that now appears in the list, with its result unless that is hidden."""
        for case in cases:
            unseen = hidden(case)
            listed = case.number, case.overruled, unseen
            if case.done and listed not in self._listed:
                self.tell(Event.RESULT_SHOWN, place="list", **_result(case, thresholds, hidden=unseen))
                self._listed.add(listed)

    def shown(self, case: "Case", thresholds: Thresholds | None, *, hidden: bool = False) -> None:
        """Tell that a film and, unless it is hidden, its result are shown in the viewer; not if it was so the last
        time.
        """
        shown = case.number, case.overruled, thresholds, hidden
        if shown != self._shown:
            self.tell(Event.RESULT_SHOWN, place="viewer", **_result(case, thresholds, hidden=hidden))
            self._shown = shown

    def compared(self, cases: Iterable["Case"], thresholds: Thresholds) -> None:
        """Tell that films and their results are shown side by side."""
        for case in cases:
            self.tell(Event.RESULT_SHOWN, place="comparison", **_result(case, thresholds))

    def setting(self, **values: object) -> None:
        """Tell what is set otherwise than the last time: the former value and the new one."""
        former = self._setting or values
        changed = {name: [former[name], value] for name, value in values.items() if former[name] != value}
        if changed:
            self.tell(Event.SETTING_CHANGED, **changed)
        self._setting = values

    def signed_out(self, why: str) -> None:
        """Tell that the person was signed out, and that the session has ended with that. As `ended`."""
        self._last(Event.SIGNED_OUT, why)
        self.ended("signed out")

    def ended(self, why: str) -> None:
        """Tell that the session has ended. Nothing can be stopped any more, so a failure is only logged."""
        self._last(Event.SESSION_ENDED, why)
        self._open = False

    def _last(self, event: Event, why: str) -> None:
        if self._open:
            try:
                self.tell(event, why=why)
            except AuditError as error:
                _LOG.error("“%s” is missing in the audit trail: %s", event, error.code)


_all: WeakSet[SessionLog] = WeakSet()


def end_all() -> None:
    """Tell of every session that it ended, because the server stops."""
    for log in list(_all):
        log.ended("server stopped")


def _result(case: "Case", thresholds: Thresholds | None, *, hidden: bool = False) -> dict[str, object]:
    film = case.film
    if hidden:
        return {"film": case.audit_name, "result": "hidden", "overruled": case.overruled or None}
    if case.error is not None or film is None:
        return {"film": case.audit_name, "result": "not read", "code": case.error and case.error.code}
    if film.prediction is None or thresholds is None:
        return {"film": case.audit_name, "result": "not analysed", "code": film.rejections[0].code}
    return {
        "film": case.audit_name,
        "result": grade(film.prediction.score, thresholds.score).value,
        "overruled": case.overruled or None,
        "score": round(film.prediction.score, 4),
        "score_threshold": thresholds.score,
        "mask_threshold": thresholds.mask_threshold,
    }
