"""First come, first served, before the readers and before the network; everyone knows their place."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FairQueue:
    """A fair queue for a shared resource. On two cores, two films at once take longer than one after the other."""

    def __init__(self, places: int = 1) -> None:
        """`places`: how many may be inside at once."""
        self._places = places
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, on_wait: Callable[[int], None] = lambda _: None, every: float = 0.5) -> Iterator[None]:
        """Wait for one's turn and hold it for the body.

        Args:
            on_wait: called with how many must leave before the caller enters, at once and about every `every`
                seconds while waiting. If it raises, the place is given up.
            every: seconds.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            while (place := self._place(ticket)) > 0:
                on_wait(place)
                with self._changed:
                    if self._queue.index(ticket) >= self._places:
                        self._changed.wait(every)
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _place(self, ticket: object) -> int:
        with self._changed:
            return self._queue.index(ticket) - self._places + 1
