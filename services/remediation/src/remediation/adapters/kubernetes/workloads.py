"""Which pods belong to what, and whom an action reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remediation.adapters.kubernetes.cluster import Cluster
from remediation.adapters.kubernetes.failing import Refused
from remediation.adapters.kubernetes.kinds import (
    NAMED,
    WORKLOADS,
    Document,
    Kind,
    Node,
    Pod,
    ReplicaSet,
    controller_of,
    named,
)
from tocsin_policy import KubernetesCall

_ENDED = frozenset({"Succeeded", "Failed"})


def split(call: KubernetesCall) -> tuple[str, str]:
    """Word and name of the call's `resource`."""
    if call.resource is None:
        raise Refused("no_resource", f"{call.action} needs a resource, as in deployment/api")
    word, _, name = call.resource.partition("/")
    return word, name


def kind_of(word: str) -> Kind:
    """What a policy's word stands for."""
    kind = NAMED.get(word)
    if kind is None:
        raise Refused("unknown_kind", f"{word} is none of {', '.join(NAMED)}")
    return kind


def place(call: KubernetesCall, kind: Kind) -> str | None:
    """The namespace to look in; `None` for what lives in no namespace."""
    return None if kind is Node else call.namespace


def target(call: KubernetesCall, word: str, name: str, namespace: str | None = None) -> str:
    """One thing acted on, as the envelope tells targets apart."""
    if word == "node":
        return f"node:{call.cluster}/{name}"
    return f"{word}:{call.cluster}/{namespace or call.namespace}/{name}"


def replicas_of(word: str, document: Document) -> int:
    """Pods it is asked to have."""
    if word == "daemonset":
        return int((document.get("status") or {}).get("desiredNumberScheduled", 0))
    return int(document["spec"].get("replicas", 1))


def selector_text(selector: Document) -> str:
    """A label selector as a query takes it.

    >>> selector_text({"matchLabels": {"app": "api"}})
    'app=api'
    """
    said = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        match each["operator"]:
            case "In":
                said.append(f"{key} in ({values})")
            case "NotIn":
                said.append(f"{key} notin ({values})")
            case "Exists":
                said.append(key)
            case _:
                said.append(f"!{key}")
    return ",".join(said)


async def pods_of(cluster: Cluster, call: KubernetesCall) -> list[Document]:
    """The pods a call names: one, a workload's, a service's, or those of its selector."""
    if call.resource is None:
        return await cluster.listed(Pod, call.namespace, labels=call.selector)
    word, name = split(call)
    if word == "pod":
        return [await cluster.get(Pod, name, call.namespace)]
    if word not in {*WORKLOADS, "service"}:
        raise Refused("wrong_kind", f"{word} has no pods")
    document = await cluster.get(kind_of(word), name, call.namespace)
    selector = document["spec"].get("selector") or {}
    text = selector_text({"matchLabels": selector} if word == "service" else selector)
    if not text:
        raise Refused("wrong_kind", f"{call.resource} selects no pods")
    return await cluster.listed(Pod, call.namespace, labels=text)


async def workload_of(cluster: Cluster, pod: Document) -> tuple[str, str] | None:
    """What people call the pod's owner: its deployment, not the replica set between them."""
    owner = controller_of(pod)
    if owner is None or owner[0] != "replicaset":
        return owner
    held = await cluster.find(ReplicaSet, owner[1], pod["metadata"]["namespace"])
    return (controller_of(held) if held else None) or owner


def share(part: int, whole: int) -> float:
    """`part` of `whole`; nothing of nothing is nothing."""
    return min(1.0, part / whole) if whole else 0.0


def is_ready(pod: Document) -> bool:
    """Whether it takes traffic."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def has_ended(pod: Document) -> bool:
    """Whether it did what it was for, or failed at it, for good."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def readers(pods: Sequence[Document], config_map: str) -> list[str]:
    """Names of the pods that mount a ConfigMap or take variables from it."""
    return [named(pod) for pod in pods if config_map in set(_config_maps(pod["spec"]))]


def _config_maps(spec: Document) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        yield (volume.get("configMap") or {}).get("name", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("configMap") or {}).get("name", "")
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for source in container.get("envFrom") or ():
            yield (source.get("configMapRef") or {}).get("name", "")
        for variable in container.get("env") or ():
            taken = (variable.get("valueFrom") or {}).get("configMapKeyRef") or {}
            yield taken.get("name", "")
