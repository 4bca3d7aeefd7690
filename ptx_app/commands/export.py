"""ptx export: make the ONNX file of weights in the manifest, for machines without torch."""

import argparse
import sys

from ptx_app.commands.places import add_places, data_folder
from ptx_app.model.manifest import load_manifest
from ptx_app.model.manifest_editing import read_document, with_entry, write_document
from ptx_app.weights.fetch import locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="entry of the manifest (default: its default)")
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the ONNX file beside the weights, and put it into the entry."""
    from ptx_app.data.index import excluded_films, read_index  # slow to import; not for --help
    from ptx_app.experiments.onnx_file import with_onnx

    weights, excluded = load_manifest().entry(arguments.name), excluded_films()
    films = [film for film in read_index(data_folder(arguments)) if film.split == "train"]
    changed = with_onnx(weights, locate(weights), [film for film in films if film.image_id not in excluded])
    write_document(with_entry(read_document(), changed.model_dump(mode="json")))
    sys.stdout.write(f"{changed.onnx and changed.onnx.name}: written, and added to the manifest\n")
    return 0
