"""What each process of ours does first. Importing the package does none of it, as other programs import it too."""

import os

from ptx_app.privacy import quiet_loggers

_ENVIRONMENT = {
    # torch's OpenMP threads wait for each other by spinning; beside another busy process on the same few cores a film
    # then takes 3.5 s instead of 0.1. Read when torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
    # albumentations would ask the network for its newest version when it is imported.
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
