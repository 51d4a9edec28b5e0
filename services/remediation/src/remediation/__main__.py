"""Start the remediation service: `python -m remediation`."""

from __future__ import annotations

from remediation.settings import RemediationSettings
from remediation.wiring import wire
from tocsin_runtime.lifecycle import run_service


def main() -> None:
    """Run until SIGTERM."""
    run_service("remediation", RemediationSettings(), wire)


if __name__ == "__main__":
    main()
