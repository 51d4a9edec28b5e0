"""`rollout_undo`: a deployment back to an earlier revision, as its replica sets remember it."""

from __future__ import annotations

from collections.abc import Mapping

from remediation.adapters.kubernetes.cluster import Cluster
from remediation.adapters.kubernetes.describing import described
from remediation.adapters.kubernetes.editing import changed_object, followed
from remediation.adapters.kubernetes.failing import Done, Refused
from remediation.adapters.kubernetes.fields import (
    difference,
    fingerprint,
    pointer,
    value_at,
)
from remediation.adapters.kubernetes.kinds import (
    Deployment,
    Document,
    ReplicaSet,
    Value,
    named,
    uid_of,
)
from remediation.adapters.kubernetes.rollouts import (
    CHANGE_CAUSE,
    Verdict,
    by_name,
    of_template,
    revision_of,
    revisions,
    template_of,
    turn_of,
)
from remediation.adapters.kubernetes.waiting import Patience
from remediation.adapters.kubernetes.workloads import (
    replicas_of,
    selector_text,
    share,
    split,
    target,
)
from remediation.domain.plan import Planned
from tocsin_policy import KubernetesCall

_CAUSE = pointer("metadata", "annotations", CHANGE_CAUSE)


class RollingBack:
    """Sets the template of an earlier revision; other annotations stay as they are.

    kubectl puts back all annotations of the revision, and with them traffic weights and switches
    that other steps have set since.
    """

    async def plan(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Planned:
        """Which revision, and all that it changes."""
        deployment, held = await _subject(cluster, call)
        chosen = _chosen(call, deployment, held)
        deployment, after = await changed_object(
            cluster, Deployment, deployment, _values(chosen), dry_run=True
        )
        pods = 0 if after is deployment else replicas_of("deployment", deployment)
        left = of_template(deployment, held) if after is not deployment else None
        turn = turn_of("deployment", deployment, pods)
        revision = f"to revision {revision_of(chosen)} ({named(chosen)})"
        return Planned(
            targets=(target(call, "deployment", named(deployment)),),
            state=f"{described('deployment', deployment)}; {revision}; {turn.text}",
            diff=difference(deployment, after, call.resource or ""),
            pods=turn.pods,
            share=share(turn.at_once, pods),
            fingerprint=fingerprint(deployment, chosen),
            before=_way_back(call, deployment, left, chosen) if left is not None else {},
        )

    async def run(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Go back, and remember where from."""
        deployment, held = await _subject(cluster, call)
        chosen = _chosen(call, deployment, held)
        left = of_template(deployment, held)
        if left is None:
            # Without it there would be no way back from the way back.
            raise Refused("not_rolled_out_yet", "the present template has no replica set yet")
        if left is chosen:
            return Done("as_it_was", f"it is at revision {revision_of(chosen)} already")
        before, after = await changed_object(cluster, Deployment, deployment, _values(chosen))
        changed = _way_back(call, before, left, chosen)
        return Done("changed", difference(before, after, call.resource or ""), changed)

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Whether the rollout that followed is through."""

        async def look() -> Verdict:
            _, name = split(call)
            found = await cluster.get(Deployment, name, call.namespace)
            return followed("deployment", found)

        return Done("as_expected", await patience.until(look, "rollout_failed"))

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Forward again, to the very replica set that was left."""
        if not changed:
            return Done("nothing_to_undo", "nothing was changed")
        deployment, held = await _subject(cluster, call)
        if uid_of(deployment) != changed.get("uid"):
            raise Refused("replaced", "it is another object of the same name")
        left = by_name(held, changed.get("from", ""))
        if left is None:
            raise Refused("revision_is_gone", f"{changed.get('from')} was cleaned up")
        current = of_template(deployment, held)
        if current is left:
            return Done("as_it_was", "it is at that revision already")
        if current is None or named(current) != changed.get("to"):
            raise Refused("changed_since", "somebody has deployed since")
        before, after = await changed_object(cluster, Deployment, deployment, _values(left))
        return Done("undone", difference(before, after, call.resource or ""))


def _way_back(
    call: KubernetesCall, deployment: Document, left: Document, chosen: Document
) -> dict[str, str]:
    return {
        "object": str(call.resource),
        "uid": uid_of(deployment),
        "from": named(left),
        "to": named(chosen),
        "revision": str(revision_of(left)),
    }


async def _subject(cluster: Cluster, call: KubernetesCall) -> tuple[Document, list[Document]]:
    """The deployment, and its replica sets, newest revision first."""
    word, name = split(call)
    if word != "deployment":
        raise Refused("wrong_kind", f"{call.action} is for deployments")
    deployment = await cluster.get(Deployment, name, call.namespace)
    if deployment["spec"].get("paused"):
        raise Refused("paused", "a paused deployment does not roll back; resume it first")
    labels = selector_text(deployment["spec"]["selector"])
    sets = await cluster.listed(ReplicaSet, call.namespace, labels=labels)
    return deployment, revisions(deployment, sets)


def _chosen(call: KubernetesCall, deployment: Document, held: list[Document]) -> Document:
    if call.revision is not None:
        found = next((each for each in held if revision_of(each) == call.revision), None)
        if found is None:
            kept = ", ".join(str(revision_of(each)) for each in held)
            raise Refused("no_such_revision", f"{named(deployment)} remembers {kept or 'none'}")
        return found
    current = of_template(deployment, held)
    earlier = [each for each in held if each is not current]
    if not earlier:
        raise Refused("no_earlier_revision", f"{named(deployment)} has never been another")
    return earlier[0]


def _values(chosen: Document) -> dict[str, Value]:
    return {"/spec/template": template_of(chosen), _CAUSE: value_at(chosen, _CAUSE)}
