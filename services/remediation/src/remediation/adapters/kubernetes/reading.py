"""Actions that only look: `rollout_status`, `logs`, `state`."""

from __future__ import annotations

from collections.abc import Mapping

from remediation.adapters.kubernetes.cluster import Cluster
from remediation.adapters.kubernetes.describing import overview
from remediation.adapters.kubernetes.editing import followed
from remediation.adapters.kubernetes.failing import Done, Refused
from remediation.adapters.kubernetes.kinds import (
    NAMED,
    WORKLOADS,
    Document,
    Pod,
    named,
)
from remediation.adapters.kubernetes.rollouts import Verdict
from remediation.adapters.kubernetes.waiting import Patience
from remediation.adapters.kubernetes.workloads import kind_of, place, pods_of, split
from remediation.domain.plan import MOST_OUTPUT, Planned
from tocsin_policy import KubernetesCall

MOST_LOGS = 10
"""Pods whose logs one call reads."""

_LINES = 200


class _Reading:
    """Changes nothing, so there is little to plan and nothing to undo."""

    async def plan(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Planned:
        """Nothing to say: it only looks."""
        del cluster, call, patience
        return Planned(pods=0, share=0.0)

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,
    ) -> Done:
        """Nothing was changed."""
        del cluster, call, changed, patience
        return Done("nothing_to_undo", "nothing was changed")


class RolloutStatus(_Reading):
    """Waits until a rollout is through, or is known to be stuck."""

    async def run(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """How it ended."""
        word, name = split(call)
        if word not in WORKLOADS:
            raise Refused("wrong_kind", f"{call.action} is for {', '.join(sorted(WORKLOADS))}")

        async def look() -> Verdict:
            return followed(word, await cluster.get(kind_of(word), name, call.namespace))

        return Done("as_expected", await patience.until(look, "rollout_failed"))

    verify = run


class Logs(_Reading):
    """The end of the logs of some pods, as evidence."""

    async def run(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """The newest lines of each, at most ten pods."""
        pods = await pods_of(cluster, call)
        if not pods:
            raise Refused("not_found", f"no pods of {call.resource or call.selector}")
        shown = sorted(pods, key=named)[:MOST_LOGS]
        room = MOST_OUTPUT // len(shown)
        texts, failed = [], 0
        for pod in shown:
            title = f"== {named(pod)} =="
            try:
                said = await cluster.log(pod, _container(call, pod), call.since, _LINES)
            except Refused as refused:
                failed += 1
                said = f"({refused.text})"
            texts.append(f"{title}\n{said.strip()[-(room - len(title) - 2) :]}")
        if len(pods) > len(shown):
            texts.append(f"… {len(pods) - len(shown)} pods more")
        text = "\n".join(texts)
        if failed == len(shown):
            raise Refused("no_logs", text)
        return Done("as_expected", text)

    verify = run


class State(_Reading):
    """What stands there now, as evidence: objects, pods, the newest warnings."""

    async def run(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        patience: Patience,  # noqa: ARG002 - every action takes it
    ) -> Done:
        """Of one object and its pods, or of the whole namespace."""
        warned = await cluster.happenings(call.namespace)
        if call.resource is not None:
            word, name = split(call)
            kind = kind_of(word)
            found = await cluster.get(kind, name, place(call, kind))
            if word not in WORKLOADS:
                about = [each for each in warned if _about(each, name)]
                return Done("as_expected", overview([(word, found)], [], about))
            pods = await pods_of(cluster, call)
            names = (name, *map(named, pods))
            about = [each for each in warned if _about(each, *names)]
            return Done("as_expected", overview([(word, found)], pods, about))
        objects = [
            (word, each)
            for word in sorted(WORKLOADS)
            for each in await cluster.listed(NAMED[word], call.namespace)
        ]
        pods = await cluster.listed(Pod, call.namespace, labels=call.selector)
        return Done("as_expected", overview(objects, pods, warned))

    verify = run


def _container(call: KubernetesCall, pod: Document) -> str:
    return call.container or str(pod["spec"]["containers"][0]["name"])


def _about(happening: Document, *names: str) -> bool:
    return (happening.get("involvedObject") or {}).get("name") in names
