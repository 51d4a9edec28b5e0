"""What benchmarks measure with, and what the raw library needs for the same in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

_TOPIC = "dead-letters"
"""Nobody acts on what stands there, whatever it is."""

_TRIPS = 200
_WARM = 20

_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Places in `/proc/PID/stat` after the command's name."""

_PROGRAMS = {"java": "kafka", "valkey-server": "valkey", "redis-server": "valkey"}


def quantiles(seconds: Sequence[float]) -> str:
    """Median and 99th percentile in words.

    >>> quantiles([0.001, 0.002, 0.01])
    'p50 2.0 ms, p99 10.0 ms'
    """
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return f"p50 {1000 * statistics.median(ordered):.1f} ms, p99 {1000 * p99:.1f} ms"


async def raw_round_trips(bootstrap: str, size: int) -> list[float]:
    """Seconds of one record at a time through aiokafka alone: produced with acks=all, and read.

    Args:
        size: Bytes of a record.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="latest")
    await producer.start()
    await consumer.start()
    place = TopicPartition(_TOPIC, 0)
    consumer.assign([place])
    await consumer.seek_to_end(place)
    taken = []
    for _ in range(_TRIPS):
        began = time.perf_counter()
        await producer.send(_TOPIC, b"x" * size, partition=0)
        while not await consumer.getmany(place, timeout_ms=1000):
            pass
        taken.append(time.perf_counter() - began)
    await consumer.stop()
    await producer.stop()
    return taken[_WARM:]


def cpu_seconds() -> Mapping[str, float]:
    """Seconds of processor used so far, by name, of this process and all it has started.

    A module run by Python is named for the module, anything else for its program.
    """
    stats = {}
    for found in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(found.parent.name)] = found.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since
    ours = {os.getpid()}
    for pid in sorted(stats):
        _follow(pid, stats, ours)
    used: dict[str, float] = {}
    for pid in ours & stats.keys():
        ticks = int(stats[pid][_USER]) + int(stats[pid][_SYSTEM])
        name = _name(pid)
        used[name] = used.get(name, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return used


def spent(before: Mapping[str, float], after: Mapping[str, float], count: int) -> str:
    """What each of `count` took of every process's time between two looks, in words.

    >>> spent({"notifier": 1.0}, {"notifier": 1.5, "kafka": 0.2, "valkey": 0.0}, 1000)
    'notifier 500 us, kafka 200 us'
    """
    took = {name: 1e6 * (now - before.get(name, 0.0)) / count for name, now in after.items()}
    most_first = sorted(took.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {micro:.0f} us" for name, micro in most_first if micro >= 1)


def _follow(pid: int, stats: Mapping[int, list[str]], ours: set[int]) -> None:
    """Add a process and those between to ours, if we started it, or those that did."""
    between = []
    while pid in stats and pid not in ours:
        between.append(pid)
        pid = int(stats[pid][_PARENT])
    if pid in ours:
        ours.update(between)


def _name(pid: int) -> str:
    if pid == os.getpid():
        return "this benchmark"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
    if "-m" in words:
        return words[words.index("-m") + 1].replace("_", "-")
    script = next((Path(word).stem for word in words[1:] if word.endswith(".py")), None)
    program = Path(words[0]).name
    return script or _PROGRAMS.get(program, program)
