"""``python -m vnasfast.replay``."""

import gc
import sys

if __name__ == "__main__":
    # A short process that makes no cycles: looking for them took 5 % of a replay with a table file of 10k sockets.
    gc.disable()
    try:
        from vnasfast.replay.cli import INTERRUPTED, main
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        main(prog_name="python -m vnasfast.replay")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
