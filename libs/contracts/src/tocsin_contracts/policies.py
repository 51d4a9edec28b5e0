"""Facts about the rules in force."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from tocsin_contracts.event import Fact, Writer


class PolicyPublished(Fact):
    """A version of a system's policy came into force.

    Who reacts: every service; the newest record of a system is the policy in force. How often:
    with each publish; the same content has the same hash and id. Never sent: for a policy that
    does not validate.
    """

    TYPE: ClassVar[str] = "tocsin.policies.published.v1"
    TOPIC: ClassVar[str] = "policies"
    WRITER: ClassVar[Writer] = Writer.POLICY_PUBLISHER

    system: str
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    document: dict[str, Any]
    published_by: str = ""
