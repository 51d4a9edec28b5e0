"""Everything an operator can change in remediation."""

from __future__ import annotations

from pydantic import Field, HttpUrl

from tocsin_runtime.settings import RuntimeSettings


class RemediationSettings(RuntimeSettings):
    """What every service has, and the only places and programs steps can reach."""

    endpoints: dict[str, HttpUrl] = Field(
        default_factory=dict,
        description="JSON object: endpoint a policy names -> base URL. Steps call nothing else.",
    )
    programs: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object: program a policy names -> absolute path. Steps run nothing else.",
    )
