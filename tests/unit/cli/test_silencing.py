"""`tocsin silence`, against a door."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_testkit.door import API_TOKEN, DoorUnderTest

RUNNER = CliRunner()


async def run(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    async with door.served() as address:
        monkeypatch.setenv("TOCSIN_INGESTION_URL", f"http://{address}")
        monkeypatch.setenv("TOCSIN_API_TOKEN", API_TOKEN)
        result = await asyncio.to_thread(RUNNER.invoke, app, ["silence", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


async def test_a_silence_that_is_added_mutes_and_one_that_is_expired_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = DoorUnderTest(real_time=True)
    matchers = ('service="api"', 'severity!="critical"')
    said = await run(
        door, monkeypatch, "add", *matchers, "--by", "alice", "-m", "a new disk", "--for", "2h"
    )
    silence = said.split()[0]
    held = door.silences.book.get(silence)
    assert held is not None
    assert tuple(map(str, held.matchers)) == matchers
    assert (held.created_by, held.comment) == ("alice", "a new disk")
    # It begins when the door hears of it, and ends when its author said.
    assert held.starts_at < held.ends_at <= held.starts_at + timedelta(hours=2)
    labels = {"service": "api", "severity": "warning"}
    assert door.silences.book.muting(labels, held.starts_at) == (silence,)

    await run(door, monkeypatch, "expire", silence)
    ended = door.silences.book.get(silence)
    assert ended is not None
    assert door.silences.book.muting(labels, ended.ends_at) == ()


async def test_what_is_no_matcher_is_refused_with_its_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="is no matcher"):
        await run(DoorUnderTest(), monkeypatch, "add", "service", "--by", "alice", "-m", "no")
