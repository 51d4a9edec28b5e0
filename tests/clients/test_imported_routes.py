"""amtool and a policy imported from the same configuration send alerts to the same receivers."""

from __future__ import annotations

import itertools
import random
import subprocess
from pathlib import Path

import pytest

from tocsin_policy.importing.alertmanager import read_routes, taken, ways

ROOT = Path(__file__).resolve().parents[2]
AMTOOL = ROOT / ".local" / "debian" / "usr" / "bin" / "amtool"
TREE = ROOT / "tests" / "unit" / "policy" / "alertmanager" / "tree.yml"
VALUES = {
    "severity": ("critical", "warning", "info", "none", ""),
    "team": ("audit", "security", "auditors", ""),
    "service": ("foo1", "foo1x", "baz", "database", ""),
    "env": ("prod", ""),
    "owner": ("web-1", "ops", ""),
}
SOME = 60


def alerts() -> list[dict[str, str]]:
    every = [
        {name: value for name, value in zip(VALUES, chosen, strict=True) if value}
        for chosen in itertools.product(*VALUES.values())
    ]
    return random.Random(4).sample(every, SOME)  # noqa: S311 - the same each time


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Debian's Alertmanager reads it: it does not know names of inhibition rules yet."""
    path = tmp_path_factory.mktemp("amtool") / "alertmanager.yml"
    text = TREE.read_text().replace("  - name: critical first\n    source", "  - source")
    path.write_text(text)
    return path


def test_each_alert_reaches_the_receivers_that_amtool_names(configuration: Path) -> None:
    found = ways(read_routes(configuration.read_text()))
    differ = []
    for labels in alerts():
        said = subprocess.run(
            [
                AMTOOL,
                "config",
                "routes",
                "test",
                f"--config.file={configuration}",
                *(f"{name}={value}" for name, value in labels.items()),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        ours = taken(found, labels)
        if said.split(",") != [route.receiver for route in ours.routes]:
            differ.append((labels, said, ours.receivers))
    assert differ == []
