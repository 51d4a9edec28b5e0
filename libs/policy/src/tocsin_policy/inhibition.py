"""Which alerts inhibit which others, by Alertmanager's rule."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin_policy.document import InhibitionRule
from tocsin_policy.matchers import matches


class Inhibitors:
    """Firing alerts of one key that inhibit others, found by what must be equal.

    Attributes:
        stirred: Something began or stopped to inhibit since this was last set to false.
    """

    def __init__(self, rules: Mapping[str, InhibitionRule]) -> None:
        self._rules = rules
        # By rule and values: the episodes, each with whether it is a target as well.
        self._firing: dict[tuple[str, tuple[str, ...]], dict[str, bool]] = {}
        self._places: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
        self.stirred = False

    def fires(self, key: str, labels: Mapping[str, str]) -> None:
        """Take in that an episode fires."""
        if key in self._places or not self._rules:
            return
        places = []
        for name, rule in self._rules.items():
            if matches(rule.source_matchers, labels):
                place = (name, _equal(rule, labels))
                held = self._firing.setdefault(place, {})
                self.stirred = self.stirred or not held
                held[key] = matches(rule.target_matchers, labels)
                places.append(place)
        self._places[key] = tuple(places)

    def ends(self, key: str) -> None:
        """Take in that an episode fires no longer."""
        for place in self._places.pop(key, ()):
            held = self._firing[place]
            del held[key]
            if not held:
                del self._firing[place]
                self.stirred = True

    def holds(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether this rule inhibits an alert with these labels now."""
        rule = self._rules.get(name)
        if rule is None or not matches(rule.target_matchers, labels):
            return False
        held = self._firing.get((name, _equal(rule, labels)))
        if not held:
            return False
        # What is source and target both is not inhibited by what is both too, nor by itself.
        return not matches(rule.source_matchers, labels) or not all(held.values())

    def sources(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The episodes that inhibit an alert with these labels, by the first rule that does."""
        name = self.by(labels)
        if name is None:
            return ()
        rule = self._rules[name]
        both = matches(rule.source_matchers, labels)
        held = self._firing[name, _equal(rule, labels)]
        return tuple(sorted(key for key, is_both in held.items() if not (both and is_both)))

    def by(self, labels: Mapping[str, str]) -> str | None:
        """The first rule that inhibits an alert with these labels now."""
        if not self._firing:
            return None
        return next((name for name in self._rules if self.holds(name, labels)), None)


def _equal(rule: InhibitionRule, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)
