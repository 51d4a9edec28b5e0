"""Start the notifier service: `python -m notifier`."""

from __future__ import annotations

from notifier.settings import NotifierSettings
from notifier.wiring import wire
from tocsin_runtime.lifecycle import run_service


def main() -> None:
    """Run until SIGTERM."""
    run_service("notifier", NotifierSettings(), wire)


if __name__ == "__main__":
    main()
