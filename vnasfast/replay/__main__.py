"""``python -m vnasfast.replay``, which is ``vnasfast replay``."""

from vnasfast.console import run_and_end


def _replay() -> None:
    from vnasfast.replay.cli import main  # noqa: PLC0415 (Ctrl-C may come while it is imported)

    main(prog_name="python -m vnasfast.replay")


if __name__ == "__main__":
    run_and_end(_replay)
