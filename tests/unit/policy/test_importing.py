"""Runbooks in Markdown become drafts that validate, and what is missing is named."""

from __future__ import annotations

import pytest

from tocsin_policy import Policy, read_policy
from tocsin_policy.importing import Draft, draft_policy

BY_TABLES = """
# When the bakery stops

## Severity Levels

| Severity | Impact | Response Time | Examples |
|---|---|---|---|
| **SEV 1 - Critical** | No bread at all | Immediate | Oven down, flour gone |
| **SEV 2 - High** | Some bread | 20 minutes | Slow oven |
| **SEV 3 - Low** | Ugly bread | Next business day | Crooked label |

## Escalation Matrix

| Severity | Initial Response | 30 Minutes | 2 Hours |
|---|---|---|---|
| SEV 1 | Baker on duty | Head Baker + Owner | All Hands |
| SEV 2 | Baker on duty | Head Baker | - |

## Communication

### Update Frequency

- **SEV 1**: Every 15 minutes
- **SEV 2**: Hourly

Initial update (within 10 minutes)

## Contacts

| Role | Name | Phone | Email |
|---|---|---|---|
| Head Baker | Rotating | 112 | head@bakery.example |

## Common Scenarios

### Scenario 1: Oven Down

1. **Look** (5 minutes)
```bash
curl http://oven.example/health
```

## Post-Mortem

Within 5 business days
"""

BY_HEADINGS = """
# Playbook

## Severity Classification

### Critical (P0)
- Nothing works

**Response Time:** 15 minutes
**Escalation:** Immediate to on-call engineer and manager

### Low (P1)
- Cosmetic issues

**Response Time:** 2 hours
**Escalation:** During business hours
"""


def drafted(runbook: str) -> tuple[Draft, Policy]:
    draft = draft_policy(runbook, "bakery")
    return draft, read_policy(draft.text)


def test_severities_come_from_a_table_with_what_it_says_of_them() -> None:
    _, policy = drafted(BY_TABLES)
    first, second, third = policy.severities
    assert [one.name for one in policy.severities] == ["SEV1", "SEV2", "SEV3"]
    assert first.definition == "No bread at all"
    assert first.examples == ("Oven down", "flour gone")
    minutes = [
        one.response_target.total_seconds() / 60 for one in (first, second) if one.response_target
    ]
    assert minutes == [5, 20]
    assert third.hours == "next_business_day"


def test_levels_come_from_a_matrix_to_the_minute() -> None:
    _, policy = drafted(BY_TABLES)
    levels = policy.escalation["SEV1"]
    assert [(str(one.after), one.targets) for one in levels] == [
        ("0:00:00", ("contact:baker-on-duty",)),
        ("0:30:00", ("contact:head-baker", "contact:owner")),
        ("2:00:00", ("everyone",)),
    ]
    assert len(policy.escalation["SEV2"]) == 2
    assert policy.contacts["head-baker"].phone == "112"


def test_cadence_review_and_playbooks_come_along() -> None:
    _, policy = drafted(BY_TABLES)
    first = policy.severities[0]
    assert first.updates is not None
    assert (str(first.updates.first_within), str(first.updates.every)) == ("0:10:00", "0:15:00")
    assert first.review is not None
    assert first.review.business_days == 5
    [playbook] = policy.playbooks.values()
    assert playbook.id == "oven-down"
    assert "curl http://oven.example/health" in playbook.steps[0].detail


def test_severities_come_from_headings_too() -> None:
    _, policy = drafted(BY_HEADINGS)
    first, second = policy.severities
    assert first.response_target is not None
    assert first.response_target.total_seconds() == 900
    assert policy.escalation["P0"][0].targets == ("contact:on-call-engineer", "contact:manager")
    assert second.hours == "business_hours"


def test_what_is_missing_is_named_in_the_head_of_the_draft() -> None:
    draft, _ = drafted(BY_TABLES)
    assert "escalation SEV3: who is told, and after how long" in draft.gaps
    assert all(f"# - {gap}" in draft.text for gap in draft.gaps)


def test_a_text_without_severities_is_refused() -> None:
    with pytest.raises(ValueError, match="no severities found"):
        draft_policy("# A poem\n\nRoses are red.", "poem")
