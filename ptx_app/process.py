"""What each process of the project does first. Importing the package does none of it, as others import it too."""

import os

from ptx_app.privacy import quiet_loggers

_ENVIRONMENT = {
    # torch's OpenMP threads wait for each other by spinning; beside another busy process on the same few cores a film
    # then takes 3.5 s instead of 0.1. Read when torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
    # albumentations would look for a newer version online when it is imported.
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
