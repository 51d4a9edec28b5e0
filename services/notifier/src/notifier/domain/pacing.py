"""How often a provider's account, and a person, may be called.

The generic cell rate algorithm: for each key one instant, up to which its permits are spent. The
same arithmetic runs in Redis (`adapters/redis_gate.py`) and here, where Redis is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MINUTE = 60_000
SECOND = 1_000


@dataclass(frozen=True, slots=True)
class Rate:
    """One call every so many milliseconds, and so many at once after a rest."""

    every: int
    burst: int

    @classmethod
    def per_second(cls, calls: float) -> Rate:
        """So many a second, and two seconds' worth at once."""
        return cls(max(1, round(SECOND / calls)), max(1, int(2 * calls)))

    def share(self, part: float) -> Rate:
        """A part of it, of at least one call."""
        return Rate(round(self.every / part), max(1, int(self.burst * part)))


RATES: Mapping[str, Rate] = {
    "slack": Rate(SECOND, 10),
    "slack-app": Rate(SECOND, 10),
    "pagerduty": Rate(MINUTE // 120, 60),
    "webhook": Rate(SECOND // 50, 50),
    "email": Rate(SECOND // 20, 50),
    "statuspage": Rate(SECOND, 5),
    "sms": Rate(SECOND, 10),
    "voice": Rate(SECOND, 5),
    "github": Rate(MINUTE // 80, 20),
    "jira": Rate(SECOND // 5, 20),
    "teams": Rate(SECOND // 2, 30),
    "apprise": Rate(SECOND, 10),
}
"""By kind, below what each provider documents; a channel's settings may say otherwise."""

PERSON = Rate(30 * SECOND, 5)
"""Messages to one person by one kind of channel that is read one by one; more are bundled."""

NOISE = 0.75
"""Share of an account that all but the worst severity may take; the rest is kept for that."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A call somebody would make.

    Attributes:
        account: The endpoint that settings name; whoever shares its limit.
        urgent: Whether it pages for a policy's worst severity.
        person: Whom it reaches, where people are counted too.
    """

    account: str
    rate: Rate
    urgent: bool = False
    person: str | None = None

    def permits(self) -> dict[str, Rate]:
        """Every permit the call takes, all of them or none."""
        taken = {f"account:{self.account}": self.rate}
        if not self.urgent:
            taken[f"noise:{self.account}"] = self.rate.share(NOISE)
        if self.person is not None:
            # The worst has room of its own: what else pages a person does not hold it up.
            taken[f"{'urgent' if self.urgent else 'person'}:{self.person}"] = PERSON
        return taken


def admit(
    spent: Mapping[str, int], permits: Mapping[str, Rate], now: int
) -> tuple[dict[str, int], int]:
    """Take every permit, or say how long until all of them can be taken.

    >>> twice = {"a": Rate(every=1000, burst=2)}
    >>> spent, wait = admit({}, twice, now=0)
    >>> spent, wait = admit(spent, twice, now=0)
    >>> admit(spent, twice, now=400)
    ({'a': 2000}, 600)

    Args:
        spent: By key, the instant up to which its permits are spent.
        now: In milliseconds, as all of it.

    Returns:
        What is spent afterwards, and the wait: 0 if the permits were taken.
    """
    starts = {key: max(spent.get(key, now), now) for key in permits}
    wait = max(starts[key] - (rate.burst - 1) * rate.every - now for key, rate in permits.items())
    if wait > 0:
        return dict(spent), wait
    return {**spent, **{key: starts[key] + rate.every for key, rate in permits.items()}}, 0
