"""A real Kubernetes API: kube-apiserver, kube-controller-manager and etcd, built here from Go.

`deploy/kubernetes-api/go.mod` names the programs and `go.sum` holds the sum of every module, so a
build is of exactly these sources or fails. There is no kubelet: `nodes.py` stands for the nodes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tocsin_cli.stack import processes
from tocsin_cli.stack.problems import StackProblem

VERSION = "1.36.3"
"""Of Kubernetes; the module files hold the same."""

ADMIN_TOKEN = "the-token-of-the-tests"  # noqa: S105 - of a cluster that lives for one test run
READY_LIMIT_SECONDS = 90
_POLL_SECONDS = 0.2
_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
)
_ROLES = "system:masters"
_NEED_GO = (
    "Go 1.26 or newer is needed to build the Kubernetes API: https://go.dev/doc/install "
    "(looked on PATH and in /usr/local/go)"
)


@dataclass(frozen=True, slots=True)
class Programs:
    """What was built."""

    folder: Path

    def path(self, name: str) -> str:
        """Where a program is."""
        return str(self.folder / name)


@dataclass(frozen=True, slots=True)
class RealKubernetes:
    """A running API with its controllers.

    Attributes:
        url: Of the API server.
        ca: PEM file of the authority that signed its certificate.
        token: Of an administrator.
    """

    url: str
    ca: Path
    token: str
    children: tuple[processes.Child, ...]

    def stop(self) -> None:
        """Return when all of it has ended."""
        for child in self.children:
            child.stop()


def install(root: Path, progress: Callable[[str], None] = lambda _: None) -> Programs:
    """The programs, built if they are not; quick and silent if they are.

    Args:
        root: The repository.
        progress: Told what takes long, a line at a time.

    Raises:
        StackProblem: Go is missing, or its build failed.
    """
    module = root / "deploy" / "kubernetes-api"
    folder = root / ".local" / "kubernetes"
    sources = b"".join((module / name).read_bytes() for name in ("go.mod", "go.sum"))
    wanted = hashlib.sha256(sources + VERSION.encode()).hexdigest()
    stamp = folder / "built"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        if not (stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            _build(module, folder / "bin", progress)
            stamp.write_text(wanted)
    return Programs(folder / "bin")


def start(programs: Programs, folder: Path, kubelet_ca: Path | None = None) -> RealKubernetes:
    """An API that is ready, with controllers that have begun.

    Args:
        programs: From `install`.
        folder: For data, certificates and logs; new.
        kubelet_ca: Signs the certificates of nodes; unchecked without.

    Raises:
        StackProblem: A part ended or was not ready in time; the message holds its last words.
    """
    client, peer, secure, manager = processes.free_ports(4)
    folder.mkdir(parents=True, exist_ok=True)
    key = _signing_key(folder)
    (folder / "tokens.csv").write_text(f'{ADMIN_TOKEN},tests,tests,"{_ROLES}"\n')
    etcd = processes.start(
        "etcd",
        [
            programs.path("server"),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        ],
        log=folder / "etcd.log",
    )
    api = processes.start(
        "kube-apiserver",
        [
            programs.path("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{client}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--cert-dir={folder / 'certificates'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            *((f"--kubelet-certificate-authority={kubelet_ca}",) if kubelet_ca else ()),
        ],
        log=folder / "kube-apiserver.log",
    )
    url = f"https://127.0.0.1:{secure}"
    ca = folder / "certificates" / "apiserver.crt"
    kubeconfig = folder / "admin.kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of(url, ADMIN_TOKEN, ca)))
    found = RealKubernetes(url, ca, ADMIN_TOKEN, (api, etcd))
    _wait_until_ready(found)
    controllers = processes.start(
        "kube-controller-manager",
        [
            programs.path("kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--secure-port={manager}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'certificates-of-controllers'}",
            "--leader-elect=false",
            f"--service-account-private-key-file={key}",
        ],
        log=folder / "kube-controller-manager.log",
    )
    return RealKubernetes(url, ca, ADMIN_TOKEN, (controllers, api, etcd))


def kubeconfig_of(url: str, token: str, ca: Path | None) -> dict[str, object]:
    """A kubeconfig; JSON is YAML."""
    authority = {"certificate-authority": str(ca)} if ca else {}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url, **authority}}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }


def _build(module: Path, target: Path, progress: Callable[[str], None]) -> None:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise StackProblem(_NEED_GO)
    progress(f"building the API of Kubernetes {VERSION} from Go modules (about 5 minutes, once)")
    version = "k8s.io/component-base/version"
    major, minor, _ = VERSION.split(".")
    flags = (
        f"-s -w -X {version}.gitVersion=v{VERSION} -X {version}.gitMajor={major} "
        f"-X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
    )
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *("nice", "-n", "10", found, "build", "-mod=readonly", "-p", "2", "-trimpath"),
            *("-gcflags=all=-dwarf=false", "-ldflags", flags, "-o", f"{target}/", "tool"),
        ],
        cwd=module,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StackProblem(f"Go could not build the Kubernetes API:\n{done.stdout}{done.stderr}")


def _signing_key(folder: Path) -> Path:
    path = folder / "service-accounts.key"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(secret)
    return path


def _wait_until_ready(found: RealKubernetes) -> None:
    headers = {"Authorization": f"Bearer {found.token}"}
    for _ in range(int(READY_LIMIT_SECONDS / _POLL_SECONDS)):
        for child in found.children:
            if not child.running:
                found.stop()
                raise StackProblem(f"{child.name} ended:\n{child.last_words()}")
        if found.ca.exists() and _says_ready(found, headers):
            return
        time.sleep(_POLL_SECONDS)  # noqa: TID251 - it waits for a process, before any test runs
    found.stop()
    raise StackProblem(f"kube-apiserver is not ready:\n{found.children[0].last_words()}")


def _says_ready(found: RealKubernetes, headers: dict[str, str]) -> bool:
    trust = ssl.create_default_context(cafile=found.ca)
    try:
        return httpx.get(f"{found.url}/readyz", headers=headers, verify=trust).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Build what is not built: what `make test-kubernetes` runs first."""
    started = time.monotonic()  # noqa: TID251 - for people
    try:
        install(Path.cwd(), print)
    except StackProblem as problem:
        sys.exit(str(problem))
    took = time.monotonic() - started  # noqa: TID251 - for people
    print(f"kube-apiserver {VERSION} is there ({took:.0f} s)")  # noqa: T201


if __name__ == "__main__":
    main()
