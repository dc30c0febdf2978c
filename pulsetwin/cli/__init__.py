"""The command line: one verb per job. Everything heavy is imported inside the verb that needs it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from decimal import Decimal

from pulsetwin.cli.parser import parser as _parser
from pulsetwin.errors import PulsetwinError

ERROR, INTERRUPTED = 2, 130
_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 not playable, 2 an error told in one line."""
    options = _parser().parse_args(_without_exponents(sys.argv[1:] if arguments is None else arguments))
    try:
        return options.run(options)
    except PulsetwinError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; check the path, its permissions and the free space")
    except MemoryError:
        return _fail(f"not enough memory; {options.if_memory_ends}")
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"\npulsetwin: interrupted; {str(interrupt) or 'no output was written'}\n")
        return INTERRUPTED


def _without_exponents(arguments: Sequence[str]) -> list[str]:
    """Write negative numbers such as -1e-6 out in full: `argparse` takes them for options."""
    return [format(Decimal(one), "f") if _NEGATIVE.fullmatch(one) else one for one in arguments]


def _fail(message: str) -> int:
    """Tell an error in one line."""
    sys.stderr.write("pulsetwin: " + " ".join(message.split()) + "\n")
    return ERROR
