"""Slack's Web API: one thread an incident, buttons, messages that change where they stand.

Format: `POST https://slack.com/api/<method>` with JSON and a bearer token. The answer is 200 even
for a no: `{"ok": false, "error": "…"}`. There is no key to merge repeats by, so every message
carries its notification as metadata, and a message in doubt is looked for before it is sent again
(`conversations.history`, `conversations.replies`).

The buttons' `action_id` is what they do (`acknowledge`, `escalate`, `mute`, `resolve`), and their
`value` the incident's id; the list of people (`handover`) and the field for a note (`notes`) have
it at the end of their `block_id`. Behind the incident the value of `approve` and `reject` names the
remediation, the step and its plan.
The door for Slack's interactions reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from notifier.adapters.calling import Answer, Caller, NotDone, retry_after
from notifier.adapters.markup import cut, mrkdwn, one_line
from notifier.adapters.slack import HEADER, MOST_TEXT, SECTION
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unwell
from notifier.ports import Earlier, Sending
from tocsin_contracts.incidents import Message, Purpose

log = structlog.get_logger()

ACKNOWLEDGE = "acknowledge"
RESOLVE = "resolve"
ESCALATE = "escalate"
MUTE = "mute"
HAND_OVER = "handover"
NOTE = "notes"
APPROVE = "approve"
REJECT = "reject"
EVENT = "tocsin_notification"
"""`event_type` of the metadata of every message."""

MOST_PAGES = 5
"""Pages of a channel's history that are looked through; newest first, so the first has it."""
MOST_LISTED = 10
"""Pages of channels that are looked through for one whose name is taken."""
MOST_EDITED = 10
"""Messages of one incident that are changed where they stand, when somebody takes it."""
MOST_INVITED = 100

_PAGE = 100
_LIST = 1_000
_TOPIC = 250
_CONFIRM = 300
_NOTE = 3_000
_NAME = 80
_SKEW = timedelta(minutes=5)
_USER = re.compile(r"[UW][A-Z0-9]{5,20}")
_PASSING = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    }
)
_PAGES = frozenset({Purpose.PAGE, Purpose.OPENED})
_NEWS = frozenset({Purpose.ACKNOWLEDGED, Purpose.RESOLVED, Purpose.UPDATE})
_TAKEN = frozenset({Purpose.ACKNOWLEDGED, Purpose.RESOLVED})
_TOLD_IN_ROOMS = _NEWS | {Purpose.OPENED}
_LIVE = frozenset({"open", "acknowledged", "mitigated"})
_UNDECIDED = frozenset({"open", "acknowledged"})


@dataclass(frozen=True, slots=True)
class _Ref:
    """Where a message stands: channel and time.

    And the incident's own channel, with the time of the same message there, if it has one.
    """

    channel: str
    ts: str
    room: str | None = None
    room_ts: str | None = None

    def __str__(self) -> str:
        return ":".join(part for part in (self.channel, self.ts, self.room, self.room_ts) if part)

    @classmethod
    def read(cls, text: str) -> _Ref | None:
        channel, ts, room, room_ts, *_ = (*text.split(":"), "", "", "")
        return cls(channel, ts, room or None, room_ts or None) if channel and ts else None

    def places(self) -> Iterator[tuple[str, str]]:
        """Channel and time of each copy."""
        yield self.channel, self.ts
        if self.room and self.room_ts:
            yield self.room, self.room_ts


class SlackAppChannel:
    """Posts as an app, to one channel or to each person.

    Args:
        channel: Id of the channel; without one, whoever a page is for gets a direct message.
        rooms: Whether each incident gets a channel of its own.
    """

    def __init__(
        self,
        calls: Caller,
        url: str,
        token: str,
        channel: str | None = None,
        *,
        rooms: bool = False,
    ) -> None:
        self._calls = calls
        self._url = url.rstrip("/")
        self._token = token
        self._channel = channel
        self._rooms = rooms

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once the message stands in the channel."""
        try:
            channel = self._channel or await self._direct(sending)
            ref = _Ref(channel, await self._message(sending, channel))
            room = next((one.room for _, one in _refs(sending.earlier) if one.room), None)
            if room is None and self._rooms and sending.purpose is Purpose.OPENED and sending.room:
                room = await self._room(sending, sending.room)
            if sending.purpose is Purpose.PAGE:
                await self._opened_again(sending, channel)
            elif sending.purpose in _TOLD_IN_ROOMS:
                await self._changed(sending, channel)
            if room is not None:
                ref = replace(ref, room=room, room_ts=await self._told(sending, room))
        except NotDone as no:
            return no.outcome
        return Delivered(str(ref))

    async def _direct(self, sending: Sending) -> str:
        if not is_user(sending.handle):
            raise NotDone(Refused("no_address", "the target has no Slack user id in the policy"))
        answer = await self._api("conversations.open", {"users": sending.handle})
        return answer.name_of("channel", "id")

    async def _message(self, sending: Sending, channel: str) -> str:
        """The time of the message in the channel, posted unless it stands there already."""
        said = _said(sending, channel)
        if said is not None:
            return said
        thread = next((ref.ts for _, ref in _refs(sending.earlier) if ref.channel == channel), None)
        if sending.may_repeat:
            found = await self._found(sending, channel, thread)
            if found is not None:
                return found
        arguments = _content(sending, sending.message) | {
            "channel": channel,
            "metadata": _metadata(sending),
            "unfurl_links": False,
        }
        if thread is not None:
            arguments["thread_ts"] = thread
            # The page of a second level is no footnote to the first, nor is what came back.
            arguments["reply_broadcast"] = sending.purpose in _PAGES
        answer = await self._api("chat.postMessage", arguments, repeatable=False)
        return answer.name_of("ts")

    async def _found(self, sending: Sending, channel: str, thread: str | None) -> str | None:
        """The time of the message, if it stands in the channel, or in the thread there is by now.

        The thread may be younger than the attempt that is looked for.
        """
        oldest = (sending.opened_at - _SKEW).timestamp()
        query = {"channel": channel, "include_all_metadata": "true", "limit": str(_PAGE)}
        looks = [("conversations.history", query | {"oldest": f"{oldest:.6f}"})]
        if thread is not None:
            looks.append(("conversations.replies", query | {"ts": thread}))
        for method, look in looks:
            async for page in self._pages(method, look, MOST_PAGES):
                for message in page.objects("messages"):
                    if _payload_of(message) == _payload(sending):
                        return str(message.get("ts"))
        return None

    async def _changed(self, sending: Sending, channel: str) -> None:
        """Who took it, and which buttons are left, in the messages that woke people."""
        pages = [(one, ref) for one, ref in _refs(sending.earlier) if one.purpose in _PAGES]
        there = [each for each in pages if each[1].channel == channel][:MOST_EDITED]
        for earlier, ref in there:
            content = _content(sending, earlier.message, original=earlier.purpose)
            for where, ts in ref.places():
                await self._allowed("chat.update", content | {"channel": where, "ts": ts})

    async def _opened_again(self, sending: Sending, channel: str) -> None:
        """Pages that somebody had taken, and has no more, can be taken again.

        The new page stands, whatever comes of this.
        """
        if not any(one.purpose in _TAKEN for one in sending.earlier):
            return
        try:
            await self._changed(sending, channel)
        except NotDone as no:
            log.warning("slack.unchanged", incident=sending.incident, reason=no.outcome.reason)

    async def _told(self, sending: Sending, room: str) -> str | None:
        """The same in the incident's own channel, and the people who were paged are in it.

        Returns:
            The time of the message there; none of a page, which is for one person.
        """
        if sending.purpose is not Purpose.RESOLVED:
            await self._invite(sending, room)
        if sending.purpose not in _TOLD_IN_ROOMS:
            return None
        if sending.purpose is not Purpose.UPDATE:
            topic = {"channel": room, "topic": _topic(sending)}
            await self._allowed("conversations.setTopic", topic)
        return await self._posted_in(sending, room)

    async def _invite(self, sending: Sending, room: str) -> None:
        """Ask in whoever was paged by now; what goes wrong is tried again with the next message."""
        invited = [one for one in sending.invited if is_user(one)][:MOST_INVITED]
        if not invited:
            return
        people = {"channel": room, "users": ",".join(invited), "force": True}
        try:
            await self._allowed("conversations.invite", people, but="already_in_channel")
        except NotDone as no:
            log.warning("room.not_invited", incident=sending.incident, reason=no.outcome.reason)

    async def _room(self, sending: Sending, name: str) -> str | None:
        """Id of the incident's own channel.

        Whoever is told in the channel of all incidents is told, whatever comes of this: a channel
        that may not be made is in the log, and the message stands.
        """
        try:
            return await self._made(sending, room_name(name))
        except NotDone as no:
            if not isinstance(no.outcome, Refused):
                raise
            log.warning("room.refused", incident=sending.incident, detail=no.outcome.detail)
            return None

    async def _made(self, sending: Sending, name: str) -> str:
        """Id of a channel of this name, or of a longer one where the name is another's.

        Two incidents of one minute may be called the same, and so may one of last year whose
        channel is archived.
        """
        mark = f"-{sending.incident.rpartition('-')[2]}"
        for one in (name, name[: _NAME - len(mark)] + mark):
            try:
                made = await self._api("conversations.create", {"name": one})
            except NotDone as no:
                if "name_taken" not in getattr(no.outcome, "detail", ""):
                    raise
                taken = await self._listed(one)
                if taken is not None and await self._is_ours(sending, taken):
                    return taken
            else:
                return made.name_of("channel", "id")
        raise NotDone(Refused("refused", f"the names {name} and {name}{mark} are taken"))

    async def _is_ours(self, sending: Sending, room: str) -> bool:
        """Whether a channel is this incident's: what stands there says so.

        An empty one is what an attempt that ended too soon has made.
        """
        oldest = (sending.opened_at - _SKEW).timestamp()
        query = {"channel": room, "include_all_metadata": "true", "limit": str(_PAGE)}
        incidents: set[str] = set()
        try:
            look = query | {"oldest": f"{oldest:.6f}"}
            async for page in self._pages("conversations.history", look, MOST_PAGES):
                for message in page.objects("messages"):
                    # One with a subtype says that somebody joined, or set a topic.
                    if not message.get("subtype"):
                        incidents.add(str(_payload_of(message).get("incident", "")))
        except NotDone as no:
            if not isinstance(no.outcome, Refused):
                raise
            return False
        return sending.incident in incidents or (sending.may_repeat and not incidents)

    async def _posted_in(self, sending: Sending, room: str) -> str | None:
        if sending.may_repeat:
            found = await self._found(sending, room, None)
            if found is not None:
                return found
        arguments = _content(sending, sending.message)
        arguments |= {"channel": room, "metadata": _metadata(sending), "unfurl_links": False}
        posted = await self._allowed("chat.postMessage", arguments, repeatable=False)
        return None if posted is None else posted.name_of("ts")

    async def _listed(self, name: str) -> str | None:
        """Id of the channel of this name; none if it is archived, or not to be seen."""
        query = {"limit": str(_LIST), "exclude_archived": "true"}
        async for page in self._pages("conversations.list", query, MOST_LISTED):
            for channel in page.objects("channels"):
                if channel.get("name") == name:
                    return str(channel.get("id"))
        return None

    async def _pages(self, method: str, query: dict[str, str], most: int) -> Any:  # noqa: ANN401 - an async generator
        for _ in range(most):
            page = await self._api(method, None, query=query)
            yield page
            further = page.member("response_metadata")
            cursor = further.get("next_cursor") if isinstance(further, dict) else None
            if not cursor:
                return
            query = query | {"cursor": str(cursor)}

    async def _allowed(
        self, method: str, arguments: dict[str, Any], *, but: str = "", repeatable: bool = True
    ) -> Answer | None:
        """As `_api`, for what a message can do without: `None`, and a line in the log, for a no."""
        try:
            return await self._api(method, arguments, repeatable=repeatable)
        except NotDone as no:
            if not isinstance(no.outcome, Refused):
                raise
            if not but or but not in no.outcome.detail:
                log.warning("slack.refused", method=method, detail=no.outcome.detail)
            return None

    async def _api(
        self,
        method: str,
        arguments: Mapping[str, Any] | None,
        *,
        query: dict[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        return await self._calls.call(
            "GET" if arguments is None else "POST",
            f"{self._url}/{method}",
            document=arguments,
            query=query,
            headers={"Authorization": f"Bearer {self._token}"},
            repeatable=repeatable,
            judged=_judge,
        )


def is_user(handle: str | None) -> bool:
    """Whether this is the id of a person, which Slack wants, and not a name.

    >>> is_user("U012AB3CD"), is_user("@alice"), is_user(None)
    (True, False, False)
    """
    return handle is not None and _USER.fullmatch(handle) is not None


def room_name(text: str) -> str:
    """A name that Slack takes for a channel.

    >>> room_name("#Incident 2026-11-21 14:05")
    'incident-2026-11-21-14-05'
    """
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")[:_NAME] or "incident"


def _judge(answer: Answer) -> Refused | Unwell | None:
    error = answer.word("error")
    if answer.status < 300 and answer.member("ok") is True:  # noqa: PLR2004 - a success
        return None
    detail = f"{answer.status}: {error or answer.text[:100]}"
    if answer.status in {408, 429} or answer.status >= 500 or error in _PASSING:  # noqa: PLR2004 - theirs
        limited = answer.status == 429 or error in {"ratelimited", "rate_limited"}  # noqa: PLR2004 - as above
        return Unwell("rate_limited" if limited else "provider_error", detail, retry_after(answer))
    return Refused("refused", detail)


def _refs(earlier: tuple[Earlier, ...]) -> Iterator[tuple[Earlier, _Ref]]:
    for one in earlier:
        ref = _Ref.read(one.ref)
        if ref is not None:
            yield one, ref


def _said(sending: Sending, channel: str) -> str | None:
    """The same news that the channel had since the last page, told of another who was paged."""
    if sending.purpose not in {Purpose.ACKNOWLEDGED, Purpose.RESOLVED}:
        return None
    for earlier, ref in reversed(list(_refs(sending.earlier))):
        if earlier.purpose in _PAGES:
            return None
        if earlier.purpose is sending.purpose and ref.channel == channel:
            return ref.ts
    return None


def _payload(sending: Sending) -> dict[str, str]:
    return {"notification": sending.notification, "incident": sending.incident}


def _payload_of(message: dict[str, Any]) -> dict[str, Any]:
    """What one of our messages carries; nothing of anybody else's."""
    metadata = message.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return payload if isinstance(payload, dict) else {}


def _metadata(sending: Sending) -> dict[str, Any]:
    return {"event_type": EVENT, "event_payload": _payload(sending)}


def _topic(sending: Sending) -> str:
    by = f" by {sending.by}" if sending.by else ""
    link = f" | {sending.link}" if sending.link else ""
    text = f"[{sending.severity}] {one_line(sending.title)}: {sending.status}{by}"
    return cut(text, _TOPIC - len(link)) + link if len(link) < _TOPIC // 2 else cut(text, _TOPIC)


def _content(
    sending: Sending, message: Message, *, original: Purpose | None = None
) -> dict[str, Any]:
    """Text and blocks of a message, as the incident stands now."""
    subject = one_line(message.subject)
    body = cut(message.body, SECTION - 50, sending.link, escape=mrkdwn) or "-"
    purpose = original or sending.purpose
    if purpose is Purpose.PAGE and original is None and is_user(sending.handle):
        body = f"<@{sending.handle}> {body}"
    by = f" by {mrkdwn(sending.by)}" if sending.by else ""
    standing = f"*{sending.status}*{by} · {mrkdwn(sending.severity)} · {mrkdwn(sending.incident)}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(subject, HEADER)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": body}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(standing, MOST_TEXT)}]},
    ]
    buttons = list(_buttons(sending)) if purpose in _PAGES else []
    if purpose is Purpose.APPROVAL and sending.to_approve:
        buttons = list(_approval(sending))
    if buttons:
        blocks.append({"type": "actions", "block_id": "tocsin", "elements": buttons})
    if purpose in _PAGES and sending.status in _UNDECIDED:
        blocks.extend(_more(sending))
    return {"text": cut(subject, MOST_TEXT, escape=mrkdwn), "blocks": blocks}


def _more(sending: Sending) -> Iterator[dict[str, Any]]:
    """Whom it could be given to, and a line for a note; Enter sends it."""
    yield {
        "type": "actions",
        "block_id": f"tocsin:{HAND_OVER}:{sending.incident}",
        "elements": [
            {
                "type": "users_select",
                "action_id": HAND_OVER,
                "placeholder": {"type": "plain_text", "text": "Hand over to …"},
            }
        ],
    }
    yield {
        "type": "input",
        "block_id": f"tocsin:{NOTE}:{sending.incident}",
        "dispatch_action": True,
        "optional": True,
        "label": {"type": "plain_text", "text": "Add a note"},
        "element": {"type": "plain_text_input", "action_id": NOTE, "max_length": _NOTE},
    }


def _approval(sending: Sending) -> Iterator[dict[str, Any]]:
    """Yes to the step on the plan there is now, or no to all of it; asked once more for a yes."""
    confirm = {
        "title": {"type": "plain_text", "text": "Let it run?"},
        "text": {"type": "mrkdwn", "text": cut(mrkdwn(sending.message.body), _CONFIRM)},
        "confirm": {"type": "plain_text", "text": "Approve"},
        "deny": {"type": "plain_text", "text": "Not now"},
    }
    approve = _button("Approve", APPROVE, value=sending.to_approve, style="danger")
    yield approve | {"confirm": confirm}
    yield _button("Reject", REJECT, value=sending.to_approve)


def _button(text: str, action: str, **more: str) -> dict[str, Any]:
    label = {"type": "plain_text", "text": text}
    return {"type": "button", "text": label, "action_id": action, **more}


def _buttons(sending: Sending) -> Iterator[dict[str, Any]]:
    if sending.status == "open":
        yield _button("Acknowledge", ACKNOWLEDGE, value=sending.incident, style="primary")
    if sending.status in _UNDECIDED:
        yield _button("Escalate now", ESCALATE, value=sending.incident)
        yield _button("Mute for an hour", MUTE, value=sending.incident)
    if sending.status in _LIVE:
        yield _button("Resolve", RESOLVE, value=sending.incident)
    if sending.link is not None:
        yield _button("Open", "open", url=sending.link)
