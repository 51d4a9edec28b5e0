"""`isolate` and `restore_network`: a NetworkPolicy that lets nothing in or out, and its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from remediation.adapters.kubernetes.cluster import FIELD_MANAGER, Cluster
from remediation.adapters.kubernetes.failing import Done, Refused
from remediation.adapters.kubernetes.fields import difference, fingerprint
from remediation.adapters.kubernetes.kinds import (
    WORKLOADS,
    Document,
    NetworkPolicy,
    Pod,
    named,
    uid_of,
)
from remediation.adapters.kubernetes.rollouts import Verdict
from remediation.adapters.kubernetes.waiting import Patience
from remediation.adapters.kubernetes.workloads import (
    kind_of,
    selector_text,
    share,
    split,
    target,
)
from remediation.domain.plan import Planned
from tocsin_policy import KubernetesCall

MANAGED_BY = "app.kubernetes.io/managed-by"
"""The label that says a policy is ours to remove."""


class Isolating:
    """Makes and removes policies of its own; one that somebody else made is left alone.

    NetworkPolicies add up: another that allows traffic of the same pods still does. The plan
    names those.
    """

    async def plan(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Planned:
        """Which pods, and which policies would still let them talk."""
        name, wanted = await _wanted(cluster, call)
        found = await _ours(cluster, call, name)
        after: Document = {}
        if call.action == "isolate":
            after = found or await cluster.create(NetworkPolicy, wanted, dry_run=True)
        elif found is not None:
            await cluster.delete(NetworkPolicy, found, dry_run=True)
        selector = (found or wanted)["spec"]["podSelector"]
        labels = selector_text(selector)
        pods = await cluster.listed(Pod, call.namespace, labels=labels)
        of_all = await cluster.listed(Pod, call.namespace) if labels else pods
        changes = (found is None) == (call.action == "isolate")
        held = await cluster.listed(NetworkPolicy, call.namespace)
        before = {"object": f"networkpolicy/{name}"} if changes else {}
        if found is not None and changes:
            before["spec"] = json.dumps(found["spec"])
        return Planned(
            targets=_targets(call, name),
            state=_state(name, found, [each for each in held if named(each) != name]),
            diff=difference(found or {}, after, f"networkpolicy/{name}"),
            pods=len(pods) if changes else 0,
            share=share(len(pods), len(of_all)) if changes else 0.0,
            fingerprint=fingerprint(*held, *([] if found else [{"spec": wanted["spec"]}])),
            before=before,
        )

    async def run(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Make it, or remove it."""
        name, wanted = await _wanted(cluster, call)
        found = await _ours(cluster, call, name)
        if call.action == "isolate":
            if found is not None:
                return Done("as_it_was", f"networkpolicy/{name} is there already")
            made = await cluster.create(NetworkPolicy, wanted)
            changed = {"object": f"networkpolicy/{name}", "uid": uid_of(made)}
            return Done("changed", difference({}, made, f"networkpolicy/{name}"), changed)
        if found is None:
            return Done("as_it_was", f"there is no networkpolicy/{name}")
        await cluster.delete(NetworkPolicy, found)
        changed = {"object": f"networkpolicy/{name}", "spec": json.dumps(found["spec"])}
        return Done("changed", difference(found, {}, f"networkpolicy/{name}"), changed)

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Whether it is there, or gone."""
        name, _ = await _wanted(cluster, call)

        async def look() -> Verdict:
            there = await _ours(cluster, call, name) is not None
            settled = True if there == (call.action == "isolate") else None
            return Verdict(
                settled=settled, text=f"networkpolicy/{name} is {'there' if there else 'not there'}"
            )

        return Done("as_expected", await patience.until(look, "not_isolated"))

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Remove exactly what was made, or make what was removed."""
        if not changed:
            return Done("nothing_to_undo", "nothing was changed")
        name = changed.get("object", "").partition("/")[2]
        found = await _ours(cluster, call, name)
        if "spec" in changed:
            if found is not None:
                return Done("as_it_was", f"networkpolicy/{name} is there again already")
            await cluster.create(NetworkPolicy, _policy(call, name, json.loads(changed["spec"])))
            return Done("undone", f"networkpolicy/{name} is there again")
        if found is None:
            return Done("as_it_was", f"networkpolicy/{name} is gone already")
        # A plan does not know the uid that the policy will have.
        if uid_of(found) != changed.get("uid", uid_of(found)):
            raise Refused("changed_since", "it was removed and made again since")
        await cluster.delete(NetworkPolicy, found)
        return Done("undone", f"networkpolicy/{name} is gone")


async def _wanted(cluster: Cluster, call: KubernetesCall) -> tuple[str, Document]:
    """Name and text of the policy: of the pods of a workload, of a selector, or of all."""
    selector: Document = _parsed(call.selector)
    if call.resource is None:
        name = "tocsin-isolate"
    else:
        word, name = split(call)
        if word in WORKLOADS:
            found = await cluster.get(kind_of(word), name, call.namespace)
            selector, name = found["spec"]["selector"], f"tocsin-isolate-{name}"
        elif word != "networkpolicy":
            raise Refused("wrong_kind", f"{call.action} is for workloads and networkpolicies")
    spec = {"podSelector": selector, "policyTypes": ["Ingress", "Egress"]}
    return name, _policy(call, name, spec)


def _policy(call: KubernetesCall, name: str, spec: dict[str, Any]) -> Document:
    labels = {MANAGED_BY: FIELD_MANAGER}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": call.namespace, "labels": labels},
        "spec": spec,
    }


async def _ours(cluster: Cluster, call: KubernetesCall, name: str) -> Document | None:
    found = await cluster.find(NetworkPolicy, name, call.namespace)
    if found is None:
        return None
    if (found["metadata"].get("labels") or {}).get(MANAGED_BY) != FIELD_MANAGER:
        raise Refused("not_ours", f"somebody else made networkpolicy/{name}")
    return found


def _targets(call: KubernetesCall, name: str) -> tuple[str, ...]:
    policy = target(call, "networkpolicy", name)
    if call.resource is None or call.resource.startswith("networkpolicy/"):
        return (policy,)
    return (policy, target(call, *split(call)))


def _state(name: str, found: Document | None, others: Sequence[Document]) -> str:
    said = f"networkpolicy/{name} is {'there' if found else 'not there'}"
    allowing = [each for each in others if _allows(each)]
    if allowing:
        names = ", ".join(sorted(named(each) for each in allowing))
        said += f"; what these allow stays allowed for the pods they select: {names}"
    return said


def _allows(policy: Document) -> bool:
    return bool(policy["spec"].get("ingress") or policy["spec"].get("egress"))


def _parsed(selector: str) -> Document:
    """`app=api,tier in (a, b)` as a NetworkPolicy takes it."""
    if not selector:
        return {}
    labels: dict[str, str] = {}
    for part in selector.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or key.endswith("!"):
            raise Refused("invalid", f"isolate takes selectors like app=api, not {selector!r}")
        labels[key.strip()] = value.removeprefix("=").strip()
    return {"matchLabels": labels}
