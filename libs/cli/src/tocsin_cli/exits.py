"""Exit codes that mean something, and the failures behind them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the command's exit code says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4


class NotFound(LookupError):
    """What was asked for does not exist."""


class Unreachable(ConnectionError):
    """The system is not there, or cannot answer now."""
