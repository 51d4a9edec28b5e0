"""Objects in words, for the plan and for evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from remediation.adapters.kubernetes.kinds import WORKLOADS, Document, named
from remediation.adapters.kubernetes.rollouts import restarted_at, revision_of
from remediation.adapters.kubernetes.workloads import is_ready, replicas_of

MOST_HAPPENINGS = 20
"""Warnings shown in a state."""

MOST_PODS = 100
"""Pods shown in a state."""


def described(word: str, document: Document) -> str:
    """One line about an object as it is."""
    name = f"{word}/{named(document)}"
    if word in WORKLOADS:
        return f"{name}: {_workload(word, document)}"
    match word:
        case "configmap":
            return f"{name}: keys {', '.join(sorted(document.get('data') or {})) or 'none'}"
        case "node":
            off = document["spec"].get("unschedulable", False)
            return f"{name}: takes {'no ' if off else ''}new pods"
        case "pod":
            return _pod(document)
        case _:
            said = document["metadata"].get("annotations") or {}
            shown = (f"{n}={v}" for n, v in sorted(said.items()) if "last-applied" not in n)
            return f"{name}: annotations {', '.join(shown) or 'none'}"


def _workload(word: str, document: Document) -> str:
    status = document.get("status") or {}
    ready = status.get("numberReady" if word == "daemonset" else "readyReplicas", 0)
    containers = document["spec"]["template"]["spec"]["containers"]
    images = ", ".join(str(each.get("image")) for each in containers)
    revision = f", revision {revision_of(document)}" if revision_of(document) else ""
    restarted = f", restarted {restarted_at(document)}" if restarted_at(document) else ""
    return f"{ready} of {replicas_of(word, document)} pods ready{revision}, {images}{restarted}"


def _pod(pod: Document) -> str:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    restarts = sum(each.get("restartCount", 0) for each in containers)
    reasons = sorted(set(_reasons(containers)))
    parts = [
        "terminating" if pod["metadata"].get("deletionTimestamp") else status.get("phase", "?"),
        "ready" if is_ready(pod) else "not ready",
        f"{restarts} restarts",
        f"on {pod['spec'].get('nodeName', 'no node')}",
        *reasons,
    ]
    return f"pod/{named(pod)}: {', '.join(parts)}"


def _reasons(containers: Iterable[Document]) -> Iterable[str]:
    for each in containers:
        for held in (each.get("state") or {}, each.get("lastState") or {}):
            for kind in ("waiting", "terminated"):
                if (held.get(kind) or {}).get("reason"):
                    yield str(held[kind]["reason"])


def overview(
    objects: Sequence[tuple[str, Document]], pods: Sequence[Document], warned: Sequence[Document]
) -> str:
    """Workloads, pods and the newest warnings, a line each."""
    lines = [described(word, each) for word, each in objects]
    shown = sorted(pods, key=lambda pod: (is_ready(pod), named(pod)))
    lines += [_pod(pod) for pod in shown[:MOST_PODS]]
    if len(pods) > MOST_PODS:
        lines.append(f"… {len(pods) - MOST_PODS} pods more")
    lines += [_happening(each) for each in warned[:MOST_HAPPENINGS]]
    return "\n".join(lines)


def _happening(event: Document) -> str:
    about = event.get("involvedObject") or {}
    what = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    count = f" (x{event['count']})" if event.get("count", 1) > 1 else ""
    return f"warning: {what}: {event.get('reason', '')}: {event.get('message', '')}{count}"
