"""A hash for each state an incident had, chained, so that a divergence points to its first event.

Canonical JSON of the fold, SHA-256. Two machines, two versions of the code, a cluster and a bundle
made from it: where they agree on a link of the chain they agree on everything before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin_incident import FOLD_VERSION, IncidentState, state_bytes
from tocsin_replay.reading import Recorded, Step, steps


@dataclass(frozen=True, slots=True)
class Link:
    """What one fact made of the state.

    Attributes:
        state: SHA-256 of the state after it.
        chain: SHA-256 over the link before, the fact's id and `state`.
    """

    offset: int
    event: UUID
    type: str
    state: str
    chain: str


def state_hash(state: IncidentState | None) -> str:
    """SHA-256 of a state's canonical JSON, in hex; that of nothing where there is no state."""
    return hashlib.sha256(b"" if state is None else state_bytes(state)).hexdigest()


def chain(recorded: Iterable[Recorded]) -> tuple[Link, ...]:
    """The chain of one incident's states, one link a fact."""
    return chain_of(steps(recorded))


def chain_of(made: Iterable[Step]) -> tuple[Link, ...]:
    """The same, of facts that were folded before."""
    links: list[Link] = []
    before = hashlib.sha256(f"tocsin incident chain, fold {FOLD_VERSION}".encode()).hexdigest()
    for step in made:
        event = step.recorded.event
        state = links[-1].state if step.after is step.before and links else state_hash(step.after)
        before = hashlib.sha256(f"{before}\0{event.id}\0{state}".encode()).hexdigest()
        links.append(Link(step.recorded.position.offset, event.id, event.type, state, before))
    return tuple(links)


def first_difference(one: Sequence[Link], other: Sequence[Link]) -> Link | None:
    """The first link at which two chains part, or `None` where one is the other's beginning.

    The link of `one` is given; past its end that of `other`, if lengths must agree ask for them.
    """
    for left, right in zip(one, other, strict=False):
        if left.chain != right.chain:
            return left
    return None
