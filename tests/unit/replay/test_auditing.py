"""The audit finds nothing on a whole log, and names what is missing from one that is not."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observed
from tocsin_contracts.dispositions import Disposed
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive
from tocsin_replay.auditing import Audited, FindingKind, audit, audit_table
from tocsin_replay.gathering import EVERYTHING
from tocsin_replay.held import HeldLog
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert

LATER = timedelta(hours=1)
Keep = Callable[[Record], bool]


def _held(story: MemoryLog, keep: Keep = lambda _: True) -> HeldLog:
    records = [r for topic in EVERYTHING for r in story.records(topic) if keep(r)]
    return HeldLog({topic: story.width(topic) for topic in EVERYTHING}, records)


def _end(log: HeldLog) -> datetime:
    return max(record.recorded_at for record in log.each())


def _audited(log: HeldLog, after: timedelta = LATER, since: datetime | None = None) -> Audited:
    return asyncio.run(audit(log, since=since, until=_end(log) + after))


def _shown(audited: Audited) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(audit_table(audited))
    return text.getvalue()


def _facts(story: MemoryLog, topic: str, kind: type[Fact]) -> list[tuple[Record, Event[Fact]]]:
    found = [(record, decode(record)) for record in story.records(topic)]
    return [(record, event) for record, event in found if isinstance(event.fact, kind)]


def _without(gone: Iterable[Record]) -> Keep:
    positions = {record.position for record in gone}
    return lambda record: record.position not in positions


def _again(record: Record, event: Event[Fact]) -> Record:
    wire = outgoing(event, topic=record.position.topic)
    return Record(record.position, record.key, wire.value, wire.headers, record.recorded_at)


def _only(audited: Audited, kind: FindingKind) -> None:
    assert set(audited.found) == {kind}, _shown(audited)
    assert kind in _shown(audited)


def test_a_whole_log_is_accounted_for(story: MemoryLog) -> None:
    audited = _audited(_held(story), after=timedelta())
    assert audited.holds, _shown(audited)
    assert audited.counts["records received"] == len(
        [*story.records("alerts.raw"), *story.records("alerts.raw.urgent")]
    )
    assert audited.counts["incidents"] == 3
    assert sum(audited.outcomes.values()) == audited.counts["observations"] > 0
    assert "everything is accounted for" in _shown(audited)


def test_an_empty_log_has_nothing_wrong(story: MemoryLog) -> None:
    audited = asyncio.run(audit(_held(story, lambda _: False)))
    assert audited.holds
    assert "an empty log" in _shown(audited)


@pytest.mark.parametrize(
    ("lane", "kind"),
    [
        ("alerts.urgent", FindingKind.ACCEPTED_AND_LOST),
        # Of this delivery the urgent part arrived.
        ("alerts", FindingKind.ALERTS_MISSING),
    ],
)
def test_an_observation_record_that_is_gone_leaves_its_delivery_unaccounted_for(
    story: MemoryLog, lane: str, kind: FindingKind
) -> None:
    gone, event = _facts(story, lane, Observed)[-1]
    audited = _audited(_held(story, _without([gone])))
    cause = event.fact.cause
    assert cause is not None
    assert [(finding.kind, finding.subject) for finding in audited.findings] == [
        (kind, f"{cause.topic}-{cause.partition}-{cause.offset}")
    ]


def test_a_delivery_with_fewer_observations_than_alerts_is_named(story: MemoryLog) -> None:
    found = _facts(story, "alerts.urgent", Observed) + _facts(story, "alerts", Observed)
    several = [
        (record, event)
        for record, event in found
        if isinstance(event.fact, Observed) and len(event.fact.observations) > 1
    ]
    record, event = several[0]
    assert isinstance(event.fact, Observed)
    cut = event.fact.model_copy(update={"observations": event.fact.observations[:1]})
    log = HeldLog(
        {topic: story.width(topic) for topic in EVERYTHING},
        [
            _again(record, replace(event, fact=cut)) if r.position == record.position else r
            for topic in EVERYTHING
            for r in story.records(topic)
        ],
    )
    audited = _audited(log)
    assert set(audited.found) == {FindingKind.ALERTS_MISSING, FindingKind.DISPOSED_OTHERWISE}


def test_a_disposition_that_is_gone_is_missed(story: MemoryLog) -> None:
    gone, event = _facts(story, "dispositions", Disposed)[-1]
    assert isinstance(event.fact, Disposed)
    audited = _audited(_held(story, _without([gone])))
    _only(audited, FindingKind.NO_DISPOSITION)
    assert {finding.subject for finding in audited.findings} == {
        str(one.observation) for one in event.fact.dispositions
    }


def test_what_is_younger_than_the_grace_is_on_its_way_and_named(story: MemoryLog) -> None:
    newest, event = _facts(story, "dispositions", Disposed)[-1]
    cause = event.fact.cause
    assert cause is not None
    until = newest.recorded_at + timedelta(seconds=5)
    kept = _held(story, lambda r: r.recorded_at <= newest.recorded_at and r != newest)
    young = asyncio.run(audit(kept, until=until, grace=LATER))
    assert FindingKind.NO_DISPOSITION not in young.found
    assert {one.what for one in young.in_flight} >= {"observation"}
    old = asyncio.run(audit(kept, until=until, grace=timedelta(seconds=1)))
    assert old.found[FindingKind.NO_DISPOSITION] >= 1


def test_a_second_fact_about_the_same_observations_is_one_too_many(story: MemoryLog) -> None:
    record, event = _facts(story, "dispositions", Disposed)[-1]
    log = _held(story)
    twice = outgoing(replace(event, id=derive("another")))
    log.append(replace(twice, partition=record.position.partition), _end(log))
    _only(_audited(log), FindingKind.DISPOSED_TWICE)


def test_the_same_disposition_again_counts_as_the_same(story: MemoryLog) -> None:
    log = _held(story)
    for record, event in _facts(story, "dispositions", Disposed):
        again = replace(outgoing(event), partition=record.position.partition)
        log.append(again, record.recorded_at + timedelta(seconds=1))
    audited = _audited(log)
    assert audited.holds, _shown(audited)
    assert audited.outcomes == _audited(_held(story)).outcomes


def test_dispositions_of_other_observations_than_were_seen_are_named(story: MemoryLog) -> None:
    record, event = _facts(story, "dispositions", Disposed)[-1]
    assert isinstance(event.fact, Disposed)
    other = event.fact.dispositions[0].model_copy(update={"observation": derive("nobody saw it")})
    wrong = event.fact.model_copy(update={"dispositions": (other, *event.fact.dispositions[1:])})
    log = _held(story, _without([record]))
    log.append(
        replace(outgoing(replace(event, fact=wrong)), partition=record.position.partition),
        _end(log),
    )
    _only(_audited(log), FindingKind.DISPOSED_OTHERWISE)


def test_an_incident_that_is_gone_is_named_by_what_was_said_to_be_in_it(story: MemoryLog) -> None:
    opened = _facts(story, "incidents", facts.Opened)[0][1].subject
    gone = [r for r in story.records("incidents") if r.header("ce_subject") == opened.encode()]
    audited = _audited(_held(story, _without(gone)))
    assert FindingKind.UNKNOWN_INCIDENT in audited.found, _shown(audited)
    assert any(opened in finding.detail for finding in audited.findings)


def test_pages_that_were_never_asked_for_are_missed(story: MemoryLog) -> None:
    gone = [
        record
        for record, event in _facts(story, "incidents", facts.NotificationRequested)
        if isinstance(event.fact, facts.NotificationRequested) and event.fact.level == 1
    ]
    audited = _audited(_held(story, _without(gone)))
    _only(audited, FindingKind.NOBODY_PAGED)
    assert "level 1 was reached; nobody told" in audited.findings[0].detail


def test_a_page_without_an_outcome_is_named(story: MemoryLog) -> None:
    [(gone, event), *_] = [
        (record, event)
        for record, event in _facts(story, "incidents", facts.NotificationDelivered)
        if isinstance(event.fact, facts.NotificationDelivered)
    ]
    audited = _audited(_held(story, _without([gone])))
    _only(audited, FindingKind.NO_OUTCOME)
    assert audited.findings[0].subject == event.subject


def test_a_level_nobody_reached_is_named(story: MemoryLog) -> None:
    slow = next(
        event.subject
        for _, event in _facts(story, "incidents", facts.Opened)
        if event.subject.startswith("slow")
    )
    gone = [
        record
        for record, event in _facts(story, "incidents", facts.LevelReached)
        if event.subject == slow
    ]
    gone += [
        record
        for kind in (
            facts.NotificationRequested,
            facts.NotificationAttempted,
            facts.NotificationDelivered,
        )
        for record, event in _facts(story, "incidents", kind)
        if event.subject == slow
    ]
    audited = _audited(_held(story, _without(gone)))
    _only(audited, FindingKind.NOT_ESCALATED)
    assert {finding.subject for finding in audited.findings} == {slow}


def test_what_nobody_can_read_must_be_a_dead_letter(story: MemoryLog) -> None:
    log = _held(story)
    log.append(Outgoing("alerts", b"shop", b"{"), _end(log))
    _only(_audited(log), FindingKind.UNREADABLE)


def test_a_body_nobody_can_read_must_be_a_dead_letter_too(story: MemoryLog) -> None:
    log = _held(story)
    log.append(Outgoing("alerts.raw", b"alertmanager", b"{"), _end(log))
    _only(_audited(log), FindingKind.ACCEPTED_AND_LOST)


def test_a_delivery_without_alerts_owes_nothing(story: MemoryLog) -> None:
    log = _held(story)
    log.append(Outgoing("alerts.raw", b"alertmanager", a_webhook()), _end(log))
    assert _audited(log).holds


def test_a_persons_answer_that_no_incident_has_is_lost(story: MemoryLog) -> None:
    log = _held(story)
    text = b"From=%2B15550001&Body=ack+123456&MessageSid=SM1&To=%2B15550002&AccountSid=AC1"
    log.append(Outgoing("alerts.raw.urgent", b"twilio", text, (("source", b"twilio"),)), _end(log))
    _only(_audited(log), FindingKind.ANSWER_LOST)


def test_only_what_came_since_is_judged(story: MemoryLog) -> None:
    gone = [record for record, _ in _facts(story, "dispositions", Disposed)]
    log = _held(story, _without(gone[-1:]))
    assert not _audited(log).holds
    assert _audited(log, since=gone[-1].recorded_at + timedelta(seconds=10)).holds


def test_what_retention_deleted_is_no_finding(story: MemoryLog) -> None:
    log = _held(story)
    for topic in ("alerts", "alerts.urgent", "dispositions"):
        for number in range(story.width(topic)):
            records = log.fetch(topic, number, 0)
            if len(records) > 1:
                log.forget(topic, number, records[-1].position.offset)
    audited = _audited(log)
    assert audited.holds, _shown(audited)
    assert audited.since is not None


def test_clocks_of_two_brokers_may_differ(story: MemoryLog) -> None:
    behind = timedelta(seconds=30)
    records = [
        replace(r, recorded_at=r.recorded_at - behind) if r.position.topic == "dispositions" else r
        for topic in EVERYTHING
        for r in story.records(topic)
    ]
    log = HeldLog({topic: story.width(topic) for topic in EVERYTHING}, records)
    assert _audited(log).holds


def test_findings_are_counted_beyond_those_that_are_named(
    story: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_replay.auditing.findings.MOST_NAMED", 2)
    gone = [record for record, _ in _facts(story, "dispositions", Disposed)]
    audited = _audited(_held(story, _without(gone)))
    assert len(audited.findings) == 2 < audited.found[FindingKind.NO_DISPOSITION]


def test_an_alert_of_a_system_nobody_claims_is_accounted_for_too(story: MemoryLog) -> None:
    log = _held(story)
    where = log.append(
        Outgoing("alerts.raw", b"alertmanager", a_webhook(an_alert("Stray", system="nowhere"))),
        _end(log),
    )
    audited = _audited(log)
    assert audited.findings[0].subject == "-".join(map(str, Position(*where)))
