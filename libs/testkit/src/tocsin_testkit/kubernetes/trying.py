"""A namespace to try the runner in, real or not, with the rights the runner is shipped with."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tocsin_testkit.kubernetes.double import KubernetesDouble, rules
from tocsin_testkit.kubernetes.nodes import Nodes
from tocsin_testkit.kubernetes.objects import Document
from tocsin_testkit.kubernetes.observing import Seen
from tocsin_testkit.kubernetes.real import RealKubernetes, kubeconfig_of

ROLES = Path("deploy") / "kubernetes" / "remediation-rbac.yaml"
"""What is shipped, in the repository."""

_OURS = "tocsin-remediation"
_HOME = "tocsin"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMIN, _RUNNER = "administrator", "runner"


@dataclass(frozen=True, slots=True)
class Trial:
    """A namespace, three nodes, and a kubeconfig with the shipped roles.

    Attributes:
        double: The cluster, where it is none.
    """

    seen: Seen
    kubeconfig: Path
    nodes: tuple[str, ...]
    double: KubernetesDouble | None = None


def shipped(root: Path) -> list[Document]:
    """The documents of the shipped file."""
    return list(yaml.safe_load_all((root / ROLES).read_text()))


@asynccontextmanager
async def on_double(root: Path, folder: Path, namespace: str) -> AsyncIterator[Trial]:
    """In memory."""
    roles = [each for each in shipped(root) if each["kind"] == "ClusterRole"]
    double = KubernetesDouble({_ADMIN: None, _RUNNER: rules(roles)})
    nodes = _nodes(namespace)
    async with double.serving() as url:
        headers = {"Authorization": f"Bearer {_ADMIN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as client:
            await _make_namespace(client, namespace)
            for name in nodes:
                await client.post("/api/v1/nodes", json={"metadata": {"name": name}})
            kubeconfig = _written(folder, url, _RUNNER, None)
            yield Trial(Seen(client, namespace), kubeconfig, nodes, double)


@asynccontextmanager
async def on_real(
    kubernetes: RealKubernetes, root: Path, folder: Path, namespace: str
) -> AsyncIterator[Trial]:
    """On the real API, as the shipped service account with a token of its own."""
    trust = ssl.create_default_context(cafile=kubernetes.ca)
    headers = {"Authorization": f"Bearer {kubernetes.token}"}
    nodes = _nodes(namespace)
    async with httpx.AsyncClient(base_url=kubernetes.url, headers=headers, verify=trust) as client:
        await _make_namespace(client, _HOME)
        await _make_namespace(client, namespace)
        token = await _granted(client, root, namespace)
        kept = Nodes(client, nodes, namespace)
        async with kept.registered():
            kubelets = asyncio.create_task(kept.run())
            try:
                kubeconfig = _written(folder, kubernetes.url, token, kubernetes.ca)
                yield Trial(Seen(client, namespace), kubeconfig, nodes)
            finally:
                kubelets.cancel()
                await asyncio.gather(kubelets, return_exceptions=True)
                await client.delete(f"/api/v1/namespaces/{namespace}")


def _nodes(namespace: str) -> tuple[str, ...]:
    return tuple(f"{namespace}-{letter}" for letter in "abc")


async def _make_namespace(client: httpx.AsyncClient, name: str) -> None:
    await client.post("/api/v1/namespaces", json={"metadata": {"name": name}})


async def _granted(client: httpx.AsyncClient, root: Path, namespace: str) -> str:
    """A token of the shipped account, once the shipped roles are bound as the file says."""
    for document in shipped(root):
        path = f"{_RBAC}/clusterroles"
        if document["kind"] == "ServiceAccount":
            path = f"/api/v1/namespaces/{_HOME}/serviceaccounts"
        await client.post(path, json=document)
    subject = {"kind": "ServiceAccount", "name": _OURS, "namespace": _HOME}
    for role, path in (
        (_OURS, f"{_RBAC}/namespaces/{namespace}/rolebindings"),
        (f"{_OURS}-nodes", f"{_RBAC}/clusterrolebindings"),
    ):
        reference = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role,
        }
        binding = {"metadata": {"name": role}, "roleRef": reference, "subjects": [subject]}
        await client.post(path, json=binding)
    answer = await client.post(
        f"/api/v1/namespaces/{_HOME}/serviceaccounts/{_OURS}/token",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    assert answer.is_success, answer.text
    return str(answer.json()["status"]["token"])


def _written(folder: Path, url: str, token: str, ca: Path | None) -> Path:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig_of(url, token, ca)))
    return path
