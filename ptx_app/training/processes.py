"""One run on several processes, one a GPU: `torchrun --nproc-per-node N -m ptx_app train ...`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ptx_app.errors import PtxError, SettingsError
from ptx_app.model.torch_network import choose_device

T = TypeVar("T")

# The others wait while the first validates. A process that ends is noticed by torchrun, not by this.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them. They train one network, each on its part of every batch.

    Attributes:
        place: of this process, from 0.
        count: of all.
        local_place: of this process among those of its machine.
    """

    place: int = 0
    count: int = 1
    local_place: int = 0

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator["Processes"]:
        """Those that torchrun has started, connected for the block; without torchrun, this process alone.

        Raises:
            SettingsError: TOO_FEW_GPUS if there are GPUs, but fewer than processes on this machine.
        """
        if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
            yield cls()
            return
        joined = cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        gpus = torch.cuda.device_count()
        if 0 < gpus < int(os.environ["LOCAL_WORLD_SIZE"]):
            raise SettingsError("TOO_FEW_GPUS", f"There are more processes than GPUs. Set --nproc-per-node to {gpus}.")
        if gpus:
            torch.cuda.set_device(joined.local_place)
        # What is no tensor always goes by gloo, so that it never waits for a GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
        try:
            yield joined
        finally:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, validates and speaks."""
        return self.place == 0

    def device(self) -> torch.device:
        """As `choose_device`; of several GPUs, this process's own."""
        device = choose_device()
        return torch.device("cuda", self.local_place) if self.count > 1 and device.type == "cuda" else device

    def part(self, batch: int) -> slice:
        """Which films of a batch are this process's.

        Raises:
            SettingsError: BATCH_INDIVISIBLE if the parts would not have the same size.
        """
        if batch % self.count:
            raise SettingsError(
                "BATCH_INDIVISIBLE",
                f"A batch of {batch} films cannot be shared equally by {self.count} processes. "
                "Change training.batch, or the number of processes.",
            )
        return slice(self.place, None, self.count)

    def spread(self, module: nn.Module) -> nn.Module:
        """What to call in place of a module in training, so that its gradients are the mean over all processes.

        Parameters that the module's results do not depend on get no gradient. This may change from call to call.
        """
        if self.count == 1:
            return module
        # The buffers are batch norm statistics, which are the same everywhere.
        return DistributedDataParallel(module, forward_sync_buffers=False, find_unused_parameters=True)

    def gather(self, value: T) -> list[T]:
        """The value of every process, in order. Every process must call this at the same point."""
        if self.count == 1:
            return [value]
        values: list[T] = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, given to all. Every process must call this at the same point.

        Raises:
            PtxError: what the first process raises; the others end without a word.
        """
        if self.count == 1:
            return make()
        made, problem = None, None
        if self.first:
            try:
                made = make()
            except PtxError as error:
                problem = error
        told: list[object] = [made, problem is None]
        dist.broadcast_object_list(told)
        if problem is not None:
            raise problem
        if not told[1]:
            raise SystemExit(1)
        return cast(T, told[0])
