"""Images and Compose: valid, hardened, and in step with the rest of the tree.

There is no Docker engine here: nothing is built or run. What can be judged from the files is.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
DOCKERFILES = [*(ROOT / "services" / name / "Dockerfile" for name in SERVICES)]
DOCKERFILES += [ROOT / "libs" / "cli" / "Dockerfile"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def compose_schema() -> jsonschema_rs.Validator:
    """The Compose Specification's schema, which the package check-jsonschema carries."""
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    return jsonschema_rs.validator_for(json.loads(schema.read_text()))


def hadolint(dockerfile: Path) -> str:
    """What hadolint has to say; empty when it is content."""
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.exists() else shutil.which("hadolint")
    assert found, "hadolint is in the dev group"
    return subprocess.run(
        [found, str(dockerfile)], check=False, capture_output=True, text=True
    ).stdout


def settings_variables(module: str) -> set[str]:
    """Environment variables that a service's settings know."""
    found = importlib.import_module(f"{module}.settings")
    classes = [
        value
        for value in vars(found).values()
        if isinstance(value, type) and issubclass(value, BaseSettings) and value.model_fields
    ]
    return {
        f"{settings.model_config.get('env_prefix', '')}{name}".upper()
        for settings in classes
        for name in settings.model_fields
    }


def test_the_compose_file_obeys_the_compose_specification() -> None:
    assert [error.message for error in compose_schema().iter_errors(COMPOSE)] == []


def test_a_misspelt_compose_key_is_noticed() -> None:
    wrong = {**COMPOSE, "services": {"kafka": {"imagine": "apache/kafka"}}}
    assert not compose_schema().is_valid(wrong)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_is_content(dockerfile: Path) -> None:
    assert hadolint(dockerfile) == ""


def test_hadolint_notices_an_unpinned_image(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\n")
    assert "DL3006" in hadolint(wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_runs_in_compose_from_its_own_dockerfile(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["build"]["dockerfile"] == f"services/{name}/Dockerfile"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_starts_the_module_of_its_service_as_nobody_special(name: str) -> None:
    (module,) = (path.parent.name for path in ROOT.glob(f"services/{name}/src/*/__init__.py"))
    final_stage = (ROOT / "services" / name / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in final_stage
    assert "\nUSER 10001\n" in final_stage
    assert "/healthz" in final_stage


def test_what_we_build_runs_read_only_and_without_capabilities() -> None:
    ours = {name: entry for name, entry in COMPOSE["services"].items() if "build" in entry}
    assert set(SERVICES) < set(ours)
    for name, entry in ours.items():
        assert entry["read_only"] is True, name
        assert entry["cap_drop"] == ["ALL"], name
        assert entry["security_opt"] == ["no-new-privileges:true"], name


def test_only_ingestion_is_reachable_and_only_from_this_machine() -> None:
    published = {
        name: entry["ports"] for name, entry in COMPOSE["services"].items() if "ports" in entry
    }
    assert published == {"ingestion": ["127.0.0.1:8080:8080"]}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_after_topics_and_policies_are_there(name: str) -> None:
    conditions = {
        on: entry["condition"] for on, entry in COMPOSE["services"][name]["depends_on"].items()
    }
    assert conditions["policies"] == "service_completed_successfully"
    assert conditions["kafka"] == conditions["valkey"] == "service_healthy"
    assert "topics" in COMPOSE["services"]["policies"]["depends_on"]


def test_the_policy_that_compose_publishes_is_there() -> None:
    entry = COMPOSE["services"]["policies"]
    (mount,) = entry["volumes"]
    here, there, _ = mount.split(":")
    assert (ROOT / here / Path(entry["command"][-1]).relative_to(there)).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_compose_sets_only_variables_that_the_service_knows(name: str) -> None:
    known = settings_variables(name.replace("-", "_"))
    entry = COMPOSE["services"][name]
    given = set(entry["environment"])
    given |= {Path(secret["target"]).name for secret in entry.get("secrets", ())}
    assert given <= known


def test_compose_and_the_local_broker_run_the_same_kafka() -> None:
    version = re.search(
        r"<kafka.version>(.+)</kafka.version>", (ROOT / "deploy/kafka/pom.xml").read_text()
    )
    assert version is not None
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_images_are_built_with_the_uv_of_the_makefile() -> None:
    version = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    for dockerfile in DOCKERFILES:
        assert f"uv=={version[1]}\n" in dockerfile.read_text(), dockerfile


def test_images_install_exactly_what_the_lock_says() -> None:
    for dockerfile in DOCKERFILES:
        assert "uv sync --locked --no-dev --no-editable" in dockerfile.read_text(), dockerfile


AUDIT = ROOT / "deploy" / "kubernetes" / "audit.yaml"


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [one for one in yaml.safe_load_all(AUDIT.read_text()) if one["kind"] == kind]
    document: dict[str, Any] = found
    return document


def test_the_audit_runs_with_the_least_that_it_needs() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    allowed = of_kind("NetworkPolicy")["spec"]
    assert allowed["policyTypes"] == ["Ingress", "Egress"]
    assert "ports" in allowed["ingress"][0]


def test_the_audit_is_asked_of_the_command_with_options_it_has() -> None:
    from typer.testing import CliRunner  # noqa: PLC0415 - only here

    from tocsin_cli.__main__ import app  # noqa: PLC0415

    known = CliRunner().invoke(app, ["audit", "--help"], env={"COLUMNS": "200"}).output
    [container] = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    for given in (container["args"], COMPOSE["services"]["audit"]["command"]):
        assert given[0] == "audit"
        assert "--every" in given
        assert all(option in known for option in given if option.startswith("--"))


def test_an_audit_that_stands_still_is_noticed_after_a_few_of_its_rounds() -> None:
    [group] = yaml.safe_load((ROOT / "deploy/prometheus/tocsin-audit.yaml").read_text())["groups"]
    stale = next(rule for rule in group["rules"] if rule["alert"] == "TocsinAuditStale")
    [seconds] = re.findall(r"> (\d+)", stale["expr"])
    [container] = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    every = container["args"][container["args"].index("--every") + 1]
    assert every == "1h"
    assert 2 * 3600 < int(seconds) < 6 * 3600
