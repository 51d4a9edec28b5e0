"""Histories the real services made: they are whole, and today's code would write them again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_replay import (
    open_bundle,
    postmortem,
    promised,
    read_history,
    read_incident,
    read_policies,
    rederive,
    state_of,
    summarise,
    what_if,
)

RECORDINGS = sorted((Path(__file__).resolve().parents[1] / "recordings").glob("*.tocsin"))

recorded = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)


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


@recorded
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
def test_the_same_policy_would_have_made_no_difference(path: Path) -> None:
    history = asyncio.run(read_history(open_bundle(path).log))
    (version,) = history.versions
    assert asyncio.run(what_if(history, version.policy)).same
