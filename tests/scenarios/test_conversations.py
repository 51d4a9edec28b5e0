"""An incident as it is read in chat, in trackers and on the status page, from page to resolution.

The whole system, the real adapters, and doubles that speak the providers' protocols; on good days,
and on days when processes die and answers are lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx
import pytest

from notifier.adapters.calling import Caller
from notifier.adapters.guarded import Guarded
from notifier.adapters.local_gate import LocalGate
from notifier.handlers import Notifier
from notifier.settings import NotifierSettings
from notifier.wiring import channel_of, redactor_of
from tocsin_casebook import Casebook, Policies
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import NotificationStatus
from tocsin_policy import Policy
from tocsin_runtime.ports import Handler
from tocsin_simulation.faults import NoFaults, Rates, SeededFaults
from tocsin_simulation.loop import simulate
from tocsin_simulation.system import SERVICES, Instance, Runs, Service, System, published
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import GitHub, Jira, PagerDuty, Provider, Slack, Statuspage
from tocsin_testkit.providers.direct import Direct
from tocsin_testkit.timeline import Timeline, minutes

KEY = "0" * 32
SETTINGS = NotifierSettings.model_validate(
    {
        "incident_url": "https://tocsin.example.com/{incident}",
        "channels": {
            "chat": {
                "kind": "slack-app",
                "token": "t0ken-t0ken",
                "channel": "C0ALL",
                "rooms": True,
            },
            "pagerduty": {
                "kind": "pagerduty",
                "routing_key": KEY,
                "rest_token": "t0ken-t0ken",
                "rest_user": "t@example.com",
            },
            "status": {
                "kind": "statuspage",
                "page": "p4ge",
                "token": "t0ken-t0ken",
                "components": {"shop": "c0mp"},
            },
            "hub": {"kind": "github", "repository": "acme/shop", "token": "t0ken-t0ken"},
            "jira": {
                "kind": "jira",
                "url": "https://acme.atlassian.net",
                "user": "t@example.com",
                "token": "t0ken-t0ken",
                "project": "OPS",
            },
        },
    }
)
EVERYWHERE = ["chat", "pagerduty", "status", "hub", "jira"]


def a_talkative_policy() -> Policy:
    alice = {
        "name": "Alice",
        "role": "on-call engineer",
        "slack": "U0ALICE",
        "channels": ["chat", "pagerduty"],
    }
    told = ["chat", "status", "hub", "jira"]
    return a_policy(
        contacts={"alice": alice},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["schedule:primary"]}]},
        channels={
            name: {"kind": SETTINGS.channels[name].kind, "endpoint": name} for name in EVERYWHERE
        },
        announcements={
            "critical": {"opened": told, "updates": [*told, "pagerduty"], "resolved": told}
        },
    )


@dataclass
class World:
    """Every provider there is."""

    chat: Slack = field(default_factory=lambda: Slack("t0ken-t0ken", "C0ALL", users=("U0ALICE",)))
    pagerduty: PagerDuty = field(default_factory=lambda: PagerDuty(KEY, "t0ken-t0ken"))
    status: Statuspage = field(default_factory=lambda: Statuspage("p4ge", "t0ken-t0ken", ("c0mp",)))
    hub: GitHub = field(default_factory=lambda: GitHub("acme/shop", "t0ken-t0ken"))
    jira: Jira = field(default_factory=lambda: Jira("OPS", "t@example.com", "t0ken-t0ken"))

    def services(self) -> list[Service]:
        return [
            replace(one, build=self._notifier) if one.name == "notifier" else one
            for one in SERVICES
        ]

    def _notifier(
        self, system: System, instance: Instance, policies: Policies
    ) -> tuple[Handler, Runs]:
        instance.casebook = instance.casebook or Casebook(system.log)
        channels = {}
        for name in EVERYWHERE:
            double: Provider = getattr(self, name)
            client = httpx.AsyncClient(transport=Direct(double, system.faults))
            calls = Caller(client, timedelta(seconds=10))
            adapter = channel_of(SETTINGS.channels[name], calls, system.clock, SETTINGS)
            channels[name] = Guarded(adapter, redactor_of(SETTINGS))
        handler = Notifier(
            casebook=instance.casebook,
            policies=policies,
            publisher=system.publisher,
            clock=system.clock,
            channels=channels,
            gate=LocalGate(system.clock),
            instance=instance.name,
            link_to=SETTINGS.link_to,
        )
        policies.on_change(handler.reconciler.policy_changed)
        return handler, (handler.run,)


def an_outage(faults: NoFaults | SeededFaults, instances: int = 1) -> tuple[World, IncidentState]:
    """An outage that is paged, taken, told of twice, and resolved."""
    world = World()

    async def live() -> IncidentState:
        system = System(
            policies=[published(a_talkative_policy())],
            faults=faults,
            instances=instances,
            services=world.services(),
        )
        timeline = Timeline(system)
        timeline.at(minutes=0).push(
            an_alert("Checkout", severity="critical", system="shop", service="shop")
        )
        timeline.at(minutes=3).acknowledge(by="alice")
        timeline.at(minutes=6).update(by="alice", text="We know why.")
        timeline.at(minutes=12).update(by="alice", text="A fix is out.")
        timeline.at(minutes=20).resolve(by="alice")
        await timeline.play(until=minutes(40))
        return timeline.incident()

    seed = faults.seed if isinstance(faults, SeededFaults) else 0
    return world, simulate(live(), seed=seed)


def test_a_good_day_reads_as_one_story_everywhere() -> None:
    world, state = an_outage(NoFaults())
    statuses = Counter(one.status for one in state.notifications.values())
    assert statuses == {NotificationStatus.DELIVERED: len(state.notifications)}

    posted = world.chat.messages("C0ALL")
    roots = [one for one in posted if one.thread is None]
    assert len(roots) <= 2, "the page and the announcement may cross; all else is in a thread"
    assert all("*resolved* by Alice" in one.shown.text for one in roots)
    [room] = [one for one in world.chat.rooms.values() if one.id != "C0ALL"]
    assert room.members == {"U0ALICE"}
    assert "resolved" in room.topic

    [entry] = world.status.incidents
    assert entry["status"] == "resolved"
    assert world.status.components == {"c0mp": "operational"}
    assert ["We know why." in text for text in entry["incident_updates"]].count(True) == 1

    [issue] = world.hub.issues
    assert issue["state"] == "closed"
    assert len(issue["comments_held"]) == 3
    [ticket] = world.jira.issues.values()
    assert ticket["status"] == "Done"
    assert len(ticket["comments"]) == 3

    assert set(world.pagerduty.states.values()) == {"resolve"}
    assert len(world.pagerduty.shown) == 1
    taken, *news = world.pagerduty.notes[PagerDuty.INCIDENT]
    assert "Alice has taken" in taken
    assert len(news) == 2
    for double in (world.chat, world.pagerduty, world.status, world.hub, world.jira):
        assert double.complaints == []


CRASHES = Rates(crash=0.005, pause=0.0, provider_refused=0.03, provider_unknown=0.06)
"""Processes die and answers are lost. None stands still past its session and then goes on: what it
sends then, another may have looked for in vain and sent."""

STANDS_STILL = Rates(crash=0.02, pause=0.03, provider_refused=0.1, provider_unknown=0.15)


def twice(texts: Sequence[str], by: Callable[[str], str] = str) -> list[str]:
    return [text for text, count in Counter(map(by, texts)).items() if count > 1]


@pytest.mark.parametrize("first", range(1, 11, 5))
def test_on_bad_days_everything_is_said_and_nothing_twice_that_can_be_looked_for(
    first: int,
) -> None:
    for seed in range(first, first + 5):
        world, state = an_outage(SeededFaults(seed, CRASHES), instances=2)
        for one in state.notifications.values():
            left = one.kind == "statuspage" and one.status is NotificationStatus.IN_DOUBT
            done = one.status in {NotificationStatus.DELIVERED, NotificationStatus.SUPERSEDED}
            # A resolution of what never was on the page, or in a tracker, has nothing to resolve.
            moot = one.reason in {"never_posted", "never_opened"}
            assert left or done or moot, (
                f"seed {seed}: {one.kind} {one.purpose} {one.status} {one.reason}"
            )
        marks = [json.dumps(posted.payload["metadata"]) for posted in world.chat.messages("C0ALL")]
        assert twice(marks) == [], f"seed {seed}"
        assert len(world.hub.issues) <= 1, f"seed {seed}"
        assert len(world.jira.issues) <= 1, f"seed {seed}"
        told = [text["body"] for issue in world.hub.issues for text in issue["comments_held"]]
        assert twice(told) == [], f"seed {seed}"


@pytest.mark.parametrize("first", range(101, 111, 5))
def test_on_no_day_do_customers_read_anything_twice(first: int) -> None:
    for seed in range(first, first + 5):
        world, state = an_outage(SeededFaults(seed, STANDS_STILL), instances=2)
        assert len(world.status.incidents) <= 1, f"seed {seed}"
        assert twice([one.text for one in world.status.shown]) == [], f"seed {seed}"
        woken = [one for one in state.notifications.values() if one.purpose is Purpose.PAGE]
        assert woken, f"seed {seed}"
