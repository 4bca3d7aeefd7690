"""A run on two processes computes what a run on one does, and can be stopped and resumed like it."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from ptx_app.data.index import read_index
from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.training.configuration import write_configuration
from ptx_app.training.processes import Processes
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.sampler import FallingShareSampler
from ptx_app.training.shared_norm import share_batch_norms
from tests.support.made_folder import configuration, prepared_folder
from tests.support.odd_training import ENVIRONMENT, train_connected

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(),
    reason="two processes on CPUs, which are told to use Linux's lo",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("prepared"))


def words(config: Path, data: Path, runs: Path) -> list[str]:
    return ["train", str(config), "--data", str(data), "--runs", str(runs)]


def torchrun(given: list[str]) -> "subprocess.CompletedProcess[str]":
    """`ptx train` in double precision on two processes, by torchrun itself."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    environment = os.environ | ENVIRONMENT
    command = [*start, "tests.support.odd_training", "double", *given]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def told(folder: RunFolder) -> list[dict[str, float]]:
    return [
        {key: float(value) for key, value in row.items() if value and key != "minutes"} for row in folder.read_log()
    ]


@pytest.mark.thorough
def test_two_processes_have_the_loss_curve_of_one(data, tmp_path):
    # Everything that affects a run but dropout, which each process draws for itself.
    config = configuration(
        network={"encoder": "mobilenet_v2", "head_dropout": 0.0},
        schedule={"films": 64, "sides": [[0.0, 32], [0.5, 64]], "frozen_encoder": 0.3},
        training={"precision": "fp32", "validate_every": 40, "ema": 0.9},
    )
    write_configuration(config, tmp_path / "config.toml")
    assert train_connected(1, words(tmp_path / "config.toml", data, tmp_path / "1"), "double") == [0]
    done = torchrun(words(tmp_path / "config.toml", data, tmp_path / "2"))
    assert done.returncode == 0, done.stderr
    folders = [RunFolder(tmp_path / count / "tiny") for count in ("1", "2")]
    one, two = map(told, folders)
    assert len(one) == 8
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, abs=2e-5)
    assert {path.name for path in folders[0].path.iterdir()} == {path.name for path in folders[1].path.iterdir()}
    weights = [load_file(folder.weights_path("last")) for folder in folders]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=2e-3, atol=1e-5)


@pytest.mark.thorough
def test_two_processes_resume_as_if_they_had_not_been_stopped(data, tmp_path):
    config = configuration(input={"side": 32}, schedule={"films": 40}, training={"precision": "fp32", "ema": 0.9})
    write_configuration(config, tmp_path / "config.toml")
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert train_connected(2, words(tmp_path / "config.toml", data, whole)) == [0, 0]
    assert 0 not in train_connected(2, words(tmp_path / "config.toml", data, run), "stopped")
    assert not RunFolder(run / "tiny").weights_path("last").exists(), "it did not stop"
    state = RunFolder(run / "tiny").load_checkpoint()
    assert state is not None
    assert sum(state["dealt"].values()) == 3 * 8, "one is told, and both stop"
    assert not torch.equal(*state["random"]), "each drops out for itself"
    assert train_connected(2, words(tmp_path / "config.toml", data, run)) == [0, 0]
    assert told(RunFolder(run / "tiny")) == told(RunFolder(whole / "tiny"))
    ends = [load_file(RunFolder(runs / "tiny").weights_path("last")) for runs in (whole, run)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_parts_of_a_batch_are_the_batch(data):
    films = read_index(data)

    def batch(part: slice) -> list:
        return next(iter(FallingShareSampler(films, 8, 1, lambda: 0.5, lambda: 64, {}, part=part)))

    parts = [batch(Processes(place, 4).part(8)) for place in range(4)]
    assert [len(part) for part in parts] == [2] * 4
    assert [draw for draws in zip(*parts, strict=True) for draw in draws] == batch(Processes().part(8))


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(SettingsError) as error:
        Processes(0, 3).part(8)
    assert error.value.code == "BATCH_INDIVISIBLE"


def test_fewer_gpus_than_processes_are_refused(monkeypatch):
    places = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "1"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError) as error, Processes.joined():
        pass
    assert error.value.code == "TOO_FEW_GPUS"
    assert "--nproc-per-node to 2" in error.value.message


@pytest.mark.parametrize("variables", [{}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "1"}])
def test_a_process_without_others_connects_to_none(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Processes.joined() as alone:
        assert alone == Processes()
        assert not dist.is_initialized()
        assert (alone.gather("a"), alone.of_first(lambda: "b")) == (["a"], "b")


def _both(what, place, folder, answers):
    os.environ |= ENVIRONMENT
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=place, world_size=2)
    try:
        answers.put((place, what(Processes(place, 2))))
    except SystemExit as end:
        answers.put((place, f"ended with {end.code}"))
    except SettingsError as error:
        answers.put((place, error.code))
    dist.destroy_process_group()


@pytest.fixture
def in_both(tmp_path):
    """What a function of Processes returns in each of two connected processes, as lists and numbers."""

    def run(what):
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        workers = [context.Process(target=_both, args=(what, place, tmp_path, answers)) for place in range(2)]
        for worker in workers:
            worker.start()
        found = dict(answers.get(timeout=300) for _ in workers)
        for worker in workers:
            worker.join()
        return [found[0], found[1]]

    return run


def test_the_first_makes_for_all_and_all_hear_each_other(in_both):
    def what(processes):
        return processes.of_first(lambda: f"made by {processes.place}"), processes.gather(processes.place)

    assert in_both(what) == [("made by 0", [0, 1])] * 2


def test_what_the_first_cannot_do_ends_all_and_is_said_once(in_both):
    def what(processes):
        def fail():
            raise SettingsError("RUN_EXISTS", "")

        return processes.of_first(fail)

    assert in_both(what) == ["RUN_EXISTS", "ended with 1"]


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_see_the_whole_batch(training, in_both):
    films = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1)) * 3 + 100

    def results(norm, films):
        norm.train(training)
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1, 2]))
            norm.bias.copy_(torch.tensor([3, 2, 1]))
        films = films.clone().requires_grad_()
        out = norm(films)
        out.square().mean().backward()
        kept = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
        return [tensor.tolist() for tensor in (out, films.grad, norm.weight.grad, norm.bias.grad, *kept)]

    def what(processes):
        return results(share_batch_norms(nn.BatchNorm2d(3), CPU), films[processes.part(4)])

    whole = [torch.tensor(value) for value in results(nn.BatchNorm2d(3), films)]
    parts = [[torch.tensor(value) for value in answer] for answer in in_both(what)]
    for place, part in enumerate(parts):
        torch.testing.assert_close(part[0], whole[0][place::2], rtol=1e-4, atol=1e-4)
        # The mean over processes of each one's mean loss is the whole batch's.
        torch.testing.assert_close(part[1] / 2, whole[1][place::2], rtol=1e-3, atol=1e-5)
        for own, expected in zip(part[4:], whole[4:], strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    for first, second, expected in zip(parts[0][2:4], parts[1][2:4], whole[2:4], strict=True):
        torch.testing.assert_close((first + second) / 2, expected, rtol=1e-4, atol=1e-4)


def test_shared_batch_norms_keep_the_precision_of_their_input(in_both):
    def what(processes):
        norm = share_batch_norms(nn.BatchNorm2d(3), CPU)
        return str(norm(torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)).dtype)

    assert in_both(what) == ["torch.bfloat16"] * 2
