"""A recording lived through again: the same under the same policy, otherwise under another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tocsin_policy import Policy, parse_duration, parse_policy, policy_document
from tocsin_replay import (
    Comparison,
    HeldLog,
    History,
    Simulation,
    broken,
    comparison_markdown,
    promised,
    read_all,
    read_history,
    read_incident,
    read_policies,
    shelving,
    simulating,
    states_of,
    summarise,
    suppose,
    what_if,
)
from tocsin_replay.comparing import MODEL, IncidentChange, compare, first_pages
from tocsin_replay.inputs import Inputs
from tocsin_replay.keeping import Kept
from tocsin_replay.living import live_twice
from tocsin_replay.summing import Summary
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.faults import Fate, Faults, NoFaults, Outcome, SeededFaults
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit import seeded_days
from tocsin_testkit.builders import an_alert, an_event
from tocsin_testkit.silences import a_silence, of_silence

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Recording:
    history: History
    policy: Policy
    recorded: Mapping[str, Summary]


def _recording(log: MemoryLog) -> Recording:
    versions = asyncio.run(read_policies(log))
    recorded = {}
    for name, state in states_of(asyncio.run(read_all(log))).items():
        facts = asyncio.run(read_incident(log, name))
        recorded[name] = summarise(facts, promised(versions, state))
    policy = next(v.policy for v in versions if v.policy.system == "shop")
    return Recording(asyncio.run(read_history(log)), policy, recorded)


async def _a_night() -> MemoryLog:
    """Bob, the second to be paged, takes a P0 after 30 s; a P1 is left alone; a provider fails."""
    faults = _SlackIsDown()
    system = System(policies=[seeded_days.day_policy("shop")], faults=faults)
    await system.start()
    down = an_alert("Down", system="shop", severity="critical", starts_at=system.clock.now())
    await system.post(a_webhook(down))
    await system.sleep(90 * SECOND)
    (incident,) = system.incidents()
    await system.answer(incident, "acknowledge", by="bob")
    await system.sleep(30 * SECOND)
    await system.answer(incident, "notes", by="bob", text="looking")
    faults.down = True
    slow = an_alert(  # another instance, or it would be what the other inhibits
        "Slow", system="shop", severity="warning", instance="i2", starts_at=system.clock.now()
    )
    await system.post(a_webhook(slow))
    await system.sleep(30 * SECOND)
    faults.down = False
    await system.sleep(4 * MINUTE)
    await system.answer(incident, "resolve", by="bob", text="restarted")
    now = system.clock.now()
    await system.post(a_webhook(down.resolved(now), slow.resolved(now)))
    await system.sleep(3 * MINUTE)
    await system.settle()
    return system.log


class _SlackIsDown(NoFaults):
    down = False

    def deliver(self) -> Fate:
        return Fate(outcome=Outcome.REFUSED) if self.down else Fate()


@pytest.fixture(scope="module")
def night() -> Recording:
    return _recording(simulate(_a_night(), seed=1))


async def _a_day(seed: int, faults: Faults) -> MemoryLog:
    system = System(
        policies=[seeded_days.day_policy(name) for name in seeded_days.SYSTEMS],
        faults=faults,
    )
    await system.start()
    await seeded_days._things_happen(system, random.Random(f"day {seed}"))  # noqa: S311
    await system.settle()
    return system.log


@pytest.fixture(scope="module")
def days() -> list[Recording]:
    """Days on which everything fails that can fail."""
    bad = ((seed, SeededFaults(seed, seeded_days.BAD)) for seed in range(1, 9))
    return [_recording(simulate(_a_day(seed, faults), seed=seed)) for seed, faults in bad]


@pytest.fixture(scope="module")
def calm_days() -> list[Recording]:
    """Days on which nothing fails: when a process stood still is not a policy's doing."""
    return [_recording(simulate(_a_day(seed, NoFaults()), seed=seed)) for seed in range(1, 13)]


def _with(policy: Policy, change: Callable[[dict[str, Any]], None]) -> Policy:
    document = policy_document(policy)
    change(document)
    return parse_policy(document)


def _compared(recording: Recording, instead: Policy) -> Comparison:
    return asyncio.run(what_if(recording.history, instead))


def _paged(found: Mapping[str, Summary]) -> dict[tuple[str, str], datetime]:
    """When each person was first paged about each incident."""
    return {(n, who): at for n, one in found.items() for who, at in first_pages(one).items()}


def _lived(recording: Recording, instead: Policy | None = None) -> Mapping[str, Summary]:
    return asyncio.run(Simulation(recording.history, instead).run()).incidents


def test_without_faults_the_model_is_what_was_recorded(night: Recording) -> None:
    lived = _lived(night)
    assert lived.keys() == night.recorded.keys()
    assert _paged(lived) == _paged(night.recorded)
    for name, one in night.recorded.items():
        again = lived[name]
        assert again.severities == one.severities
        assert again.answered_at == one.answered_at
        assert again.resolved_at == one.resolved_at
        assert [(p.status, p.attempts) for p in again.pages] == [
            (p.status, p.attempts) for p in one.pages
        ]


def test_the_same_policy_makes_no_difference_at_all(
    night: Recording, days: list[Recording], calm_days: list[Recording]
) -> None:
    fidelity: Counter[str] = Counter()
    for recording in (night, *days):
        found = _compared(recording, recording.policy)
        assert found.same, found.incidents
        fidelity.update({name: int(count) for name, count in found.fidelity.items()})
    # What waited for a process that stood still may join another incident when nothing waits.
    assert fidelity["of these with the same severity"] >= 0.8 * fidelity["incidents recorded"]
    for recording in calm_days:
        found = _compared(recording, recording.policy)
        assert found.same, found.incidents
        assert found.fidelity["of these found again"] == found.fidelity["incidents recorded"]


def _another_level(document: dict[str, Any]) -> None:
    level = {"number": 4, "after": "4m", "targets": ["contact:dave"]}
    document["escalation"]["P0"].append(level)


def test_a_level_that_is_added_removes_no_earlier_page(calm_days: list[Recording]) -> None:
    added = 0
    for recording in calm_days:
        before = _paged(_lived(recording))
        after = _paged(_lived(recording, _with(recording.policy, _another_level)))
        for (incident, who), at in before.items():
            dave_at = after.get((incident, "Dave"))
            if dave_at is None or at < dave_at:
                assert after[incident, who] == at
        added += len(after) - len(before)
    assert added > 0


def _all_worst(document: dict[str, Any]) -> None:
    for rule in document["classification"]["rules"]:
        rule["severity"] = "P0"
    document["classification"]["default"] = "P0"


def test_severities_that_are_raised_lengthen_no_time_to_the_first_page(
    calm_days: list[Recording],
) -> None:
    woken = 0
    for recording in calm_days:
        before = _lived(recording)
        after = _lived(recording, _with(recording.policy, _all_worst))
        for name, one in before.items():
            was, now = first_pages(one), first_pages(after.get(name))
            if was and name in after:
                assert min(now.values()) <= min(was.values()), (name, was, now)
            woken += bool(now) and not was
    assert woken > 0


def _nobody_at_first(document: dict[str, Any]) -> None:
    del document["escalation"]["P0"][0]
    del document["escalation"]["P0"][0]
    document["escalation"]["P0"][0] |= {"number": 1, "after": "1m"}


def test_whoever_was_not_paged_then_answers_after_a_median_and_that_is_said(
    night: Recording,
) -> None:
    found = _compared(night, _with(night.policy, _nobody_at_first))
    (change,) = found.incidents
    assert {(page.name, page.change) for page in change.pages} == {
        ("Alice", "removed"),
        ("Bob", "removed"),
        ("Carol", "added"),
    }
    assert change.first_page_after == MINUTE
    assert change.acknowledged_after == 90 * SECOND
    assert any("Carol, not paged then, answers after 30 s" in what for what in found.assumptions)


def _only_alice(document: dict[str, Any]) -> None:
    del document["escalation"]["P0"][1:]


def test_whoever_was_paged_and_did_not_answer_does_not_answer(night: Recording) -> None:
    found = _compared(night, _with(night.policy, _only_alice))
    (change,) = found.incidents
    assert change.acknowledged_after is None
    assert found.assumptions["a recorded answer is not given: who gave it is not told"] == 1


def _sooner(document: dict[str, Any]) -> None:
    document["escalation"]["P0"][1]["after"] = "20s"


def test_whoever_is_paged_sooner_answers_as_fast_as_then(night: Recording) -> None:
    found = _compared(night, _with(night.policy, _sooner))
    (change,) = found.incidents
    assert [(page.name, page.change) for page in change.pages] == [("Bob", "earlier")]
    assert (change.acknowledged_before, change.acknowledged_after) == (90 * SECOND, 50 * SECOND)


def test_what_people_did_afterwards_follows_their_answer(night: Recording) -> None:
    (before,) = (one for one in _lived(night).values() if one.worst == "P0")
    lived = _lived(night, _with(night.policy, _sooner))
    after = lived[before.incident]
    gaps = [[answer.at - one.answers[0].at for answer in one.answers] for one in (before, after)]
    assert gaps[0] == gaps[1]
    assert [answer.what for answer in after.answers] == ["acknowledged", "noted", "resolved"]


def test_a_provider_that_was_down_is_down_for_other_pages_too(night: Recording) -> None:
    found = _compared(night, _with(night.policy, _all_worst))
    assert any("fails as the recorded one nearest to it did" in what for what in found.assumptions)


def _milder(document: dict[str, Any]) -> None:
    document["classification"]["rules"][0]["severity"] = "P2"


def test_a_p0_that_would_be_missed_fails_a_check(night: Recording) -> None:
    found = _compared(night, _with(night.policy, _milder))
    (change,) = found.incidents
    assert (change.severity_before, change.severity_after) == ("P0", "P2")
    assert broken(found, "missed-p0>0") == "missed-p0>0: 0 before, 1 after"
    assert broken(found, "missed>0") == ""
    assert broken(found, "pages>+20%") == ""
    assert broken(found, "pages<-10%")
    assert broken(found, "pages < 100")


def test_a_time_that_nobody_takes_any_more_is_no_short_time(night: Recording) -> None:
    found = _compared(night, night.policy)
    before, _ = found.totals["time-to-acknowledge"]
    assert before > 0
    totals = found.totals | {"time-to-acknowledge": (before, 0.0)}
    unanswered = found.model_copy(update={"totals": totals})
    assert broken(found, "time-to-acknowledge>10%") == ""
    assert broken(unanswered, "time-to-acknowledge>+10%").endswith("none any more")


@pytest.mark.parametrize("check", ["", "pages", "pages>", "nonsense>0", "pages>x", "pages=1"])
def test_what_is_no_check_is_refused(night: Recording, check: str) -> None:
    found = _compared(night, night.policy)
    with pytest.raises(ValueError, match=r"no check|no figure"):
        broken(found, check)


def _elsewhere(document: dict[str, Any]) -> None:
    document["grouping"]["by"] = ["system"]


def test_incidents_that_would_be_one_are_told_as_merged(night: Recording) -> None:
    found = _compared(night, _with(night.policy, _elsewhere))
    merged = [change for change in found.incidents if change.change == "merged"]
    assert len(merged) == 1
    assert len(merged[0].others) == 1
    assert found.totals["incidents"] == (2.0, 1.0)


def test_incidents_that_would_not_open_or_would_be_new_are_told(night: Recording) -> None:
    lived = asyncio.run(Simulation(night.history).run())
    nothing = replace(lived, incidents=Kept())
    missed = compare(night.history, night.policy, lived, nothing)
    assert [change.change for change in missed.incidents] == ["missed", "missed"]
    assert missed.totals["missed-p0"] == (0.0, 1.0)
    new = compare(night.history, night.policy, nothing, lived)
    assert [change.change for change in new.incidents] == ["new", "new"]


def test_no_number_comes_without_its_assumption(night: Recording) -> None:
    written = comparison_markdown(_compared(night, _with(night.policy, _sooner)), ["pages>0"])
    for line in MODEL:
        assert line in written
    assert "The model against the record" in written
    assert "- **failed** `pages>0`" in written


def test_the_same_run_gives_the_same_result(days: list[Recording]) -> None:
    instead = _with(days[0].policy, _all_worst)
    assert _compared(days[0], instead) == _compared(days[0], instead)


# Counterfactuals of one incident.


def _supposed(recording: Recording, *texts: str) -> tuple[Comparison, IncidentChange | None]:
    incident = next(name for name, one in recording.recorded.items() if one.worst == "P0")
    found = asyncio.run(what_if(recording.history, supposed=suppose(incident, texts)))
    changes = [change for change in found.incidents if change.incident == incident]
    return found, changes[0] if changes else None


def test_an_acknowledgement_that_came_sooner_spares_whoever_was_paged_later(
    night: Recording,
) -> None:
    found, change = _supposed(night, "ack at +30s")
    assert change is not None
    assert (change.acknowledged_before, change.acknowledged_after) == (90 * SECOND, 30 * SECOND)
    assert [(page.name, page.change) for page in change.pages] == [("Bob", "removed")]
    assert found.supposed == ("whoever answered then acknowledges 30s after the opening",)
    resolved = (change.resolved_before, change.resolved_after)
    assert resolved[0] is not None
    assert resolved[1] == resolved[0] - MINUTE  # what people did afterwards follows


def test_an_acknowledgement_that_came_later_wakes_the_next(night: Recording) -> None:
    _, change = _supposed(night, "ack at +200s by dave")
    assert change is not None
    assert change.acknowledged_after == 200 * SECOND
    assert [(page.name, page.change) for page in change.pages] == [("Carol", "added")]


def test_where_nobody_answers_everybody_is_paged(night: Recording) -> None:
    found, change = _supposed(night, "no ack")
    assert change is not None
    assert change.acknowledged_after is None
    assert ("Carol", "added") in [(page.name, page.change) for page in change.pages]
    assert "a recorded answer is not given: who gave it is not told" not in found.assumptions


def test_while_a_provider_is_down_nobody_is_paged_by_it(night: Recording) -> None:
    _, change = _supposed(night, "provider pagerduty down", "provider slack down")
    assert change is not None
    assert change.first_page_after is None
    assert {page.change for page in change.pages} == {"removed"}


def test_after_a_provider_was_down_for_a_while_its_pages_come(night: Recording) -> None:
    found, change = _supposed(
        night, "provider pagerduty down to +30s", "provider slack down to +30s"
    )
    assert change is not None
    assert change.first_page_before == timedelta(0)
    assert change.first_page_after is not None
    assert 30 * SECOND <= change.first_page_after < MINUTE
    assert any(what.endswith("as supposed") for what in found.assumptions)


def test_assumptions_are_combined(night: Recording) -> None:
    _, change = _supposed(night, "provider pagerduty down", "ack at +10s")
    assert change is not None
    assert change.acknowledged_after == 10 * SECOND
    assert change.first_page_after == timedelta(0)  # by the other channel
    assert [(page.name, page.change) for page in change.pages] == [("Bob", "removed")]


def test_what_was_so_anyway_changes_nothing(night: Recording) -> None:
    found, change = _supposed(night, "provider pagerduty up", "ack at +90s")
    assert change is None
    assert found.same


def test_an_assumption_and_a_policy_are_tried_together(night: Recording) -> None:
    incident = next(name for name, one in night.recorded.items() if one.worst == "P0")
    both = asyncio.run(
        what_if(
            night.history,
            _with(night.policy, _only_alice),
            supposed=suppose(incident, ["ack at +10s by alice"]),
        )
    )
    (change,) = both.incidents
    assert change.acknowledged_after == 10 * SECOND


def test_nobody_is_put_into_an_incident_that_nobody_answered(night: Recording) -> None:
    quiet = next(name for name, one in night.recorded.items() if one.worst != "P0")
    with pytest.raises(ValueError, match="say who does: ack at"):
        asyncio.run(what_if(night.history, supposed=suppose(quiet, ["ack at +1m"])))


async def _a_silenced_night() -> MemoryLog:
    system = System(policies=[seeded_days.day_policy("shop")])
    await system.start()
    await _silence(system, "s-1", 'alertname="Down"', 4 * MINUTE)
    await _silence(system, "s-2", 'alertname="Other"', 4 * MINUTE)
    down = an_alert("Down", system="shop", severity="critical", starts_at=system.clock.now())
    await system.post(a_webhook(down))
    await system.sleep(2 * MINUTE)
    await system.post(a_webhook(down.resolved(system.clock.now())))
    await system.sleep(10 * MINUTE)
    await system.settle()
    return system.log


async def _silence(system: System, name: str, matcher: str, lasts: timedelta) -> None:
    now = system.clock.now()
    fact = a_silence(matcher, starts_at=now, lasts=lasts)
    await system.log.publish([outgoing(of_silence(fact, at=now, name=name))])
    await system.sleep(SECOND)


def test_without_the_silence_somebody_would_have_been_paged() -> None:
    log = simulate(_a_silenced_night(), seed=1)
    (incident,) = states_of(asyncio.run(read_all(log)))
    history = asyncio.run(read_history(log, about=incident))
    for text, paged in (("no silence s-1", True), ("silence never existed", True)):
        found = asyncio.run(what_if(history, supposed=suppose(incident, [text])))
        assert found.totals["pages"][0] == 0
        assert (found.totals["pages"][1] > 0) is paged
    other = asyncio.run(what_if(history, supposed=suppose(incident, ["no silence s-2"])))
    assert other.same


def test_what_was_recorded_is_what_the_model_is_held_against(days: list[Recording]) -> None:
    for recording in days:
        opened = {name: one for name, one in recording.recorded.items() if one.status != "muted"}
        assert dict(recording.history.recorded) == opened


def test_two_processes_say_what_one_says(night: Recording) -> None:
    instead = _with(night.policy, _sooner)
    counted: list[int] = []
    alone = asyncio.run(live_twice(night.history, instead, None))
    both = asyncio.run(live_twice(night.history, instead, None, counted.append, worth=0))
    assert both == alone
    assert sum(counted) == 2 * len(night.history.inputs)


def test_what_is_on_disk_says_what_it_says_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    log = simulate(_a_night(), seed=1)
    held = asyncio.run(read_history(log))
    in_memory = asyncio.run(what_if(held, _with(_recording(log).policy, _sooner)))
    monkeypatch.setattr(shelving, "MOST_HELD_BYTES", 1)
    spilled = asyncio.run(read_history(log))
    instead = _with(_recording(log).policy, _sooner)
    for worth in (0, 1_000):
        before, after = asyncio.run(live_twice(spilled, instead, None, worth=worth))
        assert compare(spilled, instead, before, after) == in_memory
    assert list(spilled.scratch.make().iterdir())


def test_what_came_in_is_kept_on_disk_and_read_as_often_as_it_is_asked_for(
    days: list[Recording],
) -> None:
    records = list(days[0].history.inputs)
    spilled = Inputs(records, most_held=1_000)
    assert len(spilled) == len(records)
    assert list(spilled) == list(spilled) == records


# Properties: what holds whatever happened.

PROPERTY_DAYS = 12
"""Days for each property; without faults, for when a process stood still is no policy's doing."""


def _policies(log: MemoryLog) -> list[Policy]:
    return [version.policy for version in asyncio.run(read_policies(log))]


def _any_level(document: dict[str, Any], rng: random.Random) -> None:
    """One more level, anywhere after the first, to somebody who is paged or to somebody else."""
    severity = rng.choice(sorted(document["escalation"]))
    levels = document["escalation"][severity]
    after = timedelta(seconds=rng.randrange(1, 400))
    target = rng.choice(("contact:alice", "contact:bob", "contact:carol", "contact:dave"))
    levels.append({"number": 99, "after": f"{after.seconds}s", "targets": [target]})
    levels.sort(key=lambda level: parse_duration(level["after"]))
    for number, level in enumerate(levels, start=1):
        level["number"] = number


@pytest.mark.parametrize("seed", range(PROPERTY_DAYS))
def test_any_level_that_is_added_removes_no_earlier_page(
    seed: int, calm_days: list[Recording]
) -> None:
    recording = calm_days[seed % len(calm_days)]
    rng = random.Random(f"level {seed}")  # noqa: S311 - a seeded choice
    instead = _with(recording.policy, lambda document: _any_level(document, rng))
    before, after = _lived(recording), _lived(recording, instead)
    for name, one in before.items():
        was, now = first_pages(one), first_pages(after[name])
        fresh = min((at for who, at in now.items() if was.get(who) != at), default=None)
        for who, at in was.items():
            if fresh is None or at < fresh:
                assert now[who] == at


@pytest.mark.parametrize("seed", range(PROPERTY_DAYS))
def test_a_silence_that_is_added_pages_nobody_whom_nobody_paged(
    seed: int, calm_days: list[Recording]
) -> None:
    recording = calm_days[seed % len(calm_days)]
    history = recording.history
    rng = random.Random(f"silence {seed}")  # noqa: S311 - a seeded choice
    oldest = history.begins_at
    assert oldest is not None
    starts_at = oldest + timedelta(seconds=rng.randrange(0, 300))
    matcher = rng.choice(('alertname="Down"', 'severity="critical"', 'service="web"'))
    silence = _a_silence(matcher, starts_at, timedelta(seconds=rng.randrange(60, 1_200)))
    silenced = replace(history, silences=[silence])
    before = asyncio.run(Simulation(history).run()).incidents
    after = asyncio.run(Simulation(silenced).run()).incidents
    assert _alerts_paged(after) <= _alerts_paged(before)


def _alerts_paged(found: Mapping[str, Summary]) -> set[tuple[str, str]]:
    """Who was paged by a system: that a silence moves an alert to another incident is no page."""
    return {(one.system, page.name) for one in found.values() for page in one.pages}


def _a_silence(matcher: str, starts_at: datetime, lasts: timedelta) -> Record:
    fact = a_silence(matcher, starts_at=starts_at, lasts=lasts)
    written = outgoing(of_silence(fact, at=starts_at))
    place = Position("silences", 0, 0)
    return Record(place, written.key, written.value, written.headers, starts_at)


@pytest.mark.soak
def test_of_a_thousand_incidents_with_faults_the_same_policy_changes_none() -> None:
    lived = seed = 0
    while lived < 1_000:
        seed += 1
        faults = SeededFaults(seed, seeded_days.BAD)
        recording = _recording(simulate(_a_day(seed, faults), seed=seed))
        found = _compared(recording, recording.policy)
        assert found.same, f"seed {seed}: {found.incidents}"
        lived += len(recording.recorded)


def _weeks() -> HeldLog:
    """Three alerts that fire, repeat and end every other day for two weeks, and one that stays."""
    policy = seeded_days.day_policy("shop")
    version = outgoing(an_event(policy, incident="shop-0000000000"))
    written = [(EPOCH - MINUTE, version)]
    for day in range(0, 14, 2):
        began = EPOCH + timedelta(days=day)
        lasting = an_alert("Lasting", system="shop", severity="warning", starts_at=EPOCH)
        alerts = [
            an_alert(name, system="shop", severity=severity, starts_at=began)
            for name, severity in (("Down", "critical"), ("Slow", "warning"), ("Odd", "critical"))
        ]
        for number, alert in enumerate(alerts):
            ended = alert.resolved(began + 40 * MINUTE)
            for after, body in (
                (MINUTE, a_webhook(alert)),
                (6 * MINUTE, a_webhook(alert, lasting)),
                (40 * MINUTE, a_webhook(ended)),
                (90 * MINUTE, a_webhook(alert)),  # of a replica that is behind
            ):
                record = Outgoing("alerts.raw", b"a", body, (("source", b"alertmanager"),))
                written.append((began + after + number * SECOND, record))
    written.sort(key=lambda one: one[0])
    records = [
        Record(Position(one.topic, 0, place), one.key, one.value, one.headers, at)
        for place, (at, one) in enumerate(written)
    ]
    return HeldLog({"alerts.raw": 1, "incidents": 1, "policies": 1}, records)


def test_to_forget_what_is_over_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = asyncio.run(read_history(_weeks()))
    forgetting = Simulation(history)
    found = asyncio.run(forgetting.run()).incidents
    monkeypatch.setattr(simulating, "KEPT_FOR", timedelta(days=365))
    remembered = asyncio.run(Simulation(history).run()).incidents
    assert len(found) > 7 * 2
    assert found == remembered
