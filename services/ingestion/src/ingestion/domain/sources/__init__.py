"""Every source the door knows. To add one: write its module, and name it in `BUILT_IN`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingestion.domain.delivery import Delivery, Malformed, Received
from ingestion.domain.sources import (
    alertmanager,
    alertmanager_events,
    cloudevents,
    cloudwatch,
    datadog,
    github,
    grafana,
    opsgenie,
    pagerduty_events,
    pagerduty_webhooks,
    pingdom,
    prometheus,
    sentry,
    slack,
    twilio,
    zendesk,
)
from ingestion.domain.sources.source import Source

BUILT_IN: tuple[Source, ...] = (
    alertmanager.SOURCE,
    alertmanager_events.SOURCE,
    prometheus.SOURCE,
    pagerduty_events.SOURCE,
    pagerduty_webhooks.SOURCE,
    opsgenie.SOURCE,
    grafana.SOURCE,
    cloudevents.SOURCE,
    datadog.SOURCE,
    sentry.SOURCE,
    cloudwatch.SOURCE,
    pingdom.SOURCE,
    zendesk.SOURCE,
    github.SOURCE,
    slack.SOURCE,
    twilio.SOURCE,
)


class Sources:
    """Sources by name."""

    def __init__(self, sources: Iterable[Source] = BUILT_IN) -> None:
        self._sources: dict[str, Source] = {}
        for source in sources:
            if source.name in self._sources:
                raise ValueError(f"two sources are called {source.name!r}")
            self._sources[source.name] = source

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources.values())

    def get(self, name: str) -> Source | None:
        """The source of this name, or `None`."""
        return self._sources.get(name)

    def names(self) -> str:
        """Their names, for people."""
        return ", ".join(sorted(self._sources))

    def check(self, names: Iterable[str]) -> None:
        """Raise `ValueError` if any of these names no source: a secret that nobody asks for."""
        unknown = [name for name in names if name not in self._sources]
        if unknown:
            raise ValueError(f"no source {', '.join(unknown)}; known: {self.names()}")

    def parse(self, name: str, received: Received) -> Delivery:
        """What the bytes of a source say.

        Raises:
            Malformed: They are not what the source sends, or there is no such source.
        """
        source = self._sources.get(name)
        if source is None:
            raise Malformed(
                "unknown_source", "source", f"no source {name[:50]!r}; known: {self.names()}"
            )
        return source.parse(received)
