"""The inbox's figures for Prometheus and its health, over HTTP on this machine only. Counts, never a film's name."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ptx_app.errors import SettingsError

_STALLED_SECONDS = 300.0  # a film takes seconds; reading one may take its time limit three times


class Metrics:
    """The figures. Safe to use from many threads."""

    def __init__(self) -> None:
        """All figures are 0."""
        self.registry = CollectorRegistry()
        self.films = Counter("ptx_inbox_films", "Films done", ["status"], registry=self.registry)
        self.flagged = Counter("ptx_inbox_flagged", "Films flagged", registry=self.registry)
        self.set_aside = Counter("ptx_inbox_set_aside", "Films given up after several tries", registry=self.registry)
        self.retries = Counter("ptx_inbox_retries", "Tries on which the reader was lost", registry=self.registry)
        self.seconds = Histogram("ptx_inbox_film_seconds", "Time from bytes to results", registry=self.registry)
        self.received = Counter("ptx_inbox_received", "Films received", ["outcome"], registry=self.registry)
        self.rejected = Counter("ptx_inbox_rejected_calls", "Associations rejected", registry=self.registry)
        self.sent = Counter("ptx_inbox_sent", "Films whose results were sent on", ["outcome"], registry=self.registry)
        self.waiting = Gauge("ptx_inbox_waiting", "Complete files that wait to be read", registry=self.registry)
        self.unsent = Gauge("ptx_inbox_unsent", "Films whose objects wait to be sent", registry=self.registry)
        self.free = Gauge("ptx_inbox_free_bytes", "Free bytes on the fullest disk", registry=self.registry)
        # So that a monitor sees a 0 before the first film.
        for status in ("ok", "rejected", "failed"):
            self.films.labels(status)
        for outcome in ("stored", "repeated", "disk_full", "too_large", "failed"):
            self.received.labels(outcome)
        for outcome in ("ok", "refused", "unreachable"):
            self.sent.labels(outcome)


class Health:
    """What keeps the inbox from working, if anything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._clock, self._beat = clock, clock()
        self._lock, self._problems = threading.Lock(), set[str]()

    def beat(self) -> None:
        """The inbox is alive."""
        self._beat = self._clock()

    def tell(self, problem: str, there: bool) -> bool:
        """Note whether a problem is there. Returns whether that is new."""
        with self._lock:
            changed = there != (problem in self._problems)
            (self._problems.add if there else self._problems.discard)(problem)
            return changed

    def problems(self) -> list[str]:
        """The codes of all problems, such as DISK_FULL; empty if it works."""
        with self._lock:
            stalled = ["STALLED"] if self._clock() - self._beat > _STALLED_SECONDS else []
            return sorted([*self._problems, *stalled])


@contextmanager
def served(port: int, metrics: Metrics, health: Health) -> Iterator[int]:
    """Serve `/metrics` and `/health` on 127.0.0.1 while the block runs. Yields the port; 0 lets the system choose one.

    `/health` answers 200, or 503 with the problems.

    Raises:
        SettingsError: PORT_TAKEN.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
            elif self.path == "/health":
                problems = health.problems()
                said = json.dumps({"status": "failing" if problems else "ok", "problems": problems})
                self._answer(503 if problems else 200, "application/json", said.encode())
            else:
                self._answer(404, "text/plain", b"Not found. See /metrics and /health.\n")

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """A monitor asks every few seconds; nobody wants to read that."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise SettingsError("PORT_TAKEN", f"Port {port} cannot be used. Choose another with --metrics-port.") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
