"""Everything an operator can change in the escalation-timer."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from tocsin_runtime.settings import Duration, RuntimeSettings


class EscalationTimerSettings(RuntimeSettings):
    """What every service has, and how often snapshots are taken."""

    checkpoint_every: Duration = Field(
        timedelta(minutes=1), description="Time between snapshots of incidents that changed."
    )
