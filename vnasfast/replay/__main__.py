"""``python -m vnasfast.replay``."""

from vnasfast.replay.cli import main

if __name__ == "__main__":
    main(prog_name="python -m vnasfast.replay")
