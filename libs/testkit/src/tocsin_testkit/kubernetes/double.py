"""A Kubernetes API in memory, with controllers that are done at once.

It speaks the REST paths that the runner uses, refuses what the shipped roles do not allow, and
passes the same suite as the real API (`tests/conformance/test_kubernetes_runner.py`), which also
says what it cannot do.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tocsin_testkit.kubernetes.nodes import status_of
from tocsin_testkit.kubernetes.objects import Document
from tocsin_testkit.providers.serving import Provider, Reply, Request

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+))?)?$"
)
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_TERM = re.compile(r"[^,(]+(?:\([^)]*\))?")
_REVISION = "deployment.kubernetes.io/revision"
_KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "pods": "Pod",
}
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_MOST_TURNS = 20
_NOT_KEPT_EMPTY = frozenset({"annotations", "labels", "env", "limits", "requests"})

Key = tuple[str, str, str]
"""Plural, namespace and name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a role allows; one of each."""

    verb: str
    group: str
    resource: str


def rules(roles: Iterable[Document]) -> frozenset[Rule]:
    """Everything that these ClusterRoles allow."""
    return frozenset(
        Rule(verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    )


class KubernetesDouble(Provider):
    """One cluster.

    Attributes:
        used: The rules that the restricted token needed so far.

    Args:
        tokens: What each bearer token may do; `None` for everything.
    """

    def __init__(self, tokens: Mapping[str, frozenset[Rule] | None]) -> None:
        super().__init__()
        self._tokens = tokens
        self._objects: dict[Key, Document] = {}
        self._numbers = itertools.count(1)
        self.used: set[Rule] = set()

    def take(self, request: Request) -> Reply:
        """Answer as the API server does."""
        matched = _PATH.match(request.path)
        if matched is None:
            return _refused(404, "NotFound", f"no such path: {request.path}")
        group, namespace, plural, name, sub = matched.groups(default="")
        resource = f"{plural}/{sub}" if sub else plural
        verb = _VERBS[request.method]
        rule = Rule("list" if verb == "get" and not name else verb, group, resource)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return _refused(401, "Unauthorized", "Unauthorized")
        allowed = self._tokens[token]
        if allowed is not None:
            if rule not in allowed:
                what = f'cannot {rule.verb} resource "{resource}" in API group "{group}"'
                return _refused(403, "Forbidden", f"{resource} is forbidden: {what}")
            self.used.add(rule)
        reply = self._answer(rule.verb, sub, (plural, namespace, name), request)
        self._settle()
        return reply

    def _answer(self, verb: str, sub: str, key: Key, request: Request) -> Reply:
        plural, namespace, name = key
        if verb == "list":
            return self._list(plural, namespace, request.query)
        if verb == "create" and not sub:
            return self._create(plural, namespace, request)
        held = self._objects.get(key)
        if held is None:
            return _refused(404, "NotFound", f'{plural} "{name}" not found')
        match verb, sub:
            case "get", "log":
                return self._log(held, request)
            case "create", "eviction":
                return self._evict(key, held, request)
            case "get", _:
                return Reply.of(200, held)
            case "patch", _:
                return self._patch(key, held, request)
            case _:
                if not _is_dry(request):
                    self._delete(key)
                return Reply.of(200, {"kind": "Status", "status": "Success"})

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> Reply:
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        found = [
            each
            for (kind, at, _), each in sorted(self._objects.items())
            if kind == plural
            and namespace in {"", at}
            and _matches(labels, each["metadata"].get("labels") or {})
            and _has_fields(fields, each)
        ]
        return Reply.of(200, {"kind": "List", "items": found, "metadata": {}})

    def _create(self, plural: str, namespace: str, request: Request) -> Reply:
        document = request.document()
        key = (plural, namespace, document["metadata"]["name"])
        if key in self._objects:
            return _refused(409, "AlreadyExists", f'{plural} "{key[2]}" already exists')
        made = self._stamped(document, namespace)
        if not _is_dry(request):
            self._objects[key] = made
        return Reply.of(201, made)

    def _stamped(self, document: Document, namespace: str) -> Document:
        number = next(self._numbers)
        at = (_EPOCH + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        metadata = {
            **document["metadata"],
            **({"namespace": namespace} if namespace else {}),
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(number),
            "generation": 1,
            "creationTimestamp": at,
        }
        made: Document = _without_empty({"spec": {}, **document, "metadata": metadata})
        return made

    def _patch(self, key: Key, held: Document, request: Request) -> Reply:
        patch = request.document()
        guard = patch.get("metadata") or {}
        for name in ("resourceVersion", "uid"):
            if name in guard and guard[name] != held["metadata"][name]:
                text = (
                    "the object has been modified; please apply your changes to the latest version"
                )
                return _refused(409, "Conflict", f'"{key[2]}": {text}')
        if held.get("immutable") and "data" in patch:
            return _refused(422, "Invalid", "data: Forbidden: field is immutable")
        after = _without_empty(_merged(held, patch))
        if not _is_dry(request):
            self._store(key, after)
            after = self._objects[key]
        return Reply.of(200, after)

    def _store(self, key: Key, after: Document) -> None:
        before = self._objects[key]
        if after == before:
            return
        metadata = after["metadata"]
        metadata["resourceVersion"] = str(next(self._numbers))
        if after.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"]["generation"] + 1
        self._objects[key] = after

    def _delete(self, key: Key) -> None:
        gone = self._objects.pop(key, None)
        if gone is None:
            return
        uid = gone["metadata"]["uid"]
        inside = key[2] if key[0] == "namespaces" else None
        for other, each in list(self._objects.items()):
            if other[1] == inside or uid in _owners(each):
                self._delete(other)

    def _evict(self, key: Key, pod: Document, request: Request) -> Reply:
        options = request.document().get("deleteOptions") or {}
        uid = (options.get("preconditions") or {}).get("uid")
        if uid not in {None, pod["metadata"]["uid"]}:
            return _refused(409, "Conflict", "the UID in the precondition does not match")
        labels = pod["metadata"].get("labels") or {}
        for (plural, namespace, _), budget in self._objects.items():
            if (plural, namespace) != ("poddisruptionbudgets", key[1]):
                continue
            if not _selects(budget["spec"]["selector"], labels):
                continue
            ready = [each for each in self._pods(key[1], budget["spec"]["selector"]) if _up(each)]
            if len(ready) <= budget["spec"]["minAvailable"]:
                text = "Cannot evict pod as it would violate the pod's disruption budget."
                return _refused(429, "TooManyRequests", text)
        if "All" not in (options.get("dryRun") or ()):
            self._delete(key)
        return Reply.of(201, {"kind": "Status", "status": "Success"})

    def _log(self, pod: Document, request: Request) -> Reply:
        names = [each["name"] for each in pod["spec"]["containers"]]
        container = request.query.get("container", names[0])
        if container not in names:
            text = f"container {container} is not valid for pod {pod['metadata']['name']}"
            return _refused(400, "BadRequest", text)
        where = "/".join((pod["metadata"]["namespace"], pod["metadata"]["name"], container))
        lines = [f"{where} line {number}\n" for number in (1, 2, 3)]
        last = int(request.query.get("tailLines", "3"))
        return Reply(200, "".join(lines[-last:]), {"Content-Type": "text/plain"})

    # What controllers do.

    def _settle(self) -> None:
        for _ in range(_MOST_TURNS):
            before = json.dumps([*self._objects.values()])
            for key in list(self._objects):
                if key in self._objects:
                    self._control(key)
            if json.dumps([*self._objects.values()]) == before:
                return

    def _control(self, key: Key) -> None:
        held = self._objects[key]
        match key[0]:
            case "deployments":
                self._control_deployment(key, held)
            case "replicasets" | "statefulsets":
                self._control_replicas(key, held)
            case "daemonsets":
                self._control_daemons(key, held)
            case "pods":
                self._control_pod(key, held)
            case _:
                pass

    def _control_deployment(self, key: Key, held: Document) -> None:
        _, namespace, name = key
        if held["spec"].get("paused"):
            return
        sets = list(self._of(held, "replicasets"))
        template = held["spec"]["template"]
        label = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
        new = next((e for e in sets if e["metadata"]["name"] == f"{name}-{label}"), None)
        newest = max((int(e["metadata"]["annotations"][_REVISION]) for e in sets), default=0)
        wanted = held["spec"].setdefault("replicas", 1)
        if new is None or int(new["metadata"]["annotations"][_REVISION]) < newest:
            newest += 1
        said = {**(held["metadata"].get("annotations") or {}), _REVISION: str(newest)}
        if new is None:
            new = self._stamped(_set_of(held, f"{name}-{label}", label), namespace)
        new["metadata"]["annotations"] = said
        new["spec"]["replicas"] = wanted
        broken = "False" in json.dumps(status_of({"spec": template["spec"]})["conditions"])
        old = [each for each in sets if each["metadata"]["name"] != new["metadata"]["name"]]
        kept = next((each for each in old if each["spec"]["replicas"]), None) if broken else None
        if kept is not None:
            # As a rolling update does: one beyond, and none of the old goes before it is ready.
            new["spec"]["replicas"] = min(wanted, 1)
            kept["spec"]["replicas"] = wanted
        for each in old:
            if each is not kept:
                each["spec"]["replicas"] = 0
        for each in (new, *old):
            self._objects["replicasets", namespace, each["metadata"]["name"]] = each
        held["metadata"].setdefault("annotations", {})[_REVISION] = str(newest)
        pods = self._pods(namespace, held["spec"]["selector"])
        fresh = [p for p in pods if p["metadata"]["labels"]["pod-template-hash"] == label]
        held["status"] = {**_counts(held, pods, fresh), "conditions": []}

    def _control_replicas(self, key: Key, held: Document) -> None:
        plural, namespace, name = key
        wanted = held["spec"].setdefault("replicas", 1)
        template = held["spec"]["template"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
        pods = list(self._of(held, "pods"))
        if plural == "statefulsets":
            for pod in pods:
                if pod["metadata"]["labels"].get("controller-revision-hash") != revision:
                    self._delete(("pods", namespace, pod["metadata"]["name"]))
            pods = list(self._of(held, "pods"))
        for pod in sorted(pods, key=_youngest)[: max(0, len(pods) - wanted)]:
            self._delete(("pods", namespace, pod["metadata"]["name"]))
        names = {pod["metadata"]["name"] for pod in pods}
        for index in range(len(pods), wanted):
            if plural == "statefulsets":
                called = next(f"{name}-{n}" for n in range(wanted) if f"{name}-{n}" not in names)
                names.add(called)
            else:
                called = f"{name}-{next(self._numbers):05}"
            extra = {"controller-revision-hash": revision} if plural == "statefulsets" else {}
            self._make_pod(held, _KINDS[plural], called, extra)
            del index
        pods = list(self._of(held, "pods"))
        revisions = {"currentRevision": revision, "updateRevision": revision}
        held["status"] = {**_counts(held, pods, pods), **revisions}

    def _control_daemons(self, key: Key, held: Document) -> None:
        nodes = [name for plural, _, name in self._objects if plural == "nodes"]
        template = held["spec"]["template"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
        for pod in list(self._of(held, "pods")):
            fresh = pod["metadata"]["labels"].get("controller-revision-hash") == revision
            if not fresh or pod["spec"].get("nodeName") not in nodes:
                self._delete(("pods", key[1], pod["metadata"]["name"]))
        there = {pod["spec"]["nodeName"] for pod in self._of(held, "pods")}
        for node in nodes:
            if node not in there:
                called = f"{key[2]}-{next(self._numbers):05}"
                extra = {"controller-revision-hash": revision}
                self._make_pod(held, "DaemonSet", called, extra, node)
        pods = list(self._of(held, "pods"))
        ready = sum(map(_up, pods))
        held["status"] = {
            "observedGeneration": held["metadata"]["generation"],
            "desiredNumberScheduled": len(nodes),
            "updatedNumberScheduled": len(pods),
            "numberAvailable": ready,
            "numberReady": ready,
        }

    def _make_pod(
        self,
        owner: Document,
        kind: str,
        name: str,
        labels: Mapping[str, str],
        node: str | None = None,
    ) -> None:
        template = owner["spec"]["template"]
        metadata = {
            **copy.deepcopy(template.get("metadata") or {}),
            "name": name,
            "ownerReferences": [_reference(owner, kind)],
        }
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        spec = copy.deepcopy(template["spec"])
        if node is not None:
            spec["nodeName"] = node
        namespace = owner["metadata"]["namespace"]
        self._objects["pods", namespace, name] = self._stamped(
            {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}, namespace
        )

    def _control_pod(self, key: Key, held: Document) -> None:
        if "nodeName" not in held["spec"]:
            open_ = [
                name
                for (plural, _, name), node in sorted(self._objects.items())
                if plural == "nodes" and not node["spec"].get("unschedulable")
            ]
            if not open_:
                held.setdefault("status", {"phase": "Pending"})
                return
            number = int(held["metadata"]["resourceVersion"])
            held["spec"]["nodeName"] = open_[number % len(open_)]
        held["status"] = status_of(held)
        del key

    def _of(self, owner: Document, plural: str) -> Iterator[Document]:
        uid = owner["metadata"]["uid"]
        for (kind, _, _), each in list(self._objects.items()):
            if kind == plural and uid in _owners(each):
                yield each

    def _pods(self, namespace: str, selector: Document) -> list[Document]:
        return [
            each
            for (plural, at, _), each in self._objects.items()
            if (plural, at) == ("pods", namespace)
            and _selects(selector, each["metadata"].get("labels") or {})
        ]


def _set_of(held: Document, name: str, label: str) -> Document:
    spec = copy.deepcopy(held["spec"])
    labels = {**spec["template"]["metadata"]["labels"], "pod-template-hash": label}
    spec["template"]["metadata"]["labels"] = labels
    metadata = {
        "name": name,
        "labels": labels,
        "ownerReferences": [_reference(held, "Deployment")],
    }
    return {"metadata": metadata, "spec": {n: spec[n] for n in ("selector", "template")}}


def _reference(owner: Document, kind: str) -> Document:
    metadata = owner["metadata"]
    return {"kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}


def _owners(document: Document) -> set[str]:
    return {each["uid"] for each in document["metadata"].get("ownerReferences") or ()}


def _counts(held: Document, pods: Sequence[Document], fresh: Sequence[Document]) -> Document:
    ready = sum(map(_up, pods))
    return {
        "observedGeneration": held["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": len(fresh),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def _youngest(pod: Document) -> tuple[bool, int]:
    return _up(pod), -int(pod["metadata"]["resourceVersion"])


def _up(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _selects(selector: Document, labels: Mapping[str, str]) -> bool:
    return all(labels.get(n) == v for n, v in (selector.get("matchLabels") or {}).items())


def _matches(selector: str, labels: Mapping[str, str]) -> bool:
    return all(_term(term.strip(), labels) for term in _TERM.findall(selector))


def _term(term: str, labels: Mapping[str, str]) -> bool:
    among = re.fullmatch(r"(\S+) (in|notin) \((.*)\)", term)
    if among is not None:
        key, operator, values = among.groups()
        return (labels.get(key) in values.split(",")) == (operator == "in")
    if term.startswith("!"):
        return term[1:] not in labels
    key, equals, value = term.partition("=")
    return labels.get(key) == value.lstrip("=") if equals else key in labels


def _has_fields(selector: str, document: Document) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        held: object = document
        for part in path.split("."):
            held = held.get(part) if isinstance(held, dict) else None
        if held != value.lstrip("="):
            return False
    return True


def _merged(held: Document, patch: Document) -> Document:
    after = copy.deepcopy(held)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            after[name] = value
    return after


def _without_empty(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Without the maps and lists that the real one does not keep when they are empty."""
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {n: _without_empty(v) for n, v in value.items() if v or n not in _NOT_KEPT_EMPTY}


def _is_dry(request: Request) -> bool:
    return request.query.get("dryRun") == "All"


def _refused(status: int, reason: str, message: str) -> Reply:
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }
    return Reply.of(status, document)
