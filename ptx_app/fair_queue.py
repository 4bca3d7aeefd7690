"""First come, first served: a queue for the sandbox and for the network. Everyone knows their place in it."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FairQueue:
    """A fair queue for a shared resource. On two cores, two films in parallel take longer than one after the other."""

    def __init__(self, places: int = 1) -> None:
        """`places`: how many may use the resource at once."""
        self._places = places
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, on_wait: Callable[[int], None] = lambda _: None, every: float = 0.5) -> Iterator[None]:
        """Wait for a turn and hold it during the `with` block.

        Args:
            on_wait: called while waiting, first at once and then about every `every` seconds, with the number of
                callers that must leave first. If it raises, the caller leaves the queue.
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
