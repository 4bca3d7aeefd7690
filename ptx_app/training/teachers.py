"""Finished runs whose maps and scores a student learns from, on the same augmented films that it sees itself.

Teacher and student are shown the same picture at every step, for many steps (Beyer et al., Knowledge distillation: A
good teacher is patient and consistent, CVPR 2022).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ptx_app.errors import SettingsError
from ptx_app.model.manifest import InputSpec
from ptx_app.model.torch_network import build_module
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.starting_weights import load_exactly, read_state

_SURE = 0.5


class Teachers(nn.Module):
    """Teachers that agree on their mean. They do not change."""

    sides: tuple[int, ...]

    def __init__(self, folders: Sequence[RunFolder], spec: InputSpec, share: float) -> None:
        """Load the last weights of finished runs.

        Args:
            folders: of the runs.
            spec: the student's input. A teacher's may have another side.
            share: of the teachers in what is learned from a film whose truth is known, in [0, 1].

        Raises:
            SettingsError: RUN_UNFINISHED, TEACHER_SEES_OTHERWISE.
            WeightsError: as `build_module` and `load_exactly`.
        """
        super().__init__()
        self._share, sides, modules = share, [], []
        for folder in folders:
            file = folder.weights_path("last")
            if not file.exists():
                raise SettingsError(
                    "RUN_UNFINISHED", f"{folder.path.name} has no weights yet. Train this teacher first."
                )
            configuration = folder.configuration()
            own = configuration.input.spec()
            if own.model_copy(update={"side": spec.side}) != spec:
                raise SettingsError(
                    "TEACHER_SEES_OTHERWISE",
                    f"The teacher {folder.path.name} has another [input] than its student. Only the side may differ.",
                )
            module = build_module(configuration.network.spec(), None)
            load_exactly(module, read_state(file))
            sides.append(own.side)
            modules.append(module)
        self.sides = tuple(sides)
        self._modules_in_order = nn.ModuleList(modules)
        self.eval().requires_grad_(False)

    def forward(
        self, films: Mapping[int, Tensor], mask: Tensor, mask_weight: Tensor, label: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What to learn from N films: mask, its weight, and label, each as the truth's, with the teachers' in it.

        The mask of a positive film is the mean of its own, if it is known, and the teachers' map. The teachers get
        their share, and of the rest as much as the mask's weight is below 1. Its weight is 1, or how sure the teachers
        are if the mask is not known: their mean probability where it is at least a half. Negative films stay empty. The
        label is the mean of the film's own and the teachers' score.

        Args:
            films: (N, channels, side, side) float32 by side, at each teacher's.
            mask: (N, 1, S, S) in {0, 1}.
            mask_weight, label: (N,).
        """
        maps, scores = [], []
        for side, module in zip(self.sides, self._modules_in_order, strict=True):
            map_logits, image_logits = module(films[side])
            probability = map_logits.float().sigmoid()
            if side != mask.shape[-1]:
                probability = interpolate(probability, mask.shape[2:], mode="bilinear")
            maps.append(probability)
            scores.append(image_logits.float().sigmoid().squeeze(1))
        taught, score = torch.stack(maps).mean(0), torch.stack(scores).mean(0)
        positive = label > 0
        sure = taught >= _SURE
        how_sure = (taught * sure).sum((1, 2, 3)) / sure.sum((1, 2, 3)).clamp(min=1)
        own = (mask_weight.clamp(max=1) * (1 - self._share)).where(positive, 1.0).view(-1, 1, 1, 1)
        weight = torch.where(mask_weight > 0, 1.0, how_sure).where(positive, mask_weight)
        return own * mask + (1 - own) * taught, weight, (1 - self._share) * label + self._share * score
