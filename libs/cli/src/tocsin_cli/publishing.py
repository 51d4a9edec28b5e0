"""Putting a policy in force."""

from __future__ import annotations

from tocsin_contracts.event import Event, event_id
from tocsin_contracts.policies import PolicyPublished
from tocsin_policy import Policy, policy_document, policy_hash
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher, Reader


async def publish_policy(
    publisher: Publisher, clock: Clock, policy: Policy, *, published_by: str = ""
) -> str:
    """The content hash of the policy, once it stands in the log and so is in force."""
    content_hash = policy_hash(policy)
    fact = PolicyPublished(
        system=policy.system,
        hash=content_hash,
        document=policy_document(policy),
        published_by=published_by,
    )
    event = Event(
        id=event_id(fact.TYPE, policy.system, content_hash),
        source="tocsin/cli",
        subject=policy.system,
        key=policy.system,
        occurred_at=clock.now(),
        fact=fact,
    )
    await publisher.publish([outgoing(event)])
    return content_hash


async def published_systems(reader: Reader) -> frozenset[str]:
    """Systems that have a policy in force."""
    systems = set()
    for partition in range(await reader.partitions("policies")):
        start, end = await reader.bounds("policies", partition)
        async for record in reader.read("policies", partition, start, end):
            if record.key is not None:
                systems.add(record.key.decode(errors="replace"))
    return frozenset(systems)
