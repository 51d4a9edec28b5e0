"""Everything an operator can change in remediation."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from tocsin_runtime.settings import RuntimeSettings


class ClusterSettings(BaseModel):
    """How to reach a Kubernetes cluster: by a kubeconfig, or as the pod's own service account.

    Attributes:
        context: Of the kubeconfig; absent means its current one.
        service_account: Folder with `token`, `ca.crt` and `namespace`; absent, and without a
            kubeconfig, means where Kubernetes mounts it.
        namespaces: The only ones steps may touch, and then no nodes; empty means all that the
            credentials allow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kubeconfig: Path | None = None
    context: str | None = None
    service_account: Path | None = None
    namespaces: frozenset[str] = frozenset()


class RemediationSettings(RuntimeSettings):
    """What every service has, and the only places and programs steps can reach."""

    endpoints: dict[str, HttpUrl] = Field(
        default_factory=dict,
        description="JSON object: endpoint a policy names -> base URL. Steps call nothing else. "
        "Loopback, link-local and metadata addresses only where the URL itself names them.",
    )
    endpoint_tokens: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: endpoint -> bearer token sent to it, and to nothing else.",
    )
    endpoint_ca_file: Path | None = Field(
        None, description="PEM file of an authority endpoints' certificates are judged by."
    )
    programs: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object: program a policy names -> absolute path. Steps run nothing else.",
    )
    program_environment: dict[str, dict[str, SecretStr]] = Field(
        default_factory=dict,
        description="JSON object: program -> variables it gets besides PATH, LANG and HOME, as in "
        "KUBECONFIG or AWS_CONFIG_FILE.",
    )
    program_directories: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object: program -> directory it runs in; a new, empty one when absent.",
    )
    database_urls: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: database a policy's SQL step names -> `postgresql://` URL.",
    )
    redis_urls: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: Redis a policy's step names -> `redis://` or `rediss://` URL.",
    )
    aws_profiles: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object: AWS profile a policy names -> profile of the AWS configuration "
        "that program `aws` finds through its environment.",
    )
    program_memory: int = Field(
        4 << 30, ge=64 << 20, description="Bytes of address space a step's program may have."
    )
    program_files: int = Field(
        256, ge=16, description="Files a step's program may have open at once."
    )
    clusters: dict[str, ClusterSettings] = Field(
        default_factory=dict,
        description="JSON object: cluster a policy names -> an object with any of `kubeconfig` and "
        "`context`, or `service_account`; and `namespaces`, the only ones steps may touch.",
    )
