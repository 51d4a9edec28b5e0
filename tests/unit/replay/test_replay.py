"""An incident is told from the log alone: its story, its targets, its pages."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from rich.console import Console

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.incidents import Purpose
from tocsin_replay import (
    Recorded,
    briefly,
    partition_of,
    read_all,
    read_incident,
    read_policy,
    render_table,
    report,
    report_markdown,
    response_targets,
    state_of,
    timeline,
    timeline_markdown,
)
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_simulation.system import published
from tocsin_testkit.builders import (
    AN_INCIDENT_ID,
    a_message,
    a_person,
    a_target,
    an_event,
    an_opening,
)
from tocsin_testkit.policies import a_policy

MINUTE = timedelta(minutes=1)
CRITICAL = "critical"
PAGE = "page-1"


def _recorded(*happened: tuple[int, Fact]) -> tuple[Recorded, ...]:
    """Facts at minutes after the start, each in the log a second after it happened."""
    return tuple(
        Recorded(
            an_event(fact, at=EPOCH + minutes * MINUTE),
            Position("incidents", 0, 100 + index),
            EPOCH + minutes * MINUTE + timedelta(seconds=1),
        )
        for index, (minutes, fact) in enumerate(happened)
    )


def _opened() -> tuple[int, Fact]:
    return 0, an_opening(severity=CRITICAL)


def _acknowledged(minute: int, name: str = "alice") -> tuple[int, Fact]:
    return minute, facts.Acknowledged(by=a_person(name))


def _missed(minute: int, generation: int = 1) -> tuple[int, Fact]:
    return minute, facts.ResponseTargetMissed(
        generation=generation,
        severity=CRITICAL,
        target=3 * MINUTE,
        due_at=EPOCH + minute * MINUTE,
    )


def _paged() -> list[tuple[int, Fact]]:
    return [
        (
            0,
            facts.LevelReached(
                level=1, generation=1, severity=CRITICAL, due_at=EPOCH, targets=(a_target(),)
            ),
        ),
        (
            0,
            facts.NotificationRequested(
                notification=PAGE,
                purpose=Purpose.PAGE,
                generation=1,
                level=1,
                target=a_target(),
                channel="pagerduty",
                kind="pagerduty",
                provider_key="key",
                message=a_message(),
            ),
        ),
        (0, facts.NotificationAttempted(notification=PAGE, attempt=1, instance="n-0")),
        (
            0,
            facts.NotificationFailed(
                notification=PAGE,
                attempt=1,
                reason="provider_error",
                detail="HTTP 503",
                retry_at=EPOCH + MINUTE,
            ),
        ),
        (1, facts.NotificationAttempted(notification=PAGE, attempt=2, instance="n-0")),
        (1, facts.NotificationDelivered(notification=PAGE, attempt=2)),
    ]


def test_every_fact_is_told_with_who_and_why() -> None:
    told = timeline(_recorded(_opened(), *_paged(), _acknowledged(2)))
    assert [(entry.what, entry.who, entry.why) for entry in told] == [
        ("critical opened: GlobalServiceUnavailable", "classifier", "rule_matched"),
        ("level 1 reached", "Alice (on-call engineer)", f"due {EPOCH:%H:%M:%S}"),
        ("owed page by pagerduty", "Alice", ""),
        ("attempting page by pagerduty", "Alice", "attempt 1"),
        ("failed page by pagerduty", "Alice", "attempt 1: provider error: HTTP 503"),
        ("attempting page by pagerduty", "Alice", "attempt 2"),
        ("delivered page by pagerduty", "Alice", "attempt 2"),
        ("acknowledged", "alice via test", ""),
    ]


def test_an_entry_says_when_it_happened_and_when_we_knew() -> None:
    (entry,) = timeline(_recorded(_opened()))
    assert (entry.at, entry.recorded_at, entry.offset) == (
        EPOCH,
        EPOCH + timedelta(seconds=1),
        100,
    )


def test_what_the_fold_ignored_is_told_with_the_reason() -> None:
    _, _, late = timeline(_recorded(_opened(), _acknowledged(1), _paged()[0]))
    assert late.ignored is not None
    assert late.why == f"no effect: {late.ignored}"


def test_a_fact_about_an_incident_nobody_opened_is_told_too() -> None:
    (entry,) = timeline(_recorded(_acknowledged(1)))
    assert entry.ignored == "unknown_incident"


@pytest.mark.parametrize(
    ("happened", "met"),
    [
        ([_acknowledged(2)], True),
        ([_acknowledged(3)], True),
        ([_acknowledged(4)], False),  # though nobody was there to write that it was missed
        ([_missed(3), _acknowledged(4)], False),
        ([], None),
    ],
)
def test_a_response_target_is_met_by_an_answer_in_time(
    happened: list[tuple[int, Fact]], *, met: bool | None
) -> None:
    (target,) = response_targets(_recorded(_opened(), *happened), a_policy())
    assert target.met is met


def test_each_generation_has_its_own_response_target() -> None:
    again = facts.AcknowledgementExpired(generation=1, due_at=EPOCH + 22 * MINUTE)
    first, second = response_targets(
        _recorded(_opened(), _acknowledged(2), (22, again), _missed(25, 2), _acknowledged(30)),
        a_policy(),
    )
    assert (first.generation, first.took, first.met) == (1, 2 * MINUTE, True)
    assert (second.generation, second.took, second.met) == (2, 8 * MINUTE, False)


def test_without_the_policy_only_recorded_misses_are_known() -> None:
    (unknown,) = response_targets(_recorded(_opened(), _acknowledged(2)), None)
    (missed,) = response_targets(_recorded(_opened(), _missed(3)), None)
    assert (unknown.met, missed.met, missed.target) == (None, False, 3 * MINUTE)


def test_the_report_names_who_was_paged_and_how_it_ended() -> None:
    found = report(_recorded(_opened(), *_paged(), _acknowledged(2)), a_policy())
    (page,) = found.pages
    assert (page.name, page.role, page.why) == ("Alice", "on-call engineer", "schedule primary")
    assert (page.channel, page.status, page.attempts) == ("pagerduty", "delivered", 2)
    assert (page.due_at, page.sent_at) == (EPOCH, EPOCH + MINUTE)


def test_the_report_names_the_first_to_acknowledge() -> None:
    found = report(_recorded(_opened(), _acknowledged(2), _acknowledged(5, "bob")), a_policy())
    assert (found.acknowledged_by, found.time_to_acknowledge) == ("Alice", 2 * MINUTE)


def test_there_is_no_report_of_an_incident_nobody_opened() -> None:
    with pytest.raises(LookupError):
        report((), a_policy())


def test_a_person_can_read_the_whole_story_on_a_terminal() -> None:
    recorded = _recorded(_opened(), *_paged(), _acknowledged(2))
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        render_table(console, timeline(recorded), report(recorded, a_policy()))
    shown = captured.get()
    assert "response target of 3 min for critical: met, answered after 2 min" in shown
    assert "delivered at 09:01:00 after 2 attempts" in shown


def _told(width: int, *happened: tuple[int, Fact]) -> str:
    recorded = _recorded(*happened)
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        render_table(console, timeline(recorded, a_policy()), report(recorded, a_policy()))
    return captured.get()


def test_days_and_long_gaps_stand_in_lines_of_their_own() -> None:
    lines = _told(100, _opened(), _acknowledged(25), _acknowledged(60 * 24)).splitlines()
    days = [line.strip() for line in lines if line.strip() in {"2026-03-02", "2026-03-03"}]
    assert days == ["2026-03-02", "2026-03-03"]
    assert [" ".join(line.split()) for line in lines if line.startswith("…")] == [
        "… 25 min later",
        "… 23 h 35 min later",
    ]


def test_nothing_is_cut_off_on_a_terminal_of_80_columns() -> None:
    shown = _told(80, _opened(), *_paged(), _acknowledged(2))
    words = "".join(shown.replace("… ", "").split())
    for said in ("GlobalServiceUnavailable", "Alice,on-callengineer", "after2attempts"):
        assert said in words
    assert "…" not in words
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_what_people_wrote_is_no_markup() -> None:
    note = facts.NoteAdded(by=a_person(), text="[red]not red[/red]")
    assert "[red]not red[/red]" in _told(100, _opened(), (1, note))


def test_people_go_by_their_names_where_the_policy_says_them() -> None:
    (*_, entry) = timeline(_recorded(_opened(), _acknowledged(1)), a_policy())
    assert entry.who == "Alice via test"


def test_briefly_a_message_that_was_tried_again_is_told_once() -> None:
    told = briefly(timeline(_recorded(_opened(), *_paged(), _acknowledged(2))))
    assert [entry.what for entry in told] == [
        "critical opened: GlobalServiceUnavailable",
        "level 1 reached",
        "failed page by pagerduty",
        "delivered page by pagerduty",
        "acknowledged",
    ]


def test_markdown_keeps_its_cells_whatever_people_write() -> None:
    note = facts.NoteAdded(by=a_person(), text="a | b\nc")
    recorded = _recorded(_opened(), (1, note))
    assert timeline_markdown(timeline(recorded)).splitlines()[-1].endswith("| a \\| b c |")
    assert report_markdown(report(recorded, a_policy())).startswith("# critical: ")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(ManualClock(), registered_topics(6))


def _published(log: MemoryLog, *events: Event[Fact]) -> None:
    for event in events:
        log.append(outgoing(event))


def test_an_incident_is_found_by_its_id_among_others(log: MemoryLog) -> None:
    other = "shop-0123456789"
    opening = an_event(an_opening())
    elsewhere = an_event(an_opening(incident=other), incident=other)
    answer = an_event(facts.Acknowledged(by=a_person()), at=EPOCH + MINUTE)
    _published(log, opening, elsewhere, answer)
    found = asyncio.run(read_incident(log, AN_INCIDENT_ID))
    assert [recorded.event for recorded in found] == [opening, answer]
    assert {recorded.position.partition for recorded in found} == {
        partition_of("mpc-transformer", 6)
    }
    assert len(asyncio.run(read_all(log))) == 3


def test_a_record_that_is_no_event_does_not_hide_the_others(log: MemoryLog) -> None:
    log.append(Outgoing("incidents", b"mpc-transformer", b"nonsense"))
    _published(log, an_event(an_opening()))
    assert len(asyncio.run(read_incident(log, AN_INCIDENT_ID))) == 1


def test_the_policy_of_an_incident_is_read_from_the_log(log: MemoryLog) -> None:
    incident = "shop-0123456789"
    policy = a_policy()
    _published(log, an_event(published(policy), incident=incident))
    _published(log, an_event(an_opening(incident=incident), incident=incident))
    state = state_of(asyncio.run(read_incident(log, incident)))
    assert state is not None
    assert asyncio.run(read_policy(log, state)) == policy
