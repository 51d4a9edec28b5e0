"""Whatever comes, a source gives a delivery that can be written, or a clear refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.domain.context import Context, completed
from ingestion.domain.delivery import Delivery, Malformed, Received
from ingestion.domain.normalising import Places, normalise
from ingestion.domain.sources import BUILT_IN
from ingestion.domain.sources.mapped import AlertMapping, mapped_source
from ingestion.domain.sources.source import Refusal, Reply, Source, Taken
from tocsin_contracts import codec
from tocsin_contracts.event import Cause
from tocsin_contracts.ids import derive
from tocsin_testkit.policies import a_policy

EXAMPLES = Path(__file__).parent / "examples"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"

MAPPED = mapped_source(
    "mapped",
    AlertMapping(
        alerts="body.events",
        firing='item.state != "ok"',
        labels={"alertname": "item.name", "severity": "item.severity", "n": "string(item.n + 1)"},
        annotations={"summary": "item.text + ' on ' + item.host"},
        starts_at="timestamp(item.at)",
        key="item.id",
    ),
)
SOURCES = [*BUILT_IN, MAPPED]
OF_MAPPED = {
    "path": "/v1/webhooks/mapped",
    "headers": {"Content-Type": "application/json"},
    "body": json.dumps(
        {
            "events": [
                {
                    "id": 7,
                    "name": "full",
                    "severity": "bad",
                    "n": 1,
                    "text": "x",
                    "host": "h",
                    "state": "on",
                    "at": "2026-01-01T00:00:00Z",
                }
            ]
        }
    ),
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**18)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-01-01T00:00:00Z",
            "resolved",
            "firing",
            "\x00",
            "a:b:c",
            "$ALERT_ID",
            "“",
            '"',
            "99999999999999999999",
        ]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner)
)


def requests(source: Source) -> list[dict[str, Any]]:
    if source.name == MAPPED.name:
        return [OF_MAPPED]
    document = json.loads((EXAMPLES / f"{source.name}.json").read_text())
    return [exchange["request"] for exchange in document["exchanges"]]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, itself included."""
    found = [path]
    if isinstance(value, dict):
        for name, inner in value.items():
            found += places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@st.composite
def nearly_right(draw: st.DrawFn, source: Source) -> Received:
    """A recorded request with one part of it replaced, at any depth."""
    request = draw(st.sampled_from(requests(source)))
    headers = {name.lower(): value for name, value in request["headers"].items()}
    new = draw(VALUES)
    body = request["body"]
    if headers["content-type"] == FORM:
        fields = dict(parse_qsl(body))
        name = draw(st.sampled_from(sorted(fields)))
        if name == "payload" and draw(st.booleans()):
            inner = json.loads(fields[name])
            where = draw(st.sampled_from(places(inner)))
            fields[name] = json.dumps(changed(inner, where, new))
        else:
            fields[name] = str(new).encode(errors="replace").decode()
        return Received(urlencode(fields).encode(), NOW, headers, request["path"])
    document = json.loads(body)
    where = draw(st.sampled_from(places(document)))
    written = json.dumps(changed(document, where, new), ensure_ascii=draw(st.booleans()))
    return Received(written.encode(errors="replace"), NOW, headers, request["path"])


def told(reply: Reply) -> None:
    """A caller hears something it can read."""
    assert 200 <= reply.status < 500
    if reply.content_type == "application/json":
        json.loads(reply.body)


def handled(source: Source, received: Received) -> Delivery | None:
    """What the stage would write can be written and read back."""
    refusal: Malformed | None = None
    try:
        parsed = source.parse(received)
    except Malformed as error:
        refusal, parsed = error, error.valid or Delivery()
    assert refusal is None or (refusal.reason and refusal.detail)
    if refusal is not None and refusal.valid is None:
        told(source.refused(Refusal(422, refusal.reason, refusal.detail, refusal.field)))
        if source.keeps:
            told(source.answered(received, Taken(Delivery(), problem=refusal)))
        return None
    told(source.answered(received, Taken(parsed, problem=refusal)))
    told(source.answered(received, Taken(parsed, unheard="nobody")))
    delivery = completed(parsed, Context(labels={"system": "shop"}), NOW)
    cause = Cause(event=derive("test"))
    for lane in normalise(
        delivery,
        source=source.name,
        delivery_id=cause.event,
        received_at=NOW,
        cause=cause,
        places=Places().by([a_policy()]),
        traceparent=None,
    ):
        wire = codec.encode(lane.event)
        assert codec.decode(wire.headers, wire.value, wire.key).fact == lane.event.fact
    return delivery


UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60, derandomize=True
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_anything_else_in_any_place_is_read_or_refused(source: Source) -> None:
    @UNHURRIED
    @given(nearly_right(source))
    def check(received: Received) -> None:
        handled(source, received)

    check()


@pytest.mark.soak
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_anything_else_is_read_or_refused_for_as_long_as_it_is_tried(source: Source) -> None:
    @settings(UNHURRIED, max_examples=5_000, derandomize=False)
    @given(nearly_right(source))
    def check(received: Received) -> None:
        handled(source, received)

    check()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_any_bytes_are_read_or_refused(source: Source) -> None:
    kinds = st.sampled_from([*source.documentation.content_types, "", "text/html", "x" * 300])

    @UNHURRIED
    @given(st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode()), kinds)
    def check(body: bytes, content_type: str) -> None:
        path = requests(source)[0]["path"]
        handled(source, Received(body, NOW, {"content-type": content_type}, path))
        handled(source, Received(body, NOW, {}))

    check()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_what_was_recorded_is_read(source: Source) -> None:
    read = [
        handled(
            source,
            Received(
                request["body"].encode(),
                NOW,
                {name.lower(): value for name, value in request["headers"].items()},
                request["path"],
            ),
        )
        for request in requests(source)
    ]
    assert any(delivery is not None for delivery in read)
