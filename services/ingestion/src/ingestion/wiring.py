"""Which adapter stands behind which port of ingestion."""

from __future__ import annotations

from collections.abc import Iterable

from ingestion.adapters.alertmanager_api import AlertmanagerApi
from ingestion.adapters.amazon import HttpAmazon
from ingestion.adapters.answer_pages import AnswerPages
from ingestion.adapters.http import HttpDoor
from ingestion.adapters.lookups import OBSERVATIONS, LogLookups
from ingestion.adapters.slack_replies import SlackReplies
from ingestion.adapters.tails import KafkaTail
from ingestion.domain.authentication import Key
from ingestion.domain.parsed import Parsed
from ingestion.domain.sources import BUILT_IN, Sources
from ingestion.domain.sources.source import Source
from ingestion.handlers import RAW, RAW_URGENT, Door, Normaliser, Rehearser
from ingestion.settings import IngestionSettings
from tocsin_casebook import Policies, Silences
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.settings import EngineName
from tocsin_runtime.telemetry import gauge

URGENT_GROUP = "ingestion.urgent"


async def wire(runtime: Runtime, settings: IngestionSettings) -> None:
    """Put ingestion together: the door, and the stage behind it."""
    sources = Sources((*BUILT_IN, *_mapped(settings)))
    keys = {
        name: [Key(key.secret, key.labels) for key in held]
        for name, held in settings.source_keys.items()
    }
    sources.check(keys)
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    silences = Silences()
    await runtime.follow("silences", silences.apply)
    connection = KafkaConnection.from_settings(settings, runtime.name)
    tail = KafkaTail(connection, runtime.reader, runtime.clock, OBSERVATIONS, settings.look_back)
    runtime.on_stop(tail.stop)
    lookups = LogLookups(runtime.reader, runtime.clock, tail)
    amazon = HttpAmazon()
    runtime.on_stop(amazon.stop)
    replies = SlackReplies()
    runtime.on_stop(replies.stop)
    parsed = Parsed()
    gauge("tocsin_parsed_kept", "Deliveries read at the door, for the stage behind", parsed.__len__)
    handler = Door(
        publisher=runtime.publisher,
        policies=policies,
        clock=runtime.clock,
        sources=sources,
        lookups=lookups,
        people=settings.people,
        parsed=parsed,
    )
    door = HttpDoor(
        handler,
        runtime.clock,
        webhook_token=settings.webhook_token,
        api_token=settings.api_token,
        max_body_bytes=settings.max_body_bytes,
        max_requests=settings.max_requests,
        accept_timeout=settings.accept_timeout,
        read_timeout=settings.read_timeout,
        keys=keys,
        per_second=settings.source_rate,
        public_url=settings.public_url,
        amazon=amazon,
        replies=replies,
        pages=AnswerPages(handler, lookups, runtime.clock, settings.link_keys),
        api=AlertmanagerApi(
            publisher=runtime.publisher,
            policies=policies,
            lookups=lookups,
            silences=silences,
            clock=runtime.clock,
            read_tokens=(settings.webhook_token,),
            write_token=settings.api_token,
        ),
    )
    gauge("tocsin_requests_in_hand", "Requests being taken in now", door.in_hand)
    stage = Normaliser(
        publisher=runtime.publisher, policies=policies, sources=sources, parsed=parsed
    )
    # A group and an engine of its own: in a storm Faust's one consumer hands an urgent record over
    # behind all it has fetched of the other lane. The stage keeps no state, so two may run it.
    # What is normalised follows from the bytes alone, and the door writes whatever the group does.
    runtime.consume(stage, (RAW_URGENT,), group=URGENT_GROUP, owns=False)
    runtime.consume(stage, (RAW,), engine=EngineName.FAUST, owns=False)
    runtime.background("drills", Rehearser(handler, policies, runtime.clock).run)
    runtime.serve(door.application, settings.host, settings.port)


def _mapped(settings: IngestionSettings) -> Iterable[Source]:
    """The sources of the settings' mappings; a wrong expression ends the start, with its place."""
    if not settings.mappings:
        return
    from ingestion.domain.sources.mapped import (  # noqa: PLC0415 - 50 MB that most do without
        AlertMapping,
        mapped_source,
    )

    for name, mapping in settings.mappings.items():
        yield mapped_source(name, AlertMapping.model_validate(mapping))
