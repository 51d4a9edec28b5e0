"""GitHub: an issue for each incident, commented as it goes on, closed when it is over.

Format: `POST /repos/{owner}/{name}/issues`, `POST …/issues/{n}/comments`, `PATCH …/issues/{n}`
with a bearer token; 201, 201, 200. There is no key to merge repeats by: each text carries its
notification in a comment of HTML that nobody sees, and a text in doubt is looked for before it is
written again. Too many is 403 or 429, with `retry-after` or `x-ratelimit-reset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from notifier.adapters.calling import MOST_PATIENCE, Answer, Caller, NotDone, judge, retry_after
from notifier.adapters.markup import cut, markdown, one_line
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose
from tocsin_runtime.ports import Clock

MOST_PAGES = 3
"""Pages of issues or comments that are looked through, a hundred each."""

_TITLE = 256
_BODY = 60_000
_PAGE = 100
_SKEW = timedelta(minutes=5)
_PATIENCE = timedelta(seconds=60)
_OPENING = frozenset({Purpose.OPENED, Purpose.PAGE})
_VERSION = "2022-11-28"
_FORBIDDEN = 403
_TOO_MANY = 429


class GitHubChannel:
    """Keeps issues of one repository.

    Args:
        labels: Of every issue, beside the policy's and the severity.
    """

    def __init__(
        self,
        calls: Caller,
        url: str,
        repository: str,
        token: str,
        clock: Clock,
        *,
        labels: Sequence[str] = (),
        assignees: Sequence[str] = (),
    ) -> None:
        self._calls = calls
        self._url = f"{url.rstrip('/')}/repos/{repository}/issues"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": _VERSION,
        }
        self._clock = clock
        self._labels = list(labels)
        self._assignees = list(assignees)

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once it stands in the issue; a resolution closes it."""
        try:
            number = await self._number(sending)
            if number is None:
                if sending.purpose is Purpose.RESOLVED:
                    return Refused("never_opened", "there is no issue to close")
                made = await self._call("POST", self._url, self._issue(sending))
                return Delivered(made.name_of("number"))
            comment = await self._comment(sending, number)
            if sending.purpose in _OPENING:
                await self._open_again(sending, number)
            if sending.purpose is Purpose.RESOLVED:
                closed = {"state": "closed", "state_reason": "completed"}
                await self._call("PATCH", f"{self._url}/{number}", closed, repeatable=True)
        except NotDone as no:
            return no.outcome
        return Delivered(f"{number}#{comment}" if comment else number)

    async def _open_again(self, sending: Sending, number: str) -> None:
        """What is said to be there anew is open, and labelled with the severity it has by now."""
        if any(one.purpose is Purpose.RESOLVED for one in sending.earlier):
            again = {"state": "open", "state_reason": "reopened"}
            await self._call("PATCH", f"{self._url}/{number}", again, repeatable=True)
        if sending.purpose is Purpose.OPENED:
            labels = {"labels": [sending.severity]}
            await self._call("POST", f"{self._url}/{number}/labels", labels, repeatable=True)

    async def _number(self, sending: Sending) -> str | None:
        """The issue's number, from the log; in doubt, or without one there, from GitHub."""
        for earlier in sending.earlier:
            if earlier.ref:
                return earlier.ref.partition("#")[0]
        if sending.purpose in _OPENING and not sending.may_repeat:
            return None
        query = {"state": "all", "since": self._since(sending), "sort": "created"}
        found = await self._marked(self._url, query, _issue_mark(sending))
        return None if found is None else str(found.get("number"))

    async def _comment(self, sending: Sending, number: str) -> str:
        """Id of the comment; empty where the issue itself says it."""
        url = f"{self._url}/{number}/comments"
        if sending.may_repeat:
            issue = await self._call("GET", f"{self._url}/{number}", repeatable=True)
            if _mark(sending) in str(issue.member("body")):
                return ""
            found = await self._marked(url, {"since": self._since(sending)}, _mark(sending))
            if found is not None:
                return str(found.get("id"))
        made = await self._call("POST", url, {"body": _text(sending, _mark(sending))})
        return made.name_of("id")

    async def _marked(self, url: str, query: dict[str, str], mark: str) -> dict[str, Any] | None:
        for page in range(1, MOST_PAGES + 1):
            pages = query | {"per_page": str(_PAGE), "page": str(page)}
            answer = await self._call("GET", url, query=pages, repeatable=True)
            if not isinstance(answer.document(), list):
                raise NotDone(Unwell("unreadable_answer", answer.detail()))
            listed = answer.objects()
            for one in listed:
                if mark in str(one.get("body")):
                    return one
            if len(listed) < _PAGE:
                return None
        return None

    def _issue(self, sending: Sending) -> dict[str, Any]:
        marks = f"{_mark(sending)}\n{_issue_mark(sending)}"
        issue: dict[str, Any] = {
            "title": cut(one_line(sending.ticket or sending.message.subject), _TITLE),
            "body": _text(sending, marks),
            "labels": list(dict.fromkeys((*self._labels, *sending.labels, sending.severity))),
        }
        return issue | ({"assignees": self._assignees} if self._assignees else {})

    @staticmethod
    def _since(sending: Sending) -> str:
        return (sending.opened_at - _SKEW).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def _call(
        self,
        method: str,
        url: str,
        document: object = None,
        *,
        query: dict[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        return await self._calls.call(
            method,
            url,
            document=document,
            query=query,
            headers=self._headers,
            repeatable=repeatable,
            judged=self._judge,
        )

    def _judge(self, answer: Answer) -> Refused | Unwell | Unknown | None:
        if answer.status not in {_FORBIDDEN, _TOO_MANY}:
            return judge(answer)
        wait = retry_after(answer)
        reset = answer.headers.get("x-ratelimit-reset", "")
        if wait is None and answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
            left = int(reset) - int(self._clock.now().timestamp())
            wait = min(timedelta(seconds=max(left, 1)), MOST_PATIENCE)
        if wait is None and (answer.status == _TOO_MANY or "rate limit" in answer.text.lower()):
            wait = _PATIENCE
        if wait is None:
            return Refused("refused", answer.detail())
        return Unwell("rate_limited", answer.detail(), wait)


def _text(sending: Sending, marks: str) -> str:
    link = f"\n\n{sending.link}" if sending.link else ""
    body = cut(sending.message.body, _BODY, escape=markdown)
    if sending.purpose is Purpose.PAGE and sending.target is not None:
        body = f"{body}\n\nPaged: {markdown(sending.target.name)}"
    return f"{body}{link}\n\n{marks}"


def _mark(sending: Sending) -> str:
    return f"<!-- tocsin notification {sending.notification} -->"


def _issue_mark(sending: Sending) -> str:
    return f"<!-- tocsin incident {sending.incident} -->"
