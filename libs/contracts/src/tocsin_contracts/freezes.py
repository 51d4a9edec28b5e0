"""Facts about the switch that stops every remediation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tocsin_contracts.event import Fact, Person, Writer

EVERYTHING = "*"
"""Subject and key of a freeze of every system."""

_Reason = Annotated[str, Field(min_length=1, max_length=1000)]


class FreezeBegun(Fact):
    """A person stopped remediation: of one system, the subject, or of all (`*`).

    Who reacts: every remediation service holds what it was about to run, undoing included. How
    often: with each turn of the switch; the newest record of a subject counts. Never sent: by a
    machine.
    """

    TYPE: ClassVar[str] = "tocsin.freezes.begun.v1"
    TOPIC: ClassVar[str] = "freezes"
    WRITER: ClassVar[Writer] = Writer.OPERATOR

    by: Person
    reason: _Reason


class FreezeEnded(Fact):
    """A person let remediation go on.

    Who reacts: every remediation service releases what it held. How often: with each turn of the
    switch. Never sent: by a machine, or because time went by.
    """

    TYPE: ClassVar[str] = "tocsin.freezes.ended.v1"
    TOPIC: ClassVar[str] = "freezes"
    WRITER: ClassVar[Writer] = Writer.OPERATOR

    by: Person
    reason: str = ""
