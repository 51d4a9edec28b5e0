"""Start the ingestion service: `python -m ingestion`."""

from __future__ import annotations

from ingestion.settings import IngestionSettings
from ingestion.wiring import wire
from tocsin_runtime.lifecycle import run_service


def main() -> None:
    """Run until SIGTERM."""
    run_service("ingestion", IngestionSettings(), wire)


if __name__ == "__main__":
    main()
