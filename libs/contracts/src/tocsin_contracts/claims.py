"""Facts about what steps of remediation act on: one action a target, whoever's system it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tocsin_contracts.event import Fact, Writer


class _OfStep(Fact):
    """What every fact about a claim names: the start, or the undo, of a step of an incident.

    Attributes:
        attempt: The start.
        undo: Which undo of the step; 0 where it is the step itself.
    """

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    undo: Annotated[int, Field(ge=0)] = 0


class TargetsClaimed(_OfStep):
    """A step of the subject, an incident, is about to act on these targets.

    Who reacts: the process that wrote it, once it has read it back: it acts if no claim before
    this one, of another step and not released, names one of the targets. How often: once a start
    and once an undo of a step. Never sent: for a step that only reads, or that a person does.

    Attributes:
        targets: Everything it acts on, as `kind:place/name`.
    """

    TYPE: ClassVar[str] = "tocsin.claims.claimed.v1"
    TOPIC: ClassVar[str] = "claims"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    targets: Annotated[tuple[str, ...], Field(min_length=1, max_length=200)]


class TargetsReleased(_OfStep):
    """A step no longer acts on what it had claimed, or was held before it did.

    Who reacts: steps that wait for one of its targets. How often: once a claim, or again after a
    restart. Never sent: while nobody knows whether the step still acts.
    """

    TYPE: ClassVar[str] = "tocsin.claims.released.v1"
    TOPIC: ClassVar[str] = "claims"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION
