"""Scenarios as timelines: what happens when, and who is to be woken by it.

    @scenario()
    async def test_nobody_answers(system: Timeline) -> None:
        system.at(minutes=0).push(an_alert(severity="critical"))
        system.want(at(minutes=0), page("on-call engineer"))
        system.want(at(minutes=30), page("team lead"), page("vp engineering"))
        await system.run(until=minutes(60))

The whole system runs: real handlers on a log in memory, a virtual clock, fake providers. Times are
exact. A page nobody wanted fails the test as one that did not come does, and a failure shows the
whole timeline, wanted beside got.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tocsin_contracts.dispositions import Disposed, Disposition
from tocsin_contracts.event import Person
from tocsin_contracts.incidents import Purpose
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_incident import IncidentState, Status
from tocsin_policy import Policy
from tocsin_runtime.events import decode, outgoing
from tocsin_simulation.channels import Arrival
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.faults import Faults, NoFaults
from tocsin_simulation.loop import simulate
from tocsin_simulation.system import Service, System, published
from tocsin_simulation.webhooks import AnAlert, a_webhook
from tocsin_testkit.policies import a_policy
from tocsin_testkit.silences import a_silence, of_silence
from tocsin_testkit.watching import Watch

SOMEBODY = Person(name="a person", via="cli")
"""Who silences."""


def minutes(count: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    """So many hours."""
    return timedelta(hours=count)


@dataclass(frozen=True, slots=True)
class At:
    """Time since the timeline began."""

    since_start: timedelta


def at(**duration: float) -> At:
    """So long after the start: `at(minutes=30)`, `at(hours=1, seconds=1)`."""
    return At(timedelta(**duration))


@dataclass(frozen=True, slots=True)
class Want:
    """A message somebody is to get, by whatever the policy calls them.

    Attributes:
        who: Contact, name, role or schedule of the target; or the channel for messages to all.
        purpose: Why they get it.
    """

    who: str
    purpose: Purpose = Purpose.PAGE

    def fits(self, got: Got) -> bool:
        """Whether this is the message."""
        return got.purpose is self.purpose and _plain(self.who) in got.names

    def __str__(self) -> str:
        return f"{self.purpose.value} {self.who}"


def page(who: str) -> Want:
    """Somebody is woken."""
    return Want(who)


def told(who: str, purpose: Purpose) -> Want:
    """Somebody is told, not woken."""
    return Want(who, purpose)


@dataclass(frozen=True, slots=True)
class Got:
    """A message that reached somebody, over one channel or several at once."""

    since_start: timedelta
    purpose: Purpose
    names: frozenset[str]
    shown: str
    channels: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.purpose.value} {self.shown} ({', '.join(self.channels)})"


@dataclass(frozen=True, slots=True)
class _Act:
    since_start: timedelta
    said: str
    run: Callable[[], Awaitable[object]]


class Moment:
    """What happens at one time. Made by `Timeline.at`."""

    def __init__(self, timeline: Timeline, since_start: timedelta) -> None:
        self._timeline = timeline
        self._since_start = since_start

    def push(self, *alerts: AnAlert) -> Moment:
        """Alertmanager posts these, as one webhook; what has not begun yet begins now."""

        async def post() -> None:
            now = self._timeline.start + self._since_start
            await self._timeline.system.post(a_webhook(*(alert.began(now) for alert in alerts)))

        return self.do(f"push {_named(alerts)}", post)

    def clear(self, *alerts: AnAlert, began: At) -> Moment:
        """Alertmanager posts that these, which began then, have stopped now."""

        async def post() -> None:
            now = self._timeline.start + self._since_start
            begun = self._timeline.start + began.since_start
            body = a_webhook(*(alert.began(begun).resolved(now) for alert in alerts))
            await self._timeline.system.post(body)

        return self.do(f"clear {_named(alerts)}", post)

    def silence(
        self, *matchers: str, duration: timedelta, name: str = "a silence", starts: At | None = None
    ) -> Moment:
        """A person silences what matches, from now or from a later time on."""
        begins = self._since_start if starts is None else starts.since_start

        async def create() -> None:
            start = self._timeline.start
            fact = a_silence(*matchers, starts_at=start + begins, lasts=duration, by=SOMEBODY)
            self._timeline.tell_of_silence(name, fact)

        return self.do(f"silence {', '.join(matchers)}", create)

    def unsilence(self, name: str = "a silence") -> Moment:
        """A person ends a silence before its time."""

        async def expire() -> None:
            self._timeline.tell_of_silence(name, SilenceExpired(by=SOMEBODY))

        return self.do(f"unsilence {name}", expire)

    def acknowledge(self, by: str, *, of: str = "") -> Moment:
        """Somebody takes the incident; `of` is a part of its title where there are several."""
        return self._answer("acknowledge", of, by=by)

    def resolve(self, by: str, *, of: str = "") -> Moment:
        """Somebody says it is over."""
        return self._answer("resolve", of, by=by)

    def escalate(self, by: str, text: str = "", *, of: str = "") -> Moment:
        """Somebody wants the next level now."""
        return self._answer("escalate", of, by=by, text=text)

    def hand_over(self, by: str, to: str, *, of: str = "") -> Moment:
        """Somebody gives the incident to somebody else."""
        return self._answer("handover", of, by=by, contact=to)

    def mute(self, by: str, *, minutes: int = 60, of: str = "") -> Moment:
        """Somebody wants nobody paged for a while."""
        return self._answer("mute", of, by=by, minutes=str(minutes))

    def unmute(self, by: str, *, of: str = "") -> Moment:
        """Somebody wants people paged again."""
        return self._answer("unmute", of, by=by)

    def mitigate(self, by: str, *, of: str = "") -> Moment:
        """Somebody says that users are well again."""
        return self._answer("mitigate", of, by=by)

    def update(self, by: str, text: str, *, of: str = "", audience: str = "internal") -> Moment:
        """Somebody tells people how it stands; everybody, if the audience is `public`."""
        return self._answer("updates", of, by=by, text=text, audience=audience)

    def note(self, by: str, text: str, *, of: str = "") -> Moment:
        """Somebody writes something down."""
        return self._answer("notes", of, by=by, text=text)

    def reopen(self, by: str, text: str = "", *, of: str = "") -> Moment:
        """Somebody says that it is not over."""
        return self._answer("reopen", of, by=by, text=text)

    def close(self, by: str, *, of: str = "") -> Moment:
        """Somebody publishes the review of a resolved incident and closes it."""
        self._answer("review", of, by=by)
        return self._answer("close", of, by=by)

    def raise_to(self, severity: str, by: str, *, of: str = "") -> Moment:
        """Somebody asks for another severity."""
        return self._answer("severity", of, by=by, severity=severity)

    def approve(self, step: str, by: str, *, of: str = "") -> Moment:
        """Somebody lets a step of the incident's remediation run."""

        async def approve() -> None:
            incident = self._timeline.incident(of)
            (remediation,) = incident.remediations
            await self._timeline.system.answer(
                incident.incident, "approve", by=by, remediation=remediation, step=step
            )

        return self.do(f"{by}: approve {step}", approve)

    def _answer(self, verb: str, of: str, *, by: str, **fields: str) -> Moment:
        async def answer() -> None:
            incident = self._timeline.incident(of)
            await self._timeline.system.answer(incident.incident, verb, by=by, **fields)

        return self.do(f"{by}: {verb}", answer)

    def do(self, said: str, run: Callable[[], Awaitable[object]]) -> Moment:
        """Anything else; `said` is what a failure shows of it."""
        self._timeline.acts.append(_Act(self._since_start, said, run))
        return self


@dataclass(slots=True)
class Timeline:
    """One scenario: acts and wishes, then `run`.

    Attributes:
        system: The system it runs on.
        start: The instant of `at()`: when every service is up.
    """

    system: System
    start: datetime = EPOCH
    acts: list[_Act] = field(default_factory=list)
    _wants: list[tuple[timedelta, Want]] = field(default_factory=list)
    _ended_at: datetime | None = None

    def at(self, **duration: float) -> Moment:
        """The moment so long after the start, to have something happen in."""
        return Moment(self, timedelta(**duration))

    def want(self, when: At, *wants: Want) -> None:
        """These messages arrive exactly then."""
        self._wants.extend((when.since_start, want) for want in wants)

    def tell_of_silence(self, name: str, fact: SilenceCreated | SilenceExpired) -> None:
        """Have the log hold what a person decided about a silence."""
        event = of_silence(fact, at=self.system.clock.now(), name=name)
        self.system.log.append(outgoing(event))

    def dispositions(self) -> list[Disposition]:
        """What became of each observation, in the order of the log."""
        found: list[Disposition] = []
        for record in self.system.log.records("dispositions"):
            fact = decode(record).fact
            if isinstance(fact, Disposed):
                found.extend(fact.dispositions)
        return found

    def incidents(self) -> list[IncidentState]:
        """Every incident as it stands, or stood when the run ended, oldest first."""
        return list(self.system.incidents(until=self._ended_at).values())

    def incident(self, of: str = "") -> IncidentState:
        """The one incident whose title has `of` in it.

        Raises:
            AssertionError: There is none, or there are several.
        """
        found = [state for state in self.incidents() if of in state.title]
        assert len(found) == 1, f"{len(found)} incidents have {of!r} in their title"
        return found[0]

    def status(self, of: str = "") -> Status:
        """How the incident stands."""
        return self.incident(of).status

    async def run(self, *, until: timedelta) -> None:
        """Have it all happen, and fail with the whole timeline if messages were not as wanted.

        Pages must be exactly those wanted. Messages of another purpose are judged only if the
        scenario wants any of that purpose.
        """
        await self.play(until=until)
        self._judge()

    async def play(self, *, until: timedelta) -> None:
        """Have it all happen, and judge nothing: for a test that looks for itself."""
        Watch(self.system)
        await self.system.start()
        self.start = self.system.clock.now()
        for act in sorted(self.acts, key=lambda act: act.since_start):
            await self._pass(act.since_start)
            await act.run()
        await self._pass(until)
        # What is due at this very instant still happens; what is due later is not looked at.
        self._ended_at = self.system.clock.now()
        await self.system.settle()

    async def _pass(self, until: timedelta) -> None:
        await self.system.clock.sleep(self.start + until - self.system.clock.now())

    def _judge(self) -> None:
        purposes = {Purpose.PAGE, *(want.purpose for _, want in self._wants)}
        got = [g for g in self.got() if g.purpose in purposes]
        rest = list(got)
        right: list[tuple[timedelta, Want, Got]] = []
        missing: list[tuple[timedelta, Want]] = []
        for when, want in self._wants:
            fitting = next((g for g in rest if g.since_start == when and want.fits(g)), None)
            if fitting is None:
                missing.append((when, want))
            else:
                rest.remove(fitting)
                right.append((when, want, fitting))
        if missing or rest:
            raise AssertionError(self._table(right, missing, rest))

    def got(self) -> list[Got]:
        """Every message that reached somebody by the end of the run.

        One page over several channels is one message; what a provider merged is not another.
        """
        grouped: dict[tuple[datetime, Purpose, str, str], list[Arrival]] = {}
        for arrival in self.system.providers.arrivals:
            late = self._ended_at is not None and arrival.at > self._ended_at
            if arrival.repeat or late:
                continue
            target = arrival.sending.target
            who = target.contact if target is not None else arrival.channel
            about = arrival.sending.provider_key
            place = (arrival.at, arrival.sending.purpose, who, about)
            grouped.setdefault(place, []).append(arrival)
        return [self._got(arrivals) for arrivals in grouped.values()]

    def effects(self) -> list[tuple[timedelta, str]]:
        """What remediation did in the world by the end of the run, looks included, and when."""
        return [
            (effect.at - self.start, effect.what)
            for effect in self.system.world.effects
            if self._ended_at is None or effect.at <= self._ended_at
        ]

    def _got(self, arrivals: list[Arrival]) -> Got:
        first = arrivals[0]
        target = first.sending.target
        names = {first.channel}
        shown = first.channel
        if target is not None:
            names = {target.contact, target.name, target.role, target.via}
            shown = f"{target.role}: {target.contact}"
        return Got(
            since_start=first.at - self.start,
            purpose=first.sending.purpose,
            names=frozenset(_plain(name) for name in names),
            shown=shown,
            channels=tuple(sorted(arrival.channel for arrival in arrivals)),
        )

    def _table(
        self,
        right: list[tuple[timedelta, Want, Got]],
        missing: list[tuple[timedelta, Want]],
        unwanted: list[Got],
    ) -> str:
        rows = [(act.since_start, 0, f"  · {act.said}", "") for act in self.acts]
        rows += [(when, 1, f"    {want}", str(got)) for when, want, got in right]
        rows += [(when, 2, f"  ✗ {want}", "-") for when, want in missing]
        rows += [(got.since_start, 3, "  ✗ -", str(got)) for got in unwanted]
        wide = max(len(left) for _, _, left, _ in rows) + 2
        lines = ["the timeline is not as wanted", f"{'time':>12} {'wanted':<{wide}} got"]
        for when, _, left, beside in sorted(rows, key=lambda row: (row[0], row[1])):
            lines.append(f"{when!s:>12} {left:<{wide}} {beside}".rstrip())
        lines += [f"incident {s.incident}: {s.status}, {s.severity}" for s in self.incidents()]
        return "\n".join(lines)


def _named(alerts: Sequence[AnAlert]) -> str:
    return ", ".join(alert.labels["alertname"] for alert in alerts)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


Test = Callable[..., Awaitable[None]]


def scenario(
    policy: Callable[[], Policy] = a_policy,
    *,
    faults: Callable[[], Faults] = NoFaults,
    services: Sequence[Service] | None = None,
) -> Callable[[Test], Callable[..., None]]:
    """Make a test one that gets a `Timeline` as its first argument and runs in virtual time.

    Its other arguments are pytest's: fixtures and parameters.

    Args:
        policy: Gives the policy in force.
        faults: Gives what goes wrong.
        services: Those that run, if not all as they are.
    """

    def decorate(test: Test) -> Callable[..., None]:
        @functools.wraps(test)
        def in_virtual_time(**arguments: object) -> None:
            async def main() -> None:
                policies = [published(policy())]
                system = System(policies=policies, faults=faults(), services=services)
                await test(Timeline(system), **arguments)

            simulate(main())

        signature = inspect.signature(test)
        rest = list(signature.parameters.values())[1:]
        # pytest would look through it and want a fixture for the timeline.
        del in_virtual_time.__wrapped__
        in_virtual_time.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in rest]
        )
        return in_virtual_time

    return decorate
