"""`drain` and `delete_pod`: pods that go so that others come, elsewhere or anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from remediation.adapters.kubernetes.cluster import Cluster
from remediation.adapters.kubernetes.describing import described
from remediation.adapters.kubernetes.editing import changed_object, remembered, to_put_back
from remediation.adapters.kubernetes.failing import Done, Refused, Unanswered
from remediation.adapters.kubernetes.fields import difference, fingerprint
from remediation.adapters.kubernetes.kinds import (
    Document,
    Node,
    Pod,
    controller_of,
    named,
    uid_of,
)
from remediation.adapters.kubernetes.rollouts import Verdict
from remediation.adapters.kubernetes.waiting import Patience
from remediation.adapters.kubernetes.workloads import (
    has_ended,
    is_ready,
    pods_of,
    share,
    split,
    target,
    workload_of,
)
from remediation.domain.plan import Planned
from tocsin_policy import KubernetesCall

MOST_EVICTED = 250
"""Pods of one call; a node holds 110 unless it was told otherwise."""

_CORDONED = {"/spec/unschedulable": True}
_MIRROR = "kubernetes.io/config.mirror"


class Draining:
    """Cordons a node and evicts its pods, each only while its disruption budget allows it.

    Refused before anything is done where an eviction would lose something for good: a pod that
    nothing would replace, or data in an `emptyDir`. Pods of a DaemonSet stay, as with kubectl.
    """

    async def plan(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Planned:
        """Who goes, and whose budget forbids it at present."""
        node, pods = await _on_node(cluster, call)
        _refuse_losses(pods)
        node, after = await changed_object(cluster, Node, node, _CORDONED, dry_run=True)
        blocked = [pod for pod in pods if await _is_blocked(cluster, pod)]
        owners = await _owners(cluster, call, pods)
        before = remembered(call, node, after, _CORDONED) if after is not node else {}
        lines = [difference(node, after, call.resource or "")]
        lines += [f"evict {_full(pod)}" for pod in pods]
        lines += [f"a disruption budget forbids it now: {_full(pod)}" for pod in blocked]
        return Planned(
            targets=(target(call, "node", named(node)), *owners),
            state=f"{described('node', node)}; {len(pods)} pods to evict",
            diff="\n".join(line for line in lines if line),
            pods=len(pods),
            share=await _largest_part(cluster, pods),
            fingerprint=fingerprint(node, *(_identity(pod) for pod in pods)),
            before=before,
        )

    async def run(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Evict until all have gone; what was cordoned is said even where time runs out."""
        node, pods = await _on_node(cluster, call)
        _refuse_losses(pods)
        changed: dict[str, str] = {}
        if not node["spec"].get("unschedulable"):
            before, after = await changed_object(cluster, Node, node, _CORDONED)
            changed = remembered(call, before, after, _CORDONED)
        going = {uid_of(pod): pod for pod in pods}
        refusals: dict[str, str] = {}
        asked: set[str] = set()
        while True:
            for uid, pod in going.items():
                if patience.is_over():
                    break
                if uid not in asked and await _asked_to_go(cluster, pod, refusals, changed):
                    asked.add(uid)
            _, now = await _on_node(cluster, call)
            # Also what came to the node at the very moment it was cordoned.
            going = {uid_of(pod): pod for pod in now}
            if not going:
                text = "\n".join(f"evicted {_full(pod)}" for pod in pods)
                return Done("drained", text or "there was nothing to evict", changed)
            _refuse_losses(now, changed)
            if patience.is_over():
                left = (f"{_full(pod)}: {refusals.get(u, 'ends')}" for u, pod in going.items())
                raise Refused("timed_out", "\n".join(left), changed)
            await patience.nap()

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Whether the node takes no pods and has none left to evict."""

        async def look() -> Verdict:
            node, pods = await _on_node(cluster, call)
            if not node["spec"].get("unschedulable"):
                return Verdict(settled=None, text=f"{call.resource} takes new pods")
            left = ", ".join(map(_full, pods))
            return Verdict(settled=None if pods else True, text=f"left: {left or 'none'}")

        return Done("as_expected", await patience.until(look, "not_drained"))

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Let the node take pods again; those that went live on elsewhere."""
        if not changed:
            return Done("nothing_to_undo", "the node took no pods before either")
        node = await _node(cluster, call)
        values = to_put_back(node, changed)
        if not values:
            return Done("as_it_was", f"{call.resource} takes pods again already")
        before, after = await changed_object(cluster, Node, node, values)
        return Done("undone", difference(before, after, call.resource or ""))


class Deleting:
    """Deletes pods so that their owners make new ones; one without an owner is refused."""

    async def plan(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Planned:
        """Which pods, and how large a part of their owners'."""
        pods = await _to_delete(cluster, call)
        for pod in pods:
            await cluster.delete(Pod, pod, dry_run=True)
        owners = await _owners(cluster, call, pods)
        return Planned(
            targets=(*(target(call, "pod", named(pod)) for pod in pods), *owners),
            state="\n".join(described("pod", pod) for pod in pods),
            diff="\n".join(f"delete {_full(pod)}" for pod in pods),
            pods=len(pods),
            share=await _largest_part(cluster, pods),
            fingerprint=fingerprint(*(_identity(pod) for pod in pods)),
        )

    async def run(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Delete them; each gets its own grace period."""
        pods = await _to_delete(cluster, call)
        for pod in pods:
            await cluster.delete(Pod, pod)
        return Done("deleted", "\n".join(f"deleted {_full(pod)}" for pod in pods))

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Whether what is left there, under these names or labels, is ready."""

        async def look() -> Verdict:
            try:
                pods = await pods_of(cluster, call)
            except Refused as refused:
                if refused.reason != "not_found":
                    raise
                return Verdict(settled=True, text=f"{call.resource} is gone")
            waiting = [
                _full(pod)
                for pod in pods
                if pod["metadata"].get("deletionTimestamp") or not is_ready(pod)
            ]
            if waiting:
                return Verdict(
                    settled=None, text=f"not ready, or still ending: {', '.join(waiting)}"
                )
            return Verdict(settled=True, text=f"{len(pods)} pods are ready")

        return Done("as_expected", await patience.until(look, "not_replaced"))

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,
    ) -> Done:
        """Never: what was deleted was replaced."""
        del cluster, call, changed, patience
        raise Refused("no_undo", "a deleted pod does not come back; its owner made another")


async def _node(cluster: Cluster, call: KubernetesCall) -> Document:
    word, name = split(call)
    if word != "node":
        raise Refused("wrong_kind", f"{call.action} is for nodes")
    return await cluster.get(Node, name, None)


async def _on_node(cluster: Cluster, call: KubernetesCall) -> tuple[Document, list[Document]]:
    """The node, and the pods that a drain would evict."""
    node = await _node(cluster, call)
    held = await cluster.listed(Pod, None, fields={"spec.nodeName": named(node)})
    pods = [pod for pod in held if not _stays(pod)]
    if len(pods) > MOST_EVICTED:
        raise Refused("too_many_pods", f"{len(pods)} pods; {MOST_EVICTED} at most")
    return node, pods


def _stays(pod: Document) -> bool:
    owner = controller_of(pod)
    mirrored = _MIRROR in (pod["metadata"].get("annotations") or {})
    return mirrored or (owner is not None and owner[0] == "daemonset")


def _refuse_losses(pods: Sequence[Document], changed: Mapping[str, str] | None = None) -> None:
    lost = [f"{_full(pod)} ({loss})" for pod in pods if (loss := _loss(pod))]
    if lost:
        raise Refused("would_lose_something", ", ".join(lost), changed or {})


def _loss(pod: Document) -> str:
    """What an eviction would lose for good; empty if nothing."""
    if has_ended(pod) or pod["metadata"].get("deletionTimestamp"):
        return ""
    if controller_of(pod) is None:
        return "nothing would replace it"
    if any("emptyDir" in volume for volume in pod["spec"].get("volumes") or ()):
        return "it holds data in an emptyDir"
    return ""


async def _is_blocked(cluster: Cluster, pod: Document) -> bool:
    try:
        await cluster.evict(pod, dry_run=True)
    except Refused as refused:
        if refused.reason not in {"too_many_requests", "not_found", "changed_meanwhile"}:
            raise
        return refused.reason == "too_many_requests"
    return False


async def _asked_to_go(
    cluster: Cluster, pod: Document, refusals: dict[str, str], changed: Mapping[str, str]
) -> bool:
    """Whether it goes now; what forbids it is kept in `refusals`."""
    try:
        await cluster.evict(pod)
    except Unanswered as unanswered:
        # Asking again is safe: the request names this very pod, not its successor.
        refusals[uid_of(pod)] = unanswered.reason
        return False
    except Refused as refused:
        if refused.reason in {"not_found", "changed_meanwhile"}:
            return True
        if refused.reason not in {"too_many_requests", "unreachable"}:
            raise Refused(refused.reason, refused.text, changed) from refused
        refusals[uid_of(pod)] = refused.text
        return False
    return True


async def _to_delete(cluster: Cluster, call: KubernetesCall) -> list[Document]:
    pods = [pod for pod in await pods_of(cluster, call) if not has_ended(pod)]
    if not pods:
        raise Refused("not_found", f"no pods of {call.resource or call.selector}")
    if len(pods) > MOST_EVICTED:
        raise Refused("too_many_pods", f"{len(pods)} pods; {MOST_EVICTED} at most")
    lost = [_full(pod) for pod in pods if controller_of(pod) is None]
    if lost:
        raise Refused("would_lose_something", f"nothing would replace {', '.join(lost)}")
    return pods


async def _owners(
    cluster: Cluster, call: KubernetesCall, pods: Sequence[Document]
) -> tuple[str, ...]:
    """The workloads that lose a pod, as targets: one action a workload at a time."""
    found: set[str] = set()
    seen: set[tuple[str, str, str] | None] = set()
    for pod in pods:
        owner = controller_of(pod)
        key = (pod["metadata"]["namespace"], *owner) if owner else None
        if key in seen:
            continue
        seen.add(key)
        workload = await workload_of(cluster, pod)
        if workload is not None:
            found.add(target(call, *workload, namespace=pod["metadata"]["namespace"]))
    return tuple(sorted(found))


async def _largest_part(cluster: Cluster, pods: Sequence[Document]) -> float:
    """The part of its pods that the owner hit hardest loses."""
    gone = Counter((pod["metadata"]["namespace"], controller_of(pod)) for pod in pods)
    parts = [0.0]
    for namespace in {place for place, _ in gone}:
        held = Counter(controller_of(pod) for pod in await cluster.listed(Pod, namespace))
        parts += [share(n, held[owner]) for (at, owner), n in gone.items() if at == namespace]
    return max(parts)


def _identity(pod: Document) -> Document:
    return {"metadata": {"uid": uid_of(pod)}}


def _full(pod: Document) -> str:
    return f"{pod['metadata']['namespace']}/{named(pod)}"
