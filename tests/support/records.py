"""The records of a package, to test that they cannot be changed."""

import pkgutil
from dataclasses import is_dataclass
from importlib import import_module


def records_of(package: str) -> set[type]:
    """The dataclasses that a package's modules define."""
    names = [found.name for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")]
    found = (each for name in names for each in vars(import_module(name)).values())
    return {each for each in found if isinstance(each, type) and is_dataclass(each) and each.__module__ in names}
