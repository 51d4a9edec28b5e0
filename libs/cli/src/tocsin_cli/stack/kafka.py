"""One Apache Kafka broker from its published jars: fetched by Maven, started by us.

A single KRaft node, broker and controller in one JVM, on the loopback interface and on ports that
were free at the start. It takes about 170 MB and, with the class archive made by `install`, about
a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tocsin_cli.stack import processes
from tocsin_cli.stack.problems import StackProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLUSTER_ID = "dG9jc2luLWxvY2FsLTAwMQ"
"""Sixteen bytes in base64: every local broker is the same cluster, so that its data can move."""

READY_LIMIT_SECONDS = 60
_POLL_SECONDS = 0.1
_PORT_ATTEMPTS = 3

_NEED_JAVA = (
    "Java 17 or newer is needed to run Apache Kafka: apt-get install openjdk-17-jre-headless"
)
_NEED_MAVEN = "Maven is needed once, to fetch Apache Kafka's jars: apt-get install maven"

_JVM = (
    "java",
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
    "-Djava.awt.headless=true",
)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# One node: nothing to replicate to.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Small: few threads, small buffers, small files for hundreds of nearly empty partitions.
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
log.segment.bytes=67108864
# Quick: a group of one has nobody to wait for, and tests restart members often.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A killed broker is let in again when its last session has run out: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
# A record may be as large as the largest webhook ingestion accepts, and its envelope.
message.max.bytes=6291456
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Kafka's jars and what was prepared from them.

    Attributes:
        folder: Holds `libs/`, the class archive and a formatted empty log.
    """

    folder: Path

    @property
    def libs(self) -> Path:
        """The jars."""
        return self.folder / "libs"

    @property
    def blank(self) -> Path:
        """A formatted log folder with nothing in it, to be copied."""
        return self.folder / "blank"

    @property
    def archive(self) -> Path:
        """The JVM's class data archive; it halves the start."""
        return self.folder / "classes.jsa"

    @property
    def stamp(self) -> Path:
        """Says from what this was prepared; absent while it is not complete."""
        return self.folder / "prepared"

    @property
    def log4j(self) -> Path:
        """Logging: warnings only, to the console."""
        return self.folder / "log4j2.properties"

    def java(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """A JVM command over the jars.

        The class path lists the jars in order: an archive belongs to exactly one class path.
        """
        path = os.pathsep.join(str(jar) for jar in sorted(self.libs.glob("*.jar")))
        logging = f"-Dlog4j2.configurationFile={self.log4j}"
        return [*_JVM, *options, logging, "-cp", path, *arguments]


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker.

    Attributes:
        ports: For clients, and for the controller.
        child: Its process, or the tether that holds it.
    """

    ports: tuple[int, int]
    child: processes.Child

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.ports[0]}"

    def stop(self) -> None:
        """Return when it has written its data and ended."""
        self.child.stop()


def install(root: Path, progress: Callable[[str], None] = lambda _: None) -> Installation:
    """Kafka made ready to start; quick and silent if it already is.

    Fetches the jars that `deploy/kafka/pom.xml` names, formats an empty log once, and runs the
    broker once to make the JVM's class archive. Several processes may call it at the same time.

    Args:
        root: The repository.
        progress: Told what takes long, a line at a time.

    Raises:
        StackProblem: Java or Maven is missing, or failed.
    """
    found = Installation(root / ".local" / "kafka")
    pom = root / "deploy" / "kafka" / "pom.xml"
    java = _java_version()
    wanted = hashlib.sha256(
        b"\n".join([pom.read_bytes(), java, _PROPERTIES.encode(), " ".join(_JVM).encode()])
    ).hexdigest()
    with _alone(root / ".local" / "kafka.lock"):
        if not (found.stamp.exists() and found.stamp.read_text() == wanted):
            found.stamp.unlink(missing_ok=True)
            _fetch(found, pom, progress)
            _prepare(found, progress)
            found.stamp.write_text(wanted)
    return found


def start(
    installation: Installation,
    data: Path,
    *,
    log: Path,
    owner: int | None = None,
    dies_by: signal.Signals = signal.SIGTERM,
    ports: tuple[int, int] | None = None,
) -> Broker:
    """A broker that answers metadata requests.

    Args:
        installation: From `install`.
        data: Its log folder; kept from an earlier run, or created.
        log: File for its output.
        owner: A process id: the broker lives as long as that process, and its data is then
            removed. None if it is a child of ours.
        dies_by: What the kernel sends a child of ours when we are gone: SIGTERM for data that is
            kept, SIGKILL for what nobody needs.
        ports: Those of an earlier broker, so that its clients find this one; free ones if None.

    Raises:
        StackProblem: It ended, or did not answer within a minute; the message holds its last words.
    """
    _java_version()
    if not (data / "meta.properties").exists():
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(installation.blank, data)
    for _ in range(_PORT_ATTEMPTS):
        broker = _launch(
            installation,
            data,
            log=log,
            owner=owner,
            dies_by=dies_by,
            ports=ports or processes.free_ports(2),
            options=_archived(installation),
        )
        if _answers(broker):
            return broker
        broker.stop()
        if "already in use" not in broker.child.last_words(200):
            break
    raise StackProblem(f"Kafka did not start; {log} ends with:\n{broker.child.last_words()}")


def _archived(installation: Installation) -> tuple[str, ...]:
    if not installation.archive.exists():
        return ()
    return (f"-XX:SharedArchiveFile={installation.archive}",)


def _launch(
    installation: Installation,
    data: Path,
    *,
    log: Path,
    owner: int | None,
    dies_by: signal.Signals,
    ports: tuple[int, ...],
    options: tuple[str, ...],
) -> Broker:
    port, controller = ports
    properties = data.parent / f"{data.name}.properties"
    properties.write_text(_PROPERTIES.format(port=port, controller=controller, data=data))
    command = installation.java("kafka.Kafka", str(properties), options=options)
    if owner is None:
        child = processes.start("kafka", command, log=log, dies_by=dies_by)
    else:
        tether = [sys.executable, "-m", "tocsin_cli.stack.tether", "--owner", str(owner)]
        tether += ["--log", str(log), "--remove", str(data), "--"]
        child = processes.start_free("kafka", [*tether, *command], log=log)
    return Broker((port, controller), child)


def _answers(broker: Broker) -> bool:
    # A thread, because the caller may already be inside an event loop.
    with ThreadPoolExecutor(1) as pool:
        for _ in range(int(READY_LIMIT_SECONDS / _POLL_SECONDS)):
            if broker.child.ended_within(_POLL_SECONDS):
                return False
            if pool.submit(asyncio.run, answers(broker.bootstrap)).result():
                return True
    return False


def quiet_clients() -> None:
    """Keep aiokafka from reporting, a line each, every look at a broker that is coming up."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


async def answers(bootstrap: str) -> bool:
    """Whether a broker answers a metadata request there now."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()


def _java_version() -> bytes:
    if shutil.which("java") is None:
        raise StackProblem(_NEED_JAVA)
    return subprocess.run(["java", "-version"], check=True, capture_output=True).stderr


def _fetch(found: Installation, pom: Path, progress: Callable[[str], None]) -> None:
    if shutil.which("mvn") is None:
        raise StackProblem(_NEED_MAVEN)
    progress("fetching Apache Kafka's jars with Maven (about 45 MB, once)")
    shutil.rmtree(found.folder, ignore_errors=True)
    done = subprocess.run(
        [
            *("mvn", "--batch-mode", "--quiet", "--file", str(pom)),
            *("dependency:copy-dependencies", "-DincludeScope=runtime"),
            f"-DoutputDirectory={found.libs}",
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StackProblem(f"Maven could not fetch Kafka's jars:\n{done.stdout}{done.stderr}")


def _prepare(found: Installation, progress: Callable[[str], None]) -> None:
    progress("preparing Apache Kafka (a few seconds, once)")
    found.log4j.write_text(_LOG4J)
    trial = found.folder / "trial"
    trial.mkdir()
    properties = trial / "format.properties"
    properties.write_text(_PROPERTIES.format(port=1, controller=2, data=found.blank))
    tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties))
    done = subprocess.run(found.java(*tool), check=False, capture_output=True, text=True)
    if done.returncode:
        raise StackProblem(f"Kafka could not format its log:\n{done.stdout}{done.stderr}")

    shutil.copytree(found.blank, trial / "data")
    archiving = (f"-XX:ArchiveClassesAtExit={found.archive}",)
    broker = _launch(
        found,
        trial / "data",
        log=trial / "kafka.log",
        owner=None,
        dies_by=signal.SIGKILL,
        ports=processes.free_ports(2),
        options=archiving,
    )
    answered = _answers(broker)
    broker.stop()
    if not answered:
        raise StackProblem(f"Kafka did not start:\n{broker.child.last_words()}")
    shutil.rmtree(trial)


_LOG4J = """\
status=warn
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
"""


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Make Kafka ready to start: what `make setup` runs."""
    quiet_clients()
    try:
        install(Path.cwd(), print)
    except StackProblem as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
