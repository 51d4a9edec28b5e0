"""Nodes without machines: pods are bound, said to run, and end, as a kubelet would have it.

The API server also asks the "kubelet" for logs, over TLS, at the port the node says.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import trustme

from tocsin_runtime.clock import SystemClock
from tocsin_testkit.kubernetes.objects import BROKEN, Document
from tocsin_testkit.providers.serving import Provider, Reply, Request

_BETWEEN = timedelta(milliseconds=50)
_MERGE = {"Content-Type": "application/merge-patch+json"}


class _Logs(Provider):
    """The part of a kubelet that the API server calls."""

    def take(self, request: Request) -> Reply:
        """The container's log: three lines that say whose they are."""
        *_, namespace, pod, container = request.path.split("/")
        lines = [f"{namespace}/{pod}/{container} line {number}\n" for number in (1, 2, 3)]
        last = int(request.query.get("tailLines", "3"))
        return Reply(200, "".join(lines[-last:]), {"Content-Type": "text/plain"})


class Nodes:
    """Some nodes, and one loop that does what their kubelets and the scheduler would.

    Args:
        client: An administrator's.
        names: Of the nodes; they live as long as `running`.
        namespace: Whose pods are bound to them; pods that end are let go everywhere.
    """

    def __init__(self, client: httpx.AsyncClient, names: Sequence[str], namespace: str) -> None:
        self._client = client
        self._names = names
        self._namespace = namespace
        self._clock = SystemClock()
        self._next = 0

    @asynccontextmanager
    async def registered(self) -> AsyncIterator[None]:
        """The nodes are there and answer for logs, until the block ends."""
        certificate = trustme.CA().issue_cert("127.0.0.1")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        async with _Logs().serving(tls) as url:
            port = int(url.rpartition(":")[2])
            for name in self._names:
                await self._client.post("/api/v1/nodes", json={"metadata": {"name": name}})
                status = {
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "capacity": {"cpu": "64", "memory": "64Gi", "pods": "110"},
                    "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"},
                }
                await self._patch_status(f"/api/v1/nodes/{name}", status)
                # A new node is tainted as not ready; the controller that would see it is not run.
                untainted = {"spec": {"taints": None}}
                await self._client.patch(f"/api/v1/nodes/{name}", json=untainted, headers=_MERGE)
            try:
                yield
            finally:
                for name in self._names:
                    await self._client.delete(f"/api/v1/nodes/{name}")

    async def run(self) -> None:
        """Look after pods, for ever."""
        while True:
            pods = (await self._client.get("/api/v1/pods")).json()["items"]
            for pod in pods:
                await self._look_after(pod)
            await self._clock.sleep(_BETWEEN)

    async def _look_after(self, pod: Document) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            await self._client.delete(path, params={"gracePeriodSeconds": "0"})
        elif metadata["namespace"] != self._namespace:
            return
        elif not spec.get("nodeName"):
            await self._bind(pod, path)
        elif (pod.get("status") or {}).get("phase") == "Pending" and not _said(pod):
            await self._patch_status(path, status_of(pod))

    async def _bind(self, pod: Document, path: str) -> None:
        wanted = _affine(pod["spec"])
        nodes = (await self._client.get("/api/v1/nodes")).json()["items"]
        open_ = [
            node["metadata"]["name"]
            for node in nodes
            if node["metadata"]["name"] in self._names and not node["spec"].get("unschedulable")
        ]
        if not open_ and wanted is None:
            return
        self._next += 1
        name = wanted or open_[self._next % len(open_)]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": name},
        }
        await self._client.post(f"{path}/binding", json=binding)

    async def _patch_status(self, path: str, status: Document) -> None:
        await self._client.patch(f"{path}/status", json={"status": status}, headers=_MERGE)


def status_of(pod: Document) -> Document:
    """What a kubelet says of a pod it has: ready, unless its image is broken."""
    containers = pod["spec"]["containers"]
    broken = any(BROKEN in each.get("image", "") for each in containers)
    state: Document = {"running": {}}
    if broken:
        state = {"waiting": {"reason": "ImagePullBackOff"}}
    return {
        "phase": "Pending" if broken else "Running",
        "conditions": [
            {"type": "Ready", "status": "False" if broken else "True"},
            {"type": "ContainersReady", "status": "False" if broken else "True"},
        ],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each.get("image", ""),
                "imageID": "",
                "ready": not broken,
                "restartCount": 0,
                "state": state,
            }
            for each in containers
        ],
    }


def _said(pod: Document) -> bool:
    return bool((pod.get("status") or {}).get("containerStatuses"))


def _affine(spec: Document) -> str | None:
    """The node a DaemonSet's controller wants a pod on."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in needed.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return None
