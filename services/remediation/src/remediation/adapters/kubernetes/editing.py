"""Actions that set fields of one object: scale, annotate, restart, variables, ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from lightkube.utils.quantity import parse_quantity

from remediation.adapters.kubernetes.cluster import Cluster
from remediation.adapters.kubernetes.describing import described
from remediation.adapters.kubernetes.failing import Done, Refused
from remediation.adapters.kubernetes.fields import (
    difference,
    fingerprint,
    looks_secret,
    merge_patch,
    pointer,
    value_at,
    with_values,
)
from remediation.adapters.kubernetes.kinds import (
    ANNOTATED,
    SCALED,
    WORKLOADS,
    Document,
    Kind,
    Pod,
    Value,
    uid_of,
)
from remediation.adapters.kubernetes.rollouts import RESTARTED_AT, Verdict, rolled_out, turn_of
from remediation.adapters.kubernetes.waiting import Patience
from remediation.adapters.kubernetes.workloads import (
    kind_of,
    place,
    readers,
    replicas_of,
    share,
    split,
    target,
)
from remediation.domain.plan import MOST_REMEMBERED, Planned
from tocsin_policy import KubernetesCall

_RESTARTED = pointer("spec", "template", "metadata", "annotations", RESTARTED_AT)

MOST_ATTEMPTS = 5
"""Times a change is tried while only the object's status keeps changing under it."""

KINDS = {
    "scale": SCALED,
    "rollout_restart": WORKLOADS,
    "annotate": ANNOTATED,
    "patch_config_map": frozenset({"configmap"}),
    "set_env": WORKLOADS,
    "set_resources": WORKLOADS,
    "cordon": frozenset({"node"}),
}
_ROLLING = frozenset({"scale", "rollout_restart", "set_env", "set_resources"})


async def changed_object(
    cluster: Cluster,
    kind: Kind,
    before: Document,
    values: Mapping[str, Value],
    *,
    dry_run: bool = False,
) -> tuple[Document, Document]:
    """The object as it was and as it is, or would be, once its fields hold these values.

    A status that moves meanwhile is no reason to give up; anything else that somebody changed is.
    """
    for _ in range(MOST_ATTEMPTS):
        patch = merge_patch(before, with_values(before, values))
        if not patch:
            return before, before
        try:
            return before, await cluster.patch(kind, before, patch, dry_run=dry_run)
        except Refused as refused:
            if refused.reason != "changed_meanwhile":
                raise
        metadata = before["metadata"]
        now = await cluster.get(kind, metadata["name"], metadata.get("namespace"))
        if fingerprint(now) != fingerprint(before):
            raise Refused("changed_meanwhile", "somebody changed it at the same moment")
        before = now
    raise Refused("changed_meanwhile", "it never stood still")


class Editing:
    """Sets what the call says, and remembers what stood there, value by value."""

    async def plan(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Planned:
        """By a dry run on the server: defaults, quotas and admission are in the difference."""
        word, kind, before = await _subject(cluster, call)
        values = wanted(call, before, patience.clock.now())
        before, after = await changed_object(cluster, kind, before, values, dry_run=True)
        pods, part, how = await _reach(cluster, call, word, before, changes=after is not before)
        _, name = split(call)
        return Planned(
            targets=(target(call, word, name),),
            state="; ".join(filter(None, (described(word, before), how))),
            diff=difference(before, after, call.resource or ""),
            pods=pods,
            share=part,
            fingerprint=fingerprint(before),
            before=foreseen(call, before, after, values) if after is not before else {},
        )

    async def run(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Do it; nothing is written where it is so already."""
        _, kind, before = await _subject(cluster, call)
        values = wanted(call, before, patience.clock.now())
        if not merge_patch(before, with_values(before, values)):
            return Done("as_it_was", f"{call.resource} is so already")
        remembered(call, before, before, values)  # refused before anything is done
        before, after = await changed_object(cluster, kind, before, values)
        changed = remembered(call, before, after, values)
        return Done("changed", difference(before, after, call.resource or ""), changed)

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Whether the fields hold what the call says and, of a workload, its pods follow."""

        async def look() -> Verdict:
            word, _, document = await _subject(cluster, call)
            values = wanted(call, document, patience.clock.now())
            values.pop(_RESTARTED, None)
            for path, value in values.items():
                found = value_at(document, path)
                if not _equal(call, found, value):
                    return Verdict(settled=None, text=f"{path} is {json.dumps(found)}")
            if call.action in _ROLLING:
                return followed(word, document)
            return Verdict(settled=True, text=described(word, document))

        return Done("as_expected", await patience.until(look, "rollout_failed"))

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Put each value back; refused where somebody has changed one of them since."""
        if not changed:
            return Done("nothing_to_undo", "nothing was changed")
        _, kind, now = await _subject(cluster, call)
        values = to_put_back(now, changed)
        if not values:
            return Done("as_it_was", f"{call.resource} is as it was already")
        before, after = await changed_object(cluster, kind, now, values)
        return Done("undone", difference(before, after, call.resource or ""))


def followed(word: str, document: Document) -> Verdict:
    """How far its rollout is, and what it is by now: whether it is the right one, people see."""
    verdict = rolled_out(word, document)
    return Verdict(verdict.settled, f"{verdict.text}\n{described(word, document)}")


def remembered(
    call: KubernetesCall, before: Document, after: Document, values: Mapping[str, Value]
) -> dict[str, str]:
    """What `to_put_back` needs: each value as it was, and as it became."""
    kept = {"object": str(call.resource), "uid": uid_of(before)}
    for path in values:
        if _is_secret(path, value_at(before, path)):
            raise Refused("looks_secret", f"{path} would be kept in the log to be put back")
        kept[path] = json.dumps(
            {"before": value_at(before, path), "after": value_at(after, path)}, sort_keys=True
        )
    if sum(map(len, kept.values())) > MOST_REMEMBERED:
        raise Refused("too_large_to_undo", f"more than {MOST_REMEMBERED} characters stand there")
    return kept


def foreseen(
    call: KubernetesCall, before: Document, after: Document, values: Mapping[str, Value]
) -> dict[str, str]:
    """What `remembered` will say, but for an instant that is not known yet."""
    kept = remembered(call, before, after, values)
    if _RESTARTED in kept:
        kept[_RESTARTED] = json.dumps({"before": value_at(before, _RESTARTED)})
    return kept


def to_put_back(now: Document, changed: Mapping[str, str]) -> dict[str, Value]:
    """The values to set, so that all is as it was before."""
    if changed.get("uid") != uid_of(now):
        raise Refused("replaced", "it is another object of the same name")
    values: dict[str, Value] = {}
    for path, text in changed.items():
        if not path.startswith("/"):
            continue
        kept = json.loads(text)
        found = value_at(now, path)
        if found == kept["before"]:
            continue
        if found != kept.get("after", found):
            raise Refused("changed_since", f"somebody has changed {path} since")
        values[path] = kept["before"]
    return values


def wanted(call: KubernetesCall, document: Document, now: datetime) -> dict[str, Value]:
    """Path and value of everything the call sets."""
    match call.action:
        case "scale":
            return {"/spec/replicas": call.replicas}
        case "rollout_restart":
            return {_RESTARTED: now.isoformat(timespec="microseconds")}
        case "annotate":
            return {pointer("metadata", "annotations", n): v for n, v in call.values.items()}
        case "patch_config_map":
            return {pointer("data", n): v for n, v in call.values.items()}
        case "set_env":
            inside = _container(call, document)
            return {
                inside + pointer("env", f"name={n}"): {"name": n, "value": v}
                for n, v in call.values.items()
            }
        case "set_resources":
            inside = _container(call, document)
            return {inside + _resource(n): v for n, v in call.values.items()}
        case _:
            return {"/spec/unschedulable": True}


def _resource(name: str) -> str:
    """Where `memory` stands: the limit, unless it says `requests.memory`."""
    amount, _, resource = name.rpartition(".")
    if amount not in {"", "limits", "requests"}:
        raise Refused("invalid", f"{name} is neither memory, limits.memory nor requests.memory")
    return pointer("resources", amount or "limits", resource)


def _container(call: KubernetesCall, document: Document) -> str:
    names = [each["name"] for each in document["spec"]["template"]["spec"]["containers"]]
    name = call.container or names[0]
    if name not in names:
        raise Refused("no_such_container", f"its containers are {', '.join(names)}")
    return pointer("spec", "template", "spec", "containers", f"name={name}")


async def _subject(cluster: Cluster, call: KubernetesCall) -> tuple[str, Kind, Document]:
    word, name = split(call)
    kind = kind_of(word)
    allowed = KINDS[call.action]
    if word not in allowed:
        raise Refused("wrong_kind", f"{call.action} is for {', '.join(sorted(allowed))}")
    return word, kind, await cluster.get(kind, name, place(call, kind))


async def _reach(
    cluster: Cluster, call: KubernetesCall, word: str, before: Document, *, changes: bool
) -> tuple[int, float, str]:
    """Pods that come or go by it, the part that is away at one time, and how, for people."""
    if not changes or call.action in {"annotate", "cordon"}:
        return 0, 0.0, ""
    if call.action == "patch_config_map":
        pods = await cluster.listed(Pod, call.namespace)
        touched = len(readers(pods, split(call)[1]))
        return touched, share(touched, len(pods)), ""
    held = replicas_of(word, before)
    if call.action == "scale":
        gone = held - (call.replicas or 0)
        return abs(gone), share(max(0, gone), held), ""
    turn = turn_of(word, before, held)
    return turn.pods, share(turn.at_once, held), turn.text


def _equal(call: KubernetesCall, found: Value, value: Value) -> bool:
    if call.action == "set_resources" and found is not None:
        return bool(parse_quantity(str(found)) == parse_quantity(str(value)))
    return bool(found == value)


def _is_secret(path: str, held: Value) -> bool:
    """Whether the value itself stands there; a reference to a Secret tells nothing."""
    is_value = path.startswith("/data/") or (isinstance(held, dict) and "value" in held)
    return is_value and held is not None and looks_secret(path.rpartition("/")[2])
