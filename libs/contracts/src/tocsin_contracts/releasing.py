"""Records what is released, so that the next change is held to it.

python -m tocsin_contracts.releasing libs/contracts/released
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tocsin_contracts.compatibility import breaks
from tocsin_contracts.event import Fact
from tocsin_contracts.registry import FACTS
from tocsin_contracts.schemas import fact_schema


def problems(released: Path, facts: Mapping[str, type[Fact]] = FACTS) -> tuple[str, ...]:
    """Every way in which the current types break with the released ones, named by type."""
    found: list[str] = []
    for path in sorted(released.glob("*.json")):
        fact = facts.get(path.stem)
        if fact is None:
            found.append(f"{path.stem}: removed")
            continue
        before = json.loads(path.read_text(encoding="utf-8"))
        found.extend(f"{path.stem}: {problem}" for problem in breaks(before, fact_schema(fact)))
    return tuple(found)


def record_release(released: Path, facts: Mapping[str, type[Fact]] = FACTS) -> tuple[str, ...]:
    """Write the current schemas as released; the types whose file changed.

    Raises:
        ValueError: A released type is broken; nothing is written.
    """
    found = problems(released, facts)
    if found:
        raise ValueError("; ".join(found))
    changed = []
    for name, fact in sorted(facts.items()):
        path = released / f"{name}.json"
        schema = fact_schema(fact)
        if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != schema:
            text = json.dumps(schema, indent=2, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")
            changed.append(name)
    return tuple(changed)


def main(arguments: list[str]) -> int:
    """Exit code of the command: 0 recorded, 1 a released type is broken, 2 wrong usage."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("usage: python -m tocsin_contracts.releasing FOLDER\n")
        return 2
    try:
        changed = record_release(Path(arguments[0]))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"recorded {name}\n" for name in changed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
