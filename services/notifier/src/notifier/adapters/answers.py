"""What an HTTP answer, or the lack of one, means; shared by every channel over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import httpx

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell

MOST_DETAIL = 300
_TOO_MANY = 429
_TIMEOUT = 408
_OK = range(200, 300)
_SERVER_ERRORS = range(500, 600)


async def post(
    client: httpx.AsyncClient,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    accepted: Callable[[httpx.Response], Outcome] | None = None,
) -> Outcome:
    """What became of a POST.

    A connection that could not be made sent nothing: the provider is unwell. After the request
    may have gone out, no answer means nobody knows. A 5xx is taken as not accepted: every
    provider here documents it so.

    Args:
        accepted: Judges a 2xx answer whose body may still say no.
    """
    try:
        response = await client.post(url, content=content, headers=dict(headers))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Unwell("unreachable", type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(f"no_answer_{type(error).__name__}")
    if response.status_code in _OK:
        return Delivered() if accepted is None else accepted(response)
    detail = f"{response.status_code}: {response.text[:MOST_DETAIL]}"
    if response.status_code == _TOO_MANY:
        return Unwell("rate_limited", detail, retry_after(response))
    if response.status_code in _SERVER_ERRORS or response.status_code == _TIMEOUT:
        return Unwell("provider_error", detail, retry_after(response))
    return Refused("refused", detail)


def retry_after(response: httpx.Response) -> timedelta | None:
    """The `Retry-After` of an answer in seconds; a date or nonsense counts as absent."""
    text = response.headers.get("retry-after", "")
    return timedelta(seconds=int(text)) if text.isdigit() else None
