"""What many share is tied to the one process that started them all."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tocsin_cli.stack import processes

SLEEPER = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]


def tethered(owner: int, folder: Path) -> processes.Child:
    command = [sys.executable, "-m", "tocsin_cli.stack.tether", "--owner", str(owner)]
    command += ["--log", str(folder.parent / "log"), "--remove", str(folder), "--", *SLEEPER]
    return processes.start_free("tether", command, log=folder.parent / "tether.log")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / "record").touch()
    return made


def held_by(child: processes.Child) -> int:
    """The process id of what a tether holds, once that runs."""
    log = child.log.parent / "log"
    while not (log.exists() and "here" in log.read_text()):  # bounded by the test's time limit
        assert not child.ended_within(0.01)
    listed = Path(f"/proc/{child.process.pid}/task/{child.process.pid}/children").read_text()
    return int(listed)


def test_it_ends_with_its_owner_and_takes_its_data_along(folder: Path) -> None:
    owner = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    tether = tethered(owner.pid, folder)
    held = os.pidfd_open(held_by(tether))
    owner.kill()
    owner.wait()
    assert tether.ended_within(10)
    assert select.select([held], [], [], 0)[0]
    os.close(held)
    assert not folder.exists()


def test_it_ends_when_asked_to(folder: Path) -> None:
    tether = tethered(os.getpid(), folder)
    held = os.pidfd_open(held_by(tether))
    tether.stop()
    assert select.select([held], [], [], 0)[0]
    os.close(held)
    assert not folder.exists()


def test_what_it_holds_ends_even_if_the_tether_is_killed(folder: Path) -> None:
    tether = tethered(os.getpid(), folder)
    held = os.pidfd_open(held_by(tether))
    tether.process.kill()
    tether.process.wait()
    assert select.select([held], [], [], 10)[0]
    os.close(held)


def test_an_owner_that_is_gone_already_is_no_owner(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert tethered(gone.pid, folder).ended_within(10)
    assert not folder.exists()
