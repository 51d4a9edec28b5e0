"""The tree: names say what things are, nothing is left for later, pages name what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NAMELESS = {
    "common", "shared", "utils", "util", "helpers", "helper", "base", "types", "models",
    "manager", "core", "misc",
}  # fmt: skip
"""A module called this could hold anything, so in time it does."""

# Spelt apart, or this file would be the first to be found.
LATER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
PLACES = ("libs/", "services/", "tests/", "deploy/", "docs/", ".ci/")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
QUOTED = re.compile(r"`([^`\s]+)`")
MAKE = re.compile(r"`make ([a-z-]+)`")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, new ones included, ignored ones not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for line in set(listed.splitlines()) if (path := ROOT / line).is_file())


def nameless(path: Path) -> set[str]:
    """The parts of a path below the root that say nothing."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return {part.removeprefix("test_").strip("_") for part in parts} & NAMELESS


def named_paths(text: str, folder: Path) -> set[str]:
    """Every path of this repository that a Markdown text names, in links and in backticks.

    Args:
        text: The page.
        folder: Where it lies; its links start there.
    """
    targets = [(folder / target).resolve() for target in LINK.findall(text)]
    links = {str(target.relative_to(ROOT)) for target in targets if target.is_relative_to(ROOT)}
    quoted = {
        re.sub(r":\d+$", "", target)
        for target in QUOTED.findall(text)
        if target.startswith(PLACES) and not re.search(r"[*<>{}$]", target)
    }
    return links | quoted


def make_targets() -> set[str]:
    """What `make` can be told to do."""
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_no_module_or_folder_has_a_name_that_could_hold_anything() -> None:
    found = {path: names for path in tracked("*.py") if (names := nameless(path))}
    assert found == {}


@pytest.mark.parametrize(
    "path", ["libs/a/src/a/utils.py", "tests/common/test_a.py", "libs/a/src/a/_base.py"]
)
def test_a_name_that_says_nothing_is_found(path: str) -> None:
    assert nameless(ROOT / path)


def test_nothing_is_left_for_later() -> None:
    kinds = ("*.py", "*.md", "*.toml", "*.yml", "*.yaml", "*.sh", "*Dockerfile", "Makefile")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked(*kinds)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if LATER.search(line)
    ]
    assert found == []


def test_what_is_left_for_later_is_found() -> None:
    assert LATER.search("x = 1  # TO" + "DO: two")


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_a_page_names_exists(page: Path) -> None:
    missing = sorted(
        name for name in named_paths(page.read_text(), page.parent) if not (ROOT / name).exists()
    )
    assert missing == []


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_a_page_names_exists(page: Path) -> None:
    assert set(MAKE.findall(page.read_text())) - make_targets() == set()


def test_paths_are_found_in_links_and_in_backticks() -> None:
    text = "[a](../libs/a.py#L3) `services/b:7` `libs/*/src` [c](https://example.org) `x/y`"
    assert named_paths(text, ROOT / "docs") == {"libs/a.py", "services/b"}
