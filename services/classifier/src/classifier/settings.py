"""Everything an operator can change in the classifier."""

from __future__ import annotations

from tocsin_runtime.settings import RuntimeSettings


class ClassifierSettings(RuntimeSettings):
    """What every service has."""
