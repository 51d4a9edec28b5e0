"""A postmortem as its author would want it: a bad P0 of two hours, and nothing to add by hand.

Three escalations, a provider that fails, an incident that comes back and two remediations.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tocsin_contracts.incidents import Purpose
from tocsin_policy import Policy
from tocsin_replay import (
    Summary,
    picture,
    postmortem,
    postmortem_html,
    promised,
    read_all,
    read_incident,
    read_policies,
    state_of,
    states_of,
    summarise,
)
from tocsin_simulation.faults import Fate, NoFaults, Outcome
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import shipped

MINUTE = timedelta(minutes=1)


class _AProviderIsDown(NoFaults):
    """No call reaches anybody while `down`; the rest works."""

    down = False

    def deliver(self) -> Fate:
        return Fate(outcome=Outcome.REFUSED) if self.down else Fate()


async def _two_hours() -> MemoryLog:
    faults = _AProviderIsDown()
    system = System(policies=[published(shipped("mpc-transformer"))], faults=faults)
    await system.start()
    outage = an_alert(
        "GlobalServiceUnavailable",
        app="mpc-transformer",
        severity="critical",
        cluster="prod-eu",
        starts_at=system.clock.now() - 2 * MINUTE,
    )
    await system.post(a_webhook(outage))
    await system.sleep(29 * MINUTE)
    faults.down = True
    await system.sleep(2 * MINUTE)
    faults.down = False
    await system.sleep(34 * MINUTE)
    (incident,) = system.incidents()
    await system.answer(incident, "acknowledge", by="alice")
    await system.answer(incident, "roles", by="alice", role="incident_commander", contact="alice")
    await system.answer(incident, "updates", by="alice", text="DNS is gone", audience="customers")
    await _approve(system, incident, "alice")
    await system.sleep(5 * MINUTE)
    await system.answer(incident, "notes", by="alice", text="Action: lower the TTL of the zone")
    await system.answer(incident, "mitigate", by="alice", text="traffic goes to asia")
    await system.sleep(10 * MINUTE)
    await system.post(a_webhook(outage.resolved(system.clock.now())))
    await system.answer(incident, "resolve", by="alice", text="zone restored")
    await system.sleep(10 * MINUTE)
    again = an_alert(
        "GlobalServiceUnavailable",
        app="mpc-transformer",
        severity="critical",
        cluster="prod-eu",
        starts_at=system.clock.now(),
    )
    await system.post(a_webhook(again))
    await system.sleep(12 * MINUTE)
    await system.answer(incident, "acknowledge", by="bob")
    await _approve(system, incident, "bob")
    await system.sleep(20 * MINUTE)
    await system.post(a_webhook(again.resolved(system.clock.now())))
    await system.answer(incident, "resolve", by="bob", text="cache flushed")
    await system.settle()
    return system.log


async def _approve(system: System, incident: str, by: str) -> None:
    state = system.incidents()[incident]
    *_, remediation = state.remediations.values()
    await system.answer(
        incident, "approve", by=by, remediation=remediation.remediation, step="route-traffic"
    )


@dataclass(frozen=True)
class Document:
    markdown: str
    html: str
    drawn: str
    summary: Summary
    policy: Policy


@pytest.fixture(scope="module")
def document() -> Document:
    log = simulate(_two_hours(), seed=1)
    (incident,) = states_of(asyncio.run(read_all(log)))
    recorded = asyncio.run(read_incident(log, incident))
    state = state_of(recorded)
    assert state is not None
    policy = promised(asyncio.run(read_policies(log)), state)
    assert policy is not None
    summary = summarise(recorded, policy)
    return Document(
        postmortem(recorded, policy),
        postmortem_html(recorded, policy),
        picture(summary, policy),
        summary,
        policy,
    )


def test_the_times_are_those_of_the_log(document: Document) -> None:
    found = document.summary
    assert found.time_to_detect == 2 * MINUTE
    assert found.time_to_acknowledge is not None
    assert 65 * MINUTE <= found.time_to_acknowledge <= 66 * MINUTE
    assert found.time_to_resolve is not None
    assert timedelta(hours=2) <= found.time_to_resolve <= timedelta(hours=2, minutes=5)
    for said in ("2 min", "1 h 05 min", "2 h 02 min"):
        assert said in document.markdown


def test_every_level_with_everybody_it_paged_is_there(document: Document) -> None:
    assert [level.level for level in document.summary.levels] == [1, 2, 3, 1]
    for name in ("On-call Engineer", "Alice Johnson", "Bob Smith", "Carol Davis"):
        assert name in document.markdown


def test_the_provider_that_failed_is_told_with_every_attempt(document: Document) -> None:
    retried = [page for page in document.summary.pages if page.attempts > 1]
    assert retried
    assert "unreachable" in document.markdown
    assert f"after {retried[0].attempts} attempts" in document.markdown


def test_the_reopening_and_both_remediations_are_told(document: Document) -> None:
    assert document.summary.generations == 2
    assert "reopened, generation 2" in document.markdown
    ran = [step for step in document.summary.steps if step.title.startswith("Route traffic")]
    assert [step.status for step in ran] == ["verified", "verified"]
    assert [step.approved_by for step in ran] == [("Alice Johnson",), ("Bob Smith",)]


def test_promises_kept_and_broken_are_told(document: Document) -> None:
    assert [target.met for target in document.summary.response_targets] == [False, False]
    outcomes = [update.outcome for update in document.summary.updates]
    assert outcomes.count("missed") >= 3
    assert "in time" in outcomes
    assert "An answer within 5 min: 0 met, 2 missed" in document.markdown


def test_people_their_roles_and_what_they_noted_to_do_are_told(document: Document) -> None:
    assert "| incident commander | Alice Johnson |" in document.markdown
    assert "- [ ] lower the TTL of the zone (Alice Johnson, noted" in document.markdown
    assert "Bob Smith resolved it after" in document.markdown


def test_what_only_people_know_is_marked_and_nothing_else_is(document: Document) -> None:
    marked = [line.partition("✎")[2] for line in document.markdown.splitlines() if "✎" in line]
    assert marked == [
        f" _For people to write: {part}._"
        for part in (
            "users affected",
            "revenue impact",
            "sla breach",
            "root cause",
            "fix with owner and date",
            "monitoring with owner and date",
            "documentation with owner and date",
            "process with owner and date",
        )
    ]
    assert "None" not in document.markdown


def test_the_page_needs_nothing_from_anywhere(document: Document) -> None:
    assert document.drawn.strip() in document.html
    for reference in ("<script", "<link", 'src="', "url(", "@import"):
        assert reference not in document.html
    assert Purpose.PAGE in document.html


def test_the_picture_has_every_escalation(document: Document) -> None:
    assert document.drawn.count("<polygon points=") >= len(document.summary.levels)
    assert "Bob Smith acknowledged" in document.drawn
