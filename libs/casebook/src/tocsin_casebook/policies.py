"""The policies in force, and every version seen, by content hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from tocsin_contracts.policies import PolicyPublished
from tocsin_policy import Policy, parse_policy
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InForce:
    """A version of a policy and its content hash, for the facts it decides."""

    policy: Policy
    hash: str


class Policies:
    """Every version of every policy, fed in log order; the newest of a system is in force.

    Give `apply` to a `Follower` of the topic `policies`.
    """

    def __init__(self, changed: Callable[[str], None] | None = None) -> None:
        self._in_force: dict[str, InForce] = {}
        self._versions: dict[str, InForce] = {}
        self._changed = changed

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Have `changed` called with the system of each policy that comes into force."""
        self._changed = changed

    def apply(self, record: Record) -> None:
        """Take in one record; one that holds no policy we can read leaves the old one in force."""
        try:
            fact = decode(record).fact
        except Poison as error:
            log.warning("policy.refused", position=record.position, reason=error.reason)
            return
        if not isinstance(fact, PolicyPublished):
            return
        try:
            policy = parse_policy(fact.document)
        except ValueError as error:
            log.warning("policy.refused", system=fact.system, hash=fact.hash, detail=str(error))
            return
        self.publish(InForce(policy, fact.hash))

    def publish(self, version: InForce) -> None:
        """Put a version in force for its system."""
        self._versions[version.hash] = version
        self._in_force[version.policy.system] = version
        if self._changed is not None:
            self._changed(version.policy.system)

    def __len__(self) -> int:
        return len(self._in_force)

    def __getitem__(self, system: str) -> InForce:
        """The policy in force. Raises `KeyError` for a system that has none."""
        return self._in_force[system]

    def get(self, system: str) -> InForce | None:
        """The policy in force, or `None`."""
        return self._in_force.get(system)

    def version(self, content_hash: str) -> InForce | None:
        """The version with this content hash, in force or not."""
        return self._versions.get(content_hash)

    def all(self) -> Iterable[Policy]:
        """Every policy in force, by system name."""
        return [self._in_force[system].policy for system in sorted(self._in_force)]
