"""Objects for tests, as small as Kubernetes takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

BROKEN = "broken"
"""An image with this in its name never becomes ready."""

PATHS = {
    "namespace": "/api/v1/namespaces",
    "node": "/api/v1/nodes",
    "pod": "/api/v1/namespaces/{namespace}/pods",
    "service": "/api/v1/namespaces/{namespace}/services",
    "configmap": "/api/v1/namespaces/{namespace}/configmaps",
    "event": "/api/v1/namespaces/{namespace}/events",
    "deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "statefulset": "/apis/apps/v1/namespaces/{namespace}/statefulsets",
    "daemonset": "/apis/apps/v1/namespaces/{namespace}/daemonsets",
    "replicaset": "/apis/apps/v1/namespaces/{namespace}/replicasets",
    "networkpolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "ingress": "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses",
    "poddisruptionbudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
}
"""Where the objects of a kind are, by the word policies use."""


def a_template(
    app: str,
    *,
    image: str = "registry.example/app:1",
    env: Mapping[str, str] | None = None,
    **spec: object,
) -> Document:
    """A pod template of one container, `main`."""
    container = {
        "name": "main",
        "image": image,
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
    }
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [container], **spec},
    }


def a_workload(kind: str, name: str, *, replicas: int | None = 3, **template: Any) -> Document:  # noqa: ANN401 - a_template says
    """A Deployment, StatefulSet or DaemonSet; the latter has no replicas."""
    spec: Document = {
        "selector": {"matchLabels": {"app": name}},
        "template": a_template(name, **template),
    }
    if replicas is not None and kind != "DaemonSet":
        spec["replicas"] = replicas
    if kind == "StatefulSet":
        spec["serviceName"] = name
        spec["podManagementPolicy"] = "Parallel"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_config_map(name: str, **data: str) -> Document:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def a_service(name: str, annotations: Mapping[str, str] | None = None) -> Document:
    """A Service of the pods of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }


def a_budget(app: str, least: int) -> Document:
    """A disruption budget: at least so many pods stay."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app},
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": app}}},
    }
