"""`python -m ptx_app.training VERB` until the app's own command line has these verbs."""

import argparse
import importlib
import sys

from ptx_app.errors import PtxError

VERBS = ("train",)


def main() -> int:
    parser = argparse.ArgumentParser(prog="ptx_app.training")
    verbs = parser.add_subparsers(required=True)
    for verb in VERBS:
        module = importlib.import_module(f"ptx_app.training.{verb}_command")
        one = verbs.add_parser(verb, help=module.__doc__)
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    arguments = parser.parse_args()
    try:
        return int(arguments.run(arguments))
    except PtxError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
