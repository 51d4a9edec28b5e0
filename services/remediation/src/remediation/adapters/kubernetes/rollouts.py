"""What a rollout's status means, and which revision is the one before; as kubectl reads them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from remediation.adapters.kubernetes.kinds import Document, named, uid_of

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` sets, so that either sees the other's restarts."""

TEMPLATE_HASH = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far it is.

    Attributes:
        settled: `True` when it is as wanted, `False` when it never will be by itself, `None`
            while it is under way.
    """

    settled: bool | None
    text: str


def rolled_out(kind: str, document: Document) -> Verdict:
    """Whether every pod wanted is of the newest template, and available."""
    metadata, status = document["metadata"], document.get("status") or {}
    if metadata.get("generation", 0) > status.get("observedGeneration", 0):
        return Verdict(settled=None, text="the controller has not seen it yet")
    if kind == "daemonset":
        return _everywhere(status)
    stuck = next((c for c in status.get("conditions") or () if _is_stuck(c)), None)
    if stuck is not None:
        return Verdict(
            settled=False, text=f"progress deadline exceeded: {stuck.get('message', '')}"
        )
    wanted = document["spec"].get("replicas", 1)
    updated, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    available = status.get("availableReplicas", 0)
    if updated < wanted:
        return Verdict(settled=None, text=f"{updated} of {wanted} replicas are updated")
    if status.get("replicas", 0) > wanted:
        return Verdict(
            settled=None, text=f"{status['replicas'] - wanted} old replicas are still there"
        )
    if min(available, ready) < wanted:
        return Verdict(
            settled=None, text=f"{min(available, ready)} of {wanted} replicas are available"
        )
    if kind == "statefulset" and status.get("updateRevision") != status.get("currentRevision"):
        return Verdict(settled=None, text="some replicas are of an old revision")
    return Verdict(settled=True, text=f"{wanted} of {wanted} replicas are updated and available")


def _everywhere(status: Document) -> Verdict:
    wanted = status.get("desiredNumberScheduled", 0)
    done = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
    settled = True if done >= wanted else None
    return Verdict(settled=settled, text=f"{done} of {wanted} nodes have an updated, available pod")


def _is_stuck(condition: Document) -> bool:
    return bool(
        condition.get("type") == "Progressing"
        and condition.get("reason") == "ProgressDeadlineExceeded"
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """How a workload's pods are replaced when its template changes.

    Attributes:
        pods: Pods that are replaced.
        at_once: Pods of them that may be away at one time.
        text: Both, for people.
    """

    pods: int
    at_once: int
    text: str


def turn_of(kind: str, document: Document, pods: int) -> Turn:
    """How the pods of a workload are replaced, as its strategy says and its controller rounds.

    Args:
        pods: How many it has.
    """
    strategy = document["spec"].get("strategy" if kind == "deployment" else "updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    match strategy.get("type", "RollingUpdate"):
        case "Recreate":
            return Turn(pods, pods, f"all {pods} pods at one time")
        case "OnDelete":
            return Turn(0, 0, "pods are replaced only where somebody deletes them")
    if kind == "deployment":
        away = _resolved(rolling.get("maxUnavailable", "25%"), pods, math.floor)
        # What Kubernetes does with two percentages that both come to nothing.
        if not away and not _resolved(rolling.get("maxSurge", "25%"), pods, math.ceil):
            away = 1
    else:
        away = _resolved(rolling.get("maxUnavailable", 1), pods, math.ceil)
        pods = max(0, pods - int(rolling.get("partition") or 0))
    away = min(away, pods)
    return Turn(pods, away, f"all {pods} pods in turn, at most {away} away at one time")


def _resolved(said: int | str, pods: int, rounded: Callable[[float], int]) -> int:
    text = str(said)
    if text.endswith("%"):
        # Multiplied first: 0.07 * 100 is more than 7.
        return rounded(int(text[:-1]) * pods / 100)
    return int(text)


def restarted_at(document: Document) -> str:
    """When its pods were last restarted on purpose; empty if never."""
    said = document["spec"]["template"].get("metadata", {}).get("annotations") or {}
    return str(said.get(RESTARTED_AT, ""))


def revision_of(document: Document) -> int:
    """A deployment's or replica set's revision; 0 if it has none yet."""
    found = (document["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(found) if found.isdigit() else 0


def revisions(deployment: Document, sets: Sequence[Document]) -> list[Document]:
    """The replica sets that are this deployment's, newest revision first."""
    uid = uid_of(deployment)
    ours = [
        each
        for each in sets
        if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences") or ())
        and revision_of(each)
    ]
    return sorted(ours, key=revision_of, reverse=True)


def template_of(document: Document) -> Document:
    """A template without the label that differs from set to set."""
    template: Document = copy.deepcopy(document["spec"]["template"])
    labels = template.get("metadata", {}).get("labels") or {}
    labels.pop(TEMPLATE_HASH, None)
    return template


def of_template(deployment: Document, held: Sequence[Document]) -> Document | None:
    """The replica set with the deployment's present template."""
    wanted = template_of(deployment)
    return next((each for each in held if template_of(each) == wanted), None)


def by_name(held: Sequence[Document], name: str) -> Document | None:
    """The replica set called so."""
    return next((each for each in held if named(each) == name), None)
