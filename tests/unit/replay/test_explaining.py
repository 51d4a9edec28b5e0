"""An alert's story: from the bytes it came in to whom it paged, or why nobody."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingestion.domain.fingerprint import fingerprint
from tocsin_cli.__main__ import app
from tocsin_cli.exits import NotFound
from tocsin_contracts.alerts import Observed
from tocsin_contracts.dead_letters import DeadLettered
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Cause, Event, Fact, Person
from tocsin_contracts.ids import derive
from tocsin_replay.bundling import bundle_lines
from tocsin_replay.explaining import (
    MOST_ALERTS,
    MOST_SEEN,
    AlertStory,
    Explained,
    explain_alert,
    query_of,
)
from tocsin_replay.gathering import EVERYTHING, gather_all
from tocsin_replay.held import HeldLog
from tocsin_replay.reading import partition_of
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.silences import a_silence, of_silence

LABELS = {"alertname": "Down", "instance": "i1", "severity": "critical", "system": "shop"}


def _held(story: MemoryLog) -> HeldLog:
    records = [record for topic in EVERYTHING for record in story.records(topic)]
    return HeldLog({topic: story.width(topic) for topic in EVERYTHING}, records)


def _explained(log: HeldLog, *words: str) -> Explained:
    return asyncio.run(explain_alert(log, query_of(words)))


def _one(log: HeldLog, *words: str) -> AlertStory:
    found = _explained(log, *words)
    assert len(found.stories) == 1, found
    return found.stories[0]


def _stages(story: AlertStory) -> list[str]:
    return [line.stage for line in story.lines]


def test_the_story_of_an_alert_goes_from_the_bytes_to_the_answer(story: MemoryLog) -> None:
    told = _one(_held(story), "alertname=Down", "instance=i1")
    stages = _stages(told)
    for stage in ("received", "normalised", "matched", "grouped", "disposition", "paged"):
        assert stage in stages
    assert stages.index("received") < stages.index("disposition") < stages.index("answered")
    said = " ".join(f"{line.what} {line.why}" for line in told.lines)
    assert "from alertmanager, among 1" in said
    assert "P0 by rule 'down', urgent" in said
    assert 'with all that share alertname="Down"' in said
    assert "delivered" in said
    assert "bob acknowledged it" in said
    assert any(sentence.startswith("Paged Alice") for sentence in told.verdict), told.verdict


def test_the_raw_record_and_the_observation_are_named(story: MemoryLog) -> None:
    told = _one(_held(story), "alertname=Slow")
    received = next(line for line in told.lines if line.stage == "received")
    normalised = next(line for line in told.lines if line.stage == "normalised")
    assert received.where.startswith("alerts.raw")
    assert "bytes at" in received.why or "by Kafka" in received.why
    observation = normalised.what.split()[1].rstrip(":")
    assert _one(_held(story), observation).fingerprint == told.fingerprint
    assert _one(_held(story), told.fingerprint).labels == told.labels


def test_rules_that_nearly_fitted_are_told(story: MemoryLog) -> None:
    told = _explained(_held(story), "alertname=Down", "instance=i1").stories[0]
    slow = _one(_held(story), "alertname=Slow")
    misses = [line.what for one in (told, slow) for line in one.lines if line.stage == "near miss"]
    assert any("down" in miss for miss in misses)


def test_an_alert_is_found_by_its_name_alone(story: MemoryLog) -> None:
    assert _one(_held(story), "Slow") == _one(_held(story), "alertname=Slow")


def test_what_is_no_matcher_is_refused() -> None:
    with pytest.raises(ValueError, match="RE2 refuses"):
        query_of(["alertname=~("])


def test_of_many_alerts_the_newest_are_told_and_the_others_named(story: MemoryLog) -> None:
    log = _held(story)
    _observe_many(log, alerts=MOST_ALERTS + 3)
    found = _explained(log, "alertname=Many")
    assert len(found.stories) == MOST_ALERTS
    assert len(found.others) == 3


def test_repeats_are_counted_and_not_told_one_by_one(story: MemoryLog) -> None:
    log = _held(story)
    _observe_many(log, alerts=1, times=MOST_SEEN * 2)
    told = _one(log, "alertname=Many")
    assert len([line for line in told.lines if line.stage == "normalised"]) == 1
    assert any(f"{MOST_SEEN} more times before this" in line.what for line in told.lines)
    assert any("more times until then" in line.what for line in told.lines)


def _observe_many(log: HeldLog, alerts: int, times: int = 1) -> None:
    """Observations, and dispositions that say `repeated` of each."""
    for number in range(alerts):
        labels = {"alertname": "Many", "system": "shop", "number": str(number)}
        for again in range(times):
            _observe(log, labels, f"{number} {again}", Outcome.REPEATED, "still_firing")


def _observe(
    log: HeldLog,
    labels: dict[str, str],
    name: str,
    outcome: Outcome,
    reason: str,
    incident: str | None = None,
    by: str | None = None,
) -> None:
    at = max(record.recorded_at for record in log.each()) + timedelta(milliseconds=1)
    seen = {
        "id": derive(name),
        "status": "firing",
        "fingerprint": fingerprint(labels),
        "starts_at": EPOCH,
        "labels": labels,
    }
    observed = Observed.model_validate(
        {"source": "alertmanager", "received_at": at, "observations": [seen]}
    )
    event: Event[Fact] = Event(
        id=derive("observed", name),
        source="tocsin/ingestion",
        subject="shop",
        key="shop",
        occurred_at=at,
        fact=observed,
    )
    where = log.append(outgoing(event), at)
    said = Disposed(
        cause=Cause(
            event=event.id, topic=where.topic, partition=where.partition, offset=where.offset
        ),
        dispositions=(
            Disposition(
                observation=derive(name),
                fingerprint=fingerprint(labels),
                outcome=outcome,
                reason=reason,
                incident=incident,
                by=by,
            ),
        ),
    )
    disposed: Event[Fact] = Event(
        id=derive("disposed", name),
        source="tocsin/classifier",
        subject="shop",
        key="shop",
        occurred_at=at,
        fact=said,
    )
    log.append(outgoing(disposed), at)


async def _a_silence_that_ends() -> tuple[HeldLog, HeldLog]:
    """What the log holds while an alert is silenced, and once it has paged after all."""
    system = System(policies=[published(a_policy())], partitions=1, calm=True)
    await system.start()
    now = system.clock.now()
    silence = a_silence(
        'alertname="Quiet"',
        starts_at=now,
        lasts=timedelta(minutes=10),
        by=Person(name="carol"),
        comment="the disk is being moved",
    )
    system.log.append(outgoing(of_silence(silence, at=now, name="silence-1")))
    await system.sleep(timedelta(seconds=1))
    await system.post(a_webhook(an_alert("Quiet", system="shop", severity="critical")))
    await system.sleep(timedelta(minutes=1))
    during = _held(system.log)
    await system.sleep(timedelta(minutes=10))
    await system.settle()
    return during, _held(system.log)


def test_a_silenced_alert_is_told_with_who_silenced_it_and_whom_it_paged_afterwards() -> None:
    during, after = simulate(_a_silence_that_ends(), seed=1)
    told = _one(during, "Quiet")
    [verdict] = told.verdict
    assert verdict.startswith("It paged nobody: silenced by silence-1; it would have been critical")
    assert "carol silenced" in verdict
    assert "the disk is being moved" in verdict
    [line] = [line for line in told.lines if line.stage == "muted"]
    assert line.what == "silenced by silence-1"

    told = _one(after, "Quiet")
    assert any(sentence.startswith("Paged Alice") for sentence in told.verdict), told.verdict
    assert not any("paged nobody" in sentence for sentence in told.verdict)
    muted = [line.what for line in told.lines if line.stage == "muted"]
    assert muted == ["silenced by silence-1", "no longer"]


def test_what_alertmanager_itself_notified_and_muted_is_evidence(story: MemoryLog) -> None:
    log = _held(story)
    at = max(record.recorded_at for record in log.each())
    told = {
        "@timestamp": at.isoformat(),
        "instance": "am-0",
        "data": {
            "silenceMutedAlert": {
                "silence": {"id": "s-1", "createdBy": "dave", "comment": "known"},
                "mutedAlert": {
                    "fingerprint": str(int(fingerprint(LABELS), 16)),
                    "labels": LABELS,
                },
            }
        },
    }
    log.append(Outgoing("alerts.raw", b"am-0", json.dumps(told).encode()), at)
    lines = _one(log, "alertname=Down", "instance=i1").lines
    [line] = [line for line in lines if line.stage == "Alertmanager"]
    assert (line.what, line.why) == ("am-0 silenced it", "silence s-1 of dave: known")


def test_an_observation_without_a_disposition_is_said_to_have_none(story: MemoryLog) -> None:
    records = [
        record
        for topic in EVERYTHING
        for record in story.records(topic)
        if topic not in {"dispositions", "incidents"}
    ]
    log = HeldLog({topic: story.width(topic) for topic in EVERYTHING}, records)
    told = _one(log, "alertname=Slow")
    assert "Nothing says what became of it" in told.verdict[0]


def test_what_was_set_aside_is_found_where_no_alert_is(story: MemoryLog) -> None:
    log = _held(story)
    assert _explained(log, "alertname=Nowhere") == Explained(stories=())
    at = max(record.recorded_at for record in log.each())
    letter: Event[Fact] = Event(
        id=derive("letter"),
        source="tocsin/ingestion",
        subject="alerts.raw-0-7",
        key="",
        occurred_at=at,
        fact=DeadLettered(
            service="ingestion",
            reason="not_json",
            detail="body: it ends too soon",
            topic="alerts.raw",
            partition=0,
            offset=7,
            value=b'{"alerts": [{"labels": {"alertname": "Nowhere"',
        ),
    )
    log.append(outgoing(letter), at)
    [line] = _explained(log, "alertname=Nowhere").set_aside
    assert (line.where, line.why) == ("alerts.raw-0-7", "body: it ends too soon")


def test_the_command_tells_it_from_a_bundle(story: MemoryLog, tmp_path: Path) -> None:
    bundle = tmp_path / "all.tocsin"
    gathered = asyncio.run(gather_all(story))
    bundle.write_bytes(b"".join(bundle_lines(gathered, ())))
    run = CliRunner().invoke(
        app, ["explain", "alertname=Down", "instance=i1", "--from", str(bundle)]
    )
    assert run.exit_code == 0, run.output
    assert "→ Paged" in run.output
    shown = CliRunner().invoke(
        app, ["explain", "alertname=Down", "instance=i1", "--from", str(bundle), "--json"]
    )
    assert json.loads(shown.stdout)["stories"][0]["name"] == "Down"
    missing = CliRunner().invoke(app, ["explain", "alertname=No", "--from", str(bundle)])
    assert isinstance(missing.exception, NotFound)


def test_the_partition_of_a_story_is_that_of_its_key(story: MemoryLog) -> None:
    told = _one(_held(story), "alertname=Down", "instance=i1")
    [incident, *_] = told.incidents
    where = next(line.where for line in told.lines if line.stage == "normalised")
    assert where.split("-")[-2] == str(partition_of(told.key, story.width("incidents")))
    assert incident.startswith(told.key)
