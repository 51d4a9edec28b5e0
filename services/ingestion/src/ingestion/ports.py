"""What ingestion needs from outside beyond a log to write and a clock."""

from __future__ import annotations

from typing import Protocol

from ingestion.domain.context import Known
from tocsin_incident import IncidentState


class Lookups(Protocol):
    """What the log says of alerts that a sender names by key."""

    async def alert(self, fingerprint: str) -> Known | None:
        """The alert, if it was seen lately and still fires.

        Raises:
            Transient: The log is away.
        """
        ...

    async def coded(self, system: str, code: str, contact: str) -> str | None:
        """The newest open incident of a system with this reply code that paged this contact.

        Raises:
            Transient: The log is away.
        """
        ...

    async def state(self, incident: str) -> IncidentState | None:
        """How an incident stands, if the log has one that goes on or went on lately.

        Raises:
            Transient: The log is away.
        """
        ...

    async def incident(self, system: str, fingerprint: str) -> str | None:
        """The newest open incident of a system in which this alert fires.

        Raises:
            Transient: The log is away.
        """
        ...


class Replies(Protocol):
    """Whoever answered, at the address that their answer brought along."""

    async def tell(self, url: str, words: str) -> None:
        """Say something to them alone, if they can be reached."""
        ...


class Amazon(Protocol):
    """Amazon SNS, as far as it must be asked; both addresses have been checked to be Amazon's."""

    async def certificate(self, url: str) -> bytes:
        """The certificate at this address, PEM.

        Raises:
            BadCertificate: It is not to be had.
        """
        ...

    async def confirm(self, url: str) -> None:
        """Visit the address, which confirms the subscription.

        Raises:
            BadCertificate: It does not answer, or says no.
        """
        ...
