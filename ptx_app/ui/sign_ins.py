"""Which sign-ins are in use. One ends after a time without use, at the latest after some hours, or when asked to.

Streamlit's cookie is good for 30 days and is read only when a page connects. So what counts is this list, which is
asked at every run of the page. It is in memory: after a restart, only sign-ins younger than the idle time go on.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_SECONDS = 12 * 3600


@dataclass
class _SignIn:
    since: float
    used: float
    over: bool = False
    on_end: list[Callable[[str], None]] = field(default_factory=list)


class SignIns:
    """The list. Several threads may use it at once."""

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.time) -> None:
        """An empty list. `clock` gives seconds since 1970, as the provider's `iat` does."""
        self.idle_seconds, self._clock = idle_seconds, clock
        self._lock = threading.Lock()
        self._known: dict[str, _SignIn] = {}

    def alive(self, name: str, since: float) -> bool:
        """Whether a sign-in, which began at `since`, goes on. One that is over is over for good."""
        with self._lock:
            self._forget()
            return self._is_alive(self._known.setdefault(name, _SignIn(since, since)))

    def use(self, name: str) -> None:
        """Note that the person is at work. Does nothing if the sign-in is over."""
        with self._lock:
            known = self._known.get(name)
            if known is not None and self._is_alive(known):
                known.used = self._clock()

    def when_over(self, name: str, call: Callable[[str], None]) -> None:
        """Have `call` called with the reason once the sign-in is over: "idle" or what `end` is given."""
        with self._lock:
            known = self._known.get(name)
            if known is not None and self._is_alive(known):
                known.on_end.append(call)
                return
        call("idle")

    def end(self, name: str, why: str) -> None:
        """End a sign-in, in all its pages."""
        with self._lock:
            known = self._known.get(name)
            calls: list[Callable[[str], None]] = []
            if known is not None:
                known.over, calls, known.on_end = True, known.on_end, []
        for call in calls:
            call(why)

    def end_idle(self) -> None:
        """End all sign-ins that are no longer in use."""
        with self._lock:
            idle = [name for name, known in self._known.items() if known.on_end and not self._is_alive(known)]
        for name in idle:
            self.end(name, "idle")

    def _is_alive(self, known: _SignIn) -> bool:
        now = self._clock()
        known.over = known.over or now - known.used >= self.idle_seconds or now - known.since >= LONGEST_SECONDS
        return not known.over

    def _forget(self) -> None:
        """Forget those that would be refused by their age alone."""
        old = self._clock() - self.idle_seconds
        for name in [
            name for name, known in self._known.items() if known.over and known.since < old and not known.on_end
        ]:
            del self._known[name]
