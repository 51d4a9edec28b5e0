"""An issue for a postmortem, on GitHub or what speaks as it does.

Where to and as whom is the operator's to say, in the environment, never the policy's or the
command line's: a postmortem holds what alerts and people said. The host must be on a list.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tocsin_cli.exits import Unreachable

_TIMEOUT_SECONDS = 20.0
_MOST_BODY = 65_000
_MOST_TITLE = 256
_PAGE = 100
_MOST_PAGES = 10
"""Pages of issues looked through for one that was opened before."""

_CUT = "\n\n_The rest does not fit into an issue; see `tocsin postmortem`._\n"


class ReviewSettings(BaseSettings):
    """Where postmortems are opened as issues.

    Attributes:
        hosts: Hosts that may be called, comma-separated; any other is refused.
        token: The bearer token; `token_file` names a file that holds it.
        labels: Of the issue, comma-separated.
    """

    model_config = SettingsConfigDict(env_prefix="TOCSIN_REVIEW_", extra="ignore")

    url: str = "https://api.github.com"
    repository: Annotated[str, Field(pattern=r"^([\w.-]+/[\w.-]+)?$")] = ""
    hosts: Annotated[str, NoDecode] = "api.github.com"
    token: SecretStr | None = None
    token_file: Path | None = None
    labels: Annotated[str, NoDecode] = "postmortem"

    def bearer(self) -> str:
        """The token. Raises `ValueError` where none is set."""
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip()
        raise ValueError("no token: set TOCSIN_REVIEW_TOKEN or TOCSIN_REVIEW_TOKEN_FILE")

    def issues(self) -> str:
        """The address of the repository's issues.

        Raises:
            ValueError: No repository is set, the host is not allowed, or the way there is open.
        """
        if not self.repository:
            raise ValueError("no repository: set TOCSIN_REVIEW_REPOSITORY=owner/name")
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        allowed = {name.strip().lower() for name in self.hosts.split(",")}
        if host not in allowed:
            raise ValueError(f"{host!r} is not in TOCSIN_REVIEW_HOSTS ({self.hosts})")
        if parts.scheme != "https" and not _loopback(host):
            raise ValueError(f"{self.url}: only https, or a token would be read on its way")
        return f"{self.url.rstrip('/')}/repos/{self.repository}/issues"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_issue(settings: ReviewSettings, incident: str, title: str, body: str) -> str:
    """The address people open of the postmortem's issue; the one there is, if it was opened before.

    There is no key to merge repeats by, so the text carries the incident in a comment of HTML,
    and issues are looked through for it first.

    Raises:
        ValueError: It is not configured, or refused.
        Unreachable: It does not answer.
    """
    url = settings.issues()
    headers = {
        "Authorization": f"Bearer {settings.bearer()}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    mark = f"<!-- tocsin postmortem {incident} -->"
    labels = [label.strip() for label in settings.labels.split(",") if label.strip()]
    with httpx.Client(headers=headers, timeout=_TIMEOUT_SECONDS) as client:
        found = _opened_before(client, url, mark, labels)
        if found is None:
            text = body if len(body) <= _MOST_BODY else body[: _MOST_BODY - len(_CUT)] + _CUT
            made = {"title": title[:_MOST_TITLE], "body": f"{text}\n{mark}\n", "labels": labels}
            found = _answer(client, "POST", url, json=made)
    return str(found["html_url"])


def _opened_before(
    client: httpx.Client, url: str, mark: str, labels: list[str]
) -> dict[str, Any] | None:
    query = {"state": "all", "labels": ",".join(labels), "per_page": str(_PAGE)}
    for page in range(1, _MOST_PAGES + 1):
        listed = _answer(client, "GET", url, params=query | {"page": str(page)})
        for one in listed:
            if mark in str(one.get("body")):
                found: dict[str, Any] = one
                return found
        if len(listed) < _PAGE:
            return None
    return None


def _answer(client: httpx.Client, method: str, url: str, **sent: Any) -> Any:  # noqa: ANN401 - JSON in and out
    try:
        response = client.request(method, url, **sent)
    except httpx.HTTPError as error:
        raise Unreachable(f"{url} does not answer: {error}") from error
    if response.is_server_error:
        raise Unreachable(f"{url} cannot take it now: {response.status_code}")
    if not response.is_success:
        raise ValueError(f"{url} refused it: {response.status_code} {response.text[:200]}")
    try:
        return response.json()
    except ValueError as error:
        raise Unreachable(f"{url} answered no JSON") from error
