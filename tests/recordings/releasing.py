"""At a release: the current recordings become those of the previous one.

    .venv/bin/python tests/recordings/releasing.py

Run it with the code that is released: it writes down what its facts can say and what its fold
makes of them.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from tocsin_contracts.registry import FACTS
from tocsin_contracts.schemas import fact_schema
from tocsin_incident import FOLD_VERSION, state_document
from tocsin_replay import open_bundle, read_all, states_of

HERE = Path(__file__).resolve().parent
PREVIOUS = HERE / "previous"


def fields() -> dict[str, list[str]]:
    """The fields of every part of a fact, by its name."""
    found: dict[str, list[str]] = {}
    for fact in FACTS.values():
        schema = fact_schema(fact)
        for name, part in ((fact.__name__, schema), *schema.get("$defs", {}).items()):
            if "properties" in part:
                found[name] = sorted(part["properties"])
    return found


def states(bundle: Path) -> dict[str, dict[str, Any]]:
    """The states a bundle's incidents end in."""
    opened = open_bundle(bundle)
    folded = states_of(asyncio.run(read_all(opened.log)))
    return {name: state_document(folded[name]) for name in opened.incidents}


def main() -> None:
    """Replace what is there."""
    ends: dict[str, Any] = {}
    for bundle in sorted(HERE.glob("*.tocsin")):
        shutil.copyfile(bundle, PREVIOUS / bundle.name)
        ends |= states(bundle)
    _write("states.json", {"fold": FOLD_VERSION, "states": ends})
    _write("fields.json", fields())


def _write(name: str, document: object) -> None:
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    (PREVIOUS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
