"""What the notifier needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from notifier.domain.answering import AnswerLink
from notifier.domain.outcomes import Outcome
from notifier.domain.pacing import Asking
from tocsin_contracts.ids import derive
from tocsin_contracts.incidents import Message, Purpose, Target


@dataclass(frozen=True, slots=True)
class Earlier:
    """A message of the same incident that the same channel delivered before.

    Attributes:
        ref: What the channel said of it in `Delivered.ref`: an issue's number, a message's time.
    """

    purpose: Purpose
    ref: str
    message: Message


@dataclass(frozen=True, slots=True)
class Sending:
    """One call to a provider.

    Attributes:
        provider_key: What the provider merges repeats by.
        attempt: 1 for the first; later ones may be repeats of a message that arrived.
        severity_rank: 0 for the policy's worst severity.
        address: The target's e-mail address, where the policy has one.
        phone: The target's number as the policy has it, for people to read.
        handle: The target's name in chat, where the policy has one.
        components: What else is affected beside the service.
        status: Where the incident stands: `open`, `acknowledged`, `mitigated`, `resolved` …
        by: Who acknowledged or resolved it.
        link: Where all of it can be read.
        room: Name that the policy gives the incident's own chat channel.
        invited: Names in chat of the people who were paged so far.
        ticket: Title that the policy gives the incident's ticket.
        labels: Labels that it gives it.
        earlier: What this channel delivered of this incident before, oldest first.
        bundled: Notifications of the messages it stands for, if it stands for several.
        answers: Links by which the target answers, if they are the only one who reads it.
        to_approve: Incident, remediation, step and plan that an approval is asked for, as a button
            hands them back; empty where nothing waits for a person.
        late: By how much it is late, in words; empty if it is not.
    """

    notification: str
    incident: str
    system: str
    purpose: Purpose
    provider_key: str
    attempt: int
    severity: str
    severity_rank: int
    opened_at: datetime
    target: Target | None
    address: str | None
    message: Message
    phone: str | None = None
    handle: str | None = None
    title: str = ""
    service: str | None = None
    components: tuple[str, ...] = ()
    status: str = "open"
    by: str = ""
    link: str | None = None
    room: str | None = None
    invited: tuple[str, ...] = ()
    ticket: str = ""
    labels: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    bundled: tuple[str, ...] = ()
    late: str = ""
    to_approve: str = ""
    answers: tuple[AnswerLink, ...] = ()

    @property
    def identity(self) -> str:
        """What tells this message from every other: the same over its attempts."""
        return str(derive("bundle", *sorted(self.bundled))) if self.bundled else self.notification

    @property
    def may_repeat(self) -> bool:
        """Whether an earlier attempt may have arrived."""
        return self.attempt > 1


class Channel(Protocol):
    """A way to reach people. Never raises for what a provider or network does."""

    async def send(self, sending: Sending) -> Outcome:
        """What became of the call."""
        ...


class Gate(Protocol):
    """Manners towards providers, shared between instances; may be forgotten at any time.

    Correctness never rests on it: where the store behind it is away, it lets everything pass.
    """

    async def claim(self, notification: str, attempt: int, /) -> bool:
        """Whether this process may make the attempt; false only if another made it just now."""
        ...

    async def hold_off(self, asking: Asking, /) -> timedelta | None:
        """How long to leave an account or a person alone; `None` if the call may be made now.

        A call that may be made has taken its permits; one that waits has taken none.
        """
        ...

    async def report(self, account: str, /, *, healthy: bool) -> None:
        """Tell how a call went, for the circuit."""
        ...
