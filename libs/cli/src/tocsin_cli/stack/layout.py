"""Where a stack keeps what: one place to look for a log, a lock or the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders of one stack.

    Attributes:
        root: The repository.
        run: State and lock of this stack.
        data: What survives a restart, where `run` does not.
        logs: A file for each process, of the latest run.
    """

    root: Path
    run: Path
    data: Path
    logs: Path

    @classmethod
    def kept(cls, root: Path) -> Layout:
        """The stack of `tocsin up`: there is one, and incidents survive it."""
        local = root / ".local"
        return cls(root, local / "run", local / "data", local / "logs" / "up")

    @classmethod
    def passing(cls, root: Path, folder: Path) -> Layout:
        """A stack whose state and data are gone when it ends; its logs stay for a look."""
        return cls(root, folder, folder, root / ".local" / "logs" / folder.name)

    @property
    def state(self) -> Path:
        """What the stack says about itself."""
        return self.run / "state.json"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor has to say; beside `logs`, which it empties at each start."""
        return self.logs.with_name(f"{self.logs.name}-supervisor.log")

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "lock"
