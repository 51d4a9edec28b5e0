"""A postmortem as its author would want it: a bad P0 of two hours, and nothing to add by hand.

Three escalations, a provider that fails, an incident that comes back and two remediations.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_contracts.incidents import IncidentFact, Purpose
from tocsin_contracts.registry import FACTS
from tocsin_policy import Policy
from tocsin_replay import (
    Recorded,
    Summary,
    open_bundle,
    picture,
    postmortem,
    postmortem_html,
    promised,
    read_history,
    read_incident,
    read_policies,
    state_of,
    summarise,
    suppose,
    supposition_markdown,
    timeline,
    what_if,
)
from tocsin_replay.postmortem import text
from tocsin_replay.telling import says
from tocsin_replay.wording import contact, duration, role, words

RECORDING = Path(__file__).resolve().parents[1] / "recordings" / "postmortem" / "two-hours.tocsin"
"""Made by `tests/recordings/postmortem.py`."""

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Document:
    recorded: tuple[Recorded, ...]
    markdown: str
    html: str
    drawn: str
    summary: Summary
    policy: Policy


@pytest.fixture(scope="module")
def document() -> Document:
    bundle = open_bundle(RECORDING)
    (incident,), log = bundle.incidents, bundle.log
    recorded = asyncio.run(read_incident(log, incident))
    state = state_of(recorded)
    assert state is not None
    policy = promised(asyncio.run(read_policies(log)), state)
    assert policy is not None
    summary = summarise(recorded, policy)
    return Document(
        recorded,
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


ABOUT_MESSAGES: tuple[type[Fact], ...] = (
    facts.NotificationRequested,
    facts.NotificationAttempted,
    facts.NotificationDelivered,
    facts.NotificationFailed,
    facts.NotificationInDoubt,
    facts.NotificationSuperseded,
)
"""Told in a table of pages and as counts; the rest line by line."""


def test_the_recording_has_what_such_an_incident_has(document: Document) -> None:
    kinds = {type(one.event.fact) for one in document.recorded}
    assert kinds >= {
        facts.Opened,
        facts.AlertsCleared,
        facts.LevelReached,
        facts.ResponseTargetMissed,
        facts.NotificationRequested,
        facts.NotificationAttempted,
        facts.NotificationDelivered,
        facts.NotificationFailed,
        facts.Acknowledged,
        facts.RoleAssigned,
        facts.UpdatePosted,
        facts.UpdateOverdue,
        facts.NoteAdded,
        facts.RemediationProposed,
        facts.RemediationApproved,
        facts.RemediationStarted,
        facts.RemediationStepFinished,
        facts.RemediationVerified,
        facts.Mitigated,
        facts.Resolved,
        facts.Reopened,
    }


def test_no_fact_that_the_log_knew_is_missing_from_the_document(document: Document) -> None:
    """Each by its time and in its words: who did what, and why."""
    about_messages = {kind.TYPE for kind in ABOUT_MESSAGES}
    told = 0
    for entry in timeline(document.recorded, document.policy):
        if entry.type in about_messages or entry.ignored is not None:
            continue
        said = (text(entry.what), text(entry.who), text(entry.why))
        line = f"| {entry.at:%Y-%m-%d %H:%M:%S} | {' | '.join(said)} |"
        assert line in document.markdown, f"{entry.type}: {line}"
        told += 1
    assert told > 40


def test_every_message_is_counted_and_every_page_is_told_with_its_outcome(
    document: Document,
) -> None:
    requested = [
        one.event.fact
        for one in document.recorded
        if isinstance(one.event.fact, facts.NotificationRequested)
    ]
    counted = ", ".join(f"{count} {name}" for name, count in document.summary.messages.items())
    assert sum(document.summary.messages.values()) == len(requested)
    assert f"All messages, pages included: {counted}." in document.markdown
    pages = [fact for fact in requested if fact.purpose is Purpose.PAGE]
    assert len(document.summary.pages) == len(pages)
    for page in document.summary.pages:
        who = re.escape(text(f"{page.name}, {page.role}"))
        row = rf"\| {who} \| {re.escape(text(page.channel))}[^|]* \| {page.due_at:%H:%M:%S}"
        assert re.search(row, document.markdown)


def test_every_kind_of_fact_has_words_of_its_own() -> None:
    kinds = {kind for kind in FACTS.values() if issubclass(kind, IncidentFact)}
    assert {kind.__name__ for kind in kinds if not says(kind)} == set()


NOT_FOR_PEOPLE = frozenset(
    {
        # How facts find one another and their writers.
        *("basis", "cause", "observation", "notification", "remediation", "instance", "attempt"),
        *("provider_key", "provider_ref", "group_key", "digest", "fingerprint", "generation"),
        # What came of it is told instead: that it was asked again, over what, and the words of all
        # messages, which their readers have.
        *("retry_at", "after", "message", "kind", "late_by", "number"),
        # Steps are called by their titles, reminders by whom they reached.
        *("step", "via", "approval", "runner", "parameters", "plan"),
    }
)
"""Fields of facts that no author of a postmortem would look up."""


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, held in value.items():
            if key not in NOT_FOR_PEOPLE:
                yield from _leaves(f"{name}.{key}", held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _leaves(name, held)
    elif value not in (None, "") and not isinstance(value, bool):
        yield name, value


def _as_told(value: object, policy: Policy) -> str:
    if isinstance(value, datetime):
        return f"{value:%H:%M:%S}"
    if isinstance(value, timedelta):
        return duration(value)
    said = str(value)
    return words(role(contact(said, policy), policy))


def test_every_value_of_every_fact_that_people_would_look_up_is_in_the_document(
    document: Document,
) -> None:
    missing = {
        f"{name}: {_as_told(value, document.policy)}"
        for one in document.recorded
        for name, value in _leaves(type(one.event.fact).__name__, one.event.fact.model_dump())
        if text(_as_told(value, document.policy)) not in document.markdown
    }
    assert missing == set()


def test_what_the_runbooks_template_leaves_out_follows_at_its_end(document: Document) -> None:
    own, _, besides = document.markdown.partition("## What the log knows besides")
    assert "## What the runbook requires" in own
    for part in ("Severity, and why", "Updates due and made", "Contributing alerts"):
        assert f"### {part}" in besides
    assert "### Timeline" not in besides


def test_times_stand_beside_their_targets(document: Document) -> None:
    assert "| Acknowledge | opening to the first answer | 1 h 05 min | 5 min | **missed** |" in (
        document.markdown
    )
    assert "| Acknowledge, escalation 2 | coming back to the first answer | 12 min | 5 min |" in (
        document.markdown
    )


def test_a_message_that_was_tried_again_is_one_line_of_the_timeline(document: Document) -> None:
    failed = [line for line in document.markdown.splitlines() if "| failed page by" in line]
    assert len(failed) == 4
    assert all("attempt 1: unreachable; and 5 attempts more until 09:30:32" in f for f in failed)


def test_the_picture_says_what_every_colour_is_and_that_a_page_was_tried_again(
    document: Document,
) -> None:
    for status in ("open", "acknowledged", "mitigated", "resolved"):
        assert f">{status}</text>" in document.drawn
    assert document.drawn.count(">at attempt 7</text>") == 4


def test_what_is_supposed_says_where_later_alerts_would_have_been(document: Document) -> None:
    log = open_bundle(RECORDING).log
    incident = document.summary.incident
    history = asyncio.run(read_history(log, about=incident))
    found = asyncio.run(what_if(history, supposed=suppose(incident, ["ack at +3m"])))
    written = supposition_markdown(found, incident)
    assert "| Answered after | 1 h 07 min | 5 min |" in written
    (change,) = found.incidents
    assert f"would have been another incident: `{change.others[0]}`" in written
