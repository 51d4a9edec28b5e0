"""Real Apache Kafka and real Valkey for tests, started once for a whole run.

Both are shared by all pytest-xdist workers, and end with the process that started pytest.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tocsin_cli.stack import kafka as kafka_process
from tocsin_cli.stack import valkey as valkey_process
from tocsin_cli.stack.kafka import Broker
from tocsin_cli.stack.valkey import Valkey
from tocsin_testkit.kubernetes import real as real_kubernetes_api
from tocsin_testkit.kubernetes.real import RealKubernetes
from tocsin_testkit.real_kafka import RealKafka

ROOT = Path(__file__).resolve().parents[1]
_numbers = itertools.count()
_started: list[Broker | Valkey] = []
"""Held, because a process nobody refers to is reported as forgotten."""


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """`host:port` of the one broker of this run."""
    folder = _shared_folder(tmp_path_factory, worker_id)

    def start() -> str:
        installation = kafka_process.install(ROOT, print)
        broker = kafka_process.start(
            installation,
            folder / "kafka",
            log=folder / "kafka.log",
            owner=_run_pid(worker_id),
        )
        _started.append(broker)
        return broker.bootstrap

    return _once(folder / "kafka.json", start)


@pytest.fixture
async def kafka(
    kafka_bootstrap: str, request: pytest.FixtureRequest, worker_id: str
) -> AsyncIterator[RealKafka]:
    """The broker, with a name prefix of this test's own; its topics go when the test ends."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    own = RealKafka(kafka_bootstrap, f"{test}.{worker_id}.{next(_numbers)}")
    yield own
    await own.delete_created()


@pytest.fixture(scope="session")
def real_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKubernetes]:
    """The API of this run, with its controllers; `make test-kubernetes` has built it before."""
    programs = real_kubernetes_api.install(ROOT, print)
    running = real_kubernetes_api.start(programs, tmp_path_factory.mktemp("kubernetes"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """`redis://` URL of the one Valkey of this run; shared, so prefix the keys."""
    folder = _shared_folder(tmp_path_factory, worker_id)

    def start() -> str:
        server = valkey_process.start(log=folder / "valkey.log", owner=_run_pid(worker_id))
        _started.append(server)
        return server.url

    return _once(folder / "valkey.json", start)


def _shared_folder(factory: pytest.TempPathFactory, worker_id: str) -> Path:
    own = factory.getbasetemp()
    return own if worker_id == "master" else own.parent


def _run_pid(worker_id: str) -> int:
    """The pytest a person started: ourselves, or under xdist the parent of every worker."""
    return os.getpid() if worker_id == "master" else os.getppid()


def _once(answer: Path, start: Callable[[], str]) -> str:
    with _alone(answer.with_suffix(".lock")):
        if not answer.exists():
            answer.write_text(json.dumps(start()))
        found: str = json.loads(answer.read_text())
    return found


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
