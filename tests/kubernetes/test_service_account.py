"""Inside a cluster the runner is its pod's own service account."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from remediation.adapters.kubernetes import Access, KubernetesRunner
from remediation.domain.plan import Ran
from tocsin_policy import KubernetesCall
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.kubernetes.real import RealKubernetes
from tocsin_testkit.kubernetes.trying import on_real

pytestmark = pytest.mark.kubernetes
ROOT = Path(__file__).resolve().parents[2]


async def test_a_token_that_was_rotated_is_read_anew(
    real_kubernetes: RealKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = real_kubernetes.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    mounted = tmp_path / "serviceaccount"
    mounted.mkdir()
    (mounted / "ca.crt").write_bytes(real_kubernetes.ca.read_bytes())
    (mounted / "namespace").write_text("tocsin")
    (mounted / "token").write_text("one-that-has-expired")
    runner = KubernetesRunner({"default": Access(service_account=mounted)}, SystemClock())
    async with on_real(real_kubernetes, ROOT, tmp_path, "inside") as trial:
        state = KubernetesCall(action="state", namespace="inside")
        before = await runner.run(state, timedelta(seconds=10))
        (mounted / "token").write_text(token_of(trial.kubeconfig))
        after = await runner.run(state, timedelta(seconds=10))
    assert isinstance(before, Ran)
    assert isinstance(after, Ran)
    assert (before.reason, after.succeeded) == ("not_authenticated", True)


def token_of(kubeconfig: Path) -> str:
    found: str = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    return found
