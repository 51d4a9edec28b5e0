"""Whatever a provider answers is an outcome, and never the end of the notifier."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.adapters.calling import Caller
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Earlier, Sending
from notifier.settings import NotifierSettings
from notifier.wiring import channel_of
from tocsin_contracts.incidents import Purpose
from tocsin_simulation.clock import ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.killing import KINDS, settings_at

TALKING = [kind for kind in KINDS if kind not in {"email", "apprise"}]
URL = "https://provider.example.com"
SETTINGS = NotifierSettings.model_validate(
    {
        "channels": {
            kind: settings_at(kind, URL)
            | ({"rooms": True} if kind == "slack-app" else {})
            | ({"rest_token": "t", "rest_user": "t@example.com"} if kind == "pagerduty" else {})
            for kind in TALKING
        }
    }
)
NAMES = (
    *("ok", "error", "code", "status", "sid", "name", "key", "number", "body", "id", "ts"),
    *("channel", "channels", "messages", "metadata", "event_payload", "incident", "subtype"),
    *("response_metadata", "next_cursor", "incidents", "issues", "comments", "tocsin"),
    *("transitions", "to", "statusCategory", "dedup_key"),
)
WORDS = st.sampled_from(["", "success", "name_taken", "ratelimited", "done", "x", AN_INCIDENT_ID])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 21_610) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=12,
)
REPLIES = st.builds(
    lambda status, document, ok: (
        status,
        document | {"ok": True} if ok and isinstance(document, dict) else document,
    ),
    st.sampled_from([200, 201, 202, 204, 302, 400, 404, 429, 500]),
    ANSWERS,
    st.booleans(),
)
REFS = ("C0ALL:1.2:C0ROOM:3.4", "7", "OPS-1#3", "", ":::", "a:b:c:d:e")
SENDINGS = st.builds(
    lambda purpose, attempt, refs: a_sending(
        purpose=purpose,
        attempt=attempt,
        address="alice@example.com",
        phone="+41 44 555 01 00",
        handle="U0ALICE",
        room="incident-1",
        invited=("U0ALICE",),
        earlier=tuple(Earlier(Purpose.PAGE, ref, a_message()) for ref in refs),
    ),
    st.sampled_from(Purpose),
    st.integers(1, 2),
    st.lists(st.sampled_from(REFS), max_size=2),
)


def outcome_of(kind: str, sending: Sending, replies: list[tuple[int, Any]]) -> Outcome:
    """What the adapter makes of these answers, the last of which is repeated."""
    left = list(replies)

    def answer(_: httpx.Request) -> httpx.Response:
        status, document = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(status, text=json.dumps(document))

    async def send() -> Outcome:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            calls = Caller(client, timedelta(seconds=5))
            channel = channel_of(SETTINGS.channels[kind], calls, ManualClock(), SETTINGS)
            return await channel.send(sending)

    return asyncio.run(send())


@pytest.mark.parametrize("kind", TALKING)
@settings(max_examples=60, deadline=None)
@given(sending=SENDINGS, replies=st.lists(REPLIES, min_size=1, max_size=4))
def test_any_answer_is_an_outcome(
    kind: str, sending: Sending, replies: list[tuple[int, Any]]
) -> None:
    outcome = outcome_of(kind, sending, replies)
    assert isinstance(outcome, Delivered | Refused | Unwell | Unknown)


def test_a_yes_of_slack_that_says_not_where_is_in_doubt() -> None:
    sending = a_sending()
    assert outcome_of("slack-app", sending, [(200, {"ok": True})]) == Unknown("unreadable_answer")
    later = replace(sending, attempt=2)
    strange = {"ok": True, "messages": ["x", {"metadata": "y"}], "response_metadata": "z"}
    assert outcome_of("slack-app", later, [(200, strange)]) == Unknown("unreadable_answer")
