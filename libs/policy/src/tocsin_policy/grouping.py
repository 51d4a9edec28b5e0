"""Whose an alert is, and with which others it belongs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tocsin_policy.document import Policy
from tocsin_policy.matchers import matches

DRILL_LABEL = "tocsin_drill"
"""Label of a drill's alert; its value is the drill's name in the policy."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The system an alert belongs to, or `None`, and why."""

    system: str | None
    reason: str


def group_key(policy: Policy, labels: Mapping[str, str]) -> str:
    """The alerts of one key become one incident.

    A JSON list of the grouping labels' values, so that no value can pass for two. A drill is a
    group of its own: it must not join what is real, nor what is real a drill.
    """
    names = (*policy.grouping.by, DRILL_LABEL) if DRILL_LABEL in labels else policy.grouping.by
    return _written(names, tuple(labels.get(name, "") for name in names))


@lru_cache(maxsize=10_000)
def _written(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [list(pair) for pair in zip(names, values, strict=True)]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))


def claim(policies: Iterable[Policy], labels: Mapping[str, str]) -> Claim:
    """The system an alert belongs to.

    A label `system` that names a policy wins; else the first policy, by name of the system, one
    of whose claims fits.
    """
    ordered = sorted(policies, key=lambda policy: policy.system)
    named = labels.get("system", "")
    if any(policy.system == named for policy in ordered):
        return Claim(named, f"label system={named!r}")
    for policy in ordered:
        for texts, matchers in zip(policy.claims, policy.claim_matchers, strict=True):
            if matches(matchers, labels):
                return Claim(policy.system, f"claim {', '.join(texts)}")
    return Claim(None, f"no policy claims it (label system={named!r})")
