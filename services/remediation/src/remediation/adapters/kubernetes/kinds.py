"""The kinds of objects steps may name, as dictionaries.

lightkube's own classes know the fields of one Kubernetes release and drop what a newer server
says; a template that is put back must be the whole template.
"""

from __future__ import annotations

from typing import Any

from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericNamespacedResource,
    create_api_info,
)

Document = dict[str, Any]
"""An object of Kubernetes, as its JSON."""

Value = Any
"""A JSON value of any shape."""


class Namespaced(GenericNamespacedResource):
    """An object that lives in a namespace."""


class Global(GenericGlobalResource):
    """An object of the whole cluster."""


class Deployment(Namespaced):
    """`deployment/…`."""

    _api_info = create_api_info("apps", "v1", "Deployment", "deployments")


class StatefulSet(Namespaced):
    """`statefulset/…`."""

    _api_info = create_api_info("apps", "v1", "StatefulSet", "statefulsets")


class DaemonSet(Namespaced):
    """`daemonset/…`."""

    _api_info = create_api_info("apps", "v1", "DaemonSet", "daemonsets")


class ReplicaSet(Namespaced):
    """A revision of a deployment."""

    _api_info = create_api_info("apps", "v1", "ReplicaSet", "replicasets")


class Service(Namespaced):
    """`service/…`."""

    _api_info = create_api_info("", "v1", "Service", "services")


class Ingress(Namespaced):
    """`ingress/…`."""

    _api_info = create_api_info("networking.k8s.io", "v1", "Ingress", "ingresses")


class ConfigMap(Namespaced):
    """`configmap/…`."""

    _api_info = create_api_info("", "v1", "ConfigMap", "configmaps")


class NetworkPolicy(Namespaced):
    """`networkpolicy/…`."""

    _api_info = create_api_info("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")


class Pod(Namespaced):
    """`pod/…`."""

    _api_info = create_api_info("", "v1", "Pod", "pods")


class Eviction(Namespaced):
    """A request that a pod goes, which its disruption budget may refuse."""

    _api_info = ApiInfo(
        resource=ResourceDef("policy", "v1", "Eviction"),
        parent=ResourceDef("", "v1", "Pod"),
        plural="pods",
        verbs=["post"],
        action="eviction",
    )


class Happening(Namespaced):
    """What Kubernetes calls an event."""

    _api_info = create_api_info("", "v1", "Event", "events")


class Node(Global):
    """`node/…`."""

    _api_info = create_api_info("", "v1", "Node", "nodes")


Kind = type[Namespaced] | type[Global]

NAMED: dict[str, Kind] = {
    "deployment": Deployment,
    "statefulset": StatefulSet,
    "daemonset": DaemonSet,
    "service": Service,
    "ingress": Ingress,
    "configmap": ConfigMap,
    "networkpolicy": NetworkPolicy,
    "pod": Pod,
    "node": Node,
}
"""By the word before the slash of a policy's `resource`."""

WORKLOADS = frozenset({"deployment", "statefulset", "daemonset"})
SCALED = frozenset({"deployment", "statefulset"})
ANNOTATED = WORKLOADS | {"service", "ingress"}


def named(document: Document) -> str:
    """Its name."""
    return str(document["metadata"]["name"])


def uid_of(document: Document) -> str:
    """What no other object ever has, not even its successor of the same name."""
    return str(document["metadata"].get("uid", ""))


def controller_of(document: Document) -> tuple[str, str] | None:
    """Kind, in small letters, and name of what would replace it; `None` if nothing would."""
    for owner in document["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["kind"]).lower(), str(owner["name"])
    return None
