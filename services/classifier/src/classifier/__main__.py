"""Start the classifier service: `python -m classifier`."""

from __future__ import annotations

from classifier.settings import ClassifierSettings
from classifier.wiring import wire
from tocsin_runtime.lifecycle import run_service


def main() -> None:
    """Run until SIGTERM."""
    run_service("classifier", ClassifierSettings(), wire)


if __name__ == "__main__":
    main()
