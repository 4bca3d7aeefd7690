"""ptx predict over a Dask cluster on 127.0.0.1: the same table as on one machine, whatever happens to the workers."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

from ptx_app import cluster as cluster_module
from ptx_app.__main__ import main
from ptx_app.audit import Trail
from ptx_app.errors import PtxError, SettingsError
from ptx_app.film import read_film
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import load_manifest
from ptx_app.output.parquet import write_parquet
from ptx_app.output.setting import Setting
from ptx_app.output.table import RESULT_COLUMNS
from ptx_app.pipeline import Detector
from ptx_app.results import Result, Wanted
from tests.support.films import broken_dicom, ct_slice, dicom_of, real_dicom, simulated_film
from tests.support.marked_films import FILE_MARK, marked_dicom, markers_in
from tests.support.serving import until
from tests.support.watching import PATIENCE, rows_in, small_film


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes of one thread each. A lost worker is replaced; one loss is enough to give a film up."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
    ):
        yield cluster


def worker_ids(cluster: LocalCluster) -> list[int]:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        return sorted(client.run(os.getpid).values())


def blended(share: float, **tags: object) -> bytes:
    """A film with a pneumothorax that is more or less easy to see, so that films have different scores."""
    with_it, without = simulated_film(), read_film(real_dicom()).pixels
    pixels = cv2.resize(without + share * (with_it - without), (300, 320), interpolation=cv2.INTER_AREA)
    return dicom_of(np.asarray(pixels, np.float32), **tags)


@pytest.fixture
def films(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    for number in range(9):
        Path("films", f"{number}.dcm").write_bytes(blended(number / 8))
    Path("films", "2-slice").write_bytes(ct_slice())
    Path("films", "4-broken.dcm").write_bytes(broken_dicom())
    Path("films", "6-notes.txt").write_text("No film.")
    return Path("films")


def told(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows without the time that they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def predict(output: str, *options: str) -> int:
    return main(["predict", "films", "--output", output, "--json", *options])


@pytest.mark.thorough
def test_films_that_are_sent_to_workers_are_in_the_audit_trail_of_who_sends_them(films, cluster, monkeypatch, tmp_path):
    for path in sorted(films.iterdir())[2:]:
        path.unlink()
    key = "a key that only the operator of this test has"
    monkeypatch.setenv("PTX_AUDIT_KEY", key)
    told = []
    for name, options in (("here", ()), ("there", ("--scheduler", cluster.scheduler_address))):
        monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / name))
        assert predict(f"results-{name}", *options) == 0
        events = ("event", "film", "how", "result", "score", "files")
        lines = [line.record for line in Trail(tmp_path / name, key).lines()]
        told.append(sorted(str([line.get(event) for event in events]) for line in lines))
    assert told[0] == told[1]
    assert len(told[0]) == 4


def parquet(output: str) -> pa.Table:
    """The table with types, without the time that each film took."""
    return pq.read_table(Path(output, "results.parquet")).drop_columns("seconds")


def contents(output: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(output).iterdir() if not path.name.startswith("results.")}


@pytest.mark.thorough
def test_a_worker_killed_in_the_middle_changes_nothing_of_the_results(cluster, films):
    assert predict("alone", "--parquet") == 1  # one is broken
    before, done = worker_ids(cluster), []

    def kill_one() -> None:
        until(lambda: len(rows_in(Path("spread"))) >= 3, PATIENCE)
        os.kill(before[0], signal.SIGKILL)
        done.extend(rows_in(Path("spread")))

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert predict("spread", "--scheduler", cluster.scheduler_address, "--parquet") == 1
    killer.join()
    assert len(done) < len(rows_in(Path("alone"))), "it was killed too late"
    assert told(rows_in(Path("spread"))) == told(rows_in(Path("alone")))
    assert [row["status"] for row in rows_in(Path("alone"))].count("ok") == 9
    assert len({row["score"] for row in rows_in(Path("alone"))}) > 3
    assert contents("spread") == contents("alone")
    assert parquet("spread").equals(parquet("alone"))
    until(lambda: before[0] not in worker_ids(cluster) and len(worker_ids(cluster)) == 2, PATIENCE)

    # What took the killed one's place can make results, too.
    assert predict("later", "--scheduler", cluster.scheduler_address) == 1
    assert told(rows_in(Path("later"))) == told(rows_in(Path("alone")))


def test_films_are_spread_over_the_workers(cluster, films, monkeypatch):
    def says_who(plugin: str, data: bytes, named_a_film: bool, told: str | None) -> Result:
        import os
        import time

        time.sleep(0.2)
        row = {"status": "ok", "flagged": 0, "error_code": str(os.getpid())}
        return Result(row, {"_mask.png": b"", "_overlay.png": b"", "_result.json": b'{"film": {}}'})

    says_who.__module__ = "__main__"  # so that it travels by value
    monkeypatch.setattr(cluster_module, "_make", says_who)
    assert predict("spread", "--scheduler", cluster.scheduler_address) == 0
    workers = [int(row["error_code"]) for row in rows_in(Path("spread"))]
    assert set(workers) == set(worker_ids(cluster))
    assert min(workers.count(worker) for worker in set(workers)) >= len(workers) // 4


@pytest.mark.thorough
def test_a_film_that_costs_workers_has_failed_and_is_tried_again_by_resume(cluster, films, tmp_path, monkeypatch):
    poison = Path("films/3.dcm").read_bytes()

    def dies(plugin: str, data: bytes, named_a_film: bool, told: str | None) -> Result:
        if data == poison:
            os._exit(1)
        return Result(
            {"status": "ok", "flagged": 0}, {"_mask.png": b"", "_overlay.png": b"", "_result.json": b'{"film": {}}'}
        )

    dies.__module__ = "__main__"  # so that it travels by value
    monkeypatch.setattr(cluster_module, "_make", dies)
    assert predict("out", "--scheduler", cluster.scheduler_address) == 1
    rows = {Path(row["file"]).name: (row["status"], row["error_code"]) for row in rows_in(Path("out"))}
    assert rows.pop("3.dcm") == ("failed", "WORKER_LOST")
    # Films that waited for the same worker may be blamed, too.
    assert {("ok", "")} <= set(rows.values()) <= {("ok", ""), ("failed", "WORKER_LOST")}
    assert len(rows) == 11
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    predict("out", "--resume")
    again = {row["file"]: row for row in rows_in(Path("out"))}
    assert sorted(again) == sorted(map(str, films.iterdir()))
    assert again["films/3.dcm"]["status"] == "ok"
    assert "WORKER_LOST" not in {row["error_code"] for row in again.values()}


def test_workers_see_no_file_name_and_log_nothing_of_the_patient(cluster, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    Path("films", f"{FILE_MARK}.dcm").write_bytes(marked_dicom())
    Path("films", f"{FILE_MARK}-cut.dcm").write_bytes(marked_dicom()[:30_000])
    predict("out", "--scheduler", cluster.scheduler_address)
    assert [row["status"] for row in rows_in(Path("out"))] == ["failed", "ok"]
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        logs = str(client.get_worker_logs()) + str(client.get_scheduler_logs())
        stories = str(client.run(lambda dask_worker: dask_worker.state.story(*list(dask_worker.state.tasks))))
    assert "ptx-" in logs  # the plugin
    assert not markers_in(logs + stories)
    assert not markers_in("".join(capfd.readouterr()).replace(FILE_MARK, ""))


@pytest.mark.thorough
def test_a_worker_that_would_give_other_results_ends_the_run(cluster, films):
    weights = load_manifest().entry()
    point = weights.operating_point()

    def code(weights, engine: str) -> str:
        wanted = Wanted(Setting.of(weights, point, Thresholds.of(point), engine))
        files = [(films / "0.dcm", "0")]
        with pytest.raises(PtxError) as raised, cluster_module.spread(files, wanted, cluster.scheduler_address):
            pass
        return raised.value.code

    engine = Detector.load().network.engine
    assert code(weights, "an abacus") == "CLUSTER_DIFFERS"
    assert code(weights.model_copy(update={"sha256": "0" * 64}), engine) == "CLUSTER_DIFFERS"
    assert code(weights.model_copy(update={"name": "nobody"}), engine) == "WEIGHTS_UNKNOWN"


@pytest.mark.parametrize(
    "error", [ImportError("no such class"), Exception("ModuleNotFoundError(\"No module named 'ptx_app'\")")]
)
def test_a_worker_without_the_program_is_one_sentence(films, cluster, capsys, monkeypatch, error):
    def register(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("distributed.Client.register_plugin", register)
    assert predict("out", "--scheduler", cluster.scheduler_address) == 1
    said = capsys.readouterr().err
    assert "CLUSTER_DIFFERS: " in said
    assert "Traceback" not in said


def test_a_scheduler_that_is_away_or_alone_is_one_sentence(films, capsys, monkeypatch):
    monkeypatch.setattr(cluster_module, "_WORKER_SECONDS", 0.1)
    monkeypatch.setitem(cluster_module._DASK, "distributed.comm.timeouts.connect", "1s")
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 1)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty:
        address = empty.scheduler_address
        assert predict("out", "--scheduler", address) == 1
        assert "CLUSTER_EMPTY: " in capsys.readouterr().err
    for gone in (address, "nonsense://", "127.0.0.1"):
        assert predict("out", "--scheduler", gone) == 1
        assert "CLUSTER_UNREACHABLE: " in capsys.readouterr().err
    assert not list(Path("out").iterdir())


@pytest.mark.thorough
def test_parquet_is_the_table_with_types(films, tmp_path):
    assert predict("out", "--parquet") == 1
    table = pq.read_table("out/results.parquet")
    assert table.column_names == list(RESULT_COLUMNS)
    assert table.schema.field("score").type == pa.float64()
    assert table.schema.field("flagged").type == pa.bool_()
    assert table.schema.field("regions").type == pa.int32()
    for csv_row, row in zip(rows_in(Path("out")), table.to_pylist(), strict=True):
        assert (row["file"], row["status"], row["error_code"]) == tuple(
            csv_row[name] for name in ("file", "status", "error_code")
        )
        if csv_row["status"] == "ok":
            assert row["score"] == float(csv_row["score"])
            assert row["flagged"] is (csv_row["flagged"] == "1")
        else:
            assert row["score"] is None
            assert row["flagged"] is None


def test_a_table_without_rows_is_a_parquet_file_too(tmp_path):
    (tmp_path / "results.csv").write_text(",".join(RESULT_COLUMNS) + "\r\n", encoding="utf-8")
    assert pq.read_table(write_parquet(tmp_path / "results.csv")).num_rows == 0


@pytest.mark.thorough
def test_parquet_of_an_earlier_run_does_not_outlive_its_table(films):
    assert predict("out", "--parquet") == 1
    for film in films.iterdir():
        film.unlink()
    Path("films/one.dcm").write_bytes(small_film())
    assert predict("out", "--overwrite") == 0
    assert not Path("out/results.parquet").exists()
    assert predict("out", "--resume", "--parquet") == 0
    assert pq.read_table("out/results.parquet").num_rows == 1


@pytest.mark.thorough
def test_a_scheduler_that_is_lost_ends_the_run_with_what_was_done(films):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        weights = load_manifest().entry()
        point = weights.operating_point()
        wanted = Wanted(Setting.of(weights, point, Thresholds.of(point), Detector.load().network.engine))
        lost = LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
        files = [(path, path.stem) for path in sorted(films.iterdir())]
        with cluster_module.spread(files, wanted, lost.scheduler_address) as results:
            assert next(results)[2].facts["status"] == "ok"
            lost.close()
            with pytest.raises(SettingsError) as raised:
                list(results)
            assert raised.value.code == "CLUSTER_LOST"
