"""ptx VERB, or python -m ptx_app VERB: the command line. Only the module of the chosen verb is imported."""

import argparse
import sys
from importlib import import_module

from ptx_app.errors import PtxError
from ptx_app.process import begin

VERBS = {
    "predict": ("ptx_app.commands.predict", "analyse films and write masks, overlays and a table"),
    "watch": ("ptx_app.commands.watch", "analyse the films that arrive in a folder or over the network"),
    "pacs": ("ptx_app.commands.pacs", "search an archive, and download or analyse its films"),
    "audit": ("ptx_app.commands.audit", "check or show an audit trail"),
    "weights": ("ptx_app.commands.weights", "list, download, verify and add weights"),
    "benchmark": (
        "ptx_app.commands.benchmark",
        "measure time and memory from upload to contour",
    ),
    "prepare": ("ptx_app.commands.prepare", "make a training folder from DICOM films and run lengths"),
    "train": ("ptx_app.commands.train", "train a network from a configuration, or resume a run"),
    "publish": ("ptx_app.commands.publish", "choose a run's thresholds, measure it and add it to the manifest"),
    "export": ("ptx_app.commands.export", "make the ONNX file of weights, for machines without torch"),
    "evaluate": ("ptx_app.commands.evaluate", "measure a model on the validation films and write the report"),
    "film-check": ("ptx_app.commands.film_check", "train and measure the film check"),
    "lung-fields": ("ptx_app.commands.lung_fields", "train, cross-validate and publish the lung network"),
    "compare": (
        "ptx_app.commands.compare",
        "train and measure configurations on the same budget, in one table",
    ),
}

# What each extra of pyproject.toml brings, by the names to import.
EXTRAS = {
    "train": (
        "albumentations",
        "matplotlib",
        "onnx",
        "scipy",
        "segmentation_models_pytorch",
        "sklearn",
        "tomli_w",
        "torch",
        "torchvision",
    ),
    "hospital": ("dicomweb_client", "prometheus_client", "pynetdicom"),
    "cluster": ("distributed", "pyarrow"),
}


def main(words: list[str] | None = None) -> int:
    """Run a verb and return the exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.

    `words`: None for those of this process, which then is the verb's own, so that `ptx train` may start it over.
    """
    begin()
    own_process = words is None
    words = sys.argv[1:] if words is None else words
    verb = next((word for word in words[:1] if word in VERBS), None)
    parser = argparse.ArgumentParser(prog="ptx", description="Pneumothorax on chest films.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb_parser = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == verb:
            import_module(module).add_arguments(verb_parser)
    arguments = parser.parse_args(words, argparse.Namespace(own_process=own_process))
    try:
        status: int = import_module(VERBS[arguments.verb][0]).run(arguments)
    except PtxError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    except ModuleNotFoundError as error:
        extra = next((extra for extra, names in EXTRAS.items() if error.name in names), None)
        if extra is None:
            raise
        sys.stderr.write(f"PACKAGE_MISSING: This needs {error.name}. Install ptx_app[{extra}].\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
