"""Makes a cluster's topics what the registry says, and says where they are not.

Only what is missing is created. What differs is reported and left alone: changing the partition
count of a keyed topic would move keys, and a retention that someone raised is not ours to lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tocsin_cli.stack.problems import StackProblem
from tocsin_contracts.registry import PARTITIONS, TOPICS

if TYPE_CHECKING:
    from tocsin_contracts.registry import Topic

_DURABLE_REPLICATION = 3
_TOPIC_ALREADY_EXISTS = 36


@dataclass(frozen=True, slots=True)
class Drift:
    """One setting of a topic that is not what the registry says.

    Attributes:
        topic: Its name.
        setting: `partitions`, or the name of a topic configuration.
        wanted: What the registry says.
        found: What the cluster has.
    """

    topic: str
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.topic}: {self.setting} is {self.found}, the registry says {self.wanted}"


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply_topics` did and saw.

    Attributes:
        created: Topics that were missing, in the registry's order.
        drifts: Settings of topics that were there and differ.
    """

    created: tuple[str, ...]
    drifts: tuple[Drift, ...]


async def apply_topics(
    bootstrap: str, partitions: int = PARTITIONS, replication: int = 1
) -> Applied:
    """The topics of the registry, created where missing; and how the others differ.

    Args:
        bootstrap: `host:port`, more than one with commas between.
        partitions: Stands in for the registry's count wherever that is `PARTITIONS`. An
            installation chooses it once: keys would move.
        replication: Copies of each partition. From three on, two must have a record before it
            counts as written (`min.insync.replicas`).

    Raises:
        StackProblem: The cluster refused to create a topic.
    """
    wanted = {topic.name: _wanted(topic, partitions, replication) for topic in TOPICS}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics()) & set(wanted)
        missing = [topic for name, topic in wanted.items() if name not in present]
        created = await _create(admin, missing)
        drifts = await _drifts(admin, {name: wanted[name] for name in wanted if name in present})
        return Applied(created, drifts)
    finally:
        await admin.close()


def _wanted(topic: Topic, partitions: int, replication: int) -> NewTopic:
    configs = dict(topic.configs)
    if replication >= _DURABLE_REPLICATION:
        configs["min.insync.replicas"] = str(replication - 1)
    count = partitions if topic.partitions == PARTITIONS else topic.partitions
    return NewTopic(topic.name, count, replication, topic_configs=configs)


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> tuple[str, ...]:
    if not missing:
        return ()
    answers = (await admin.create_topics(missing)).to_object()["topic_errors"]
    for answer in answers:
        # Someone else may be applying the registry at the same time.
        if answer["error_code"] not in {0, _TOPIC_ALREADY_EXISTS}:
            raise StackProblem(
                f"the cluster refused to create {answer['topic']}: "
                f"{answer['error_message'] or 'error code ' + str(answer['error_code'])}"
            )
    return tuple(topic.name for topic in missing)


async def _drifts(admin: AIOKafkaAdminClient, present: dict[str, NewTopic]) -> tuple[Drift, ...]:
    if not present:
        return ()
    found: list[Drift] = []
    for described in await admin.describe_topics(list(present)):
        wanted = present[described["topic"]]
        count = len(described["partitions"])
        if count != wanted.num_partitions:
            found.append(Drift(wanted.name, "partitions", str(wanted.num_partitions), str(count)))
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
    for response in await admin.describe_configs(resources):
        for resource in response.to_object()["resources"]:
            wanted = present[resource["resource_name"]]
            values = {
                entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
            }
            found.extend(
                Drift(wanted.name, setting, value, str(values.get(setting)))
                for setting, value in wanted.topic_configs.items()
                if not _same(setting, value, values.get(setting))
            )
    return tuple(found)


def _same(setting: str, wanted: str, found: str | None) -> bool:
    if setting == "cleanup.policy" and found is not None:
        return set(wanted.split(",")) == set(found.split(","))
    return wanted == found
