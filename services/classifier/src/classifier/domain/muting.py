"""Who need not hear of an alert now, and because of what: silences, windows, inhibition, causes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tocsin_contracts.incidents import Muting
from tocsin_incident import IncidentState
from tocsin_policy import Inhibitors, Policy, SilenceBook, matches, severity_rank

SILENCED = "silenced"
MAINTENANCE = "maintenance"
INHIBITED = "inhibited"
SYMPTOM = "symptom"


Live = Callable[[str], Iterable[IncidentState]]
"""Live incidents of a service, oldest first."""


@dataclass(frozen=True, slots=True)
class Ears:
    """What decides whether an alert of one key is heard at one instant.

    Attributes:
        live: Live incidents of a service, oldest first.
        find: Expected state of an incident.
    """

    policy: Policy
    silences: SilenceBook
    inhibitors: Inhibitors
    live: Live
    find: Callable[[str], IncidentState | None]
    now: datetime
    _asked: dict[Muting, bool] = field(default_factory=dict)

    @property
    def deaf_to_nothing(self) -> bool:
        """Whether nothing there is could mute anything."""
        return (
            not len(self.silences)
            and not self.policy.maintenance
            and not self.policy.inhibition.rules
            and not self.policy.inhibition.along_dependencies
        )

    def muting(
        self, labels: Mapping[str, str], service: str | None, severity: str, own: str = ""
    ) -> Muting | None:
        """What mutes an alert, or `None` if it is to be heard.

        Args:
            service: Whose alert it is.
            severity: How bad it is; nothing milder can be its cause.
            own: The incident that holds it, which is not its own cause.
        """
        silenced = self.silences.muting(labels, self.now)
        if silenced:
            return Muting(because=SILENCED, by=silenced[0], severity=severity)
        for name, window in self.policy.maintenance.items():
            if matches(window.matchers, labels) and window.edge(self.now)[0]:
                return Muting(because=MAINTENANCE, by=name, severity=severity)
        rule = self.inhibitors.by(labels)
        if rule is not None:
            return Muting(because=INHIBITED, by=rule, severity=severity)
        cause = self._cause(service, severity, own)
        return None if cause is None else Muting(because=SYMPTOM, by=cause, severity=severity)

    def _cause(self, service: str | None, severity: str, own: str) -> str | None:
        if not self.policy.inhibition.along_dependencies or service is None:
            return None
        found = [
            state
            for needed in self.policy.dependencies(service)
            for state in self.live(needed)
            if state.incident != own and explains(self.policy, state, severity)
        ]
        found.sort(key=lambda state: (state.opened_at, state.incident))
        return found[0].incident if found else None

    def stands(self, muting: Muting, labels: Mapping[str, str]) -> bool:
        """Whether what muted an alert before mutes it still."""
        if muting.because == INHIBITED:
            return self.inhibitors.holds(muting.by, labels)
        known = self._asked.get(muting)
        if known is None:
            known = self._asked[muting] = self._stands(muting)
        return known

    def _stands(self, muting: Muting) -> bool:
        if muting.because == SILENCED:
            silence = self.silences.get(muting.by)
            return silence is not None and silence.starts_at <= self.now < silence.ends_at
        if muting.because == MAINTENANCE:
            window = self.policy.maintenance.get(muting.by)
            return window is not None and window.edge(self.now)[0]
        cause = self.find(muting.by)
        held = self.policy.inhibition.along_dependencies
        return held and cause is not None and explains(self.policy, cause, muting.severity)

    def until(self, muting: Muting) -> datetime | None:
        """When this muting ends by itself, if it does."""
        if muting.because == SILENCED:
            silence = self.silences.get(muting.by)
            return None if silence is None else silence.ends_at
        if muting.because == MAINTENANCE:
            window = self.policy.maintenance.get(muting.by)
            return None if window is None else window.edge(self.now)[1]
        return None

    def next_edge(self) -> datetime | None:
        """When the next silence or window begins or ends."""
        edges = [window.edge(self.now)[1] for window in self.policy.maintenance.values()]
        silence = self.silences.next_change(self.now)
        return min((*edges, silence) if silence is not None else edges, default=None)


def explains(policy: Policy, cause: IncidentState, severity: str) -> bool:
    """Whether an incident can be why what depends on its service has alerts this bad.

    One whose own alerts are clear explains nothing any more, and one that nobody hears of must
    not have others go unheard. A drill is the cause of nothing.
    """
    still = cause.declared_by is not None or cause.clear_since is None
    as_bad = severity_rank(policy, cause.severity) <= severity_rank(policy, severity)
    return cause.status.live and still and as_bad and not cause.quiet and not cause.drill
