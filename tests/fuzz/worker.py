"""What run.py starts under the sanitizers' runtime: one target under atheris, with libFuzzer's own options."""

import importlib
import sys

import atheris


def main() -> None:
    """Fuzz the target named first."""
    target = sys.argv.pop(1)
    with atheris.instrument_imports(include=["vnasfast", "tomli"]):
        import vnasfast.capture  # noqa: F401 (instrumented once, here)

        module = importlib.import_module(f"target_{target}")
    atheris.Setup(sys.argv, module.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
