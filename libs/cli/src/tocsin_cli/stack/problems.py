"""What can be wrong with this machine, said so that a person knows what to do."""

from __future__ import annotations


class StackProblem(Exception):
    """The stack cannot run; the message says what to do about it."""
