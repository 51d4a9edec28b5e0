"""`tocsin on-call` and `tocsin policy calendar`, as people and programs see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_cli.exits import NotFound

POLICY = """
system: shop
owner: shop team
calendars:
  business: { time_zone: Europe/Berlin, country: DE }
severities: [{ name: P0, definition: bad }]
classification: { default: P0 }
grouping: { reopen_within: 30m, auto_resolve_after: 15m }
contacts:
  ann: { name: Ann Arber, role: engineer }
  ben: { name: Ben Bolt, role: engineer }
roles:
  commander: { name: commander, default: schedule:primary }
schedules:
  primary:
    name: primary
    time_zone: Europe/Berlin
    layers: [{ start: 2026-01-05, participants: [ann, ben], ENDS }]
drills:
  rehearsal:
    title: Lost region
    on: "Fr[1] 10:00-11:00"
    time_zone: Europe/Berlin
    labels: { alertname: Drill }
"""


def a_file(folder: Path, ends: str = "") -> str:
    path = folder / "policy.yaml"
    path.write_text(POLICY.replace(", ENDS", ends), encoding="utf-8")
    return str(path)


def test_on_call_says_who_why_and_until_when(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app, ["on-call", a_file(tmp_path), "--at", "2026-01-06T12:00:00Z", "--json"]
    )

    document = json.loads(said.output)
    assert document["schedules"] == [
        {
            "schedule": "primary",
            "contact": "ann",
            "reason": "turn 1 of the rotation 'primary'",
            "until": "2026-01-12T08:00:00+00:00",
            "then": "ben",
        }
    ]
    assert document["roles"][0]["contacts"] == ["ann"]


def test_on_call_names_a_gap_to_people(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["on-call", a_file(tmp_path), "--at", "2025-01-01"])

    assert said.exit_code == 0
    assert "nobody" in said.output


def test_a_shipped_system_is_found_by_its_name() -> None:
    said = CliRunner().invoke(app, ["on-call", "mpc-transformer", "--json"])

    assert json.loads(said.output)["system"] == "mpc-transformer"


def test_a_system_nobody_knows_is_not_found() -> None:
    said = CliRunner().invoke(app, ["on-call", "no-such-system"])

    assert isinstance(said.exception, NotFound)


def test_the_calendar_shows_a_table_a_week_with_handovers_holidays_and_drills(
    tmp_path: Path,
) -> None:
    arguments = ["policy", "calendar", a_file(tmp_path), "--from", "2026-12-28", "--days", "14"]

    said = CliRunner().invoke(app, arguments).output

    assert [line.strip() for line in said.splitlines() if line.startswith("week")] == [
        "week 53 of 2026",
        "week 1 of 2027",
    ]
    assert "holiday" in said
    assert "09:00 ben" in said
    days = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert [one["date"] for one in days if one["calendars"]["business"]["holiday"]] == [
        "2027-01-01"
    ]
    assert [one["drills"][0]["begins_at"] for one in days if one["drills"]] == [
        "2027-01-01T09:00:00+00:00"
    ]


def test_validating_a_policy_warns_of_gaps_to_come_and_still_passes(tmp_path: Path) -> None:
    whole = CliRunner().invoke(app, ["policy", "validate", a_file(tmp_path)])
    ended = CliRunner().invoke(app, ["policy", "validate", a_file(tmp_path, ", ends: 2026-02-01")])

    assert (whole.exit_code, ended.exit_code) == (0, 0)
    assert "nobody is on call" not in whole.output
    assert "schedules.primary: nobody is on call" in ended.output


def test_overrides_imported_from_a_calendar_can_be_pasted(tmp_path: Path) -> None:
    policy = a_file(tmp_path)
    event = "\r\n".join(
        [
            *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:1"),
            *("DTSTAMP:20260101T000000Z", "SUMMARY:Ben Bolt on call"),
            *("DTSTART:20260106T090000Z", "DTEND:20260106T170000Z", "END:VEVENT"),
            *("END:VCALENDAR", ""),
        ]
    )
    calendar = tmp_path / "swap.ics"
    calendar.write_text(event, encoding="utf-8")
    arguments = ["--schedule", "primary", "--policy", policy, "--from", "2026-01-05"]

    said = CliRunner().invoke(app, ["on-call", "import", str(calendar), *arguments])

    assert YAML(typ="safe").load(said.stdout) == {
        "schedules": {
            "primary": {
                "overrides": [
                    {
                        "contact": "ben",
                        "begins_at": "2026-01-06T09:00:00Z",
                        "ends_at": "2026-01-06T17:00:00Z",
                    }
                ]
            }
        }
    }


def test_a_schedule_is_exported_as_a_calendar(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app, ["on-call", "export", a_file(tmp_path), "primary", "--from", "2026-01-05"]
    )

    assert said.stdout.startswith("BEGIN:VCALENDAR")
    assert "DTSTART:20260105T080000Z" in said.stdout


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_schedule_nobody_knows_is_not_found(tmp_path: Path, command: str) -> None:
    policy = a_file(tmp_path)
    arguments = {
        "export": [policy, "secondary"],
        "import": [policy, "--schedule", "secondary", "--policy", policy],
    }

    said = CliRunner().invoke(app, ["on-call", command, *arguments[command]])

    assert isinstance(said.exception, NotFound)
