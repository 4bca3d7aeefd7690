"""ptx VERB, or python -m ptx_app VERB: the command line. Only the module of the verb in hand is imported."""

import argparse
import sys
from importlib import import_module

from ptx_app.errors import PtxError
from ptx_app.process import begin

VERBS = {
    "predict": ("ptx_app.commands.predict", "look at films and write masks, overlays and a table"),
    "weights": ("ptx_app.commands.weights", "list, fetch, verify and add weights"),
    "benchmark": ("ptx_app.commands.benchmark", "time and memory from upload to contour, against the plain way"),
    "prepare": ("ptx_app.commands.prepare", "make a folder to train on from DICOM films and run lengths"),
    "train": ("ptx_app.commands.train", "train a network as a configuration says, or go on with it"),
    "publish": ("ptx_app.commands.publish", "choose a run's thresholds, measure it, and put it into the manifest"),
    "evaluate": ("ptx_app.commands.evaluate", "measure a model on the validation films and write the report"),
    "film-check": ("ptx_app.commands.film_check", "train and measure the check for chest films"),
    "compare": ("ptx_app.commands.compare", "train and measure several configurations on one budget, as one table"),
}

# What the extra "train" of pyproject.toml brings, by the names to import.
_TRAINER = ("albumentations", "matplotlib", "scipy", "sklearn", "tomli_w")


def main(words: list[str] | None = None) -> int:
    """Run a verb; returns the exit status: 0 done, 1 something failed, 2 it was not understood."""
    begin()
    words = sys.argv[1:] if words is None else words
    verb = next((word for word in words[:1] if word in VERBS), None)
    parser = argparse.ArgumentParser(prog="ptx", description="Pneumothorax on chest films.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb_parser = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == verb:
            import_module(module).add_arguments(verb_parser)
    arguments = parser.parse_args(words)
    try:
        status: int = import_module(VERBS[arguments.verb][0]).run(arguments)
    except PtxError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _TRAINER:
            raise
        sys.stderr.write(f"PACKAGE_MISSING: This verb needs {error.name}. Install ptx_app[train].\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
