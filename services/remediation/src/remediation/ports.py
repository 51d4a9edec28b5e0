"""What remediation needs from outside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol, TypeVar

from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import AnyCall

C_contra = TypeVar("C_contra", bound=AnyCall, contravariant=True)


class Runner(Protocol[C_contra]):
    """Does one kind of call. Never raises for what the world does.

    A call arrives whole: its parameters are filled, its text is final. One outcome for each way
    it ends: `Ran` when it is known what happened, good or bad, and `Lost` when it may have taken
    effect and nobody can tell.
    """

    async def plan(self, call: C_contra, timeout: timedelta) -> Planned | Ran:
        """What `run` would do to the world as it is; a failed `Ran` says why not.

        Holds what `undo` needs to know wherever that can be known now: it is in the log before
        the call has any effect.
        """
        ...

    async def run(self, call: C_contra, timeout: timedelta) -> Ran | Lost:
        """Do it, and say what was changed."""
        ...

    async def verify(self, call: C_contra, timeout: timedelta) -> Ran | Lost:
        """Look, until it is as the call expects or `timeout` is over; changes nothing."""
        ...

    async def undo(
        self, call: C_contra, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Put back what a `run` of this call said it `changed` or, unheard, was planned to.

        A call that cannot be taken back answers a failed `Ran` with reason `no_undo`.
        """
        ...
