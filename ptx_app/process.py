"""Setup at the start of each process of the project, and the command that started it. Importing does none of this."""

import os
import shlex
import sys
from pathlib import Path

from ptx_app.privacy import quiet_loggers

_ENVIRONMENT = {
    # Otherwise torch's OpenMP threads wait by spinning. If another process is busy on the same few cores, a film then
    # takes 3.5 s instead of 0.1 s. Read when torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Otherwise albumentations looks for a newer version online when it is imported.
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


def set_environment() -> None:
    """Set the variables that torch and albumentations read on import, unless the user has set them."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def begin() -> None:
    """Call at the start of every entry point, before torch is imported."""
    set_environment()
    quiet_loggers()


def typed_command() -> str:
    """The command that started this process, as one types it. What writes a page of figures puts it there."""
    script, *arguments = sys.argv
    path = Path(script)
    started = f"python -m tools.{path.stem}" if path.parent.name == "tools" else "ptx"
    return shlex.join([*started.split(), *arguments])
