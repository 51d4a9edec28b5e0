"""What watches whether pages arrive, as Prometheus alerting rules."""

from __future__ import annotations

from typing import Any

from escalation_timer.handlers import LEVELS_REACHED
from tocsin_incident import Early


def delivery_rules() -> dict[str, Any]:
    """The rule file by which Prometheus hears of pages that reached nobody.

    Its alerts are about Tocsin: have them reach people by something that is not Tocsin.
    """
    nobody = {
        "alert": "TocsinNobodyReached",
        "expr": _grew(Early.LAST_RESORT),
        "labels": {"severity": "critical", "system": "tocsin"},
        "annotations": {
            "summary": "No page of an incident's last level could be delivered",
            "description": "The policy's last resort was told, if it names one. Look at the"
            " providers, and at `tocsin incident list` for what is open.",
        },
    }
    early = {
        "alert": "TocsinLevelUnreachable",
        "expr": _grew(Early.EVERY_MEANS_FAILED, Early.NOBODY_TO_REACH),
        "labels": {"severity": "warning", "system": "tocsin"},
        "annotations": {
            "summary": "Nobody of an escalation level could be reached, so the next was told early",
            "description": "`tocsin timeline` shows by which means, and why each failed.",
        },
    }
    return {"groups": [{"name": "tocsin-delivery", "rules": [nobody, early]}]}


def _grew(*reasons: Early) -> str:
    named = "|".join(reasons)
    return f'sum(increase({LEVELS_REACHED}_total{{reason=~"{named}"}}[10m])) > 0'
