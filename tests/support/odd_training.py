"""`ptx train` on several processes, changed for a test: `python -m tests.support.odd_training CHANGE WORDS...`.

CHANGE is "double", to train in double precision, in which two runs that add up the same numbers in another order stay
together; or "stopped", to send the last process SIGTERM before its third step.
"""

import multiprocessing
import os
import signal
import sys
from itertools import count

import torch
import torch.distributed as dist

from ptx_app.__main__ import main
from ptx_app.model.torchvision_ops import declare_missing_operators
from ptx_app.training import loop, plots  # noqa: F401

declare_missing_operators()
import segmentation_models_pytorch  # noqa: E402, F401

# torchrun's workers share two cores with whatever else runs; many threads would wait for each other.
ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


def train_in_double():
    build_network = loop.build_network

    def in_double(section):
        network = build_network(section).double()
        network.register_forward_pre_hook(lambda _network, given: given[0].double())
        return network

    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    loop.build_network = in_double
    loop.quicken_depthwise = lambda network: None  # it computes in single precision


def stop_at_the_third_step():
    step, steps = loop.TrainingRun._step, count(1)

    def interrupted(run, batch):
        if next(steps) == 3 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return step(run, batch)

    loop.TrainingRun._step = interrupted


CHANGES = {"double": train_in_double, "stopped": stop_at_the_third_step}


def _worker(place: int, count: int, port: int, change: str | None, given: list[str]) -> None:
    places = {"RANK": place, "LOCAL_RANK": place, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    agent = {"TORCHELASTIC_RUN_ID": "1", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= ENVIRONMENT | agent | {name: str(value) for name, value in places.items()}
    torch.set_num_threads(1)
    if change:
        CHANGES[change]()
    sys.exit(main(given))


def train_connected(count: int, given: list[str], change: str | None = None) -> list[int | None]:
    """The exit statuses of processes connected as by torchrun.

    They are forks of a process that has imported everything, so each is spared some seconds; not of this one, whose
    threads of OpenMP they would wait for.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    workers = [
        context.Process(target=_worker, args=(place, count, store.port, change, given)) for place in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


if __name__ == "__main__":
    CHANGES[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
