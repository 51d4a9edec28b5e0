"""A cluster as a test sees and changes it: plain requests, apart from the code under test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx

from tocsin_runtime.clock import SystemClock
from tocsin_testkit.kubernetes.objects import PATHS, Document

_LOOKS = 600
_BETWEEN = timedelta(milliseconds=50)
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Seen:
    """One namespace of a cluster, as its administrator.

    Attributes:
        namespace: Its name.
        client: For requests of any other kind.
    """

    def __init__(self, client: httpx.AsyncClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._clock = SystemClock()

    def path(self, kind: str, name: str = "") -> str:
        """Where an object, or all of its kind, is."""
        return PATHS[kind].format(namespace=self.namespace) + (f"/{name}" if name else "")

    async def make(self, document: Document) -> Document:
        """Create an object."""
        return await self._asked("POST", self.path(document["kind"].lower()), json=document)

    async def get(self, kind: str, name: str) -> Document:
        """The object."""
        return await self._asked("GET", self.path(kind, name))

    async def there(self, kind: str, name: str) -> bool:
        """Whether there is such an object."""
        return (await self.client.get(self.path(kind, name))).is_success

    async def listed(self, kind: str) -> list[Document]:
        """All objects of a kind in the namespace."""
        found: list[Document] = (await self._asked("GET", self.path(kind)))["items"]
        return found

    async def pods(self, app: str) -> list[Document]:
        """Pods of an app that do not end."""
        return [
            pod
            for pod in await self.listed("pod")
            if (pod["metadata"].get("labels") or {}).get("app") == app
            and "deletionTimestamp" not in pod["metadata"]
        ]

    async def merge(self, kind: str, name: str, patch: Document) -> Document:
        """Change an object, as somebody else would."""
        return await self._asked("PATCH", self.path(kind, name), json=patch, headers=_MERGE)

    async def say(self, kind: str, name: str, status: Document) -> Document:
        """Write part of an object's status, as a controller would."""
        path, document = f"{self.path(kind, name)}/status", {"status": status}
        return await self._asked("PATCH", path, json=document, headers=_MERGE)

    async def remove(self, kind: str, name: str) -> None:
        """Delete an object."""
        await self.client.delete(self.path(kind, name))

    async def until(self, kind: str, name: str, so: Callable[[Document], object]) -> Document:
        """The object once something is true of it; at most half a minute later."""
        found: Document = {}
        for _ in range(_LOOKS):
            found = await self.get(kind, name)
            if so(found):
                return found
            await self._clock.sleep(_BETWEEN)
        raise AssertionError(f"{kind}/{name} never was as wanted: {found.get('status')}")

    async def until_ready(self, kind: str, name: str) -> Document:
        """A workload once all its pods are ready and its newest."""

        def so(found: Document) -> bool:
            status, metadata = found.get("status") or {}, found["metadata"]
            if status.get("observedGeneration") != metadata["generation"]:
                return False
            if kind == "daemonset":
                wanted = status.get("desiredNumberScheduled", 0)
                return bool(wanted and status.get("numberAvailable", 0) == wanted)
            wanted = found["spec"]["replicas"]
            counts = (status.get(n, 0) for n in ("updatedReplicas", "availableReplicas"))
            return all(n == wanted for n in counts) and status.get("replicas", 0) == wanted

        return await self.until(kind, name, so)

    async def _asked(self, method: str, path: str, **more: Any) -> Document:  # noqa: ANN401 - httpx's
        answer = await self.client.request(method, path, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: Document = answer.json()
        return found
