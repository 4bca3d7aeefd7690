"""A `ptx watch` that dies of one film: `python -m tests.support.poisoned_watch KEY watch WORDS...`."""

import os
import signal
import sys

from ptx_app.__main__ import main
from ptx_app.hospital.inbox import key_of
from ptx_app.results import Result, ResultMaker


def _die_of(poison: str) -> None:
    """Kill this process as soon as it reads the film of that key."""
    make = ResultMaker.make

    def poisoned(self: ResultMaker, data: bytes, *, named_a_film: bool) -> Result:
        if key_of(data) == poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(self, data, named_a_film=named_a_film)

    ResultMaker.make = poisoned


if __name__ == "__main__":
    _die_of(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
