"""``python -m vnasfast.bench``."""

from vnasfast.bench.cli import main

if __name__ == "__main__":
    main(prog_name="python -m vnasfast.bench")
