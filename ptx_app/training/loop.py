"""The training loop: one pass through the schedule, which can be resumed after a kill."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.training.augmentation import Augmentation
from ptx_app.training.configuration import Configuration
from ptx_app.training.cuda_graph import Replayed
from ptx_app.training.dataset import FilmDataset, TrainingExample
from ptx_app.training.depthwise import quicken_depthwise
from ptx_app.training.gathering import GatheredFilms, gather_films
from ptx_app.training.losses import Objective
from ptx_app.training.optimisation import (
    LearningRateSchedule,
    build_average,
    build_optimizer,
    set_batch_norm_momentum,
    set_training,
)
from ptx_app.training.processes import Processes
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.sampler import FallingShareSampler, stratum
from ptx_app.training.shared_norm import share_batch_norms
from ptx_app.training.starting_weights import build_network, require_files
from ptx_app.training.teachers import Teachers
from ptx_app.training.validation import Validation, validate

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
_LOGS_A_VALIDATION = 5


@dataclass(frozen=True)
class _Step:
    """What a process tells the others after a step: of its own part of the batch, and of itself.

    Attributes:
        loss: of its films, their mean.
        dices: soft Dice of its positive films with a known mask.
        positions: its films, in the list of films.
        elapsed: seconds since `train` began.
        asked_to_stop: whether it got a signal.
    """

    loss: float
    dices: list[float]
    positions: list[int]
    elapsed: float
    asked_to_stop: bool


class TrainingRun:
    """A run of one configuration, from its last checkpoint to the end of its schedule.

    With a time limit, progress is measured by films seen or time used, whichever is further, so that the learning rate
    has reached its end when the time is up. Without one, and with `training.workers` at 0, a run is reproducible: after
    a kill it continues exactly as if it had not been interrupted. Workers load films ahead, with the share of positives
    and the side at that moment.

    On several processes all of them hold the same network, and decide the same: each trains on its part of the same
    batches, and after each step they tell each other what they saw. The first one's clock counts, and it alone
    validates and writes.
    """

    def __init__(
        self,
        configuration: Configuration,
        folder: RunFolder,
        gathered: GatheredFilms,
        device: torch.device | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Build everything, and resume from the folder's checkpoint if there is one.

        Args:
            configuration: of the run.
            folder: of the run.
            gathered: its films.
            device: to train on; None to choose.
            processes: that train together; None for this one alone.

        Raises:
            SettingsError: RUN_EXISTS, HELD_OUT_CHANGED, CHECKPOINT_DAMAGED, PRECISION_IMPOSSIBLE, BATCH_INDIVISIBLE.
            WeightsError: as `build_network` and `Teachers`.
        """
        self._processes = processes or Processes()
        self._part = self._processes.part(configuration.training.batch)
        self.device = device or self._processes.device()
        self._precision = _PRECISIONS[configuration.training.precision]
        if self._precision is torch.float16 and self.device.type != "cuda":
            raise SettingsError("PRECISION_IMPOSSIBLE", "fp16 training needs CUDA. Set training.precision to bf16.")
        self.folder, self.held_out = folder, gathered.held_out
        self._c, self._store = configuration, gathered.store
        self._films = [film for film in gathered.films if configuration.data.draw_weights.get(film.mask_kind, 1.0) > 0]
        self._processes.of_first(lambda: folder.begin(configuration, gathered.held_out))
        torch.manual_seed(configuration.seed)
        self._module = build_network(configuration.network).to(self.device)
        self._module = self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        set_batch_norm_momentum(self._module, configuration.training.batch_norm_momentum)
        quicken_depthwise(self._module)
        if self._processes.count > 1:
            self._module = share_batch_norms(self._module, self.device)
        self._objective = self._processes.spread(Objective(self._module, configuration.loss, self._precision))
        self._average = build_average(self._module, configuration.training.ema)
        alone_on_gpu = self.device.type == "cuda" and self._processes.count == 1
        self._recorded = alone_on_gpu and self._precision is not torch.float16  # whose scaler decides on the CPU
        self._optimizer = build_optimizer(self._module, configuration.optimizer, self._recorded)
        self._teachers: Teachers | None = None
        if configuration.data.teachers:
            folders = [RunFolder(ROOT / teacher) for teacher in configuration.data.teachers]
            teachers = Teachers(folders, configuration.input.spec(), configuration.data.teachers_share)
            self._teachers = teachers.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._precision is torch.float16)
        self._schedule = LearningRateSchedule(self._optimizer, configuration.schedule)
        self._learning: dict[tuple[int | bool, ...], Callable[[list[Tensor]], list[Tensor]]] = {}
        self._dealt: dict[str, int] = {}
        self._best, self._since_best, self._seconds = -1.0, 0, 0.0
        self._unlogged: tuple[list[float], list[float]] = [], []
        self._asked_to_stop = self._stopping = False
        self._elapsed, self._begun_at, self._limit = 0.0, 0.0, float("inf")
        if not self._processes.first:
            torch.manual_seed(configuration.seed + self._processes.place)  # else all would drop out the same
        self._restore()

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        data: Path,
        runs: Path,
        also: Sequence[Path] = (),
        processes: Processes | None = None,
    ) -> "TrainingRun":
        """The run of a configuration in a folder of runs, with films from a prepared folder, and `also` from others.

        Raises:
            SettingsError: as `gather_films` and the run itself.
            WeightsError: as `require_files`, `gather_films` and the run itself.
        """
        require_files(configuration.network)
        gathered = gather_films(configuration, data, runs, also)
        return cls(configuration, RunFolder(runs / configuration.name), gathered, processes=processes)

    @property
    def films_seen(self) -> int:
        """Films seen since the run's first start."""
        return sum(self._dealt.values())

    @property
    def progress(self) -> float:
        """Progress through the schedule, in [0, 1]."""
        by_films = self.films_seen / self._c.schedule.films
        by_time = self._elapsed / self._limit
        return min(1.0, max(by_films, self._begun_at + (1 - self._begun_at) * by_time))

    def train(self, minutes: float | None = None) -> bool:
        """Train to the end of the schedule, within `minutes` if given.

        SIGINT and SIGTERM write a checkpoint and stop.

        Returns:
            Whether the end was reached. If not, the run can be resumed.
        """
        self._begun, self._elapsed, self._begun_at = time.monotonic(), 0.0, self.progress
        self._limit = float("inf") if minutes is None else minutes * 60
        former = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._loop()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _loop(self) -> bool:
        section = self._c.training
        ended = self.progress >= 1 or self._out_of_patience
        if ended:
            return True
        often = max(1, section.validate_every // _LOGS_A_VALIDATION)
        checkpointed, before, losses, dices = 0.0, self._seconds, *self._unlogged
        with tqdm(
            total=self._c.schedule.films,
            initial=self.films_seen,
            unit="film",
            desc=self._c.name,
            disable=not self._processes.first,
        ) as bar:
            for batch in self._batches():
                former = self.films_seen
                loss, dice = self._step(batch)
                losses.append(loss)
                dices += dice
                self._seconds = before + self._elapsed
                bar.update(self.films_seen - former)
                bar.total = round(self.films_seen / self.progress)  # with a time limit, fewer than the schedule's
                bar.set_postfix(loss=f"{_mean(losses):.3f}", dice=f"{_mean(dices):.3f}", refresh=False)
                ended = self.progress >= 1
                if ended or self.films_seen // often > former // often:
                    due = ended or self.films_seen // section.validate_every > former // section.validate_every
                    self._log(_mean(losses), _mean(dices), self._validate() if due else None)
                    losses.clear()
                    dices.clear()
                ended = ended or self._out_of_patience
                if ended or self._stopping:
                    break
                if self._elapsed - checkpointed > section.checkpoint_minutes * 60:
                    self._checkpoint()
                    checkpointed = self._elapsed
        if ended and self._processes.first:
            self.folder.save_weights("last", self._weights())
        self._checkpoint()
        return ended

    @property
    def _out_of_patience(self) -> bool:
        patience = self._c.training.patience
        return patience > 0 and self._since_best >= patience

    def _batches(self) -> DataLoader[TrainingExample]:
        data = self._c.data
        first, last = data.positive_share
        sampler = FallingShareSampler(
            self._films,
            self._c.training.batch,
            self._c.seed,
            positive_share=lambda: first + (last - first) * self.progress,
            side=self._side,
            draw_weights=data.draw_weights,
            dealt=self._dealt,
            part=self._part,
        )
        dataset = FilmDataset(
            self._films,
            self._store,
            self._c.input.spec(),
            Augmentation(data.augmentation),
            data.mask_weights,
            self._teachers.sides if self._teachers is not None else (),
        )
        if self._c.training.workers:
            # OpenCV starts as many threads as there are cores, in each worker. A forked worker must find none: it would
            # wait for them without end.
            cv2.setNumThreads(1)
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self._c.training.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # otherwise every start would change the random state of dropout
        )

    def _side(self) -> int:
        passed = [side for share, side in self._c.schedule.sides if share <= self.progress]
        return passed[-1] if passed else self._c.input.side

    def _step(self, batch: TrainingExample) -> tuple[float, list[float]]:
        """One optimizer step. Returns the loss, and the soft Dice of positive films with a known mask."""
        frozen = self.progress < self._c.schedule.frozen_encoder
        set_training(self._module, self._c.training, frozen)
        self._schedule.set_rates(self.progress)
        sides = sorted(batch["films"])
        truth = [batch["mask"], batch["mask_weight"], batch["label"]]
        tensors = [
            tensor.to(self.device, non_blocking=True) for tensor in (*(batch["films"][s] for s in sides), *truth)
        ]
        loss, dices = self._learn(sides, frozen)(tensors)
        if self._average is not None:
            self._average.update_parameters(self._module)
        positions = batch["position"].tolist()
        elapsed = time.monotonic() - self._begun
        own = _Step(float(loss), [d for d in dices.tolist() if d >= 0], positions, elapsed, self._asked_to_stop)
        told = self._processes.gather(own)
        self._elapsed, self._stopping = told[0].elapsed, any(step.asked_to_stop for step in told)
        for step in told:
            for position in step.positions:
                name = stratum(self._films[position])
                self._dealt[name] = self._dealt.get(name, 0) + 1
        return _mean([step.loss for step in told]), [dice for step in told for dice in step.dices]

    def _learn(self, sides: Sequence[int], frozen: bool) -> Callable[[list[Tensor]], list[Tensor]]:
        """What learns from a batch: its films at these sides, masks, weights and labels. Returns loss and Dices."""
        key = (*sides, frozen)
        if key not in self._learning:
            plain = partial(self._learn_plainly, sides)
            self._learning[key] = Replayed(plain) if self._recorded else plain
        return self._learning[key]

    def _learn_plainly(self, sides: Sequence[int], tensors: list[Tensor]) -> list[Tensor]:
        *pictures, mask, weight, label = tensors
        films = {
            side: each.contiguous(memory_format=torch.channels_last) for side, each in zip(sides, pictures, strict=True)
        }
        target = mask, weight, label
        if self._teachers is not None:
            with torch.no_grad(), self._mixed_precision():
                target = self._teachers(films, mask, weight, label)
        loss, mask_logits = self._objective(films[mask.shape[-1]], *target)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._c.optimizer.gradient_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return [loss.detach(), _dices(mask_logits.float(), mask, weight)]

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._precision, enabled=self._precision is not None)

    def _validate(self) -> Validation:
        module = self._average.module if self._average is not None else self._module
        spec = self._c.input.spec()
        result = self._processes.of_first(
            lambda: validate(module, self.held_out, self._store, spec, self.device, self._precision)
        )
        self._schedule.validated(result.dice, self.progress)
        self._since_best += 1
        if result.dice > self._best:
            self._best, self._since_best = result.dice, 0
            if self._processes.first:
                self.folder.save_weights("best", self._weights())
        return result

    def _log(self, loss: float, dice: float, result: Validation | None) -> None:
        if not self._processes.first:
            return
        measured = asdict(result) if result else dict.fromkeys(("dice", "iou", "mask_threshold", "auc"), "")
        self.folder.append_log(
            {
                "films": self.films_seen,
                "progress": round(self.progress, 4),
                "minutes": round(self._seconds / 60, 2),
                "learning_rate": float(self._optimizer.param_groups[-1]["lr"]),
                "loss": round(loss, 5),
                "dice": round(dice, 5),
            }
            | {f"held_out_{name}": value for name, value in measured.items()}
        )

    def _weights(self) -> dict[str, Tensor]:
        module = self._average.module if self._average is not None else self._module
        return dict(module.state_dict())

    def _checkpoint(self) -> None:
        cuda = self.device.type == "cuda"
        random = self._processes.gather(torch.get_rng_state())
        random_cuda = self._processes.gather(torch.cuda.get_rng_state()) if cuda else None
        if not self._processes.first:
            return
        self.folder.save_checkpoint(
            {
                "module": self._module.state_dict(),
                "average": self._average.state_dict() if self._average is not None else None,
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "schedule": self._schedule.state_dict(),
                "dealt": self._dealt,
                "best": self._best,
                "since_best": self._since_best,
                "unlogged": self._unlogged,
                "seconds": self._seconds,
                "progress": self.progress,
                "random": torch.stack(random),
                "random_cuda": torch.stack(random_cuda) if random_cuda else None,
            }
        )

    def _restore(self) -> None:
        state: dict[str, Any] | None = self._processes.of_first(self.folder.load_checkpoint)
        if state is None:
            if self._processes.first:
                self.folder.rewind_log(-1)
            return
        self._module.load_state_dict(state["module"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._recorded:
            for group in self._optimizer.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], device=self.device)
        self._scaler.load_state_dict(state["scaler"])
        self._schedule.load_state_dict(state["schedule"])
        self._dealt, self._seconds = state["dealt"], state["seconds"]
        self._best, self._since_best = state["best"], state["since_best"]
        self._unlogged = state.get("unlogged", self._unlogged)
        self._begun_at = state["progress"]
        # A row for each process; checkpoints of older versions have one alone. Processes that are new start their own.
        random, place = torch.atleast_2d(state["random"]), self._processes.place
        if place < len(random):
            torch.set_rng_state(random[place].clone())  # torch reads a view from its start
            if self.device.type == "cuda" and state["random_cuda"] is not None:
                torch.cuda.set_rng_state(torch.atleast_2d(state["random_cuda"])[place].clone())
        if self._processes.first:
            self.folder.rewind_log(self.films_seen)

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True


def _dices(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice of each film, (N,); -1 for negative films and those whose mask is not known."""
    probability = logits.sigmoid()
    area = mask.sum((1, 2, 3))
    soft = 2 * (probability * mask).sum((1, 2, 3)) / (probability.sum((1, 2, 3)) + area).clamp(min=1)
    return soft.where((weight > 0) & (area > 0), -1.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
