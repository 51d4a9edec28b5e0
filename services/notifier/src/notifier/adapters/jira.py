"""Jira Cloud: an issue for each incident, commented as it goes on, done when it is over.

Format: `POST /rest/api/3/issue`, `…/{key}/comment`, `…/{key}/transitions`, texts in Atlassian's
document format, basic authentication with an e-mail address and an API token; 201, 201, 204.
There is no key to merge repeats by: each issue has a label of its incident, each text ends with
its notification, and what is in doubt is looked for before it is written again. The search reads
an index that may be some seconds behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from notifier.adapters.calling import Answer, Caller, NotDone
from notifier.adapters.markup import cut, one_line, plain
from notifier.domain.outcomes import Delivered, Outcome, Refused
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose

_OPENING = frozenset({Purpose.OPENED, Purpose.PAGE})
_SUMMARY = 255
_TEXT = 6_000
_LINES = 150
_WHAT_IT_SAYS = {"fields": "description"}


class JiraChannel:
    """Keeps issues of one project.

    Args:
        labels: Of every issue, beside the policy's and its incident's own.
    """

    def __init__(
        self,
        calls: Caller,
        url: str,
        user: str,
        token: str,
        project: str,
        *,
        issue_type: str = "Task",
        labels: Sequence[str] = (),
    ) -> None:
        self._calls = calls
        self._url = f"{url.rstrip('/')}/rest/api/3"
        self._auth = (user, token)
        self._project = project
        self._issue_type = issue_type
        self._labels = list(labels)

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once it stands in the issue; a resolution moves it to done."""
        try:
            key = await self._key(sending)
            if key is None:
                if sending.purpose is Purpose.RESOLVED:
                    return Refused("never_opened", "there is no issue to finish")
                made = await self._call("POST", "issue", {"fields": self._fields(sending)})
                return Delivered(made.name_of("key"))
            comment = await self._comment(sending, key)
            if sending.purpose is Purpose.RESOLVED:
                await self._move(key, done=True)
            elif sending.purpose in _OPENING and _is_over(sending):
                await self._move(key, done=False)
        except NotDone as no:
            return no.outcome
        return Delivered(f"{key}#{comment}" if comment else key)

    async def _key(self, sending: Sending) -> str | None:
        """The issue's key, from the log; in doubt, or without one there, from Jira."""
        for earlier in sending.earlier:
            if earlier.ref:
                return earlier.ref.partition("#")[0]
        if sending.purpose in _OPENING and not sending.may_repeat:
            return None
        jql = f'project = "{self._project}" AND labels = "{_label(sending)}" ORDER BY created'
        search = {"jql": jql, "fields": ["key"], "maxResults": 1}
        answer = await self._call("POST", "search/jql", search, repeatable=True)
        for issue in answer.objects("issues"):
            return str(issue.get("key"))
        return None

    async def _comment(self, sending: Sending, key: str) -> str:
        """Id of the comment; empty where the issue itself says it."""
        path = f"issue/{key}/comment"
        if sending.may_repeat:
            issue = await self._call("GET", f"issue/{key}", query=_WHAT_IT_SAYS, repeatable=True)
            if sending.notification in issue.text:
                return ""
            query = {"orderBy": "-created", "maxResults": "100"}
            answer = await self._call("GET", path, query=query, repeatable=True)
            for comment in answer.objects("comments"):
                if sending.notification in json.dumps(comment):
                    return str(comment.get("id"))
        made = await self._call("POST", path, {"body": _document(sending)})
        return made.name_of("id")

    async def _move(self, key: str, *, done: bool) -> None:
        """Take the first way out of where the issue stands that leads to done, or away from it."""
        path = f"issue/{key}/transitions"
        answer = await self._call("GET", path, repeatable=True)
        for transition in answer.objects("transitions"):
            if _is_done(transition) is done:
                moved = {"transition": {"id": transition.get("id")}}
                await self._call("POST", path, moved, repeatable=True)
                return

    def _fields(self, sending: Sending) -> dict[str, Any]:
        given = ("-".join(label.split()) for label in sending.labels)
        return {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "summary": cut(one_line(sending.ticket or sending.message.subject), _SUMMARY),
            "description": _document(sending),
            "labels": list(dict.fromkeys((*self._labels, *given, _label(sending)))),
        }

    async def _call(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        query: dict[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        return await self._calls.call(
            method,
            f"{self._url}/{path}",
            document=document,
            query=query,
            auth=self._auth,
            headers={"Accept": "application/json"},
            repeatable=repeatable,
        )


def _is_done(transition: dict[str, Any]) -> bool:
    """Whether it leads to a status of the category done."""
    to: object = transition
    for name in ("to", "statusCategory", "key"):
        to = to.get(name) if isinstance(to, dict) else None
    return to == "done"


def _is_over(sending: Sending) -> bool:
    """Whether the issue was moved to done before."""
    return any(one.purpose is Purpose.RESOLVED for one in sending.earlier)


def _label(sending: Sending) -> str:
    return f"tocsin-{sending.incident}"


def _document(sending: Sending) -> dict[str, Any]:
    """A text in Atlassian's format, in which markup is structure and text is only text."""
    lines = cut(sending.message.body, _TEXT, escape=plain).split("\n")
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], "…"]
    paragraphs = [_paragraph(_text(line)) for line in lines if line.strip()]
    if sending.link is not None:
        paragraphs.append(_paragraph(_text(sending.link) | _leading(sending.link)))
    paragraphs.append(_paragraph(_text(f"Tocsin {sending.notification}")))
    return {"type": "doc", "version": 1, "content": paragraphs}


def _leading(link: str) -> dict[str, Any]:
    return {"marks": [{"type": "link", "attrs": {"href": link}}]}


def _paragraph(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "paragraph", "content": [content]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
