"""Kubernetes steps: in clusters the operator named, with what their credentials allow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, TypeVar

from remediation.adapters.kubernetes.cluster import Access, Cluster, reached
from remediation.adapters.kubernetes.editing import Editing
from remediation.adapters.kubernetes.evicting import Deleting, Draining
from remediation.adapters.kubernetes.failing import Done, Refused, Unanswered
from remediation.adapters.kubernetes.isolating import Isolating
from remediation.adapters.kubernetes.reading import Logs, RolloutStatus, State
from remediation.adapters.kubernetes.rolling_back import RollingBack
from remediation.adapters.kubernetes.waiting import Patience
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import KubernetesCall
from tocsin_runtime.ports import Clock


class Action(Protocol):
    """One way to act on a cluster. Raises `Refused` and `Unanswered`."""

    async def plan(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Planned:
        """What `run` would do."""
        ...

    async def run(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Do it."""
        ...

    async def verify(self, cluster: Cluster, call: KubernetesCall, patience: Patience) -> Done:
        """Look until it is as the call says."""
        ...

    async def undo(
        self,
        cluster: Cluster,
        call: KubernetesCall,
        changed: Mapping[str, str],
        patience: Patience,
    ) -> Done:
        """Put back what `run` said it changed."""
        ...


Outcome = TypeVar("Outcome", Planned, Done)
Act = Callable[[Action, Cluster, Patience], Awaitable[Outcome]]

_EDITING, _ISOLATING = Editing(), Isolating()

ACTIONS: dict[str, Action] = {
    "rollout_restart": _EDITING,
    "rollout_undo": RollingBack(),
    "rollout_status": RolloutStatus(),
    "scale": _EDITING,
    "annotate": _EDITING,
    "patch_config_map": _EDITING,
    "set_env": _EDITING,
    "set_resources": _EDITING,
    "isolate": _ISOLATING,
    "restore_network": _ISOLATING,
    "cordon": _EDITING,
    "drain": Draining(),
    "delete_pod": Deleting(),
    "logs": Logs(),
    "state": State(),
}


class KubernetesRunner:
    """A `Runner` of `KubernetesCall`.

    Every change carries the version of the object it was decided on, so that the server refuses
    it if somebody was faster. Nothing is repeated here but looks, and evictions of a pod that is
    named by its uid.

    Args:
        clusters: How to reach what policies name; nothing else is reached.
    """

    def __init__(self, clusters: Mapping[str, Access], clock: Clock) -> None:
        self._clusters = clusters
        self._clock = clock

    async def plan(self, call: KubernetesCall, timeout: timedelta) -> Planned | Ran:
        """By dry runs on the server."""

        async def act(action: Action, cluster: Cluster, patience: Patience) -> Planned:
            return await action.plan(cluster, call, patience)

        return await self._acted(call, timeout, act)

    async def run(self, call: KubernetesCall, timeout: timedelta) -> Ran | Lost:
        """Change the cluster."""

        async def act(action: Action, cluster: Cluster, patience: Patience) -> Done:
            return await action.run(cluster, call, patience)

        return await self._ended(call, timeout, act)

    async def verify(self, call: KubernetesCall, timeout: timedelta) -> Ran | Lost:
        """Look, until `timeout` is over."""

        async def act(action: Action, cluster: Cluster, patience: Patience) -> Done:
            return await action.verify(cluster, call, patience)

        return await self._ended(call, timeout, act)

    async def undo(
        self, call: KubernetesCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Put back, value by value; refused where somebody has changed one of them since."""

        async def act(action: Action, cluster: Cluster, patience: Patience) -> Done:
            return await action.undo(cluster, call, changed, patience)

        return await self._ended(call, timeout, act)

    async def _ended(self, call: KubernetesCall, timeout: timedelta, act: Act[Done]) -> Ran | Lost:
        started = self._clock.monotonic()
        try:
            done = await self._acted(call, timeout, act)
        except Unanswered as unanswered:
            return Lost(unanswered.reason)
        took = timedelta(seconds=self._clock.monotonic() - started)
        if isinstance(done, Ran):
            return replace(done, evidence=done.evidence.model_copy(update={"took": took}))
        return Ran(
            succeeded=True,
            reason=done.reason,
            evidence=evidence(done.text, took),
            changed=done.changed,
        )

    async def _acted(
        self, call: KubernetesCall, timeout: timedelta, act: Act[Outcome]
    ) -> Outcome | Ran:
        try:
            access = self._access(call)
            async with reached(access) as cluster:
                patience = Patience(self._clock, timeout)
                return await act(ACTIONS[call.action], cluster, patience)
        except Refused as refused:
            return Ran(
                succeeded=False,
                reason=refused.reason,
                evidence=evidence(refused.text, timedelta()),
                changed=refused.changed,
            )

    def _access(self, call: KubernetesCall) -> Access:
        access = self._clusters.get(call.cluster)
        if access is None:
            raise Refused("cluster_not_configured", f"no settings for cluster {call.cluster!r}")
        if access.namespaces:
            word = (call.resource or "").partition("/")[0]
            if word == "node" or call.namespace not in access.namespaces:
                where = "nodes" if word == "node" else call.namespace
                raise Refused(
                    "namespace_not_allowed", f"settings of {call.cluster} leave out {where}"
                )
        return access
