"""A run's folder: configuration, provenance, log, and everything needed to resume after a kill."""

import csv
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ptx_app.data.index import LabelledFilm
from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.training.configuration import Configuration, read_configuration, write_configuration
from ptx_app.training.starting_weights import half_precision

_PACKAGES = ("torch", "segmentation_models_pytorch", "timm", "albumentations", "numpy", "opencv-python-headless")


class RunFolder:
    """`config.toml`, `provenance.json`, `held_out.json`, `log.csv`, `checkpoint.pt`, `best.safetensors` and
    `last.safetensors`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_path = path / "checkpoint.pt"
        self.log_path = path / "log.csv"
        self._held_out_path = path / "held_out.json"

    def begin(self, configuration: Configuration, held_out: Sequence[LabelledFilm]) -> None:
        """Make the folder for a configuration and its held-out films, or open the one made for them before.

        Raises:
            SettingsError: RUN_EXISTS if the folder holds a run of another configuration, HELD_OUT_CHANGED if that run
                held out other films.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        kept = self.path / "config.toml"
        names = sorted(film.image_id for film in held_out)
        if self.checkpoint_path.exists():
            if kept.exists() and read_configuration(kept) != configuration:
                raise SettingsError(
                    "RUN_EXISTS", "A run with this name has another configuration. Give the new run another name."
                )
            if self._held_out_path.exists() and self._held_out() != names:
                raise SettingsError(
                    "HELD_OUT_CHANGED",
                    "This run held out other films before, so the folder of films has changed. Restore that folder, "
                    "or give the run another name.",
                )
            return
        write_configuration(configuration, kept)
        self._held_out_path.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
        provenance = {
            "git_commit": _git_commit(),
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in _PACKAGES},
            "seed": configuration.seed,
        }
        (self.path / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")

    def held_out(self, films: Iterable[LabelledFilm]) -> list[LabelledFilm]:
        """The films of an index that the run has held out, as recorded in its folder.

        Raises:
            SettingsError: RUN_UNFINISHED if nothing is recorded, HELD_OUT_CHANGED if a film is missing.
        """
        if not self._held_out_path.exists():
            raise SettingsError("RUN_UNFINISHED", f"{self.path.name} is not a run's folder. Train the run first.")
        names = set(self._held_out())
        found = [film for film in films if film.image_id in names]
        if len(found) != len(names):
            raise SettingsError(
                "HELD_OUT_CHANGED",
                "Some held-out films of this run are missing. Use the folder of films that it was trained on.",
            )
        return found

    def _held_out(self) -> list[str]:
        names: list[str] = json.loads(self._held_out_path.read_text(encoding="utf-8"))
        return names

    def configuration(self) -> Configuration:
        """The configuration that the run was started with."""
        return read_configuration(self.path / "config.toml")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint. If killed while writing, the previous one remains."""
        partial = self.checkpoint_path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.checkpoint_path)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Raises SettingsError CHECKPOINT_DAMAGED."""
        if not self.checkpoint_path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types
            raise SettingsError(
                "CHECKPOINT_DAMAGED", "The run's checkpoint cannot be read. Delete the run's folder and train again."
            ) from error
        return state

    def save_weights(self, name: str, state: dict[str, Tensor]) -> None:
        """Write `name`.safetensors in fp16, as it is shipped."""
        partial = self.path / f"{name}.part"
        save_file(half_precision(state), partial)
        partial.replace(self.weights_path(name))

    def weights_path(self, name: str) -> Path:
        """The file of the weights "best" or "last"."""
        return self.path / f"{name}.safetensors"

    def append_log(self, row: dict[str, float | int | str]) -> None:
        """Append one line to log.csv, with a header if it is the first."""
        new = not self.log_path.exists()
        with self.log_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def read_log(self) -> list[dict[str, str]]:
        """The lines of log.csv."""
        if not self.log_path.exists():
            return []
        with self.log_path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def films_seen(self, state: str) -> int:
        """Number of films that the weights "best" or "last" have seen; 0 before the first line of log.csv."""
        rows = self.read_log()
        if state == "best":
            validated = [row for row in rows if row["held_out_dice"]]
            rows = [max(validated, key=lambda row: float(row["held_out_dice"]))] if validated else []
        return int(rows[-1]["films"]) if rows else 0

    def rewind_log(self, films: int) -> None:
        """Delete log lines after `films` films: a run resumed from a checkpoint writes them again."""
        rows = [row for row in self.read_log() if int(row["films"]) <= films]
        self.log_path.unlink(missing_ok=True)
        for row in rows:
            self.append_log(dict(row))


def _git_commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
