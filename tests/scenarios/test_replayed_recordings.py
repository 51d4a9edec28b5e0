"""Histories the real services made: they are whole, and today's code would write them again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_incident import state_document
from tocsin_replay import (
    HeldLog,
    open_bundle,
    postmortem,
    promised,
    read_all,
    read_history,
    read_incident,
    read_policies,
    rederive,
    state_of,
    states_of,
    summarise,
    what_if,
)
from tocsin_runtime.records import Record

RECORDED = Path(__file__).resolve().parents[1] / "recordings"
RECORDINGS = sorted(RECORDED.glob("*.tocsin"))

PREVIOUS = RECORDED / "previous"
recorded = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
previous = pytest.mark.parametrize(
    "path", sorted(PREVIOUS.glob("*.tocsin")), ids=lambda path: path.stem
)


def test_there_is_one_of_each_runbook() -> None:
    shipped = Path(__file__).resolve().parents[2] / "deploy" / "policies"
    assert {path.stem for path in RECORDINGS} == {
        path.parent.name for path in shipped.glob("*/runbook.yaml")
    }


@recorded
def test_a_recording_is_whole_and_holds_the_life_of_an_incident(path: Path) -> None:
    bundle = open_bundle(path)
    kinds: set[type[Fact]] = set()
    for incident in bundle.incidents:
        kinds |= {type(one.event.fact) for one in asyncio.run(read_incident(bundle.log, incident))}
    assert kinds >= {
        facts.Opened,
        facts.LevelReached,
        facts.NotificationDelivered,
        facts.RemediationProposed,
        facts.Acknowledged,
        facts.UpdatePosted,
        facts.Mitigated,
        facts.AlertsCleared,
        facts.Resolved,
    }


@pytest.mark.parametrize(
    "path",
    [*RECORDINGS, RECORDED / "postmortem" / "two-hours.tocsin"],
    ids=lambda path: path.stem,
)
def test_todays_code_derives_every_recorded_fact_again(path: Path) -> None:
    found = asyncio.run(rederive(open_bundle(path).log))
    assert found.differences == (), found.differences[0]
    assert found.checked > 50


@recorded
def test_a_postmortem_of_a_recording_is_in_its_policys_template(path: Path) -> None:
    bundle = open_bundle(path)
    versions = asyncio.run(read_policies(bundle.log))
    for incident in bundle.incidents:
        told = asyncio.run(read_incident(bundle.log, incident))
        state = state_of(told)
        assert state is not None
        policy = promised(versions, state)
        assert policy is not None
        assert summarise(told, policy).title in postmortem(told, policy)


@recorded
def test_no_page_is_delivered_before_it_was_due(path: Path) -> None:
    """A level that is told again is due again: its pages are not all due with the last telling."""
    bundle = open_bundle(path)
    for incident in bundle.incidents:
        pages = summarise(asyncio.run(read_incident(bundle.log, incident)), None).pages
        early = [page for page in pages if page.sent_at and page.sent_at < page.due_at]
        assert early == []


@recorded
def test_the_same_policy_would_have_made_no_difference(path: Path) -> None:
    history = asyncio.run(read_history(open_bundle(path).log))
    (version,) = history.versions
    assert asyncio.run(what_if(history, version.policy)).same


# Histories that the release before made.


def _document(name: str) -> Any:
    return json.loads((PREVIOUS / name).read_text(encoding="utf-8"))


def _lacks(now: Any, then: Any, where: str) -> Iterator[str]:
    """What was said of a state then and is not now."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name, held in then.items():
            yield from _lacks(now.get(name), held, f"{where}.{name}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            yield from _lacks(one, other, f"{where}[{number}]")
    elif now != then:
        yield f"{where}: {then!r} then, {now!r} now"


@previous
def test_a_recording_of_the_previous_release_folds_to_what_it_folded_to_then(path: Path) -> None:
    bundle = open_bundle(path)
    folded = states_of(asyncio.run(read_all(bundle.log)))
    then = _document("states.json")["states"]
    for incident in bundle.incidents:
        now = json.loads(json.dumps(state_document(folded[incident])))
        assert list(_lacks(now, then[incident], incident)) == []


@previous
def test_todays_code_derives_what_the_previous_release_recorded(path: Path) -> None:
    fields = {name: frozenset(held) for name, held in _document("fields.json").items()}
    found = asyncio.run(rederive(open_bundle(path).log, fields=fields))
    assert found.differences == (), found.differences[0]
    assert found.checked > 50


@previous
def test_what_the_previous_release_could_say_counts(path: Path) -> None:
    """Where only what it could not say is left out, a changed answer still shows."""
    fields = {name: frozenset(held) for name, held in _document("fields.json").items()}
    bundle = open_bundle(path)
    changed = [_harmless(record) for record in bundle.log.each()]
    assert changed != list(bundle.log.each())
    found = asyncio.run(rederive(HeldLog(bundle.log.widths, changed), fields=fields))
    assert facts.RemediationProposed.TYPE in {one.type for one in found.differences}


def _harmless(record: Record) -> Record:
    if record.header("ce_type") != facts.RemediationProposed.TYPE.encode():
        return record
    fact = json.loads(record.value or b"{}")
    for step in fact["steps"]:
        step["risk"] = "destructive"
    return replace(record, value=json.dumps(fact).encode())
