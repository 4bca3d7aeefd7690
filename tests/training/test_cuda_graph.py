"""A recorded function does on a GPU what it does in Python. Without a GPU only the loop's choice can be tested."""

import pytest
import torch

from ptx_app.training.cuda_graph import Replayed
from ptx_app.training.loop import TrainingRun
from tests.support.made_folder import configuration, prepared_folder


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replaying_repeats_what_the_function_does_to_weights():
    torch.manual_seed(1)
    films = [torch.randn(4, 8, device="cuda") for _ in range(9)] + [torch.randn(2, 8, device="cuda") for _ in range(9)]
    losses = {}
    for recorded in (False, True):
        torch.manual_seed(2)
        module = torch.nn.Linear(8, 1).cuda()
        optimizer = torch.optim.AdamW(module.parameters(), lr=torch.tensor(1e-2, device="cuda"), capturable=True)

        def step(tensors, module=module, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            loss = module(tensors[0]).square().mean()
            loss.backward()
            optimizer.step()
            return [loss.detach()]

        learn = Replayed(step) if recorded else step
        losses[recorded] = [float(learn([film])[0]) for film in films]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_nothing_is_recorded_on_a_cpu(tmp_path):
    prepared_folder(tmp_path)
    data = {"held_out_positives": 2, "held_out_negatives": 2, "augmentation": "none"}
    run = TrainingRun.of(configuration(name="plain", data=data, schedule={"films": 16}), tmp_path, tmp_path / "runs")
    assert run.train()
    assert run._learning
    assert not any(isinstance(learn, Replayed) for learn in run._learning.values())
