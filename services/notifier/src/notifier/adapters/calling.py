"""One call to a provider over HTTP, and what its answer, or the lack of one, means."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import httpx

from notifier.adapters.clients import HostNotAllowed
from notifier.domain.outcomes import Refused, Unknown, Unwell

MOST_DETAIL = 300
"""Characters of a provider's words that are kept."""
MOST_ANSWER = 1 << 20
"""Bytes of an answer that are read; the rest is left where it is."""
MOST_PATIENCE = timedelta(minutes=15)
"""Longest a provider may ask to be left alone; a page cannot wait for ever."""

_TOO_MANY = 429
_TIMEOUT = 408
_OK = range(200, 300)
_SERVER_ERRORS = range(500, 600)


class NotDone(Exception):
    """A call that did not do what it was for; `outcome` says what that means."""

    def __init__(self, outcome: Refused | Unwell | Unknown) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said."""

    status: int
    headers: httpx.Headers
    text: str

    def document(self) -> Any:  # noqa: ANN401 - JSON is whatever the provider sent
        """The JSON value of the body; `None` if it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def member(self, name: str) -> Any:  # noqa: ANN401 - as above
        """A member of the body, where it is a JSON object that has one."""
        document = self.document()
        return document.get(name) if isinstance(document, dict) else None

    def objects(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON objects of a list: a member's, or the whole body; none where there is none."""
        found = self.document() if name is None else self.member(name)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def word(self, name: str) -> str:
        """A member that is a string; empty where there is none."""
        found = self.member(name)
        return found if isinstance(found, str) else ""

    def name_of(self, *path: str) -> str:
        """What the provider calls what it made, at the end of a path of members.

        Raises:
            NotDone: It said yes, and nothing by which it could be found: nobody knows.
        """
        found = self.document()
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str | int) and str(found):
            return str(found)
        raise NotDone(Unknown("unreadable_answer"))

    def detail(self) -> str:
        """Its status and the beginning of its body, for people."""
        return f"{self.status}: {self.text[:MOST_DETAIL]}"


Judge = Callable[[Answer], Refused | Unwell | Unknown | None]
"""What an answer that is no success means; `None` for a success."""


def judge(answer: Answer) -> Refused | Unwell | Unknown | None:
    """The meaning most providers share.

    A 5xx is taken as not accepted: every provider judged by this documents it so.
    """
    if answer.status in _OK:
        return None
    if answer.status == _TOO_MANY:
        return Unwell("rate_limited", answer.detail(), retry_after(answer))
    if answer.status in _SERVER_ERRORS or answer.status == _TIMEOUT:
        return Unwell("provider_error", answer.detail(), retry_after(answer))
    return Refused("refused", answer.detail())


def judge_warily(answer: Answer) -> Refused | Unwell | Unknown | None:
    """As `judge`, but a 5xx leaves open whether it was taken: for what must never be sent twice."""
    if answer.status in _SERVER_ERRORS or answer.status == _TIMEOUT:
        return Unknown("provider_error")
    return judge(answer)


def retry_after(answer: Answer) -> timedelta | None:
    """The `Retry-After` of an answer in seconds; a date or nonsense counts as absent."""
    text = answer.headers.get("retry-after", "")
    if not text.isascii() or not text.isdigit():
        return None
    return min(timedelta(seconds=int(text[:9])), MOST_PATIENCE)


@lru_cache(maxsize=256)
def _address(url: str) -> httpx.URL:
    # Most calls go to a few addresses, and taking one apart takes as long as a tenth of a call.
    return httpx.URL(url)


class Caller:
    """Calls one provider.

    Args:
        timeout: Longest one call may take, to the last byte of its answer. The client's own
            timeout is for each read, which an answer that drips never reaches.
    """

    def __init__(self, client: httpx.AsyncClient, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout.total_seconds()

    async def call(
        self,
        method: str,
        url: str,
        *,
        document: object = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        repeatable: bool = False,
        judged: Judge = judge,
    ) -> Answer:
        """The answer, if it is a success.

        A connection that could not be made sent nothing: the provider is unwell. After the
        request may have gone out, no answer means nobody knows, unless it may be repeated.

        Args:
            document: Sent as JSON.
            repeatable: Calling twice is as good as once: a look, or a state that is set.
            judged: What the provider means by its answers.

        Raises:
            NotDone: It is not.
        """
        sent = dict(headers or {})
        if document is not None:
            content = json.dumps(document, ensure_ascii=False).encode()
            sent.setdefault("Content-Type", "application/json; charset=utf-8")
        request = self._client.build_request(
            method, _address(url), content=content, data=form, params=query, headers=sent
        )
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._answer(request, auth)
        except (httpx.HTTPError, TimeoutError) as error:
            outcome = unanswered(error)
            if repeatable and isinstance(outcome, Unknown):
                outcome = Unwell(outcome.reason)
            raise NotDone(outcome) from error
        found = judged(answer)
        if found is None:
            return answer
        if repeatable and isinstance(found, Unknown):
            found = Unwell(found.reason, answer.detail())
        raise NotDone(found)

    async def _answer(self, request: httpx.Request, auth: tuple[str, str] | None) -> Answer:
        response = await self._client.send(request, auth=auth, stream=True)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) >= MOST_ANSWER:
                    break
        finally:
            await response.aclose()
        text = bytes(body[:MOST_ANSWER]).decode(errors="replace")
        return Answer(response.status_code, response.headers, text)


def unanswered(error: httpx.HTTPError | TimeoutError) -> Refused | Unwell | Unknown:
    """What it means that no answer came."""
    match error:
        case HostNotAllowed():
            return Refused("host_not_allowed", str(error))
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return Refused("cannot_be_asked", type(error).__name__)
        case httpx.ConnectError() if _is_tls(error):
            return Unwell("tls_failed", type(error).__name__)
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Unwell("unreachable", type(error).__name__)
    return Unknown(f"no_answer_{type(error).__name__}")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
