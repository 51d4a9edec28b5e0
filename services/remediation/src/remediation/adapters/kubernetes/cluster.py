"""One cluster: its few requests, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import yaml
from lightkube import ALL_NS, AsyncClient, ConfigError, KubeConfig
from lightkube.types import PatchType

from remediation.adapters.kubernetes.failing import Refused, Unanswered
from remediation.adapters.kubernetes.kinds import (
    Document,
    Eviction,
    Happening,
    Kind,
    named,
    uid_of,
)
from remediation.domain.plan import MOST_OUTPUT

FIELD_MANAGER = "tocsin"
"""Who we are in `metadata.managedFields`, and the value of our label."""

ONE_REQUEST = timedelta(seconds=10)
"""Longest a single request may take."""

MOST_OBJECTS = 5_000
"""Objects read of one list; a larger one is refused, since counts would be wrong."""

_CHUNK = 500
_SERVER_ERRORS = 500
_REASONS = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    409: "changed_meanwhile",
    422: "invalid",
    429: "too_many_requests",
}

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster: by a kubeconfig, or as the pod's own service account.

    Attributes:
        kubeconfig: Its path; without one `service_account` says who we are.
        context: Of the kubeconfig; absent means its current one.
        service_account: Folder with `token`, `ca.crt` and `namespace`.
        namespaces: The only namespaces steps may touch; empty means all that its roles allow.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    service_account: Path | None = None
    namespaces: frozenset[str] = field(default_factory=frozenset)


@asynccontextmanager
async def reached(access: Access) -> AsyncIterator[Cluster]:
    """A cluster to talk to.

    Credentials are read anew for each call, since both kinds are rotated under our feet.
    """
    try:
        if access.kubeconfig is not None:
            config = KubeConfig.from_file(access.kubeconfig).get(access.context)
        elif access.service_account is not None:
            config = KubeConfig.from_service_account(access.service_account).get()
        else:
            config = KubeConfig.from_service_account().get()
        client = AsyncClient(
            config,
            timeout=httpx2.Timeout(ONE_REQUEST.total_seconds()),
            field_manager=FIELD_MANAGER,
            trust_env=False,
        )
    except (
        ConfigError,
        OSError,
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:
        # What it says may quote the file, and the file holds credentials.
        raise Refused("cluster_not_readable", type(error).__name__) from error
    try:
        yield Cluster(client)
    finally:
        await client.close()


class Cluster:
    """Reads and changes objects. Raises `Refused` and `Unanswered`, and nothing else."""

    def __init__(self, client: AsyncClient) -> None:
        # Its overloads tell kinds with a namespace from those without; here either may come.
        self._client: Any = client

    async def get(self, kind: Kind, name: str, namespace: str | None) -> Document:
        """The object; refused as `not_found` if there is none."""
        found = self._client.get(kind, name, **_in(namespace))
        return await _looked(found, f"{kind.__name__} {name}")

    async def find(self, kind: Kind, name: str, namespace: str | None) -> Document | None:
        """The object, if there is one."""
        try:
            return await self.get(kind, name, namespace)
        except Refused as refused:
            if refused.reason == "not_found":
                return None
            raise

    async def listed(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """All objects of a kind, of all namespaces if `None`; `labels` as `kubectl -l` takes it."""
        listing = self._all(kind, namespace, labels, fields)
        return await _looked(listing, f"list of {kind.__name__}")

    async def _all(
        self, kind: Kind, namespace: str | None, labels: str, fields: Mapping[str, str] | None
    ) -> list[Document]:
        found: list[Document] = []
        listing = self._client.list(
            kind,
            namespace=namespace or ALL_NS,
            chunk_size=_CHUNK,
            # lightkube writes a key that must merely exist as it stands: so a whole selector does.
            labels={labels: None} if labels else None,
            fields=dict(fields) if fields else None,
        )
        async for each in listing:
            found.append(each)
            if len(found) > MOST_OBJECTS:
                raise Refused("too_many_objects", f"more than {MOST_OBJECTS} {kind.__name__}s")
        return found

    async def patch(
        self, kind: Kind, before: Document, patch: Document, *, dry_run: bool = False
    ) -> Document:
        """The object after a merge patch, which is refused if anybody changed it since `before`."""
        metadata = before["metadata"]
        guarded = {
            **patch,
            "metadata": {
                **patch.get("metadata", {}),
                "resourceVersion": metadata["resourceVersion"],
                "uid": metadata["uid"],
            },
        }
        changing = self._client.patch(
            kind,
            metadata["name"],
            guarded,
            patch_type=PatchType.MERGE,
            dry_run=dry_run,
            **_in(metadata.get("namespace")),
        )
        what = f"{kind.__name__} {metadata['name']}"
        return await (_looked if dry_run else _changed)(changing, what)

    async def create(self, kind: Kind, document: Document, *, dry_run: bool = False) -> Document:
        """The new object; refused if there is one of its name."""
        creating = self._client.create(_object(kind, document), dry_run=dry_run)
        what = f"{kind.__name__} {named(document)}"
        return await (_looked if dry_run else _changed)(creating, what)

    async def delete(self, kind: Kind, document: Document, *, dry_run: bool = False) -> None:
        """Have an object go; gone already is gone."""
        deleting = self._client.delete(
            kind, named(document), dry_run=dry_run, **_in(document["metadata"].get("namespace"))
        )
        try:
            await (_looked if dry_run else _changed)(deleting, f"{kind.__name__} {named(document)}")
        except Refused as refused:
            if refused.reason != "not_found":
                raise

    async def evict(self, pod: Document, *, dry_run: bool = False) -> None:
        """Ask that exactly this pod goes; `too_many_requests` where its budget forbids it now."""
        metadata = pod["metadata"]
        place = {"name": metadata["name"], "namespace": metadata["namespace"]}
        options: Document = {"preconditions": {"uid": uid_of(pod)}}
        if dry_run:
            options["dryRun"] = ["All"]
        eviction = _object(
            Eviction,
            {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": place,
                "deleteOptions": options,
            },
        )
        asking = self._client.create(eviction, metadata["name"], namespace=metadata["namespace"])
        await (_looked if dry_run else _changed)(asking, f"eviction of {metadata['name']}")

    async def log(self, pod: Document, container: str, since: timedelta | None, lines: int) -> str:
        """The end of a container's log."""
        said = self._client.log(
            named(pod),
            namespace=pod["metadata"]["namespace"],
            container=container,
            since=max(1, int(since.total_seconds())) if since else None,
            tail_lines=lines,
        )
        return await _looked(_joined(said), f"log of {named(pod)}")

    async def happenings(self, namespace: str) -> list[Document]:
        """Warnings that the cluster noted there, newest first."""
        found = await self.listed(Happening, namespace, fields={"type": "Warning"})
        return sorted(found, key=_last_seen, reverse=True)


async def _joined(lines: AsyncIterable[str]) -> str:
    return "".join([line async for line in lines])


def _last_seen(happening: Document) -> str:
    seen = happening.get("lastTimestamp") or happening.get("eventTime")
    return str(seen or happening["metadata"].get("creationTimestamp", ""))


def _object(kind: Kind, document: Document) -> object:
    make: Any = kind
    return make(document)


def _in(namespace: str | None) -> dict[str, str]:
    return {} if namespace is None else {"namespace": namespace}


async def _looked(request: Awaitable[Answer], what: str) -> Answer:
    """The answer to a request that changes nothing."""
    try:
        return await _answered(request, what)
    except Unanswered as unanswered:
        raise Refused("unreachable", f"{what}: {unanswered.reason}") from unanswered


async def _changed(request: Awaitable[Answer], what: str) -> Answer:
    """The answer to a request that changes something, which without one may have done so."""
    return await _answered(request, what)


async def _answered(request: Awaitable[Answer], what: str) -> Answer:
    try:
        async with asyncio.timeout(ONE_REQUEST.total_seconds()):
            return await request
    except httpx2.HTTPStatusError as error:
        if error.response.status_code >= _SERVER_ERRORS:
            # It may have been stored before whatever went wrong.
            raise Unanswered(f"status_{error.response.status_code}") from error
        raise _refusal(error, what) from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise Refused("unreachable", f"{what}: {type(error).__name__}") from error
    except httpx2.HTTPError as error:
        raise Unanswered(f"no_answer_{type(error).__name__}") from error
    except TimeoutError as error:
        raise Unanswered("timed_out") from error
    except (ConfigError, OSError) as error:
        # A token file, or a program that gets tokens, failed before anything was sent.
        raise Refused("not_authenticated", f"{what}: {type(error).__name__}") from error
    except (ValueError, KeyError) as error:
        raise Unanswered("unreadable_answer") from error


def _refusal(error: httpx2.HTTPStatusError, what: str) -> Refused:
    status = error.response.status_code
    reason = _REASONS.get(status, "refused")
    try:
        # Not only in a type of `application/json`, as lightkube wants it.
        message = str(error.response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = f"status {status}"
    return Refused(reason, f"{what}: {message}"[:MOST_OUTPUT])
