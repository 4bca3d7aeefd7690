"""`ptx train`, changed for a test: `python -m tests.support.odd_training CHANGE WORDS...`.

CHANGE is "double", to train in double precision, in which two runs that add up the same numbers in another order stay
together; or "stopped", to send the last process SIGTERM before its third step.
"""

import os
import signal
import sys
from itertools import count

import torch

from ptx_app.__main__ import main
from ptx_app.training import loop


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


{"double": train_in_double, "stopped": stop_at_the_third_step}[sys.argv[1]]()
sys.exit(main(sys.argv[2:]))
