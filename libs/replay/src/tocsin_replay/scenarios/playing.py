"""A scenario, played: the whole system on virtual time, one partition, one process a service."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tocsin_incident import IncidentState
from tocsin_policy import DRILL_LABEL, Policy
from tocsin_replay.reading import Recorded, Step, states_of, steps
from tocsin_replay.scenarios.document import Given, Scenario
from tocsin_runtime.events import decode
from tocsin_simulation.loop import simulate
from tocsin_simulation.runners import Effect
from tocsin_simulation.system import STARTS_WITHIN, System, published
from tocsin_simulation.webhooks import AnAlert, a_webhook

INSTANT = timedelta(milliseconds=1)
"""What is due at the very end still happens; what is due later is not waited for."""


class CannotHappen(ValueError):
    """A happening that makes no sense when its time has come: nobody opened an incident."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scenario.

    Attributes:
        steps: Every fact of every incident and what the fold made of it, in log order.
        states: Every incident as it stood in the end, oldest first.
        effects: What remediation did in the world.
        turns: Callbacks the simulation ran, for those who ask what it costs.
    """

    scenario: Scenario
    policy: Policy
    steps: tuple[Step, ...]
    states: Mapping[str, IncidentState]
    effects: tuple[Effect, ...]
    turns: int

    def since_start(self, instant: datetime) -> timedelta:
        """Time since the scenario's minute 0."""
        return instant - self.scenario.starts

    def recorded(self) -> tuple[Recorded, ...]:
        """The facts alone."""
        return tuple(step.recorded for step in self.steps)


def play(
    policy: Policy, scenario: Scenario, folder: Path, *, seed: int = 0, calm: bool = True
) -> Played:
    """What comes of a scenario under a policy.

    Args:
        folder: Where its payloads are.
        seed: Of the order in which processes take their turns; what is told does not depend on it.
        calm: Pass over time in which nothing can come due, rather than to look every second; what
            is told does not depend on it either.

    Raises:
        CannotHappen: Something is given that makes no sense when its time has come.
        OSError: A payload cannot be read.
    """
    return simulate(_play(policy, scenario, folder, calm=calm), seed=seed)


async def _play(policy: Policy, scenario: Scenario, folder: Path, *, calm: bool) -> Played:
    system = System(
        policies=[published(policy, by="a scenario")],
        partitions=1,
        starts_at=scenario.starts - STARTS_WITHIN,
        calm=calm,
    )
    await system.start()
    world = _World(system, policy, folder)
    for given in scenario.given:
        await _until(system, scenario.starts + given.at)
        await world.happen(given)
    ends_at = scenario.starts + scenario.until
    await _until(system, ends_at + INSTANT)
    recorded = [
        Recorded(decode(record), record.position, record.recorded_at)
        for record in system.log.records("incidents")
    ]
    return Played(
        scenario=scenario,
        policy=policy,
        steps=tuple(_each_step(recorded)),
        states=dict(
            sorted(states_of(recorded).items(), key=lambda item: (item[1].opened_at, item[0]))
        ),
        effects=tuple(system.world.effects),
        turns=system.loop.steps,
    )


def _each_step(recorded: Iterable[Recorded]) -> Iterable[Step]:
    """The steps of all incidents, in log order."""
    by_incident: dict[str, list[Recorded]] = {}
    for one in recorded:
        by_incident.setdefault(one.event.subject, []).append(one)
    found = [step for each in by_incident.values() for step in steps(each)]
    return sorted(found, key=lambda step: step.recorded.position.offset)


async def _until(system: System, instant: datetime) -> None:
    await system.clock.sleep(instant - system.clock.now())


@dataclass(slots=True)
class _World:
    """Makes happen what is given."""

    system: System
    policy: Policy
    folder: Path
    _firing: dict[frozenset[tuple[str, str]], AnAlert] = field(default_factory=dict)

    async def happen(self, given: Given) -> None:
        """Let it happen now."""
        happenings: dict[str, Callable[[Given], Awaitable[None]]] = {
            "alert": self._alert,
            "resolve": self._resolve,
            "payload": self._payload,
            "fail": self._fail,
            "drill": self._drill,
            "approve": self._approve,
            "reject": self._approve,
        }
        await happenings.get(given.what, self._answer)(given)

    async def _alert(self, given: Given) -> None:
        if given.alert is not None:
            await self._fires(given.alert.labels, given.alert.annotations)

    async def _fires(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        """An alert that fires already is sent again as what it was, as Alertmanager does."""
        key = frozenset(labels.items())
        now = self.system.clock.now()
        before = self._firing.get(key)
        began = now if before is None or before.starts_at is None else before.starts_at
        alert = AnAlert(dict(labels), dict(annotations), starts_at=began)
        self._firing[key] = alert
        await self.system.post(a_webhook(alert))

    async def _resolve(self, given: Given) -> None:
        key = frozenset((given.resolve or {}).items())
        alert = self._firing.pop(key, None)
        if alert is None:
            raise CannotHappen("resolve: no alert with exactly these labels fires")
        await self.system.post(a_webhook(alert.resolved(self.system.clock.now())))

    async def _payload(self, given: Given) -> None:
        content = (self.folder / str(given.payload)).read_bytes()
        document = json.loads(content)
        if isinstance(document, dict) and "body_raw" in document:
            content = str(document["body_raw"]).encode()
        await self.system.post(content, given.source)

    async def _fail(self, given: Given) -> None:
        if given.fail is not None:
            endpoint = self.policy.channels[given.fail.channel].endpoint
            providers = self.system.providers
            fails = providers.refuse if given.fail.refused else providers.fail
            fails(endpoint, given.fail.lasts)

    async def _drill(self, given: Given) -> None:
        name = str(given.drill)
        drill = self.policy.drills[name]
        await self._fires({**drill.labels, DRILL_LABEL: name}, {"summary": drill.title})

    async def _approve(self, given: Given) -> None:
        step = given.approve or given.reject
        state = self._incident(given)
        name = step.step if step is not None else ""
        found = [held for held in state.remediations.values() if held.step(name) is not None]
        if not found:
            raise CannotHappen(f"{given.what}: no step {name!r} is proposed")
        fields: dict[str, object] = {"by": given.by, "remediation": found[-1].remediation}
        if given.approve is not None:
            fields["step"] = name
        elif given.reason:
            fields["reason"] = given.reason
        await self.system.answer(state.incident, given.what, **fields)

    async def _answer(self, given: Given) -> None:
        said = given.what
        verb = {"close": "resolve", "update": "updates", "assign": "roles", "note": "notes"}
        by = given.by or getattr(given, said)
        fields: dict[str, object] = {"by": by}
        if said in {"update", "note"}:
            fields["text"] = getattr(given, said)
        elif said in {"mitigate", "close", "reopen"}:
            fields["text"] = given.text
        if said == "update":
            fields["audience"] = given.audience
        if said == "severity":
            fields |= {"severity": given.severity, "reason": given.reason}
        if given.assign is not None:
            fields |= {"role": given.assign.role, "contact": given.assign.contact}
        incident = self._incident(given).incident
        await self.system.answer(incident, verb.get(said, said), **fields)

    def _incident(self, given: Given) -> IncidentState:
        states = self.system.incidents().values()
        found = [state for state in states if given.incident in state.title]
        if len(found) != 1:
            which = f" whose title has {given.incident!r}" if given.incident else ""
            raise CannotHappen(f"{given.what}: there are {len(found)} incidents{which}, not one")
        return found[0]
