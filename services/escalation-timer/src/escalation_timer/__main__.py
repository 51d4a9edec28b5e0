"""Start the escalation-timer service: `python -m escalation_timer`."""

from __future__ import annotations

from escalation_timer.settings import EscalationTimerSettings
from escalation_timer.wiring import wire
from tocsin_runtime.lifecycle import run_service


def main() -> None:
    """Run until SIGTERM."""
    run_service("escalation-timer", EscalationTimerSettings(), wire)


if __name__ == "__main__":
    main()
