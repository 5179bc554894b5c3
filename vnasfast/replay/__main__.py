"""``python -m vnasfast.replay``."""

import gc
import os
import sys


def _main() -> int:
    try:
        from vnasfast.replay.cli import INTERRUPTED, main  # noqa: PLC0415 (Ctrl-C may come while it is imported)
    except KeyboardInterrupt:
        return 130
    try:
        main(prog_name="python -m vnasfast.replay")
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    # A short process that makes no cycles: looking for them took 5 % of a replay with a table file of 10k sockets.
    gc.disable()
    code = _main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # the interpreter says what there is to say
        sys.exit(code)
    # All is written and closed. Taking what is left apart took 15 ms, a tenth of a short replay.
    os._exit(code)
