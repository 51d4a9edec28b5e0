"""Counterfactuals on one incident, as people write them: `ack at +3m`, `provider slack down`.

The grammar, one assumption a text, any number of them together:

    ack at +DURATION [by CONTACT]       somebody takes it so long after it opened
    no ack                              nobody answers
    provider NAME down [from +D] [to +D]    calls to a channel fail, from the opening or from +D
    provider NAME up [from +D] [to +D]      no call to it fails, whatever failed then
    no silence ID                       that silence was never created
    no silence                          no silence was ever created

`silence ID never existed` and `silence never existed` say the same as the last two. `NAME` is a
channel of the policy or a kind of channel (`slack`); a duration is one of the policy language
(`3m`, `1h30m`). Times count from the opening of the incident in the run they are supposed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from tocsin_policy import Policy
from tocsin_policy.durations import format_duration, parse_duration

_NAME = r"[A-Za-z0-9_.@:-]+"
_SINCE = r"\+(?P<{name}>[0-9a-z]+)"

_ACK = re.compile(rf"ack(?:nowledged)? at {_SINCE.format(name='at')}(?: by (?P<by>{_NAME}))?")
_NO_ACK = re.compile(r"no ack|nobody acks")
_PROVIDER = re.compile(
    rf"provider (?P<name>{_NAME}) (?P<how>down|up)"
    rf"(?: from {_SINCE.format(name='begin')})?(?: to {_SINCE.format(name='end')})?"
)
_SILENCE = re.compile(
    rf"no silences?(?: (?P<one>{_NAME}))?|silences?(?: (?P<other>{_NAME}))? never existed"
)

WRITTEN = (
    "ack at +3m [by CONTACT]",
    "no ack",
    "provider slack down [from +1m] [to +10m]",
    "provider slack up [from +1m] [to +10m]",
    "no silence [ID]",
)
"""Every form there is, for messages to people."""


@dataclass(frozen=True, slots=True)
class Outage:
    """How a provider is supposed to be, counted from the opening.

    Attributes:
        name: A channel, or a kind of channel.
        ends: Absent for as long as the incident lasts.
    """

    name: str
    down: bool
    begins: timedelta
    ends: timedelta | None

    def covers(self, channel: str, kind: str, after: timedelta) -> bool:
        """Whether it says how a call goes that is made so long after the opening."""
        if self.name not in {channel, kind}:
            return False
        return self.begins <= after and (self.ends is None or after < self.ends)


@dataclass(frozen=True, slots=True)
class Supposed:
    """What is supposed to have been otherwise about an incident.

    Attributes:
        incident: The recorded incident it is about.
        acknowledged_after: Somebody takes it so long after its opening.
        by: Who does; empty for whoever did then.
        nobody: Nobody answers.
        outages: The first that covers a call decides.
        silences: Ids of silences that never were.
        no_silence: None ever was.
    """

    incident: str
    acknowledged_after: timedelta | None = None
    by: str = ""
    nobody: bool = False
    outages: tuple[Outage, ...] = ()
    silences: frozenset[str] = frozenset()
    no_silence: bool = False

    @property
    def answers(self) -> bool:
        """Whether the recorded answers are replaced."""
        return self.nobody or self.acknowledged_after is not None

    def silenced_by(self, silence: str) -> bool:
        """Whether a recorded silence is left as it was."""
        return not self.no_silence and silence not in self.silences

    def assumptions(self) -> Iterator[str]:
        """Each of them in words."""
        if self.acknowledged_after is not None:
            who = self.by or "whoever answered then"
            yield f"{who} acknowledges {format_duration(self.acknowledged_after)} after the opening"
        if self.nobody:
            yield "nobody answers"
        for outage in self.outages:
            how = "fails" if outage.down else "goes well"
            begins = format_duration(outage.begins) if outage.begins else "the opening"
            ends = "" if outage.ends is None else f" to {format_duration(outage.ends)}"
            yield f"every call to {outage.name} {how}, from {begins}{ends}"
        for silence in sorted(self.silences):
            yield f"silence {silence} was never created"
        if self.no_silence:
            yield "no silence was ever created"


def suppose(incident: str, texts: Iterable[str]) -> Supposed:
    """What these texts suppose of an incident.

    >>> list(suppose("shop-7dc0wtyyhx", ["ack at +3m", "provider slack down"]).assumptions())[0]
    'whoever answered then acknowledges 3m after the opening'

    Raises:
        ValueError: One of them is in none of the forms, or two contradict each other; the message
            says which and how it is written.
    """
    acknowledged: tuple[timedelta, str] | None = None
    nobody = no_silence = False
    outages: list[Outage] = []
    silences: set[str] = set()
    for text in texts:
        said = " ".join(text.split())
        if found := _ACK.fullmatch(said):
            if acknowledged is not None:
                raise ValueError(f"{text!r}: it is acknowledged once; the other says when too")
            acknowledged = (_length(text, found["at"]), found["by"] or "")
        elif _NO_ACK.fullmatch(said):
            nobody = True
        elif found := _PROVIDER.fullmatch(said):
            outages.append(_outage(text, found))
        elif found := _SILENCE.fullmatch(said):
            named = found["one"] or found["other"]
            no_silence = no_silence or named is None
            silences.update([named] if named is not None else [])
        else:
            raise ValueError(f"{text!r} is no assumption; write one of: {'; '.join(WRITTEN)}")
    if nobody and acknowledged is not None:
        raise ValueError("nobody answers, and somebody acknowledges: suppose one of them")
    return Supposed(
        incident=incident,
        acknowledged_after=None if acknowledged is None else acknowledged[0],
        by="" if acknowledged is None else acknowledged[1],
        nobody=nobody,
        outages=tuple(outages),
        silences=frozenset(silences),
        no_silence=no_silence,
    )


def _outage(text: str, found: re.Match[str]) -> Outage:
    begins = _length(text, found["begin"]) if found["begin"] else timedelta(0)
    ends = _length(text, found["end"]) if found["end"] else None
    if ends is not None and ends <= begins:
        raise ValueError(f"{text!r}: it ends before it begins")
    return Outage(found["name"], found["how"] == "down", begins, ends)


def _length(text: str, written: str) -> timedelta:
    try:
        return parse_duration(written)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error


def check(supposed: Supposed, policies: Iterable[Policy], silences: Iterable[str]) -> None:
    """Raise `ValueError` where something is named that there is not.

    A misspelt channel would otherwise change nothing, and that would look like an answer.

    Args:
        policies: Versions of the policy of the incident's system.
        silences: Ids of the recorded silences.
    """
    versions = list(policies)
    channels = {name for policy in versions for name in policy.channels}
    kinds = {channel.kind for policy in versions for channel in policy.channels.values()}
    for outage in supposed.outages:
        if outage.name not in channels | kinds:
            known = ", ".join(sorted(channels | kinds))
            raise ValueError(f"no channel is called {outage.name!r}; there are {known}")
    contacts = {name for policy in versions for name in policy.contacts}
    if supposed.by and supposed.by not in contacts:
        known = ", ".join(sorted(contacts))
        raise ValueError(f"no contact is called {supposed.by!r}; there are {known}")
    recorded = set(silences)
    for silence in sorted(supposed.silences - recorded):
        known = ", ".join(sorted(recorded)) or "none"
        raise ValueError(f"no silence {silence!r} was recorded; there are: {known}")
