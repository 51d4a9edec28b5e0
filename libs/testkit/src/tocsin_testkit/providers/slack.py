"""Slack: an incoming webhook, and the methods of the Web API that a channel needs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from tocsin_runtime.ports import Clock
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_MOST_BLOCKS = 50
_MOST_IN_ALL = 13_200
_NAME = re.compile(r"[a-z0-9_-]{1,80}")
_PAGE = 100


def _block_errors(blocks: list[dict[str, Any]]) -> list[str]:
    """What Block Kit's reference says against these blocks."""
    errors = [] if len(blocks) <= _MOST_BLOCKS else ["more than 50 blocks"]
    named = [block["block_id"] for block in blocks if "block_id" in block]
    if len(set(named)) < len(named) or any(len(one) > 255 for one in named):
        errors.append("block_id")
    if len(json.dumps(blocks)) > _MOST_IN_ALL:
        errors.append("msg_blocks_too_long")
    for block in blocks:
        errors.extend(_one_block(block))
        errors.extend(_sdk_errors(block))
    return errors


def _sdk_errors(block: dict[str, Any]) -> list[str]:
    """What Slack's own SDK says against a block, or does not know of it."""
    parsed = Block.parse(block)
    if parsed is None:
        return [f"the SDK knows no such block: {block['type']}"]
    try:
        parsed.validate_json()
        known = parsed.to_dict()
    except SlackObjectFormationError as error:
        return [str(error)]
    return [] if known == block else [f"the SDK reads it as {known}"]


def _one_block(block: dict[str, Any]) -> list[str]:
    errors: list[str] = []
    match block["type"]:
        case "header":
            if block["text"]["type"] != "plain_text" or len(block["text"]["text"]) > 150:
                errors.append("header")
        case "section":
            if not 0 < len(block["text"]["text"]) <= 3_000:
                errors.append("section")
        case "context":
            if not 0 < len(block["elements"]) <= 10:
                errors.append("context")
        case "actions":
            errors.extend(_element_errors(block["elements"]))
        case "input":
            element = block["element"]
            if block["label"]["type"] != "plain_text" or element["max_length"] > 3_000:
                errors.append("input")
        case other:
            errors.append(f"unknown block {other}")
    return errors


def _element_errors(elements: list[dict[str, Any]]) -> list[str]:
    errors = [] if 0 < len(elements) <= 25 else ["actions"]
    errors.extend(_button_errors([one for one in elements if one["type"] != "users_select"]))
    lists = [one for one in elements if one["type"] == "users_select"]
    if any(len(one["placeholder"]["text"]) > 150 or not one["action_id"] for one in lists):
        errors.append("users_select")
    return errors


def _button_errors(buttons: list[dict[str, Any]]) -> list[str]:
    errors: list[str] = []
    for button in buttons:
        if button["type"] != "button" or len(button["text"]["text"]) > 75:
            errors.append("button")
        if len(button.get("value", "")) > 2_000 or len(button.get("action_id", "")) > 255:
            errors.append("button value")
        if len(button.get("url", "")) > 3_000:
            errors.append("button url")
    return errors


def _texts(payload: dict[str, Any]) -> str:
    """Everything a person reads."""
    texts = [payload.get("text", "")]
    for block in payload.get("blocks", ()):
        if "text" in block:
            texts.append(block["text"]["text"])
        texts.extend(
            element["text"]["text"] if isinstance(element["text"], dict) else element["text"]
            for element in block.get("elements", ())
            if "text" in element
        )
    return "\n".join(texts)


class SlackWebhook(Provider):
    """One incoming webhook: `ok`, or a word that says what is wrong."""

    def take(self, request: Request) -> Reply:
        """Show a message. Nothing comes back by which it could be found again."""
        payload = request.document()
        if not payload.get("text"):
            return Reply(400, "no_text")
        errors = _block_errors(payload.get("blocks", []))
        if errors:
            self.complaints.extend(errors)
            return Reply(400, "invalid_blocks")
        self.shown.append(Shown(_texts(payload)))
        return Reply(200, "ok")


@dataclass(slots=True)
class Posted:
    """A message in a channel; its place in time is its name."""

    ts: str
    payload: dict[str, Any]
    shown: Shown
    edits: int = 0

    @property
    def thread(self) -> str | None:
        """The message it answers."""
        found: str | None = self.payload.get("thread_ts")
        return found

    def document(self, *, metadata: bool) -> dict[str, Any]:
        """As `conversations.history` gives it."""
        kept = {"type": "message", "ts": self.ts, "text": self.payload.get("text", "")}
        if self.thread is not None:
            kept["thread_ts"] = self.thread
        if metadata and "metadata" in self.payload:
            kept["metadata"] = self.payload["metadata"]
        return kept


@dataclass(slots=True)
class Room:
    """A channel.

    Attributes:
        archived: Nobody can write in it, and its name stays taken.
        closed: The app is not in it.
    """

    id: str
    name: str
    topic: str = ""
    archived: bool = False
    closed: bool = False
    members: set[str] = field(default_factory=set)
    posted: list[Posted] = field(default_factory=list)


class Slack(Provider):
    """One workspace. Its answers are 200 whether or not they say yes.

    Attributes:
        rooms: By id.
        users: Ids of the people there are.
        missing_scopes: Methods that the token may not call.
        limited: Methods that were called too often.
    """

    def __init__(
        self,
        token: str,
        *channels: str,
        users: tuple[str, ...] = (),
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._token = token
        self._clock = clock
        self._now = 0
        self.rooms = {one: Room(one, one.lower()) for one in channels}
        self.users = set(users)
        self.missing_scopes: set[str] = set()
        self.limited: set[str] = set()

    def effects(self, request: Request) -> bool:
        """Only posting shows people something new."""
        return request.path == "/api/chat.postMessage"

    def take(self, request: Request) -> Reply:
        """Call the method the path names."""
        method = request.path.removeprefix("/api/")
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _no("invalid_auth")
        if method in self.missing_scopes:
            return _no("missing_scope")
        if method in self.limited:
            return _no("ratelimited")
        arguments = dict(request.query) if request.method == "GET" else request.document()
        match method:
            case "chat.postMessage":
                return self._post(arguments)
            case "chat.update":
                return self._update(arguments)
            case "conversations.history":
                return self._history(arguments)
            case "conversations.replies":
                return self._replies(arguments)
            case "conversations.list":
                return self._list(arguments)
            case "conversations.open":
                return self._open(arguments)
        return self._manage(method, arguments)

    def messages(self, channel: str) -> list[Posted]:
        """What stands in a channel, oldest first."""
        return self.rooms[channel].posted

    def _post(self, arguments: dict[str, Any]) -> Reply:
        room = self.rooms.get(arguments.get("channel", ""))
        if room is None:
            return _no("channel_not_found")
        if room.archived or room.closed:
            return _no("is_archived" if room.archived else "not_in_channel")
        if (refusal := self._refusal(arguments)) is not None:
            return refusal
        thread = arguments.get("thread_ts")
        if thread is not None and all(one.ts != thread for one in room.posted):
            return _no("thread_not_found")
        metadata = arguments.get("metadata", {})
        self.require(not metadata or {"event_type", "event_payload"} == metadata.keys(), "metadata")
        # One a second at most, as its times are names, and never behind the clock of who looks.
        now = EPOCH if self._clock is None else self._clock.now()
        self._now = max(self._now + 1, int(now.timestamp()))
        shown = Shown(_texts(arguments), room.id)
        room.posted.append(Posted(f"{self._now}.000247", arguments, shown))
        self.shown.append(shown)
        return Reply.of(200, {"ok": True, "channel": room.id, "ts": room.posted[-1].ts})

    def _update(self, arguments: dict[str, Any]) -> Reply:
        room = self.rooms.get(arguments.get("channel", ""))
        if room is None:
            return _no("channel_not_found")
        for posted in room.posted:
            if posted.ts == arguments.get("ts"):
                if (refusal := self._refusal(arguments)) is not None:
                    return refusal
                posted.payload = posted.payload | arguments
                posted.shown.text = _texts(posted.payload)
                posted.edits += 1
                return Reply.of(200, {"ok": True, "channel": room.id, "ts": posted.ts})
        return _no("message_not_found")

    def _refusal(self, arguments: dict[str, Any]) -> Reply | None:
        errors = _block_errors(arguments.get("blocks", []))
        if errors:
            self.complaints.extend(errors)
            return _no("invalid_blocks")
        return None if arguments.get("text") else _no("no_text")

    def _history(self, arguments: dict[str, str]) -> Reply:
        room = self.rooms.get(arguments["channel"])
        if room is None:
            return _no("channel_not_found")
        if room.closed:
            return _no("not_in_channel")
        oldest = float(arguments.get("oldest", "0"))
        # A reply is no part of the channel's history, unless it was broadcast.
        found = [
            one
            for one in reversed(room.posted)
            if float(one.ts) > oldest and (one.thread is None or one.payload.get("reply_broadcast"))
        ]
        return self._some(found, arguments)

    def _replies(self, arguments: dict[str, str]) -> Reply:
        room = self.rooms[arguments["channel"]]
        return self._some(
            [one for one in room.posted if arguments["ts"] in {one.ts, one.thread}], arguments
        )

    def _some(self, found: list[Posted], arguments: dict[str, str]) -> Reply:
        start = int(arguments.get("cursor", "0"))
        end = start + min(int(arguments.get("limit", str(_PAGE))), _PAGE)
        metadata = arguments.get("include_all_metadata") == "true"
        return Reply.of(
            200,
            {
                "ok": True,
                "messages": [one.document(metadata=metadata) for one in found[start:end]],
                "has_more": end < len(found),
                "response_metadata": {"next_cursor": str(end) if end < len(found) else ""},
            },
        )

    def _list(self, arguments: dict[str, str]) -> Reply:
        start = int(arguments.get("cursor", "0") or "0")
        end = start + int(arguments.get("limit", "100"))
        hidden = arguments.get("exclude_archived") == "true"
        rooms = [room for room in self.rooms.values() if not (hidden and room.archived)]
        return Reply.of(
            200,
            {
                "ok": True,
                "channels": [{"id": room.id, "name": room.name} for room in rooms[start:end]],
                "response_metadata": {"next_cursor": str(end) if end < len(rooms) else ""},
            },
        )

    def _open(self, arguments: dict[str, Any]) -> Reply:
        user = arguments.get("users", "")
        if user not in self.users:
            return _no("user_not_found")
        room = self.rooms.setdefault(f"D{user[1:]}", Room(f"D{user[1:]}", ""))
        return Reply.of(200, {"ok": True, "channel": {"id": room.id}})

    def _manage(self, method: str, arguments: dict[str, Any]) -> Reply:
        if method == "conversations.create":
            name = arguments.get("name", "")
            if not _NAME.fullmatch(name):
                return _no("invalid_name_specials")
            if any(room.name == name for room in self.rooms.values()):
                return _no("name_taken")
            made = Room(f"C0ROOM{len(self.rooms)}", name)
            self.rooms[made.id] = made
            return Reply.of(200, {"ok": True, "channel": {"id": made.id, "name": name}})
        room = self.rooms.get(arguments.get("channel", ""))
        if room is None:
            return _no("channel_not_found")
        match method:
            case "conversations.setTopic":
                if len(arguments["topic"]) > 250:
                    return _no("too_long")
                room.topic = arguments["topic"]
            case "conversations.invite":
                users = set(arguments["users"].split(","))
                if not users <= self.users:
                    return _no("user_not_found")
                if users <= room.members:
                    return _no("already_in_channel")
                room.members |= users
            case _:
                return _no("unknown_method")
        return Reply.of(200, {"ok": True, "channel": {"id": room.id}})


def _no(error: str) -> Reply:
    return Reply.of(200, {"ok": False, "error": error})
