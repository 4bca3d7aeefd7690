"""What one visit tells the audit trail. The page has one such object; without a trail it does nothing."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakSet

from ptx_app.audit import Event, Log, Trail
from ptx_app.inference.decide import Thresholds, grade

if TYPE_CHECKING:
    from ptx_app.ui.visit import Case


class SessionLog(Log):
    """The audit trail as one visit writes to it. Its methods are called before what they tell of is done, as `tell`."""

    def __init__(self, trail: Trail | None = None, who: str | None = None) -> None:
        """A log of one visit.

        Args:
            trail: None if the operator keeps none.
            who: the person, as the sign-in knows them; None without sign-in.
        """
        # Not Streamlit's own number of the session: with that one, its films can be had.
        super().__init__(trail, who=who, session=secrets.token_hex(8))
        self._open = False
        self._setting: Mapping[str, object] | None = None
        self._shown: tuple[object, ...] = ()
        self._listed: set[tuple[int, bool, bool]] = set()
        _all.add(self)

    def tell(self, event: Event, **facts: object) -> None:
        """Write a line. Raises AuditError as `Trail.record`."""
        super().tell(event, **facts)
        self._open = True

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
            self.tell_after(event, why=why)


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
