"""Slack's double takes what Slack's own SDK would make, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin_testkit.providers import Slack
from tocsin_testkit.providers.serving import Request

TEXT = {"type": "plain_text", "text": "down"}


def posted(*blocks: dict[str, Any]) -> tuple[str, list[str]]:
    """What the double answers to a message of these blocks, and its complaints."""
    slack = Slack("t", "C0ALL")
    body = json.dumps({"channel": "C0ALL", "text": "down", "blocks": blocks}).encode()
    headers = {"authorization": "Bearer t"}
    reply = slack.take(Request("POST", "/api/chat.postMessage", {}, headers, body))
    return reply.body, slack.complaints


def test_a_block_as_it_is_published_is_taken() -> None:
    body, complaints = posted({"type": "header", "text": TEXT})
    assert '"ok": true' in body
    assert complaints == []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "header", "text": TEXT, "colour": "red"},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11},
        {
            "type": "actions",
            "elements": [{"type": "button", "text": TEXT, "action_id": "a", "style": "green"}],
        },
    ],
    ids=["a field there is not", "too many elements", "a style there is not"],
)
def test_a_block_that_the_sdk_does_not_know_is_refused(block: dict[str, Any]) -> None:
    body, complaints = posted(block)
    assert "invalid_blocks" in body
    assert complaints != []
