"""``python -m vnasfast``, and the console script ``vnasfast``."""

from typing import NoReturn

from vnasfast.console import run_and_end


def main(prog_name: str = "vnasfast") -> NoReturn:
    """Run what the arguments of this process ask for, and end it."""

    def command() -> None:
        from vnasfast.commands import run  # noqa: PLC0415 (Ctrl-C may come while it is imported)

        run(prog_name)

    run_and_end(command)


if __name__ == "__main__":
    main("python -m vnasfast")
