"""The local stack: what it starts is ready, comes back when it ends, and leaves nothing behind.

The services here are a few lines that answer `/readyz`, so that these tests are about the stack.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_cli.stack import kafka as kafka_process
from tocsin_cli.stack import state
from tocsin_cli.stack.problems import StackProblem
from tocsin_cli.stack.services import SERVICES
from tocsin_cli.stack.stack import Stack
from tocsin_cli.stack.topics import apply_topics
from tocsin_contracts.registry import TOPICS

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]

A_SERVICE = """
import os, http.server

class Ops(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["TOCSIN_KAFKA_BOOTSTRAP"].encode())

http.server.HTTPServer(("127.0.0.1", int(os.environ["TOCSIN_OPS_PORT"])), Ops).serve_forever()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with nothing kept, and Kafka already fetched."""
    kafka_process.install(ROOT)
    folder = tmp_path / "repository"
    (folder / ".local").mkdir(parents=True)
    (folder / ".local" / "kafka").symlink_to(ROOT / ".local" / "kafka")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    return folder


@pytest.fixture
def pretending(tmp_path: Path) -> dict[str, str]:
    """An environment in which every service is a few lines that are ready at once."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for service in SERVICES:
        (modules / f"{service.module}.py").write_text(A_SERVICE)
    return {"PYTHONPATH": str(modules)}


@pytest.fixture
def stack(root: Path, pretending: dict[str, str]) -> Iterator[Stack]:
    """The stack of that repository, stopped at the end whatever happens."""
    made = Stack(root, partitions=2, env=pretending)
    yield made
    made.stop()


def wait_for_end(pids: list[int]) -> None:
    """Return when all have ended; the test's own time limit bounds it."""
    for pid in pids:
        try:
            opened = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        select.select([opened], [], [])
        os.close(opened)


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def broker_among(pids: list[int]) -> int:
    (found,) = (pid for pid in pids if b"kafka.Kafka" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def supervisor_of(stack: Stack) -> state.StackState:
    said = state.load(stack.root / ".local" / "run" / "state.json")
    assert said is not None
    return said


async def test_everything_is_ready_when_start_returns(stack: Stack) -> None:
    told: list[str] = []
    stack.start(told.append)
    assert {one.name: one.health for one in stack.status()} == {
        service.name: "ready" for service in SERVICES
    }
    assert (await apply_topics(stack.bootstrap, 2)).created == ()
    assert f"created {len(TOPICS)} topics" in told


def test_a_second_start_finds_the_first(stack: Stack, root: Path) -> None:
    stack.start()
    second = Stack(root)
    second.start()
    assert second.bootstrap == stack.bootstrap
    assert second.api_token == stack.api_token


def test_what_was_stopped_is_gone_and_says_so(stack: Stack) -> None:
    stack.start()
    held = children_of(supervisor_of(stack).supervisor)
    stack.stop()
    wait_for_end(held)
    assert not stack.running
    assert stack.status() == ()
    with pytest.raises(StackProblem, match="not running"):
        _ = stack.bootstrap


async def test_topics_and_tokens_survive_a_restart(stack: Stack) -> None:
    stack.start()
    tokens = (stack.webhook_token, stack.api_token)
    stack.stop()
    told: list[str] = []
    stack.start(told.append)
    assert (stack.webhook_token, stack.api_token) == tokens
    assert not [line for line in told if line.startswith("created")]


@pytest.mark.parametrize("name", ["classifier", "kafka"])
async def test_a_process_that_is_killed_is_started_again(stack: Stack, name: str) -> None:
    stack.start()
    said = supervisor_of(stack)
    if name == "kafka":
        victim = broker_among(children_of(said.supervisor))
    else:
        victim = said.services[name].pid or 0
    os.kill(victim, signal.SIGKILL)
    wait_for_end([victim])
    if name == "kafka":
        while not await kafka_process.answers(stack.bootstrap):  # bounded by the time limit
            pass
        assert (await apply_topics(stack.bootstrap, 2)).created == ()
    else:
        while supervisor_of(stack).services[name].pid in {victim, None}:
            pass
        assert supervisor_of(stack).services[name].restarts == 1


def test_a_killed_supervisor_leaves_no_process_behind(stack: Stack) -> None:
    stack.start()
    said = supervisor_of(stack)
    held = children_of(said.supervisor)
    assert len(held) == 2 + len(SERVICES)
    os.kill(said.supervisor, signal.SIGKILL)
    wait_for_end(held)
    assert not stack.running


def test_a_service_that_cannot_start_stops_everything_and_is_named(
    root: Path, pretending: dict[str, str]
) -> None:
    (Path(pretending["PYTHONPATH"]) / "notifier.py").write_text("raise SystemExit('no such door')")
    broken = Stack(root, partitions=2, env=pretending)
    with pytest.raises(StackProblem, match=r"(?s)notifier did not become ready.*no such door"):
        broken.start()
    assert not broken.running


def test_an_ephemeral_stack_ends_with_whoever_started_it(
    root: Path, pretending: dict[str, str]
) -> None:
    program = (
        "import json, sys, pathlib\n"
        "from tocsin_cli.stack.stack import Stack\n"
        f"stack = Stack(pathlib.Path({str(root)!r}), partitions=2, ephemeral=True,"
        f" env={pretending!r})\n"
        "stack.start()\n"
        "print(json.dumps([s.said.pid for s in stack.status()]), flush=True)\n"
        "sys.stdin.read()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    services = [int(pid) for pid in owner.stdout.readline().strip(b"[]\n").split(b",")]
    (supervisor,) = (int(pid) for pid in children_of(owner.pid))
    held = children_of(supervisor)
    assert set(services) < set(held)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    owner.stdin.close()
    wait_for_end([*held, supervisor])
    assert not (root / ".local" / "run").exists()
