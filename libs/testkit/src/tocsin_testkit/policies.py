"""Policies for tests: one small enough to hold in mind, and those the project ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tocsin_policy import Policy, load_policy, parse_policy

_SHIPPED = Path("deploy", "policies")


def a_policy(system: str = "shop", **changes: Any) -> Policy:  # noqa: ANN401 - any part of the document
    """A small policy: `critical` wakes one more at 5 and 10 minutes, `minor` wakes nobody.

    Alice is on call for ever, then come Bob, then Carol and Dave. Everybody has PagerDuty, and
    Alice Slack as well.

    Args:
        changes: Top-level parts of the document to replace.
    """
    document: dict[str, Any] = {
        "owner": "tests",
        "system": system,
        "claims": [[f'system="{system}"']],
        "severities": [
            {
                "name": "critical",
                "definition": "customers notice",
                "response_target": "3m",
                "pages": True,
                "updates": {"first_within": "10m", "every": "15m"},
                "acknowledge_timeout": "20m",
            },
            {"name": "minor", "definition": "nobody notices"},
        ],
        "classification": {
            "rules": [
                {
                    "name": "critical by label",
                    "match": ['severity="critical"'],
                    "severity": "critical",
                    "urgent": True,
                }
            ],
            "default": "minor",
        },
        "grouping": {"by": ["alertname"], "reopen_within": "30m", "auto_resolve_after": "5m"},
        "contacts": {
            "alice": {
                "name": "Alice",
                "role": "on-call engineer",
                "channels": ["pagerduty", "slack"],
            },
            "bob": {"name": "Bob", "role": "team lead", "channels": ["pagerduty"]},
            "carol": {"name": "Carol", "role": "head of product", "channels": ["pagerduty"]},
            "dave": {"name": "Dave", "role": "head of engineering", "channels": ["pagerduty"]},
        },
        "schedules": {
            "primary": {
                "name": "primary on call",
                "time_zone": "UTC",
                "layers": [{"start": "2026-01-05", "participants": ["alice"]}],
            }
        },
        "escalation": {
            "critical": [
                {"number": 1, "after": "0m", "targets": ["schedule:primary"]},
                {"number": 2, "after": "5m", "targets": ["contact:bob"]},
                {"number": 3, "after": "10m", "targets": ["contact:carol", "contact:dave"]},
            ]
        },
        "channels": {
            "pagerduty": {"kind": "pagerduty", "endpoint": "pagerduty"},
            "slack": {"kind": "slack", "endpoint": "slack"},
        },
        **changes,
    }
    return parse_policy(document)


def shipped(system: str) -> Policy:
    """The policy of a system as it stands in `deploy/policies`.

    Raises:
        FileNotFoundError: There is none, or we are not inside the project.
    """
    for folder in Path(__file__).resolve().parents:
        file = folder / _SHIPPED / system / "policy.yaml"
        if file.is_file():
            return load_policy(file)
    raise FileNotFoundError(_SHIPPED / system / "policy.yaml")
