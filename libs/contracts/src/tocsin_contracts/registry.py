"""The topics: who writes them, how they are keyed, what they hold, how long they keep it.

`deploy/kafka/topics.yml`, the AsyncAPI document and the table in the docs are generated from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tocsin_contracts import (
    alerts,
    claims,
    dead_letters,
    dispositions,
    freezes,
    heartbeats,
    incidents,
    policies,
    silences,
    state,
)
from tocsin_contracts.event import Fact, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITIONS = 48
"""Partitions of every topic keyed by system. It can never be changed: keys would move."""

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: As in Kafka.
        key: What the record key is, in words.
        co_partitioned: Shares partition count with all others that say so, so that the instance
            that owns a system in one owns it in all.
        partitions: Partition count; a co-partitioned topic follows the installation's choice.
        configs: Kafka topic configuration.
        writers: Who writes it.
        readers: Who reads it.
        description: What it holds.
        facts: The event types it holds; empty where the value is bytes from outside.
    """

    name: str
    key: str
    co_partitioned: bool
    partitions: int
    configs: Mapping[str, str]
    writers: tuple[Writer, ...]
    readers: tuple[str, ...]
    description: str
    facts: tuple[type[Fact], ...] = ()


MAX_RECORD_BYTES = 8 * 1024 * 1024
"""One record at most: a large webhook stays one record, and a dead letter holds it in base64."""

_EVENTS = {
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(MAX_RECORD_BYTES),
}


def _kept(days: int | None) -> dict[str, str]:
    return _EVENTS | {
        "cleanup.policy": "delete",
        "retention.ms": "-1" if days is None else str(days * _DAY_MS),
    }


def _facts_of(module: object) -> tuple[type[Fact], ...]:
    found = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Fact) and "TYPE" in vars(value)
    )
    return tuple(sorted(found, key=lambda fact: fact.TYPE))


_RAW = "The bytes as received, the headers, the receive time; or anyone's bytes with a `source`."
_SERVICES = ("ingestion", "classifier", "escalation-timer", "notifier", "remediation")

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="alerts.raw",
        key="source",
        co_partitioned=False,
        partitions=PARTITIONS,
        configs=_kept(30),
        writers=(Writer.INGESTION, Writer.ANY),
        readers=("ingestion",),
        description=_RAW,
    ),
    Topic(
        name="alerts.raw.urgent",
        key="source",
        co_partitioned=False,
        partitions=PARTITIONS,
        configs=_kept(30),
        writers=(Writer.INGESTION,),
        readers=("ingestion",),
        description="The same, for deliveries in which a fast rule found something urgent.",
    ),
    Topic(
        name="alerts.urgent",
        key="system",
        co_partitioned=True,
        partitions=PARTITIONS,
        configs=_kept(30),
        writers=(Writer.INGESTION,),
        readers=("classifier",),
        description="Normalised observations that a fast rule called urgent.",
        facts=_facts_of(alerts),
    ),
    Topic(
        name="alerts",
        key="system",
        co_partitioned=True,
        partitions=PARTITIONS,
        configs=_kept(30),
        writers=(Writer.INGESTION,),
        readers=("classifier",),
        description="Normalised observations, at most 500 a record.",
        facts=_facts_of(alerts),
    ),
    Topic(
        name="incidents",
        key="system",
        co_partitioned=True,
        partitions=PARTITIONS,
        configs=_kept(None),
        writers=(
            Writer.INGESTION,
            Writer.CLASSIFIER,
            Writer.ESCALATION_TIMER,
            Writer.NOTIFIER,
            Writer.REMEDIATION,
        ),
        readers=("classifier", "escalation-timer", "notifier", "remediation", "anyone"),
        description="Every fact of every incident, in the order that decides.",
        facts=_facts_of(incidents),
    ),
    Topic(
        name="incidents.state",
        key="incident id, in the system's partition",
        co_partitioned=True,
        partitions=PARTITIONS,
        # The lag outlives a paused writer: its late snapshot must not be all that is left.
        configs=_EVENTS | {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000"},
        writers=(Writer.ESCALATION_TIMER,),
        readers=("classifier", "escalation-timer", "notifier", "remediation", "anyone"),
        description="Snapshots of incidents with the offset they include.",
        facts=_facts_of(state),
    ),
    Topic(
        name="policies",
        key="system",
        co_partitioned=False,
        partitions=1,
        configs=_kept(None),
        writers=(Writer.POLICY_PUBLISHER,),
        readers=_SERVICES,
        description="Every version of every policy.",
        facts=_facts_of(policies),
    ),
    Topic(
        name="silences",
        key="silence id",
        co_partitioned=False,
        partitions=1,
        configs=_EVENTS | {"cleanup.policy": "compact,delete", "retention.ms": "-1"},
        writers=(Writer.INGESTION,),
        readers=("ingestion", "classifier"),
        description="Silences, created and expired; read whole by every classifier.",
        facts=_facts_of(silences),
    ),
    Topic(
        name="freezes",
        key="system, or `*` for all",
        co_partitioned=False,
        partitions=1,
        configs=_kept(None),
        writers=(Writer.OPERATOR,),
        readers=("remediation",),
        description="The switch that stops remediation, turned on and off.",
        facts=_facts_of(freezes),
    ),
    Topic(
        name="claims",
        key="system",
        co_partitioned=False,
        # More would take from claims of different systems their one order.
        partitions=1,
        configs=_kept(None),
        writers=(Writer.REMEDIATION,),
        readers=("remediation",),
        description="What steps of remediation act on: claimed, released; read whole.",
        facts=_facts_of(claims),
    ),
    Topic(
        name="heartbeats",
        key="system",
        co_partitioned=False,
        partitions=1,
        configs=_kept(30),
        writers=(Writer.NOTIFIER,),
        readers=("notifier", "anyone"),
        description="Synthetic pages: attempted, delivered, missed; read whole by every notifier.",
        facts=_facts_of(heartbeats),
    ),
    Topic(
        name="dispositions",
        key="system",
        co_partitioned=True,
        partitions=PARTITIONS,
        configs=_kept(30),
        writers=(Writer.CLASSIFIER,),
        readers=("anyone",),
        description="One outcome with its reason for each observation.",
        facts=_facts_of(dispositions),
    ),
    Topic(
        name="dead-letters",
        key="original key",
        co_partitioned=False,
        partitions=1,
        configs=_kept(90),
        writers=(Writer.ANY,),
        readers=("people",),
        description="Records that could not be handled, whole, with the error.",
        facts=_facts_of(dead_letters),
    ),
)


def topic(name: str) -> Topic:
    """The topic of this name. Raises `LookupError` if the registry has none."""
    for candidate in TOPICS:
        if candidate.name == name:
            return candidate
    raise LookupError(f"no topic named {name!r}; there are {', '.join(t.name for t in TOPICS)}")


FACTS: dict[str, type[Fact]] = {fact.TYPE: fact for entry in TOPICS for fact in entry.facts}
"""Every event type by its CloudEvents type string."""
