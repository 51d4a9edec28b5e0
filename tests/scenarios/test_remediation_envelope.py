"""The envelope of remediation: each of its rules, in the whole system, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from tocsin_casebook import switched
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Person
from tocsin_contracts.incidents import IncidentFact, Purpose
from tocsin_incident.state import RemediationStatus, Step, StepStatus
from tocsin_policy import DRILL_LABEL, Policy
from tocsin_runtime.events import decode, outgoing
from tocsin_simulation.runners import ran
from tocsin_simulation.system import published
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

DOWN = an_alert("Down", system="shop", severity="critical", service="web")
SLOW = an_alert("Slow", system="shop", severity="critical", service="web")
POORLY = ran(good=False)


def a_step(name: str = "restart", **changes: Any) -> dict[str, Any]:
    """A disruptive step that one person approves: `POST ops/<name>`."""
    return {
        "id": name,
        "title": name.title(),
        "runner": "http",
        "http": {"method": "POST", "endpoint": "ops", "path": f"/{name}"},
        "risk": "disruptive",
        "approval": "one",
        "timeout": "30s",
        **changes,
    }


def looks(path: str = "/healthz") -> dict[str, Any]:
    return {"http": {"endpoint": "ops", "path": path}}


def undo(path: str) -> dict[str, Any]:
    return {"http": {"method": "POST", "endpoint": "ops", "path": path}}


def fixing(*steps: dict[str, Any], system: str = "shop", **envelope: Any) -> Callable[[], Policy]:
    """A policy whose critical alerts propose these steps."""
    return lambda: a_policy(
        system,
        classification={
            "rules": [
                {
                    "name": "critical by label",
                    "match": ['severity="critical"'],
                    "severity": "critical",
                    "service": "web",
                    "playbook": "fix",
                },
                {
                    "name": "minor, with a playbook",
                    "match": ['severity="minor"'],
                    "severity": "minor",
                    "playbook": "fix",
                },
            ],
            "default": "minor",
        },
        endpoints={name: {"description": name} for name in ("ops", "pagerduty", "slack")},
        remediation={"tell": ["contact:bob"], **envelope},
        playbooks={"fix": {"title": "Fix it", "steps": list(steps)}},
    )


def did(system: Timeline) -> list[str]:
    """What was changed in the world, in order."""
    return [effect.what for effect in system.system.world.effects if effect.changes]


def step(system: Timeline, name: str = "restart", *, of: str = "") -> Step:
    (remediation,) = system.incident(of).remediations.values()
    found = remediation.step(name)
    assert found is not None
    return found


def status(system: Timeline, *, of: str = "") -> tuple[RemediationStatus, str]:
    (remediation,) = system.incident(of).remediations.values()
    return remediation.status, remediation.reason


def said(system: Timeline, kind: type[IncidentFact]) -> list[IncidentFact]:
    events = (decode(record) for record in system.system.log.records("incidents"))
    return [event.fact for event in events if isinstance(event.fact, kind)]


def holds(system: Timeline) -> list[str]:
    found = said(system, facts.RemediationStepHeld)
    return [fact.reason for fact in found if isinstance(fact, facts.RemediationStepHeld)]


def told(system: Timeline, contact: str = "bob") -> list[str]:
    """What a person was told that needs them."""
    return [
        held.message.body
        for incident in system.incidents()
        for held in incident.notifications.values()
        if held.purpose is Purpose.REMINDER and held.target and held.target.contact == contact
    ]


def answer(system: Timeline, at: float, verb: str, *, of: str = "", **fields: object) -> None:
    """Somebody answers about the incident's remediation."""

    async def give() -> None:
        incident = system.incident(of)
        (remediation,) = incident.remediations
        await system.system.answer(
            incident.incident, verb, **{"by": "alice", "remediation": remediation, **fields}
        )

    system.at(minutes=at).do(verb, give)


def freeze(system: Timeline, at: float, subject: str = "*", *, on: bool = True) -> None:
    async def switch() -> None:
        now = system.system.clock.now()
        event = switched(subject, Person(name="carol"), "a release", now, on=on)
        system.system.log.append(outgoing(event))

    system.at(minutes=at).do("freeze" if on else "thaw", switch)


def look_otherwise(system: Timeline, at: float, target: str, how: str) -> None:
    async def change() -> None:
        system.system.world.looks[target] = how

    system.at(minutes=at).do(f"{target} becomes {how}", change)


# Propose by default.


@scenario(fixing(a_step()))
async def test_a_step_that_changes_something_is_planned_in_the_log_and_waits_for_a_person(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    await system.play(until=minutes(30))
    plan = step(system).plan
    assert plan is not None
    assert (plan.targets, plan.diff) == (("http:ops/restart",), "POST ops/restart")
    assert did(system) == []


@scenario(fixing(a_step()))
async def test_an_approved_step_runs_once(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=2).approve("restart", by="bob")
    await system.play(until=minutes(30))
    assert did(system) == ["POST ops/restart"]
    assert step(system).status is StepStatus.FINISHED


@scenario(fixing(a_step(risk="destructive", approval="two")))
async def test_two_means_two_different_people_whatever_they_call_themselves(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    for number, name in enumerate(("alice", "Alice", "ALICE ")):
        system.at(minutes=1 + number).approve("restart", by=name)
    await system.play(until=minutes(30))
    assert did(system) == []


@scenario(fixing(a_step(risk="destructive", approval="two")))
async def test_two_different_people_suffice(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=2).approve("restart", by="Bob")
    await system.play(until=minutes(30))
    assert did(system) == ["POST ops/restart"]


@scenario(
    fixing(a_step(risk="destructive", approval="two"), approvals_expire_after="10m"),
)
async def test_an_approval_expires_and_can_be_given_again(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=12).approve("restart", by="bob")
    await system.play(until=minutes(13))
    assert did(system) == []


@scenario(
    fixing(a_step(risk="destructive", approval="two"), approvals_expire_after="10m"),
)
async def test_an_approval_given_again_counts_from_then(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=9).approve("restart", by="alice")
    system.at(minutes=12).approve("restart", by="bob")
    await system.play(until=minutes(13))
    assert did(system) == ["POST ops/restart"]


@scenario(fixing(a_step(), approvers={"disruptive": ["contact:bob"]}))
async def test_only_who_may_approve_a_risk_lets_it_run(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == []


@scenario(fixing(a_step(), approvers={"disruptive": ["contact:bob"]}))
async def test_who_may_approve_lets_it_run(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="bob")
    await system.play(until=minutes(5))
    assert did(system) == ["POST ops/restart"]


@pytest.mark.parametrize(("severity", "ran_alone"), [("critical", True), ("minor", False)])
def test_how_many_must_agree_depends_on_the_severity(severity: str, *, ran_alone: bool) -> None:
    @scenario(fixing(a_step(approval={"critical": "one", "default": "two"})))
    async def day(system: Timeline) -> None:
        system.at(minutes=0).push(an_alert("Down", system="shop", severity=severity))
        system.at(minutes=1).approve("restart", by="alice")
        await system.play(until=minutes(5))
        assert bool(did(system)) is ran_alone

    day()


@scenario(fixing(a_step()))
async def test_an_approval_of_another_plan_than_the_newest_is_void(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    answer(system, 1, "approve", step="restart", plan=7)
    await system.play(until=minutes(5))
    assert did(system) == []


# Preconditions, at the moment of running.


@scenario(fixing(a_step()))
async def test_a_world_that_changed_since_the_approval_needs_a_new_one(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    look_otherwise(system, 1, "http:ops/restart", "already restarting")
    system.at(minutes=2).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == []
    assert holds(system) == ["world_changed"]
    found = step(system)
    assert found.plan is not None
    assert (found.plan.number, found.plan.state) == (2, "http:ops/restart: already restarting")
    assert found.approvals == ()


@scenario(fixing(a_step()))
async def test_a_new_approval_of_the_world_as_it_is_now_lets_the_step_run(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    look_otherwise(system, 1, "http:ops/restart", "already restarting")
    system.at(minutes=2).approve("restart", by="alice")
    system.at(minutes=4).approve("restart", by="alice")
    await system.play(until=minutes(6))
    assert did(system) == ["POST ops/restart"]


@scenario(fixing(a_step()))
async def test_remediation_ran_on_resolved(system: Timeline) -> None:
    """What is resolved while a step was on its way to running is left alone."""
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")

    async def slow() -> None:
        system.system.world.plans_in = timedelta(seconds=40)

    system.at(seconds=59).do("planning takes a while", slow)
    system.at(minutes=1.5).resolve("bob")
    await system.play(until=minutes(30))
    assert did(system) == []
    assert holds(system) == ["resolved"]


@scenario(fixing(a_step(verify=looks()), a_step("second", verify=looks())))
async def test_no_step_follows_once_the_incident_is_resolved(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=2).resolve("bob")
    system.at(minutes=3).approve("second", by="alice")
    await system.play(until=minutes(30))
    assert did(system) == ["POST ops/restart"]


@scenario(fixing(a_step()))
async def test_runner_died_and_stayed_running(system: Timeline) -> None:
    """A runner that never answers is waited for only so long; then a person is asked."""
    system.system.world.hang.add("POST ops/restart")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(60))
    assert did(system) == ["POST ops/restart"]
    assert step(system).status is StepStatus.IN_DOUBT
    (asked,) = told(system)
    assert "in doubt" in asked


@scenario(fixing(a_step(verify=looks())))
async def test_a_process_that_died_while_a_step_ran_leaves_it_in_doubt_looked_at_and_asked_about(
    system: Timeline,
) -> None:
    system.system.world.hang.add("POST ops/restart")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=1.1).do("remediation dies", lambda: die(system))
    await system.play(until=minutes(60))
    assert did(system) == ["POST ops/restart"]
    found = step(system)
    assert (found.status, found.looked) == (StepStatus.IN_DOUBT, "as_expected")
    assert len(told(system)) == 1


SHARED: dict[str, Any] = {"http": {"method": "POST", "endpoint": "ops", "path": "/one"}}


ONE_TARGET = a_step(**SHARED, approval="one", verify=looks())
BANK = fixing(ONE_TARGET, system="bank")
OF_BANK = an_alert("Slow", system="bank", severity="critical", service="web")


def most_at_once(system: Timeline) -> list[int]:
    """How many steps acted at one time, after each effect: until it is looked at, a step acts."""
    under_way: list[str] = []
    most: list[int] = []

    def heard(effect: Any) -> None:
        if effect.changes:
            under_way.append(effect.what)
        elif under_way:
            under_way.pop()
        most.append(len(under_way))

    system.system.world.happened.append(heard)
    return most


@pytest.mark.parametrize("other", [SLOW, OF_BANK], ids=["of one system", "of two systems"])
def test_two_remediations_of_one_target(other: Any) -> None:
    """Two incidents want to act on one thing: the log says who goes first, the other waits."""

    @scenario(fixing(ONE_TARGET))
    async def day(system: Timeline) -> None:
        system.system.publish_policy(published(BANK()))
        most = most_at_once(system)
        system.at(minutes=0).push(DOWN)
        system.at(minutes=0).push(other)
        for title in ("Down", "Slow"):
            system.at(minutes=1).approve("restart", by="alice", of=title)

        async def slow() -> None:
            system.system.world.plans_in = timedelta(seconds=20)

        system.at(seconds=59).do("planning takes a while", slow)
        await system.play(until=minutes(30))
        assert did(system) == ["POST ops/one", "POST ops/one"]
        assert max(most) == 1
        assert holds(system) == ["target_taken"]
        assert {
            found.status
            for incident in system.incidents()
            for remediation in incident.remediations.values()
            for found in remediation.steps
        } == {StepStatus.VERIFIED}

    day()


def dies_on_one_target(system: Timeline) -> None:
    """Remediation dies while a step of Down acts on what one of Slow, another system, wants."""
    system.system.publish_policy(published(BANK()))
    system.system.world.hang.add("POST ops/one")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=0).push(OF_BANK)
    system.at(minutes=1).approve("restart", by="alice", of="Down")
    system.at(minutes=1.1).do("remediation dies", lambda: die(system))

    async def answers_again() -> None:
        system.system.world.hang.clear()

    system.at(minutes=2).do("the endpoint answers again", answers_again)
    system.at(minutes=4).approve("restart", by="alice", of="Slow")


@scenario(fixing(ONE_TARGET))
async def test_a_target_of_a_step_in_doubt_is_not_another_systems_until_somebody_settles_it(
    system: Timeline,
) -> None:
    dies_on_one_target(system)
    answer(system, 8, "settle", step="restart", done=True, of="Down")
    before: list[list[str]] = []

    async def see() -> None:
        before.append(did(system))

    system.at(minutes=7).do("look", see)
    await system.play(until=minutes(30))
    assert before == [["POST ops/one"]]
    assert holds(system) == ["target_taken"]
    assert did(system) == ["POST ops/one", "POST ops/one"]
    assert step(system, of="Slow").status is StepStatus.VERIFIED


@scenario(fixing(ONE_TARGET))
async def test_what_a_step_held_is_let_go_of_once_its_incident_is_over(system: Timeline) -> None:
    dies_on_one_target(system)
    system.at(minutes=6).resolve("bob", of="Down")
    await system.play(until=minutes(30))
    assert did(system) == ["POST ops/one", "POST ops/one"]
    assert step(system, of="Slow").status is StepStatus.VERIFIED


@scenario(fixing(a_step(**SHARED, verify=looks("/bad"), undo=undo("/back"))))
async def test_what_is_being_taken_back_is_not_another_systems_to_change(
    system: Timeline,
) -> None:
    system.system.publish_policy(published(BANK()))
    system.system.world.answers["GET ops/bad"] = POORLY
    system.system.world.hang.add("POST ops/back")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=0).push(OF_BANK)
    system.at(minutes=1).approve("restart", by="alice", of="Down")
    system.at(minutes=3).approve("restart", by="alice", of="Slow")
    await system.play(until=minutes(30))
    assert did(system) == ["POST ops/one", "POST ops/back"]
    assert status(system, of="Slow") == (RemediationStatus.FAILED, "target_taken")


@scenario(fixing(a_step(**SHARED, timeout="30m"), waits_for_target="5m"))
async def test_who_waits_too_long_for_a_target_says_so_and_stops(system: Timeline) -> None:
    system.system.world.hang.add("POST ops/one")
    system.at(minutes=0).push(DOWN, SLOW)
    system.at(minutes=1).approve("restart", by="alice", of="Down")
    system.at(minutes=2).approve("restart", by="alice", of="Slow")
    await system.play(until=minutes(20))
    assert did(system) == ["POST ops/one"]
    assert status(system, of="Slow") == (RemediationStatus.FAILED, "target_taken")
    assert any("target_taken" in one for one in told(system))


@scenario(fixing(a_step(), budget={"pods": 10}))
async def test_a_step_that_would_touch_more_than_its_budget_is_left_to_people(
    system: Timeline,
) -> None:
    system.system.world.pods["POST ops/restart"] = 11
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == []
    assert status(system) == (RemediationStatus.FAILED, "over_budget")
    assert len(told(system)) == 1


@scenario(fixing(a_step(), budget={"actions_an_hour": 1}))
async def test_a_service_is_acted_on_so_often_an_hour_and_no_more(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN, SLOW)
    system.at(minutes=1).approve("restart", by="alice", of="Down")
    system.at(minutes=30).approve("restart", by="alice", of="Slow")
    await system.play(until=minutes(60.9))
    assert did(system) == ["POST ops/restart"]
    assert holds(system) == ["budget_spent"]


@scenario(fixing(a_step(), budget={"actions_an_hour": 1}))
async def test_a_budget_that_is_free_again_lets_the_step_run(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN, SLOW)
    system.at(minutes=1).approve("restart", by="alice", of="Down")
    system.at(minutes=30).approve("restart", by="alice", of="Slow")
    await system.play(until=minutes(65))
    assert did(system) == ["POST ops/restart"] * 2


@pytest.mark.parametrize("subject", ["*", "shop"])
def test_a_freeze_stops_everything_until_it_ends(subject: str) -> None:
    @scenario(fixing(a_step()))
    async def frozen(system: Timeline) -> None:
        freeze(system, 1, subject)
        system.at(minutes=2).push(DOWN)
        system.at(minutes=3).approve("restart", by="alice")
        await system.play(until=minutes(30))
        assert did(system) == []
        assert holds(system) == ["frozen"]

    @scenario(fixing(a_step()))
    async def thawed(system: Timeline) -> None:
        freeze(system, 1, subject)
        system.at(minutes=2).push(DOWN)
        system.at(minutes=3).approve("restart", by="alice")
        freeze(system, 20, subject, on=False)
        await system.play(until=minutes(30))
        assert did(system) == ["POST ops/restart"]

    frozen()
    thawed()


@scenario(fixing(a_step()))
async def test_a_freeze_of_another_system_stops_nothing_here(system: Timeline) -> None:
    freeze(system, 1, "elsewhere")
    system.at(minutes=2).push(DOWN)
    system.at(minutes=3).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == ["POST ops/restart"]


@scenario(fixing(a_step()))
async def test_a_step_that_a_new_policy_has_otherwise_is_not_run(system: Timeline) -> None:
    async def publish() -> None:
        other = fixing(a_step(timeout="31s"))()
        system.system.publish_policy(published(other))

    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).do("another policy", publish)
    system.at(minutes=2).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == []
    assert status(system) == (RemediationStatus.FAILED, "policy_changed")


@scenario(fixing(a_step("look", risk="read", approval="automatic", http=looks()["http"]), a_step()))
async def test_a_drill_is_rehearsed_by_people_and_no_machine_does_or_looks_at_anything(
    system: Timeline,
) -> None:
    labels: dict[str, Any] = {"severity": "critical", DRILL_LABEL: "failover"}
    system.at(minutes=0).push(an_alert("Down", system="shop", **labels))
    system.at(minutes=1).approve("look", by="alice")
    system.at(minutes=2).approve("restart", by="alice")
    await system.play(until=minutes(10))
    assert system.system.world.effects == []
    assert [step(system, name).reason for name in ("look", "restart")] == ["done_by_hand"] * 2
    assert {one.proposed.by_hand for one in (step(system, "look"), step(system))} == {"a drill"}


# Verification and undoing.

CHAIN = (
    a_step("first", verify=looks("/first"), undo=undo("/undo-first")),
    a_step("second", undo=undo("/undo-second")),
    a_step("third", verify=looks("/third")),
)


def approved(system: Timeline, *names: str, start: float = 1) -> None:
    for number, name in enumerate(names):
        system.at(minutes=start + number).approve(name, by="alice")


@scenario(fixing(*CHAIN))
async def test_what_is_not_verified_in_time_is_undone_with_all_before_it_the_last_first(
    system: Timeline,
) -> None:
    world = system.system.world
    world.answers["GET ops/third"] = POORLY
    world.answers["POST ops/third"] = ran(replicas="3")
    system.at(minutes=0).push(DOWN)
    approved(system, "first", "second", "third")
    await system.play(until=minutes(10))
    assert did(system) == [
        "POST ops/first",
        "POST ops/second",
        "POST ops/third",
        "put back POST ops/third: replicas=3",
        "POST ops/undo-second",
        "POST ops/undo-first",
    ]
    assert status(system) == (RemediationStatus.FAILED, "not_verified")
    assert len(told(system)) == 1


TOLD: dict[str, Any] = {
    "before": {**looks("/limit"), "values": {"rps": "/rps"}},
    "undo": {
        "http": {
            "method": "POST",
            "endpoint": "ops",
            "path": "/limit",
            "body": '{"rps": "${rps}"}',
        }
    },
}


def limited_to(system: Timeline, answer: str) -> None:
    system.system.world.answers["GET ops/limit"] = ran(answer=answer)


async def die(system: Timeline) -> None:
    actor = system.system.instances["remediation-1"].actor
    assert actor is not None
    system.system.kill(actor)


@scenario(fixing(a_step(verify=looks("/bad"), **TOLD)))
async def test_an_undo_puts_back_what_the_plan_found_before_the_step(system: Timeline) -> None:
    limited_to(system, '{"rps": 500}')
    system.system.world.answers["GET ops/bad"] = POORLY
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(10))
    plan = step(system).plan
    assert plan is not None
    assert plan.before == {"rps": "500"}
    assert "before: rps is 500" in plan.state
    assert did(system) == ["POST ops/restart", 'POST ops/limit body={"rps": 500}']
    assert step(system).status is StepStatus.ROLLED_BACK


@scenario(fixing(a_step(**TOLD)))
async def test_a_step_that_nobody_heard_the_end_of_is_taken_back_as_exactly(
    system: Timeline,
) -> None:
    limited_to(system, '{"rps": 500}')
    system.system.world.hang.add("POST ops/restart")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=1.1).do("remediation dies", lambda: die(system))
    answer(system, 5, "settle", step="restart", done=True)
    answer(system, 6, "abort", reason="it was no help")
    await system.play(until=minutes(10))
    assert did(system) == ["POST ops/restart", 'POST ops/limit body={"rps": 500}']
    assert step(system).status is StepStatus.ROLLED_BACK


@scenario(fixing(a_step()))
async def test_a_runner_that_died_is_taken_back_by_what_its_plan_said(system: Timeline) -> None:
    world = system.system.world
    world.before["POST ops/restart"] = {"replicas": "3"}
    world.hang.add("POST ops/restart")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=1.1).do("remediation dies", lambda: die(system))
    answer(system, 5, "settle", step="restart", done=True)
    answer(system, 6, "abort", reason="it was no help")
    await system.play(until=minutes(10))
    assert did(system) == ["POST ops/restart", "put back POST ops/restart: replicas=3"]


@scenario(fixing(a_step(**TOLD)))
async def test_what_stands_there_otherwise_at_the_moment_of_running_is_another_plan(
    system: Timeline,
) -> None:
    limited_to(system, '{"rps": 500}')
    system.at(minutes=0).push(DOWN)

    async def change() -> None:
        limited_to(system, '{"rps": 600}')

    system.at(minutes=1).do("somebody sets 600", change)
    system.at(minutes=2).approve("restart", by="alice")
    await system.play(until=minutes(5))
    assert (did(system), holds(system)) == ([], ["world_changed"])


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (ran(answer="{}"), "before_not_found"),
        (ran(answer='{"rps": "[redacted]"}'), "before_is_secret"),
        (ran(answer=f'{{"rps": "{"9" * 20_000}"}}'), "before_too_large"),
        (POORLY, "before_not_seen"),
    ],
)
def test_a_step_is_a_persons_where_nobody_could_put_back_what_was_there(
    found: Any, why: str
) -> None:
    @scenario(fixing(a_step(**TOLD)))
    async def day(system: Timeline) -> None:
        system.system.world.answers["GET ops/limit"] = found
        system.at(minutes=0).push(DOWN)
        system.at(minutes=1).approve("restart", by="alice")
        await system.play(until=minutes(5))
        plan = step(system).plan
        assert plan is not None
        assert plan.refused == why
        assert did(system) == []

    day()


@scenario(fixing(*CHAIN))
async def test_an_undo_that_fails_is_named_and_the_rest_is_undone_all_the_same(
    system: Timeline,
) -> None:
    world = system.system.world
    world.answers["POST ops/third"] = POORLY
    world.answers["POST ops/undo-second"] = POORLY
    system.at(minutes=0).push(DOWN)
    approved(system, "first", "second", "third")
    await system.play(until=minutes(10))
    assert did(system)[-2:] == ["POST ops/undo-second", "POST ops/undo-first"]
    assert step(system, "second").status is StepStatus.UNDO_FAILED
    (failed,) = said(system, facts.RemediationFailed)
    assert isinstance(failed, facts.RemediationFailed)
    assert "not taken back: Second" in failed.detail


@scenario(fixing(a_step(verify={"alert_cleared": {"within": "5m"}}, undo=undo("/undo"))))
async def test_alerts_that_clear_in_time_verify_a_step(system: Timeline) -> None:
    from tocsin_testkit.timeline import at  # noqa: PLC0415 - this test only

    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=4).clear(DOWN, began=at(minutes=0))
    await system.play(until=minutes(8))
    assert step(system).status is StepStatus.VERIFIED
    assert did(system) == ["POST ops/restart"]


@scenario(fixing(a_step(verify={"alert_cleared": {"within": "5m"}}, undo=undo("/undo"))))
async def test_alerts_that_do_not_clear_in_time_have_the_step_undone(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(8))
    assert did(system) == ["POST ops/restart", "POST ops/undo"]
    assert status(system) == (RemediationStatus.FAILED, "not_verified")


@scenario(fixing(a_step(undo=undo("/undo"))))
async def test_a_severity_that_rises_soon_after_a_step_takes_it_back(system: Timeline) -> None:
    system.at(minutes=0).push(an_alert("Down", system="shop", severity="minor"))
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=5).raise_to("critical", by="bob")
    await system.play(until=minutes(8))
    assert did(system) == ["POST ops/restart", "POST ops/undo"]
    assert status(system) == (RemediationStatus.FAILED, "severity_rose")


@scenario(fixing(a_step(undo=undo("/undo"))))
async def test_a_severity_that_rises_long_after_a_step_leaves_it(system: Timeline) -> None:
    system.at(minutes=0).push(an_alert("Down", system="shop", severity="minor"))
    system.at(minutes=1).approve("restart", by="alice")
    system.at(minutes=30).raise_to("critical", by="bob")
    await system.play(until=minutes(35))
    assert did(system) == ["POST ops/restart"]


@pytest.mark.parametrize("taken_back", [True, False])
def test_an_abort_stops_and_takes_back_if_asked_to(*, taken_back: bool) -> None:
    @scenario(fixing(*CHAIN))
    async def day(system: Timeline) -> None:
        system.at(minutes=0).push(DOWN)
        approved(system, "first", "second")
        answer(system, 5, "abort", reason="enough", undo=taken_back)
        system.at(minutes=6).approve("third", by="alice")
        await system.play(until=minutes(8))
        undone = ["POST ops/undo-second", "POST ops/undo-first"] if taken_back else []
        assert did(system) == ["POST ops/first", "POST ops/second", *undone]

    day()


@scenario(fixing(a_step(), a_step("second")))
async def test_a_rejected_remediation_goes_no_further(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")
    answer(system, 2, "reject", reason="no")
    system.at(minutes=3).approve("second", by="alice")
    await system.play(until=minutes(5))
    assert did(system) == ["POST ops/restart"]


# In doubt.


def doubtful(system: Timeline) -> None:
    """The step's answer is lost."""
    from remediation.domain.plan import Lost  # noqa: PLC0415 - this helper only

    system.system.world.answers["POST ops/restart"] = Lost("timed_out")
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).approve("restart", by="alice")


@scenario(fixing(a_step(), a_step("second")))
async def test_a_step_in_doubt_is_not_run_again_and_nothing_follows(system: Timeline) -> None:
    doubtful(system)
    system.at(minutes=3).approve("second", by="alice")
    await system.play(until=minutes(60))
    assert did(system) == ["POST ops/restart"]
    assert step(system).status is StepStatus.IN_DOUBT


@scenario(fixing(a_step(), a_step("second")))
async def test_a_person_who_says_it_was_done_lets_it_go_on(system: Timeline) -> None:
    doubtful(system)
    answer(system, 5, "settle", step="restart", done=True)
    system.at(minutes=6).approve("second", by="alice")
    await system.play(until=minutes(10))
    assert did(system) == ["POST ops/restart", "POST ops/second"]


@scenario(fixing(a_step()))
async def test_a_person_who_says_it_was_not_done_gets_a_new_plan_to_approve(
    system: Timeline,
) -> None:
    doubtful(system)
    answer(system, 5, "settle", step="restart", done=False)
    await system.play(until=minutes(10))
    assert did(system) == ["POST ops/restart"]
    found = step(system)
    assert found.plan is not None
    assert (found.status, found.plan.number, found.approvals) == (StepStatus.PROPOSED, 2, ())


@scenario(fixing(a_step()))
async def test_a_step_that_had_no_effect_runs_again_only_when_it_is_approved_again(
    system: Timeline,
) -> None:
    doubtful(system)
    answer(system, 5, "settle", step="restart", done=False)
    system.at(minutes=7).approve("restart", by="bob")
    await system.play(until=minutes(10))
    assert did(system) == ["POST ops/restart"] * 2


# Nothing else.

OUTSIDE: Mapping[str, Any] = {"parameters": {"pod": {"label": "pod", "pattern": "web-[a-z0-9]+"}}}


@scenario(
    fixing(
        a_step(http={"method": "POST", "endpoint": "ops", "path": "/kill/${pod}"}, **OUTSIDE),
    )
)
async def test_a_label_fills_the_place_the_policy_names(system: Timeline) -> None:
    system.at(minutes=0).push(an_alert("Down", system="shop", severity="critical", pod="web-7d9f"))
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(3))
    assert did(system) == ["POST ops/kill/web-7d9f"]


@scenario(
    fixing(
        a_step(http={"method": "POST", "endpoint": "ops", "path": "/kill/${pod}"}, **OUTSIDE),
    )
)
async def test_a_label_that_is_not_what_the_step_takes_leaves_it_to_a_person(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(
        an_alert("Down", system="shop", severity="critical", pod="web-7d9f/../../admin")
    )
    system.at(minutes=1).approve("restart", by="alice")
    await system.play(until=minutes(3))
    assert did(system) == []
    assert step(system).reason == "done_by_hand"


@scenario(fixing(a_step()))
async def test_the_page_is_on_its_way_before_anything_is_proposed(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    await system.play(until=minutes(1))
    told = [
        decode(record).fact.TYPE
        for record in system.system.log.records("incidents")
        if decode(record).subject == system.incident().incident
    ]
    proposed = told.index(facts.RemediationProposed.TYPE)
    assert facts.NotificationDelivered.TYPE in told[:proposed]
