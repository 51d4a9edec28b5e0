"""Whether what came of a scenario is what it wants, and if not, wanted beside got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from notifier.domain.wording import names_of
from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import IncidentFact, Purpose, Target
from tocsin_incident import IncidentState
from tocsin_policy import format_duration
from tocsin_replay.scenarios.document import Want, WantedMessage, WantedPage
from tocsin_replay.scenarios.playing import Played

_MINUTE = timedelta(minutes=1)
_NOTHING = "-"

F = TypeVar("F", bound=IncidentFact)


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that is not as wanted.

    Attributes:
        about: What of the scenario: `severity`, `pages`.
        at: When, for what has a time.
    """

    about: str
    wanted: str
    got: str
    at: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A scenario with what is not as wanted.

    Attributes:
        played: What came of it.
        misses: Nothing, where all is as wanted.
    """

    played: Played
    misses: tuple[Miss, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as wanted."""
        return not self.misses


@dataclass(slots=True)
class GotMessage:
    """A message that was delivered: one page over several channels is one."""

    at: timedelta
    purpose: Purpose
    to: str
    channels: list[str] = field(default_factory=list)
    level: int | None = None
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Subject and body, of each channel."""
        return "\n".join(self.texts)


def judge(played: Played) -> Judged:
    """Compare what came with what was wanted."""
    want = played.scenario.want
    messages = delivered(played)
    misses = [
        *_about_the_incident(played, want),
        *_pages(want, [m for m in messages if m.purpose is Purpose.PAGE]),
        *_messages(want, [m for m in messages if m.purpose is not Purpose.PAGE]),
        *_silent(want, messages),
        *_moments(played, want),
        *_remediation(played, want),
    ]
    return Judged(played, tuple(misses))


def delivered(played: Played) -> list[GotMessage]:
    """Every message that reached somebody, in order of time."""
    found: dict[tuple[object, ...], GotMessage] = {}
    for step in played.steps:
        fact = step.recorded.event.fact
        if not isinstance(fact, facts.NotificationDelivered) or step.ignored is not None:
            continue
        if step.after is None:
            continue
        held = step.after.notifications[fact.notification]
        at = _minute(played, step.recorded.event.occurred_at)
        to = held.target.contact if held.target is not None else ""
        # A page over several channels is one; messages are told apart by where they went.
        place: tuple[object, ...] = (
            (at, step.after.incident, to, held.level, held.generation)
            if held.purpose is Purpose.PAGE
            else (fact.notification,)
        )
        got = found.setdefault(place, GotMessage(at, held.purpose, to, level=held.level))
        got.channels.append(held.channel)
        got.texts.append(f"{held.message.subject}\n{held.message.body}")
    return list(found.values())


def _minute(played: Played, instant: datetime) -> timedelta:
    """Since the start, to the minute: what takes seconds does not count."""
    return played.since_start(instant) // _MINUTE * _MINUTE


def _about_the_incident(played: Played, want: Want) -> Iterator[Miss]:
    """What is so of the incident in the end; of the first, where there are several."""
    states = list(played.states.values())
    if want.incidents is not None and want.incidents != len(states):
        yield Miss("incidents", str(want.incidents), str(len(states)))
    state = states[0] if states else None
    plain = (
        "severity",
        "opened_severity",
        "rule",
        "service",
        "playbook",
        "customer_facing",
        "status",
        "drill",
    )
    for name in plain:
        wanted = getattr(want, name)
        if wanted is not None:
            got = getattr(state, name) if state is not None else "no incident"
            yield from _unequal(name, _said(wanted), _said(got))
    if want.components is not None:
        wanted, got = sorted(want.components), sorted(state.components if state else ())
        yield from _unequal("components", ", ".join(wanted), ", ".join(got))
    came = state.near_misses if state is not None else ()
    for name in want.near_misses or ():
        if not any(each == name or each.startswith(f"{name}:") for each in came):
            yield Miss("near_misses", name, "; ".join(came) or _NOTHING)
    yield from _names(played, want, state)


def _names(played: Played, want: Want, state: IncidentState | None) -> Iterator[Miss]:
    if want.channel is None and want.ticket is None:
        return
    channel, ticket = names_of(state, played.policy) if state is not None else ("", "")
    if want.channel is not None:
        yield from _unequal("channel", want.channel, channel)
    if want.ticket is not None:
        yield from _unequal("ticket", want.ticket, ticket)


def _unequal(about: str, wanted: str, got: str) -> Iterator[Miss]:
    if wanted != got:
        yield Miss(about, wanted or _NOTHING, got or _NOTHING)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _NOTHING if value is None else str(value)


# Messages.


def _pages(want: Want, got: Sequence[GotMessage]) -> Iterator[Miss]:
    """The list is complete: one that nobody wanted is as wrong as one that did not come."""
    rest = list(got)
    for wanted in want.pages:
        fitting = next((page for page in rest if _is_page(wanted, page)), None)
        if fitting is not None:
            rest.remove(fitting)
            continue
        # What is nearest is shown beside it: the right person at another time, by other channels.
        near = next((page for page in rest if page.to == wanted.to and page.at == wanted.at), None)
        if near is not None:
            rest.remove(near)
        shown = _NOTHING
        if near is not None:
            shown = _shown_page(near) + (f": {near.text!r}" if wanted.contains else "")
        yield Miss("pages", _wanted_page(wanted), shown, wanted.at)
    for page in rest:
        yield Miss("pages", _NOTHING, _shown_page(page), page.at)


def _is_page(wanted: WantedPage, got: GotMessage) -> bool:
    return (
        (wanted.at, wanted.to) == (got.at, got.to)
        and (wanted.by is None or set(wanted.by) == set(got.channels))
        and (wanted.level is None or wanted.level == got.level)
        and all(part in got.text for part in wanted.contains)
    )


def _wanted_page(page: WantedPage) -> str:
    by = f" by {', '.join(page.by)}" if page.by is not None else ""
    level = f", level {page.level}" if page.level is not None else ""
    return f"page {page.to}{by}{level}{_with(page.contains)}"


def _with(parts: Sequence[str]) -> str:
    return "".join(f" with {part!r}" for part in parts)


def _shown_page(page: GotMessage) -> str:
    return f"page {page.to} by {', '.join(page.channels)}, level {page.level}"


def _messages(want: Want, got: Sequence[GotMessage]) -> Iterator[Miss]:
    """Each wanted one is found; others may exist."""
    rest = list(got)
    for wanted in want.messages:
        fitting = next((message for message in rest if _is_message(wanted, message)), None)
        if fitting is not None:
            rest.remove(fitting)
            continue
        like = [
            m for m in rest if wanted.channel in m.channels and wanted.purpose in {None, m.purpose}
        ]
        shown = "; ".join(_shown_message(each) for each in like) or _NOTHING
        yield Miss("messages", _wanted_message(wanted), shown, wanted.at)


def _is_message(wanted: WantedMessage, got: GotMessage) -> bool:
    return (
        wanted.channel in got.channels
        and wanted.at in {None, got.at}
        and wanted.purpose in {None, got.purpose}
        and wanted.to in {None, got.to}
        and all(part in got.text for part in wanted.contains)
    )


def _wanted_message(wanted: WantedMessage) -> str:
    parts = [wanted.channel, str(wanted.purpose or "a message")]
    parts += [f"to {wanted.to}"] if wanted.to is not None else []
    return " ".join(parts) + _with(wanted.contains)


def _shown_message(got: GotMessage) -> str:
    to = f" to {got.to}" if got.to else ""
    return f"{format_duration(got.at)} {got.purpose}{to} {got.text!r}"


def _silent(want: Want, got: Sequence[GotMessage]) -> Iterator[Miss]:
    for channel in want.silent:
        heard = [each for each in got if channel in each.channels]
        if heard:
            shown = "; ".join(f"{format_duration(m.at)} {m.purpose}" for m in heard)
            yield Miss("silent", f"nothing by {channel}", shown, heard[0].at)


# What is said at a time.


def _of(played: Played, kind: type[F]) -> list[tuple[timedelta, F]]:
    """Facts of a kind that had an effect, and when."""
    return [
        (_minute(played, step.recorded.event.occurred_at), step.recorded.event.fact)
        for step in played.steps
        if isinstance(step.recorded.event.fact, kind) and step.ignored is None
    ]


def _moments(played: Played, want: Want) -> Iterator[Miss]:
    missed = [at for at, _ in _of(played, facts.ResponseTargetMissed)]
    resolved = sorted(
        at for kind in (facts.Resolved, facts.AutoResolved) for at, _ in _of(played, kind)
    )
    due = [at for at, _ in _of(played, facts.ReviewDue)]
    yield from _moment("response_target_missed", want.response_target_missed, missed[:1])
    yield from _moment("resolved", want.resolved, resolved[-1:])
    yield from _moment("review_due", want.review_due, due[-1:])
    for name, audience in (("overdue", "internal"), ("public_overdue", "public")):
        wanted = getattr(want, name)
        if wanted is not None:
            said = [
                (at, fact.targets)
                for at, fact in _of(played, facts.UpdateOverdue)
                if fact.audience == audience
            ]
            yield from _listed(
                name,
                [(each.at, "update", each.to) for each in wanted],
                [(at, "update", targets) for at, targets in said],
            )
    if want.steps_overdue is not None:
        yield from _listed(
            "steps_overdue",
            [(each.at, each.step, each.to) for each in want.steps_overdue],
            [(at, fact.step, fact.targets) for at, fact in _of(played, facts.StepOverdue)],
        )


def _moment(about: str, wanted: Any, got: Sequence[timedelta]) -> Iterator[Miss]:  # noqa: ANN401
    if wanted is None:
        return
    shown = format_duration(got[0]) if got else "never"
    says = wanted if isinstance(wanted, str) else format_duration(wanted)
    if says != shown:
        at = wanted if isinstance(wanted, timedelta) else got[0]
        yield Miss(about, says, shown, at)


def _listed(
    about: str,
    wanted: Sequence[tuple[timedelta, str, tuple[str, ...] | None]],
    got: Sequence[tuple[timedelta, str, tuple[Target, ...]]],
) -> Iterator[Miss]:
    """The list is complete."""
    rest = [(at, name, tuple(target.contact for target in targets)) for at, name, targets in got]
    for at, name, to in wanted:
        fitting = next((r for r in rest if r[:2] == (at, name) and to in {None, r[2]}), None)
        near = fitting or next((r for r in rest if r[:2] == (at, name)), None)
        if near is not None:
            rest.remove(near)
        if fitting is None:
            shown = _overdue(name, near[2]) if near is not None else _NOTHING
            yield Miss(about, _overdue(name, to), shown, at)
    for at, name, people in rest:
        yield Miss(about, _NOTHING, _overdue(name, people), at)


def _overdue(name: str, to: tuple[str, ...] | None) -> str:
    return f"{name} overdue" + (f", to {', '.join(to) or 'nobody'}" if to is not None else "")


def _remediation(played: Played, want: Want) -> Iterator[Miss]:
    proposed = [fact for _, fact in _of(played, facts.RemediationProposed)]
    if want.proposal is not None:
        names = [fact.playbook for fact in proposed]
        fact = next((each for each in proposed if each.playbook == want.proposal.playbook), None)
        if fact is None:
            yield Miss("proposal", want.proposal.playbook, ", ".join(names) or _NOTHING)
        elif want.proposal.steps is not None:
            got = ", ".join(step.step for step in fact.steps)
            yield from _unequal("proposal", ", ".join(want.proposal.steps), got)
    if want.ran is not None:
        started = ", ".join(fact.step for _, fact in _of(played, facts.RemediationStarted))
        yield from _unequal("ran", ", ".join(want.ran), started)
