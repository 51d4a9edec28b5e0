"""The P0 row of the MPC Transformer runbook's escalation matrix, as the shipped policy has it.

| Severity | Initial response | 30 minutes                | 1 hour    | 2 hours   |
|----------|------------------|---------------------------|-----------|-----------|
| P0       | On-call engineer | Team lead + VP engineering | CTO + CEO | All hands |

Whoever is on call is paged at once and, four minutes later, called by telephone.
"""

from __future__ import annotations

from functools import partial

import pytest

from remediation.handlers import GIVES_WAY
from tocsin_contracts.incidents import Purpose
from tocsin_incident import Status
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import shipped
from tocsin_testkit.timeline import Timeline, at, hours, minutes, page, scenario, told

the_runbook = partial(shipped, "mpc-transformer")

OUTAGE = an_alert("GlobalServiceUnavailable", app="mpc-transformer", severity="critical")


@scenario(the_runbook)
async def test_nobody_answers_a_p0(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.want(at(minutes=0), page("on-call engineer"))
    system.want(at(minutes=4), page("on-call engineer"))
    system.want(at(minutes=30), page("team lead"), page("vp engineering"))
    system.want(at(hours=1), page("cto"), page("ceo"))
    system.want(
        at(hours=2),
        page("on-call engineer"),
        page("team lead"),
        page("vp engineering"),
        page("cto"),
        page("ceo"),
    )
    system.want(at(hours=2, minutes=4), page("on-call engineer"))
    await system.run(until=hours(3))
    incident = system.incident()
    assert incident.status is Status.OPEN
    assert incident.severity == "P0"
    assert [missed.target for missed in incident.missed] == [minutes(5)]


@scenario(the_runbook)
async def test_the_on_call_engineer_takes_a_p0_in_time(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=4).acknowledge(by="oncall-primary")
    system.want(at(minutes=0), page("on-call engineer"))
    await system.run(until=minutes(110))
    assert system.incident().missed == ()


@scenario(the_runbook)
async def test_a_p0_acknowledged_after_the_leads_were_woken_tells_them_and_wakes_nobody_further(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=40).acknowledge(by="alice")
    system.want(at(minutes=0), page("on-call engineer"))
    system.want(at(minutes=4), page("on-call engineer"))
    system.want(at(minutes=30), page("team lead"), page("vp engineering"))
    for who in ("on-call engineer", "team lead", "vp engineering"):
        system.want(at(minutes=40), told(who, Purpose.ACKNOWLEDGED))
    await system.run(until=minutes(110))


@scenario(the_runbook)
async def test_a_p0_that_clears_ends_by_itself_and_wakes_nobody_further(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=10).clear(OUTAGE, began=at(minutes=0))
    system.want(at(minutes=0), page("on-call engineer"))
    system.want(at(minutes=4), page("on-call engineer"))
    await system.run(until=hours(3))
    assert system.incident().resolved_at == system.start + minutes(25)


@pytest.mark.parametrize("every", [1, 5])
@scenario(the_runbook)
async def test_alertmanager_repeating_a_p0_changes_nobodys_night(
    system: Timeline, every: int
) -> None:
    for minute in range(0, 60, every):
        system.at(minutes=minute).push(OUTAGE.began(EPOCH))
    system.want(at(minutes=0), page("on-call engineer"))
    system.want(at(minutes=4), page("on-call engineer"))
    system.want(at(minutes=30), page("team lead"), page("vp engineering"))
    await system.run(until=minutes(59))
    assert len(system.incidents()) == 1


@scenario(the_runbook)
async def test_the_playbook_of_a_p0_looks_by_itself_and_changes_nothing_before_somebody_agrees(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=3).acknowledge(by="oncall-primary")
    system.at(minutes=5).approve("route-traffic", by="oncall-primary")
    system.want(at(minutes=0), page("on-call engineer"))
    await system.run(until=minutes(20))
    names = "api.mpc-transformer.com eu.mpc-transformer.com asia.mpc-transformer.com"
    assert system.effects() == [
        (GIVES_WAY, "check-global-health.sh"),
        (GIVES_WAY, f"dig {names}"),
        (minutes(5), "emergency-traffic-routing.sh --exclude-down-regions"),
        (minutes(5), "check-global-health.sh"),
    ]


@scenario(the_runbook)
async def test_a_step_approved_after_the_p0_was_resolved_never_runs(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=4).resolve(by="oncall-primary")
    system.at(minutes=5).approve("route-traffic", by="alice")
    system.want(at(minutes=0), page("on-call engineer"))
    await system.run(until=minutes(20))
    assert [what for _, what in system.effects() if what.startswith("emergency")] == []


@scenario(the_runbook)
async def test_people_are_reminded_of_updates_they_promised_and_steps_they_did_not_take(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=2).acknowledge(by="oncall-primary")
    system.at(minutes=12).update(by="oncall-primary", text="we are on it", audience="public")
    system.want(at(minutes=0), page("on-call engineer"))
    nobody_wrote = told("communication lead", Purpose.REMINDER)
    nobody_agreed = told("incident commander", Purpose.REMINDER)
    system.want(at(minutes=5), nobody_agreed)
    # To people inside and to everybody; and traffic is not routed yet.
    system.want(at(minutes=10), nobody_wrote, nobody_wrote, nobody_agreed)
    system.want(at(minutes=27), nobody_wrote, nobody_wrote)
    await system.run(until=minutes(40))
