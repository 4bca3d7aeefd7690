"""Spreads films over a Dask cluster. Needs the extra "cluster".

Workers get a film's bytes and return its result: they need neither the folder nor the output, and know no file name.
Only this process writes. So a worker that is killed loses and doubles nothing; its films go to another one.
"""

import os
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import dask
from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, get_worker

from ptx_app import __version__
from ptx_app.errors import FilmError, PtxError, SettingsError
from ptx_app.film.files import bytes_of, is_named_a_film
from ptx_app.film.limits import Limits
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.pipeline import Detector
from ptx_app.process import begin
from ptx_app.results import Result, ResultMaker, Wanted
from ptx_app.settings import read_settings

WORKER_LOST = "WORKER_LOST"
_CONNECT_SECONDS, _WORKER_SECONDS = 10, 30
_FILMS_PER_THREAD = 2  # one in work, one waiting for it; more would only fill the scheduler's memory
_DASK = {
    "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
    "distributed.admin.large-graph-warning-threshold": f"{2 * Limits().file_bytes}B",
}


class FilmWorker(WorkerPlugin):
    """What each worker process has: a detector and a sandboxed reader, made once."""

    def __init__(self, wanted: Wanted) -> None:
        """`wanted`: what to make of every film, and with what."""
        self._wanted, self._version = wanted, __version__
        self._maker: ResultMaker | PtxError | None = None
        self._reader: SandboxedReader | None = None

    def setup(self, worker: Worker) -> None:
        """Load the detector. Raises PtxError if it would not be the same as this run's."""
        begin()
        try:
            self._maker = self._made(worker.state.nthreads)
        except PtxError as error:
            self._maker = error
            raise

    def _made(self, threads: int) -> ResultMaker:
        setting = self._wanted.setting
        if self._version != __version__:
            raise _differs("version of ptx_app")
        settings = read_settings(os.environ)
        detector = Detector.load(setting.weights.name, given=settings.weights_sources, engine=settings.engine)
        if detector.weights.sha256 != setting.weights.sha256:
            raise _differs("weights file")
        if detector.network.engine != setting.engine:
            raise _differs("engine: set PTX_ENGINE to the same value")
        self._reader = SandboxedReader(workers=threads)
        return ResultMaker(replace(detector, read=self._reader.read), self._reader.read_source, self._wanted)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  (Dask's signature)
        """End the reader."""
        if self._reader:
            self._reader.close()

    def make(self, data: bytes, named_a_film: bool) -> Result:
        """The result of a film. Raises PtxError if `setup` failed."""
        if isinstance(self._maker, PtxError):
            raise self._maker
        if self._maker is None:
            raise _differs("state")
        return self._maker.make(data, named_a_film=named_a_film)


def _differs(what: str) -> SettingsError:
    return SettingsError("CLUSTER_DIFFERS", f"A worker has a different {what}. Give all machines the same.")


def _make(plugin: str, data: bytes, named_a_film: bool) -> Result:
    """Runs on a worker."""
    worker_plugin: FilmWorker = get_worker().plugins[plugin]  # type: ignore[assignment]
    return worker_plugin.make(data, named_a_film)


Results = Iterator[tuple[Path, str, Result]]


@contextmanager
def spread(files: Sequence[tuple[Path, str]], wanted: Wanted, scheduler: str) -> Iterator[Results]:
    """The result of each file, in order, while the block runs.

    Args:
        files: each file with the stem of its results.
        wanted: what to make of every film.
        scheduler: address of Dask's scheduler, such as tcp://10.0.0.5:8786.

    Raises:
        SettingsError: CLUSTER_UNREACHABLE, CLUSTER_EMPTY or CLUSTER_DIFFERS; from the results also CLUSTER_LOST, if
            the scheduler is lost.
        WeightsError: a worker does not have the weights.
    """
    with _films_on(scheduler, wanted) as (client, plugin):
        yield _results(client, plugin, files)


def _results(client: Client, plugin: str, files: Sequence[tuple[Path, str]]) -> Results:
    begun: deque[tuple[Path, str, Result | Future[Result]]] = deque()
    try:
        for file, stem in files:
            begun.append((file, stem, _begun(client, plugin, file)))
            if len(begun) > _FILMS_PER_THREAD * max(sum(client.nthreads().values()), 1):
                yield _ended(*begun.popleft())
        while begun:
            yield _ended(*begun.popleft())
    except (OSError, CancelledError) as error:
        raise SettingsError(
            "CLUSTER_LOST", "The scheduler was lost. Start it again and finish this run with --resume."
        ) from error


@contextmanager
def _films_on(scheduler: str, wanted: Wanted) -> Iterator[tuple[Client, str]]:
    """A client whose workers can make results, and the name under which they do."""
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_DASK))
        try:
            client = stack.enter_context(Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise SettingsError(
                "CLUSTER_UNREACHABLE", "The scheduler does not answer. Start it, or check its address."
            ) from error
        try:
            client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError as error:
            raise SettingsError("CLUSTER_EMPTY", "The scheduler has no workers. Start some.") from error
        name = f"ptx-{uuid.uuid4()}"
        try:
            client.register_plugin(FilmWorker(wanted), name=name)
        except Exception as error:
            # Dask raises a plain Exception with the worker's own error as its text.
            if isinstance(error, ImportError) or "ModuleNotFoundError" in str(error):
                raise _differs("version of ptx_app, or none") from error
            raise
        stack.callback(_forget, client, name)
        yield client, name


def _forget(client: Client, plugin: str) -> None:
    """Free what the workers hold, if they can still be reached."""
    if client.status == "running":
        client.unregister_worker_plugin(plugin)


def _begun(client: Client, plugin: str, file: Path) -> Result | Future[Result]:
    named = is_named_a_film(file)
    try:
        data = bytes_of(file)
    except FilmError as error:
        return Result.of_error(error, named_a_film=named)
    # A key of its own, as Dask would make one from the bytes, and logs keys.
    return client.submit(_make, plugin, data, named, key=f"film-{uuid.uuid4()}", pure=False)


def _ended(file: Path, stem: str, begun: Result | Future[Result]) -> tuple[Path, str, Result]:
    """Wait for a result. A film with which several workers were lost has failed."""
    if isinstance(begun, Result):
        return file, stem, begun
    try:
        return file, stem, begun.result()
    except KilledWorker:
        error = FilmError(WORKER_LOST, "Several workers were lost while they had this film. Try it on one machine.")
        return file, stem, Result.of_error(error, named_a_film=True)
