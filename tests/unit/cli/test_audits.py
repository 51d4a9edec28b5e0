"""`tocsin audit` reads a recording, says what is wrong, and ends with a code that says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from tocsin_cli.__main__ import app
from tocsin_cli.auditing import FAILED, FINDINGS, FINISHED, Auditor, audit_rules
from tocsin_cli.stack.processes import free_ports
from tocsin_replay.auditing import Audited, FindingKind

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = sorted((ROOT / "tests" / "recordings").glob("*.tocsin"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_each_shipped_recording_is_accounted_for(recording: Path) -> None:
    document = json.loads(_run("--from", recording, "--json").stdout)
    assert document["holds"] is True
    assert document["counts"]["incidents"] >= 1
    assert document["counts"]["observations"] == sum(document["outcomes"].values())


def test_an_archive_is_audited_and_explained_as_the_cluster_is(tmp_path: Path) -> None:
    recording, folder = RECORDINGS[0], tmp_path / "archive"
    made = CliRunner().invoke(app, ["archive", str(folder), "--from", str(recording)])
    assert made.exit_code == 0, made.output
    of_bundle = json.loads(_run("--from", recording, "--json").stdout)
    of_archive = json.loads(_run("--from", folder, "--json").stdout)
    assert of_archive["partial"] is False
    assert of_archive["outcomes"] == of_bundle["outcomes"]
    explained = CliRunner().invoke(app, ["explain", "alertname=~.+", "--from", str(folder)])
    assert "→ Paged" in explained.stdout


def test_a_table_says_it_for_people() -> None:
    shown = _run("--from", RECORDINGS[0]).stdout
    assert "everything is accounted for" in shown
    assert "1 incident," in shown


def test_a_recording_is_not_audited_again_and_again() -> None:
    result = CliRunner().invoke(app, ["audit", "--every", "1h", "--from", str(RECORDINGS[0])])
    assert isinstance(result.exception, ValueError)


def _audited(**found: int) -> Audited:
    return Audited(
        since=None,
        until=NOW,
        partial=False,
        counts={},
        outcomes={},
        found=found,
        findings=(),
        in_flight=(),
    )


async def test_the_newest_audit_is_a_metric_of_each_kind() -> None:
    auditor = Auditor()
    [port] = free_ports(1)
    async with auditor.serving(port, "127.0.0.1"):
        auditor.passed(_audited(no_disposition=3), NOW)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            shown = await _metrics(client)
    assert f'{FINDINGS}{{kind="no_disposition"}} 3' in shown
    assert f'{FINDINGS}{{kind="nobody_paged"}} 0' in shown
    assert shown.count(f"{FINDINGS}{{") == len(FindingKind)
    assert f"{FINISHED} {NOW.timestamp():.3f}" in shown


def test_before_the_first_audit_nothing_looks_healthy() -> None:
    auditor = Auditor()
    auditor.failed()
    assert FINDINGS not in auditor.metrics()
    assert f"{FAILED} 1" in auditor.metrics()


async def _metrics(client: httpx.AsyncClient) -> str:
    for _ in range(1_000):
        try:
            return (await client.get("/metrics")).text
        except httpx.TransportError:
            continue
    raise AssertionError("it never listened")


def test_the_rules_ask_for_the_metrics_there_are() -> None:
    [group] = audit_rules()["groups"]
    asked = " ".join(rule["expr"] for rule in group["rules"])
    assert FINDINGS in asked
    assert FINISHED in asked
