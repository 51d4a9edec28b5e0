"""`tocsin notify test`: whether a page would arrive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from notifier.settings import NotifierSettings
from tocsin_cli.__main__ import app
from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.notifying import policy_with
from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.trying import try_channels
from tocsin_policy import policy_document
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import PagerDuty, Reply, Said, SlackWebhook

KEY = "0" * 32


def settings(pagerduty: str, slack: str) -> NotifierSettings:
    return NotifierSettings.model_validate(
        {
            "channels": {
                "pagerduty": {
                    "kind": "pagerduty",
                    "url": f"{pagerduty}/v2/enqueue",
                    "routing_key": KEY,
                },
                "slack": {"kind": "slack", "url": slack},
            }
        }
    )


async def test_each_channel_of_a_contact_is_tried_and_nothing_is_left_open() -> None:
    pagerduty, slack = PagerDuty(KEY), SlackWebhook()
    async with pagerduty.serving() as there, slack.serving() as here:
        tried = await try_channels(a_policy(), "alice", settings=settings(there, here))
    assert [one["channel"] for one in tried] == ["pagerduty", "slack"]
    assert {one["outcome"] for one in tried} == {"delivered"}
    assert list(pagerduty.states.values()) == ["resolve"]
    assert "[TEST] Tocsin reaches Alice by slack" in slack.shown[0].text


async def test_a_channel_that_does_not_work_says_why() -> None:
    pagerduty, slack = PagerDuty(KEY), SlackWebhook()
    slack.fates.append(Said(Reply(404, "no_service")))
    async with pagerduty.serving() as there, slack.serving() as here:
        tried = await try_channels(a_policy(), "alice", ["slack"], settings(there, here))
    assert tried[0]["outcome"] == "refused: refused"
    assert tried[0]["detail"] == "404: no_service"
    assert pagerduty.requests == []


async def test_a_channel_without_settings_is_told_as_one() -> None:
    tried = await try_channels(a_policy(), "bob", settings=NotifierSettings())
    assert [one["outcome"] for one in tried] == ["refused: channel_not_configured"]


@pytest.mark.parametrize(("contact", "only"), [("zoe", []), ("bob", ["slack"])])
async def test_who_or_what_is_not_in_the_policy_is_not_found(contact: str, only: list[str]) -> None:
    with pytest.raises(NotFound):
        await try_channels(a_policy(), contact, only, NotifierSettings())


def test_the_command_takes_the_environment_and_fails_if_a_channel_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(policy_document(a_policy())))
    with Receiver(SystemClock()).serving() as receiver:
        channels = {"pagerduty": channel_settings(receiver, "pagerduty", "pagerduty")}
        monkeypatch.setenv("TOCSIN_CHANNELS", json.dumps(channels))
        command = ["notify", "test", "alice", "--policy", str(file), "--json"]
        half = CliRunner().invoke(app, command)
        assert half.exit_code == Exit.FAILED
        assert [one["outcome"] for one in json.loads(half.stdout)] == [
            "delivered",
            "refused: channel_not_configured",
        ]
        whole = CliRunner().invoke(app, [*command, "--channel", "pagerduty"])
        assert whole.exit_code == Exit.OK
        assert [one.action for one in receiver.arrivals()] == ["trigger", "resolve"] * 2


def test_a_contact_is_found_in_the_policy_that_is_in_force() -> None:
    nobody = {"zoe": {"name": "Zoe", "role": "engineer", "channels": ["pagerduty"]}}
    old, shop = a_policy("shop"), a_policy("shop", owner="later")
    zoo = a_policy("zoo", contacts=nobody, schedules={}, escalation={})
    published = [old, zoo, shop]
    assert policy_with(published, "alice", None) is shop
    assert policy_with(published, "zoe", None) is zoo
    assert policy_with(published, "alice", "zoo") is zoo
    for contact, system in (("carl", None), ("alice", "nowhere")):
        with pytest.raises(NotFound):
            policy_with(published, contact, system)
    with pytest.raises(ValueError, match="contact of bar, shop: name one with --system"):
        policy_with([shop, a_policy("bar")], "alice", None)
