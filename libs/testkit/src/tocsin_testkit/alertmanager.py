"""Debian's Alertmanager and Prometheus, unpacked by `make setup-clients`, as processes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from tocsin_runtime.clock import SystemClock

STARTS_WITHIN = 30.0

_CONFIG = """
route:
  receiver: webhook
  group_by: [{group_by}]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: webhook
    {receiver}
"""

_WEBHOOK = """
    webhook_configs:
      - url: {url}
        http_config:
          authorization: {{ credentials: {token} }}
"""

_PROMETHEUS = """
global: {{ evaluation_interval: 1s }}
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs: [{{ targets: [{address}] }}]
      authorization: {{ credentials: {token} }}
"""


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """A running Alertmanager.

    Attributes:
        pid: Its process.
    """

    url: str
    programs: Path
    pid: int

    def tool(self, *arguments: str) -> None:
        """Run amtool against it."""
        command = [str(self.programs / "amtool"), f"--alertmanager.url={self.url}", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def running_alertmanager(
    root: Path,
    folder: Path,
    *,
    webhook: str = "",
    token: str = "",
    group_by: str = "alertname",
    receiver: str | None = None,
    config: str = "",
) -> Iterator[Alertmanager]:
    """An Alertmanager with one receiver, until the block ends.

    Args:
        webhook: Where its webhook goes, with `token`.
        receiver: Another receiver, as YAML at the depth of its `name`.
        config: The whole configuration, instead of one made of the above.
    """
    programs = root / ".local" / "debian" / "usr" / "bin"
    file = folder / "alertmanager.yml"
    inside = receiver or _WEBHOOK.format(url=webhook, token=token)
    file.write_text(config or _CONFIG.format(receiver=inside.strip(), group_by=group_by))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        *_in_its_own_place(programs),
        str(programs / "prometheus-alertmanager"),
        f"--config.file={file}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            asyncio.run(_answers(f"http://{address}/-/ready"))
            yield Alertmanager(f"http://{address}", programs, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def running_prometheus(
    root: Path, folder: Path, *, rules: str, alertmanager: str, token: str
) -> Iterator[str]:
    """The URL of a Prometheus that scrapes nothing, until the block ends.

    Args:
        rules: Its rule file; evaluated every second. What fires is sent every five seconds, with a
            lease of twenty.
        alertmanager: `host:port` of what it takes for an Alertmanager.
    """
    programs = root / ".local" / "debian" / "usr" / "bin"
    (folder / "rules.yml").write_text(rules)
    config = folder / "prometheus.yml"
    config.write_text(_PROMETHEUS.format(address=alertmanager, token=token))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        str(programs / "prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
        "--rules.alert.resend-delay=5s",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _in_its_own_place(programs: Path) -> list[str]:
    """A command that runs another with the package's `/usr/share` in place of the machine's.

    Debian's Alertmanager reads its default template from there, and the package is only unpacked.
    """
    script = 'mount --bind "$1" /usr/share && shift && exec "$@"'
    flags = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    return ["unshare", *flags, "sh", "-c", script, "sh", str(programs.parent / "share")]


async def _answers(url: str) -> None:
    async with asyncio.timeout(STARTS_WITHIN), httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.TransportError:
                pass
            await SystemClock().sleep(timedelta(milliseconds=100))
