"""``python -m vnasfast.replay``."""

import sys

if __name__ == "__main__":
    try:
        from vnasfast.replay.cli import INTERRUPTED, main
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        main(prog_name="python -m vnasfast.replay")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
