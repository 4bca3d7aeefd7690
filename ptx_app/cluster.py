"""Spreads films over a Dask cluster. Needs the extra "cluster".

Workers get a film's bytes, or fetch them from the archive, and return its result: they need neither the folder nor the
output, and know no file name. Only this process writes. So a worker that is killed loses and doubles nothing; its films
go to another one.
"""

import os
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dask
from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, get_worker

from ptx_app import __version__
from ptx_app.audit import Log
from ptx_app.errors import FilmError, PtxError, SettingsError
from ptx_app.film.files import bytes_of, is_named_a_film
from ptx_app.film.limits import Limits
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.pipeline import Detector
from ptx_app.process import begin
from ptx_app.results import NamedResults, Result, ResultMaker, Wanted
from ptx_app.settings import read_settings
from ptx_app.unexpected import unexpected

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Instance, Pacs

WORKER_LOST = "WORKER_LOST"
_CONNECT_SECONDS, _WORKER_SECONDS = 10, 30
_FILMS_PER_THREAD = 2  # one in work, one waiting for it; more would only fill the scheduler's memory
_DASK = {
    "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
    "distributed.admin.large-graph-warning-threshold": f"{2 * Limits().file_bytes}B",
}


class FilmWorker(WorkerPlugin):
    """What each worker process has: a detector, a sandboxed reader and, if films come from it, the archive."""

    def __init__(self, wanted: Wanted, *, archive: bool) -> None:
        """`wanted`: what to make of every film, and with what; `archive`: whether films are fetched by the workers."""
        self._wanted, self._archive, self._version = wanted, archive, __version__
        self._maker: ResultMaker | PtxError | None = None
        self._reader: SandboxedReader | None = None
        self._pacs: Pacs | None = None
        self._log = Log()
        self._address = ""

    def setup(self, worker: Worker) -> None:
        """Load the detector. Raises PtxError if it would not be the same as this run's."""
        begin()
        self._address = worker.address
        try:
            self._pacs = self._opened() if self._archive else None
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
        self._reader = SandboxedReader(processes=threads)
        return ResultMaker(replace(detector, read=self._reader.read), self._reader.read_source, self._wanted)

    def _opened(self) -> "Pacs":
        """The archive, with this worker's own settings: no address and no password travels.

        The audit trail is the worker's own, too.
        """
        try:
            from ptx_app.hospital.dicomweb import Pacs
            from ptx_app.hospital.pacs_settings import read_pacs_settings
        except ModuleNotFoundError:
            raise self._here(SettingsError("PACKAGE_MISSING", "Install ptx_app[hospital].")) from None
        try:
            self._log = read_settings(os.environ).log_of("ptx predict")
            return Pacs(read_pacs_settings(os.environ))
        except SettingsError as error:
            raise self._here(error) from None

    def _here(self, error: PtxError) -> SettingsError:
        return SettingsError(error.code, f"On worker {self._address}: {error.message}")

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  (Dask's signature)
        """End the reader."""
        if self._reader:
            self._reader.close()

    def make(self, film: "bytes | Instance", named_a_film: bool, told: str | None) -> Result:
        """The result of a film. Raises PtxError if `setup` failed, or the archive gives this worker no film at all.

        `told`: the film's name in the audit trail, if it was told of it already.
        """
        if isinstance(self._maker, PtxError):
            raise self._maker
        if self._maker is None:
            raise _differs("state")
        try:
            data, told = (film, told) if isinstance(film, bytes) else self._fetched(film)
        except FilmError as error:
            return Result.of_error(error, named_a_film=named_a_film)
        return replace(self._maker.make(data, named_a_film=named_a_film), audit_name=told)

    def _fetched(self, film: "Instance") -> tuple[bytes, str | None]:
        """The film's bytes, and its name in this worker's audit trail."""
        if self._pacs is None:
            raise _differs("state")
        try:
            data = self._pacs.bytes_of(film)
            return data, self._log.opened(data, "archive")
        except FilmError:
            raise
        except PtxError as error:
            raise self._here(error) from None


def _differs(what: str) -> SettingsError:
    return SettingsError("CLUSTER_DIFFERS", f"A worker has a different {what}. Give all machines the same.")


def _make(plugin: str, film: "bytes | Instance", named_a_film: bool, told: str | None) -> Result | PtxError:
    """Runs on a worker. Returns errors: of a task that raises one, Dask may log what it was given, and so UIDs."""
    worker_plugin = get_worker().plugins.get(plugin)
    if not isinstance(worker_plugin, FilmWorker):  # such as of a run that has ended
        return _differs("state")
    try:
        return worker_plugin.make(film, named_a_film, told)
    except PtxError as error:
        return error
    except Exception as error:
        return unexpected(error)


_Begun = Result | Future[Result | PtxError]


@contextmanager
def spread(
    files: Sequence[tuple[Path, str]],
    wanted: Wanted,
    scheduler: str,
    instances: "Mapping[Path, Instance] | None" = None,
    log: Log | None = None,
) -> Iterator[NamedResults]:
    """The result of each file, in order, while the block runs.

    Args:
        files: each file with the stem of its results.
        wanted: what to make of every film.
        scheduler: address of Dask's scheduler, such as tcp://10.0.0.5:8786.
        instances: where each file is in the archive, from which the workers then fetch it; None to send its bytes.
        log: the audit trail, told of each film whose bytes are sent, before they are.

    Raises:
        SettingsError: CLUSTER_UNREACHABLE, CLUSTER_EMPTY or CLUSTER_DIFFERS; PACKAGE_MISSING or as `read_pacs_settings`
            of a worker; from the results also CLUSTER_LOST, if the scheduler is lost, and a code of `OF_THE_SETTING`,
            if a worker gets no film from the archive.
        AuditError: as `Log.tell`, from the results.
        WeightsError: a worker does not have the weights.
    """
    with _films_on(scheduler, FilmWorker(wanted, archive=instances is not None)) as (client, plugin):
        yield _results(client, plugin, files, instances, log or Log())


def _results(
    client: Client,
    plugin: str,
    files: Sequence[tuple[Path, str]],
    instances: "Mapping[Path, Instance] | None",
    log: Log,
) -> NamedResults:
    begun: deque[tuple[Path, str, _Begun]] = deque()
    try:
        for file, stem in files:
            begun.append((file, stem, _begun(client, plugin, file, instances, log)))
            if len(begun) > _FILMS_PER_THREAD * max(sum(client.nthreads().values()), 1):
                yield _ended(*begun.popleft())
        while begun:
            yield _ended(*begun.popleft())
    except (OSError, CancelledError) as error:
        raise SettingsError(
            "CLUSTER_LOST", "The scheduler was lost. Start it again and finish this run with --resume."
        ) from error


@contextmanager
def _films_on(scheduler: str, worker: FilmWorker) -> Iterator[tuple[Client, str]]:
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
            client.register_plugin(worker, name=name)
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


def _begun(client: Client, plugin: str, file: Path, instances: "Mapping[Path, Instance] | None", log: Log) -> _Begun:
    named = is_named_a_film(file)
    told = None
    try:
        film = bytes_of(file) if instances is None else instances[file]
        if isinstance(film, bytes):
            told = log.opened(film, "file")
    except FilmError as error:
        return Result.of_error(error, named_a_film=named)
    # A key of its own, as Dask would make one from the bytes, and logs keys.
    return client.submit(_make, plugin, film, named, told, key=f"film-{uuid.uuid4()}", pure=False)


def _ended(file: Path, stem: str, begun: _Begun) -> tuple[Path, str, Result]:
    """Wait for a result. A film with which several workers were lost has failed."""
    if isinstance(begun, Result):
        return file, stem, begun
    try:
        result = begun.result()
    except KilledWorker:
        error = FilmError(WORKER_LOST, "Several workers were lost while they had this film. Try it on one machine.")
        return file, stem, Result.of_error(error, named_a_film=True)
    if isinstance(result, PtxError):
        raise result
    return file, stem, result
