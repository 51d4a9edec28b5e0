"""A bundle: incidents and all they rest on in one file that opens, verifies and replays anywhere.

Lines of text, each `<hash> <json>`. A line's hash is SHA-256 over the hash before it and its own
JSON, so that a changed byte is found and named, and nothing can be taken out, put in or moved. The
first line says what it is; then come the records, as they stood in Kafka; the last line holds the
hash of each state they fold to, and a signature where there is a key. There is no time of making:
the same log gives the same bytes on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tocsin_contracts.codec import rfc3339
from tocsin_incident import FOLD_VERSION
from tocsin_replay.gathering import Gathered
from tocsin_replay.hashing import chain
from tocsin_replay.held import HeldLog
from tocsin_replay.reading import INCIDENTS, Recorded
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Position, Record

FORMAT = "tocsin-bundle/1"
_BEGIN = hashlib.sha256(FORMAT.encode()).hexdigest()
_HASH = 64
SHORTEST_SECRET = 16
"""Bytes of a shared secret that are accepted; a shorter one can be guessed."""


class BadBundle(ValueError):
    """The file is no bundle, or no longer the one that was made.

    Attributes:
        problems: What is wrong, one sentence each, in the order of the file.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was opened and found whole.

    Attributes:
        incidents: Ids of those it was made for; of all in it, for a whole recording.
        log: A `Reader` of what it holds.
        missing: Records its facts name that were gone when it was made.
        signed: How it is signed, or nothing; whether by the right key, `check_signature` says.
    """

    incidents: tuple[str, ...]
    log: HeldLog
    missing: tuple[str, ...]
    signed: str
    seal: str
    signature: bytes
    chains: dict[str, list[str]]
    fold: str


class Key:
    """What signs or checks: an Ed25519 key in PEM, or a secret two sides share (HMAC-SHA-256).

    Args:
        content: The file as it is.
    """

    def __init__(self, content: bytes) -> None:
        self._private: Ed25519PrivateKey | None = None
        self._public: Ed25519PublicKey | None = None
        self._secret = b""
        if b"PRIVATE KEY" in content:
            private = serialization.load_pem_private_key(content, password=None)
            if not isinstance(private, Ed25519PrivateKey):
                raise ValueError("the key is no Ed25519 key")
            self._private, self._public = private, private.public_key()
        elif b"PUBLIC KEY" in content:
            public = serialization.load_pem_public_key(content)
            if not isinstance(public, Ed25519PublicKey):
                raise ValueError("the key is no Ed25519 key")
            self._public = public
        else:
            self._secret = content.strip()
            if len(self._secret) < SHORTEST_SECRET:
                raise ValueError(f"a shared secret has at least {SHORTEST_SECRET} bytes")

    @property
    def kind(self) -> str:
        """`ed25519` or `hmac-sha256`."""
        return "hmac-sha256" if self._secret else "ed25519"

    def sign(self, seal: str) -> bytes:
        """The signature of a seal. Raises `ValueError` for a key that can only check."""
        if self._secret:
            return hmac.digest(self._secret, seal.encode(), "sha256")
        if self._private is None:
            raise ValueError("a public key cannot sign; name the private one")
        return self._private.sign(seal.encode())

    def fits(self, seal: str, signature: bytes) -> bool:
        """Whether this key made the signature."""
        if self._secret:
            return hmac.compare_digest(self.sign(seal), signature)
        if self._public is None:
            return False
        try:
            self._public.verify(signature, seal.encode())
        except InvalidSignature:
            return False
        return True


def bundle_lines(
    gathered: Gathered, incidents: Sequence[str], key: Key | None = None
) -> Iterator[bytes]:
    """The lines of a bundle, ready to be written one after the other."""
    before = _BEGIN
    head = {
        "format": FORMAT,
        "incidents": list(incidents),
        "topics": gathered.widths,
        "missing": [_place(position) for position in gathered.missing],
    }
    for document in (head, *map(_document, gathered.records)):
        text = _canonical(document)
        before = _next(before, text)
        yield _line(before, text)
    end: dict[str, Any] = {
        "records": len(gathered.records),
        "fold": FOLD_VERSION,
        "states": _chains(gathered.records),
    }
    seal = _next(before, _canonical(end))
    if key is not None:
        end["signature"] = {"by": key.kind, "of": seal, "is": key.sign(seal).hex()}
    text = _canonical(end)
    yield _line(_next(before, text), text)


def _chains(records: Iterable[Record]) -> dict[str, list[str]]:
    return {
        incident: [link.chain for link in chain(facts)]
        for incident, facts in sorted(_facts(records).items())
    }


def _facts(records: Iterable[Record]) -> dict[str, list[Recorded]]:
    facts: dict[str, list[Recorded]] = {}
    for record in records:
        if record.position.topic == INCIDENTS:
            try:
                event = decode(record)
            except Poison:
                continue
            one = Recorded(event, record.position, record.recorded_at)
            facts.setdefault(event.subject, []).append(one)
    return facts


_SHAPE = re.compile(rb"[0-9a-f]{64} \{")
"""What any line of a bundle looks like: another file is not complained of line by line."""


def open_bundle(path: Path) -> Bundle:
    """A bundle from its file, every line checked.

    Raises:
        BadBundle: With every line that is not as it was made.
    """
    return read_bundle(path.read_bytes())


def read_bundle(content: bytes) -> Bundle:
    """A bundle from its bytes, every line checked.

    Raises:
        BadBundle: With every line that is not as it was made.
    """
    texts, stated = _checked(content)
    head, end = json.loads(texts[0]), json.loads(texts[-1])
    records = [_record(json.loads(text)) for text in texts[1:-1]]
    signature = end.pop("signature", None)
    seal = _next(stated[-2], _canonical(end))
    if signature is not None and signature["of"] != seal:
        raise BadBundle([f"line {len(texts)}: the signature is of something else"])
    return Bundle(
        incidents=tuple(head["incidents"]),
        log=HeldLog(head["topics"], records),
        missing=tuple(head["missing"]),
        signed="" if signature is None else signature["by"],
        seal=seal,
        signature=b"" if signature is None else bytes.fromhex(signature["is"]),
        chains=end["states"],
        fold=end["fold"],
    )


def _checked(content: bytes) -> tuple[list[bytes], list[str]]:
    """The JSON and the hash of each line, the whole being what was written."""
    lines = content.split(b"\n")
    if not any(map(_SHAPE.match, lines[:2])):
        raise BadBundle([f"this is no bundle of format {FORMAT}"])
    problems = [] if lines[-1] == b"" else ["the last line is cut off"]
    texts: list[bytes] = []
    stated: list[str] = []
    before = _BEGIN
    for number, line in enumerate(lines[:-1] if not problems else lines, start=1):
        text = line[_HASH + 1 :]
        said = line[:_HASH].decode("ascii", errors="replace")
        if line[_HASH : _HASH + 1] != b" " or said != _next(before, text):
            problems.append(f"line {number} is not what was written: {_named(number, text)}")
        texts.append(text)
        stated.append(said)
        before = said
    if not problems:
        problems = _incomplete(texts)
    if problems:
        raise BadBundle(problems)
    return texts, stated


def _incomplete(texts: list[bytes]) -> list[str]:
    documents = [json.loads(text) for text in (texts[:1] + texts[-1:] if texts else [])]
    if not documents or documents[0].get("format") != FORMAT:
        return [f"this is no bundle of format {FORMAT}"]
    count = documents[-1].get("records")
    if count is None:
        return ["the end is missing: lines were cut off"]
    if count != len(texts) - 2:
        return [f"it says that it holds {count} records, and holds {len(texts) - 2}"]
    return []


def _named(number: int, text: bytes) -> str:
    """What a line is about, for people, as far as it can still be read."""
    if number == 1:
        return "the head"
    try:
        document = json.loads(text)
        headers = dict(document["headers"])
        place = f"{document['topic']}-{document['partition']}-{document['offset']}"
        return f"{place} {headers.get('ce_type', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return "the end, or a record that cannot be read any more"


def verify(bundle: Bundle, key: Key) -> tuple[str, ...]:
    """What is wrong with who made a bundle whose lines are whole; nothing if it was this key."""
    if not bundle.signed:
        return ("it is not signed",)
    if not key.fits(bundle.seal, bundle.signature):
        return (f"its signature ({bundle.signed}) is not by this key",)
    return ()


def drift(bundle: Bundle) -> tuple[str, ...]:
    """Where today's code folds a bundle's facts to other states than when it was made.

    Not the bundle's fault: a later version knows more of an incident. One sentence an incident,
    with the first fact at which they part.
    """
    found = []
    for incident, facts in _facts(bundle.log.each()).items():
        was = bundle.chains.get(incident, [])
        for link, before in zip(chain(facts), was, strict=False):
            if link.chain != before:
                found.append(
                    f"{incident} folds to another state than when this was made (fold "
                    f"{bundle.fold}, here {FOLD_VERSION}), first at offset {link.offset}, "
                    f"{link.type}"
                )
                break
    return tuple(found)


def _next(before: str, text: bytes) -> str:
    return hashlib.sha256(before.encode() + b"\n" + text).hexdigest()


def _line(stated: str, text: bytes) -> bytes:
    return stated.encode() + b" " + text + b"\n"


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _place(position: Position) -> str:
    return f"{position.topic}-{position.partition}-{position.offset}"


def _document(record: Record) -> dict[str, Any]:
    topic, partition, offset = record.position
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "recorded_at": rfc3339(record.recorded_at),
        "headers": [[name, _written(value)] for name, value in record.headers],
        "key": None if record.key is None else _written(record.key),
        "value": None if record.value is None else _written(record.value),
    }


def _record(document: dict[str, Any]) -> Record:
    return Record(
        Position(document["topic"], document["partition"], document["offset"]),
        _read(document["key"]),
        _read(document["value"]),
        tuple((name, _read(value) or b"") for name, value in document["headers"]),
        datetime.fromisoformat(document["recorded_at"]),
    )


def _written(value: bytes) -> str | dict[str, str]:
    """Bytes as text where they are text, so that people can read a bundle."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _read(value: str | dict[str, str] | None) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
