"""How systems of this kind have failed their users, each as a scenario in which this one does not.

The sources are public issues and postmortems; what is here is about what comes in and what becomes
of it. Those about people's schedules, remediation and senders stand with what they are about.
"""

from __future__ import annotations

import json
from datetime import timedelta

from tocsin_contracts.dispositions import Outcome
from tocsin_incident import Status
from tocsin_policy import Policy
from tocsin_runtime.records import Outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit import invariants
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, at, minutes, page, scenario

DOWN = an_alert("Down", system="shop", severity="critical", service="api")
ALICE, BOB = page("on-call engineer"), page("team lead")


def kill(system: Timeline, service: str) -> None:
    """SIGKILL to every process of a service; the supervisor starts it again."""
    for instance in list(system.system.instances.values()):
        if instance.service == service and instance.actor is not None:
            system.system.kill(instance.actor)


def killed(system: Timeline, *services: str) -> None:
    async def now() -> None:
        for service in services:
            kill(system, service)

    system.at(minutes=3).do(f"kill {', '.join(services)}", now)


@scenario()
async def test_no_accepted_alert_is_without_an_outcome(system: Timeline) -> None:
    """Keep #6531: at least 77 alerts were accepted and never acted on."""
    alerts = [an_alert(f"A{n}", system="shop", severity="info", n=str(n)) for n in range(77)]
    for number in range(0, 77, 7):
        system.at(seconds=number).push(*alerts[number : number + 7])
    killed(system, "classifier", "ingestion")
    await system.play(until=minutes(10))
    assert len(system.dispositions()) >= 77
    assert invariants.unaccounted(system.system.log) == []


@scenario()
async def test_the_same_alert_sent_again_after_a_crash_of_the_door_is_not_dropped(
    system: Timeline,
) -> None:
    """Robusta: a full queue dropped the alert, said yes, and took the re-sends for repeats."""

    async def lose() -> None:
        # The process dies with the record accepted and not yet normalised.
        kill(system, "ingestion")

    system.at(minutes=0).push(DOWN.began(EPOCH)).do("the process dies", lose)
    system.at(minutes=1).push(DOWN.began(EPOCH))
    await system.play(until=minutes(3))
    pages = [got for got in system.got() if got.purpose == "page"]
    assert len(pages) == 1
    assert pages[0].since_start <= minutes(1)
    assert {str(one.outcome) for one in system.dispositions()} == {"opened", "repeated"}


@scenario()
async def test_a_resolve_that_came_while_nobody_was_up_still_clears(system: Timeline) -> None:
    """Alerta #2071, Alertmanager #2370: the transition was lost with the process."""

    async def away() -> None:
        kill(system, "classifier")

    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).do("the classifier dies", away).clear(DOWN, began=at(minutes=0))
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(15))
    assert system.status() is Status.RESOLVED


def inhibiting() -> Policy:
    rule = {"source": ['alertname="SiteDown"'], "target": ['alertname="Down"'], "equal": ["site"]}
    return a_policy(inhibition={"rules": {"site-down": rule}})


@scenario(inhibiting)
async def test_what_is_inhibited_pages_nobody_after_a_restart(system: Timeline) -> None:
    """Alertmanager #4064, #4179: an inhibited alert paged after the restart."""
    site = an_alert("SiteDown", system="shop", severity="critical", site="eu")
    here = an_alert("Down", system="shop", severity="critical", site="eu")
    system.at(minutes=0).push(site)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).push(here)
    killed(system, "classifier", "escalation-timer", "notifier")
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(15))
    outcomes = [one.outcome for one in system.dispositions()]
    assert outcomes == [Outcome.OPENED, Outcome.INHIBITED]


@scenario()
async def test_what_is_silenced_pages_nobody_after_a_restart(system: Timeline) -> None:
    """The same of silences: they are read before anything is decided."""
    system.at(minutes=0).silence('alertname="Down"', duration=minutes(60))
    system.at(minutes=1).push(DOWN)
    killed(system, "classifier")
    system.at(minutes=5).push(DOWN)
    await system.run(until=minutes(20))


@scenario()
async def test_two_senders_of_one_alert_page_once_and_one_resolve_is_enough(
    system: Timeline,
) -> None:
    """Alertmanager #1550, #2222: with two replicas a resolve was lost, or people paged twice."""

    async def both(*, ended: bool) -> None:
        now = system.system.clock.now()
        for starts_at in (EPOCH, EPOCH + timedelta(seconds=1)):
            alert = DOWN.began(starts_at)
            await system.system.post(a_webhook(alert.resolved(now) if ended else alert))
            if ended:
                return

    system.at(minutes=0).do("both send it", lambda: both(ended=False))
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).do("one says that it is over", lambda: both(ended=True))
    await system.play(until=minutes(15))
    assert len([got for got in system.got() if got.purpose == "page"]) == 1
    assert len(system.incidents()) == 1
    assert system.status() is Status.RESOLVED


@scenario()
async def test_one_poisonous_delivery_stops_nothing_behind_it(system: Timeline) -> None:
    """Iris #519: one incident that could not be handled stopped the sender for all."""

    async def poison() -> None:
        # Put on the topic by somebody else: no door refuses it.
        nonsense = b'{"version": "4", "alerts": [{"labels": 1}]}'
        system.system.log.append(Outgoing("alerts.raw", b"alertmanager", nonsense))

    system.at(minutes=0).do("nonsense", poison).push(DOWN)
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(2))
    assert len(system.system.log.records("dead-letters")) == 1


@scenario()
async def test_alerts_that_say_the_same_and_are_not_the_same_are_told_apart(
    system: Timeline,
) -> None:
    """GoAlert #4461: alerts with one summary were taken for one."""
    first, second = (
        an_alert(name, summary="It is broken", system="shop", severity="critical")
        for name in ("Disk", "Network")
    )
    system.at(minutes=0).push(first)
    system.at(minutes=1).push(second)
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=1), ALICE)
    await system.run(until=minutes(2))
    assert len(system.incidents()) == 2


@scenario()
async def test_a_payload_cut_short_that_says_resolved_closes_nothing(system: Timeline) -> None:
    """Alertmanager's max_alerts: the group says `resolved`, alerts that were cut still fire."""
    alerts = [an_alert("Down", system="shop", severity="critical", pod=str(n)) for n in range(5)]

    async def cut() -> None:
        now = system.system.clock.now()
        begun = system.start
        body = json.loads(a_webhook(*(one.began(begun).resolved(now) for one in alerts[:2])))
        body |= {"status": "resolved", "truncatedAlerts": 3}
        await system.system.post(body)

    system.at(minutes=0).push(*alerts)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).do("a payload cut short", cut)
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(15))
    assert system.status() is Status.ACKNOWLEDGED
    assert system.incident().firing == 3


@scenario()
async def test_a_backlog_is_folded_before_anybody_is_woken_by_it(system: Timeline) -> None:
    """PagerDuty, January 2023: a backlog worked off in order escalated what was long over."""
    slots = ("classifier", "escalation-timer", "notifier")

    async def nothing_reads() -> None:
        for _ in range(6):
            for service in slots:
                kill(system, service)
            await system.system.sleep(timedelta(seconds=1))

    system.at(minutes=0).do("nobody reads", nothing_reads)
    system.at(seconds=1).push(DOWN)
    system.at(seconds=2).clear(DOWN, began=at(seconds=1))
    await system.play(until=minutes(20))
    assert not any("bob" in got.names for got in system.got() if got.purpose == "page")
    assert system.status() is Status.RESOLVED
