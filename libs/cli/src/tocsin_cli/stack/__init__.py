"""The whole system on one machine: a broker, a Valkey, the five services, and no Docker."""

from tocsin_cli.stack.problems import StackProblem
from tocsin_cli.stack.stack import ServiceStatus, Stack

__all__ = ["ServiceStatus", "Stack", "StackProblem"]
