"""The registry, applied to a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tocsin_cli.stack import kafka as kafka_process
from tocsin_cli.stack import topics
from tocsin_cli.stack.problems import StackProblem
from tocsin_contracts.registry import PARTITIONS, TOPICS

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[str]:
    """A broker with no topics at all."""
    broker = kafka_process.start(
        kafka_process.install(ROOT), tmp_path / "kafka", log=tmp_path / "kafka.log"
    )
    yield broker.bootstrap
    broker.stop()


async def test_a_second_application_finds_nothing_to_do(own_cluster: str) -> None:
    first = await topics.apply_topics(own_cluster, 3)
    again = await topics.apply_topics(own_cluster, 3)
    assert first == topics.Applied(created=tuple(topic.name for topic in TOPICS), drifts=())
    assert again == topics.Applied(created=(), drifts=())


async def test_what_differs_is_named_and_left_alone(
    own_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.apply_topics(own_cluster, 2)
    changed = tuple(
        replace(topic, configs={**topic.configs, "retention.ms": "7"})
        if topic.name == "alerts"
        else topic
        for topic in TOPICS
    )
    monkeypatch.setattr(topics, "TOPICS", changed)
    for _ in range(2):
        seen = await topics.apply_topics(own_cluster, 3)
        assert seen.created == ()
        resized = {topic.name for topic in TOPICS if topic.partitions == PARTITIONS}
        assert {drift.topic for drift in seen.drifts if drift.setting == "partitions"} == resized
        assert [str(drift) for drift in seen.drifts if drift.setting == "retention.ms"] == [
            "alerts: retention.ms is 2592000000, the registry says 7"
        ]


async def test_more_copies_than_brokers_are_refused_and_nothing_is_created(
    own_cluster: str,
) -> None:
    with pytest.raises(StackProblem, match=r"refused to create alerts\.raw"):
        await topics.apply_topics(own_cluster, 1, replication=3)
    assert (await topics.apply_topics(own_cluster, 1)).created == tuple(t.name for t in TOPICS)
