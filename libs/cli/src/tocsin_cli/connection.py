"""Where the running system is: the environment says so, or this repository's own stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tocsin_cli.exits import NotFound, Unreachable
from tocsin_cli.stack.problems import StackProblem
from tocsin_cli.stack.stack import Stack
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Transient
from tocsin_runtime.settings import RuntimeSettings

T = TypeVar("T")

_TIMEOUT_SECONDS = 10.0
_ANSWERED = 500


class Environment(BaseSettings):
    """What the environment says; anything absent is asked of the local stack."""

    model_config = SettingsConfigDict(env_prefix="TOCSIN_", extra="ignore")

    kafka_bootstrap: str | None = None
    ingestion_url: str | None = None
    webhook_token: SecretStr | None = None
    api_token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """A running system."""

    bootstrap: str
    ingestion_url: str
    webhook_token: str
    api_token: str


def root() -> Path | None:
    """The repository we are in, if we are in one."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "deploy" / "policies").is_dir():
            return folder
    return None


def connect() -> Connection:
    """The running system. Raises `Unreachable` where nothing says where one is."""
    said = Environment()
    stack: Stack | None = None
    repository = root()
    if repository is not None:
        local = Stack(repository)
        stack = local if local.running else None
    try:
        bootstrap = said.kafka_bootstrap or (stack.bootstrap if stack else "")
        ingestion = said.ingestion_url or (stack.ingestion_url if stack else "")
        webhook = _secret(said.webhook_token) or (stack.webhook_token if stack else "")
        api = _secret(said.api_token) or (stack.api_token if stack else "")
    except StackProblem as error:
        raise Unreachable(str(error)) from error
    return Connection(bootstrap, ingestion, webhook, api)


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


_NOWHERE = "start one with `make up`, or set {variable}"


async def with_reader(work: Callable[[KafkaReader], Awaitable[T]]) -> T:
    """What `work` makes of a reader of the running system's log."""
    bootstrap = _bootstrap()
    reader = KafkaReader(_kafka(bootstrap))
    try:
        return await work(reader)
    except (Transient, KafkaError) as error:
        raise Unreachable(f"Kafka at {bootstrap} does not answer: {error}") from error
    except LookupError as error:
        if isinstance(error, NotFound):
            raise
        raise NotFound(f"{error}; create the topics with `tocsin topics apply`") from error
    finally:
        await reader.stop()


async def with_publisher(work: Callable[[KafkaPublisher, SystemClock], Awaitable[T]]) -> T:
    """What `work` makes of a publisher to the running system's log."""
    clock = SystemClock()
    publisher = KafkaPublisher(_kafka(_bootstrap()), clock)
    await publisher.start()
    try:
        return await work(publisher, clock)
    finally:
        await publisher.stop()


def _kafka(bootstrap: str) -> KafkaConnection:
    """The brokers, with the security that the environment says, as for any service."""
    return KafkaConnection.from_settings(RuntimeSettings(kafka_bootstrap=bootstrap), "tocsin-cli")


def _bootstrap() -> str:
    bootstrap = connect().bootstrap
    if not bootstrap:
        raise Unreachable(
            "no system is running here; " + _NOWHERE.format(variable="TOCSIN_KAFKA_BOOTSTRAP")
        )
    return bootstrap


def _said(response: httpx.Response) -> str:
    """Why it was refused, in whichever of the door's shapes: its own, or Alertmanager's two."""
    try:
        said = response.json() if response.content else ""
    except ValueError:
        said = response.text
    match said:
        case {"error": {"field": str(field), "message": str(message)}}:
            return f"{field}: {message}" if field else message
        case {"message": str(message)} | str(message):
            return message[:300] or response.reason_phrase
        case _:
            return response.text[:300]


def post(path: str, *, content: bytes, token: str) -> dict[str, object]:
    """Ingestion's answer to a POST. Raises like `send`."""
    return send("POST", path, content=content, token=token)


def send(method: str, path: str, *, content: bytes = b"", token: str) -> dict[str, object]:
    """Ingestion's answer; empty where it says nothing but yes.

    Raises:
        Unreachable: It is not there, or not able to take anything now.
        NotFound: It does not know what the path names.
        ValueError: It refused the body; the message names the field.
    """
    connection = connect()
    if not connection.ingestion_url:
        raise Unreachable(
            "no system is running here; " + _NOWHERE.format(variable="TOCSIN_INGESTION_URL")
        )
    try:
        response = httpx.request(
            method,
            connection.ingestion_url + path,
            content=content,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=_TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise Unreachable(f"{connection.ingestion_url} does not answer: {error}") from error
    if response.is_success:
        answer: dict[str, object] = response.json() if response.content else {}
        return answer
    message = _said(response)
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotFound(message)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise Unreachable(f"{message}; set TOCSIN_API_TOKEN or TOCSIN_WEBHOOK_TOKEN")
    if response.status_code >= _ANSWERED:
        raise Unreachable(f"ingestion cannot take it now: {message}")
    raise ValueError(message)
