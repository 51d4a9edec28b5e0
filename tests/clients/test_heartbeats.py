"""Heartbeats as people see them, and the rules that watch whoever sends them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

from tocsin_cli.generating import heartbeats_yaml
from tocsin_cli.heartbeats import DEADLINE, heartbeat_rules, read_pulses, rows
from tocsin_policy import Policy
from tocsin_simulation.loop import simulate
from tocsin_simulation.system import System, published
from tocsin_testkit.policies import a_policy

PROMTOOL = Path(__file__).resolve().parents[2] / ".local/debian/usr/bin/promtool"


def with_heartbeats() -> Policy:
    beat = {"every": "5m", "within": "2m"}
    return a_policy(
        channels={
            "pagerduty": {"kind": "pagerduty", "endpoint": "pagerduty", "heartbeat": beat},
            "slack": {"kind": "slack", "endpoint": "slack", "heartbeat": beat},
        }
    )


async def _shown(*, silent: bool, later: timedelta) -> list[dict[str, str]]:
    system = System(policies=[published(with_heartbeats())])
    if silent:
        system.providers.fail("slack", timedelta(hours=1))
    await system.start()
    await system.sleep(timedelta(minutes=6))
    policies, pulses = await read_pulses(system.log)
    return rows(policies, pulses, system.clock.now() + later)


def test_channels_that_take_pages_are_beating() -> None:
    shown = simulate(_shown(silent=False, later=timedelta()))
    assert {(one["channel"], one["state"]) for one in shown} == {
        ("pagerduty", "beating"),
        ("slack", "beating"),
    }
    assert all(one["arrived"] for one in shown)


def test_a_channel_that_takes_none_is_missing_and_says_why() -> None:
    shown = {one["channel"]: one for one in simulate(_shown(silent=True, later=timedelta()))}
    assert shown["slack"]["state"] == "missing"
    assert shown["slack"]["reason"] == "provider_error"
    assert shown["pagerduty"]["state"] == "beating"


def test_beats_that_nobody_sends_are_overdue() -> None:
    shown = simulate(_shown(silent=False, later=timedelta(hours=1)))
    assert {one["state"] for one in shown} == {"overdue"}


def test_prometheus_notices_beats_that_nobody_sends(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(heartbeats_yaml())
    labels = '{system="shop", channel="slack"}'
    (tmp_path / "test.yaml").write_text(
        f"""
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: '{DEADLINE}{labels}'
        values: 600x20
    alert_rule_test:
      - {{eval_time: 9m, alertname: TocsinHeartbeatOverdue, exp_alerts: []}}
      - eval_time: 15m
        alertname: TocsinHeartbeatOverdue
        exp_alerts:
          - exp_labels: {{severity: critical, system: shop, channel: slack}}
            exp_annotations:
              summary: Synthetic pages of shop by slack do not arrive
              description: >-
                {heartbeat_rules()["groups"][0]["rules"][0]["annotations"]["description"]}
  - interval: 1m
    alert_rule_test:
      - eval_time: 10m
        alertname: TocsinNotifierGone
        exp_alerts:
          - exp_labels: {{severity: critical, system: tocsin}}
            exp_annotations:
              summary: No notifier tells of heartbeats
              description: >-
                {heartbeat_rules()["groups"][0]["rules"][1]["annotations"]["description"]}
"""
    )
    commands = ["check", "rules", "--lint-fatal", "rules.yaml"], ["test", "rules", "test.yaml"]
    for command in commands:
        done = subprocess.run(
            [PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
