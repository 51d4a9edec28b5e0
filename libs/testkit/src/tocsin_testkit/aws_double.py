"""What answers to `aws` in tests: a program that checks its arguments and keeps a small account.

Run as a file. The account is the JSON file that `AWS_DOUBLE_ACCOUNT` names; what would be a request
is added to its `requests`. Exit codes and messages are those of the AWS CLI's user guide.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_OPERATIONS: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("rds", "describe-db-instances"): ({"--db-instance-identifier"}, set()),
    ("rds", "modify-db-instance"): (
        {"--db-instance-identifier"},
        {"--db-instance-class", "--apply-immediately"},
    ),
    ("rds", "promote-read-replica"): ({"--db-instance-identifier"}, set()),
    ("rds", "describe-db-parameters"): ({"--db-parameter-group-name"}, {"--query"}),
    ("rds", "modify-db-parameter-group"): ({"--db-parameter-group-name", "--parameters"}, set()),
    ("route53", "list-resource-record-sets"): ({"--hosted-zone-id"}, set()),
    ("route53", "change-resource-record-sets"): ({"--hosted-zone-id", "--change-batch"}, set()),
    ("ec2", "describe-instances"): ({"--instance-ids"}, set()),
    ("ec2", "reboot-instances"): ({"--instance-ids"}, {"--dry-run"}),
    ("sts", "get-caller-identity"): (set(), set()),
}
"""Of each operation: what it needs, and what it may have."""
_FLAGS = {"--apply-immediately", "--dry-run"}
_GLOBAL = {"--region", "--output", "--profile"}


def main() -> None:
    """Answer one command."""
    file = Path(os.environ["AWS_DOUBLE_ACCOUNT"])  # noqa: TID251 - how a program is told things
    account: dict[str, Any] = json.loads(file.read_text())
    if os.environ.get("AWS_PROFILE") != account["profile"]:  # noqa: TID251
        _end(253, "The config profile could not be found")
    operation, options = _parsed(sys.argv[1:])
    account["requests"].append(sys.argv[1:])
    file.write_text(json.dumps(account))
    fate = account.get("fate")
    if fate == "hangs":
        time.sleep(60)  # noqa: TID251 - it says nothing until somebody kills it
    if fate == "lost":
        _end(255, 'Read timeout on endpoint URL: "https://rds.amazonaws.com/"')
    if fate == "away":
        _end(255, 'Could not connect to the endpoint URL: "https://rds.amazonaws.com/"')
    _ANSWERS[operation](account, options)
    file.write_text(json.dumps(account))


def _parsed(argv: list[str]) -> tuple[tuple[str, str], dict[str, str]]:
    if len(argv) < 2 or (argv[0], argv[1]) not in _OPERATIONS:
        _end(252, "aws: error: argument operation: Invalid choice")
    needs, may = _OPERATIONS[argv[0], argv[1]]
    options: dict[str, str] = {}
    rest = argv[2:]
    while rest:
        name = rest.pop(0)
        if name not in needs | may | _GLOBAL:
            _end(252, f"Unknown options: {name}")
        if name not in _FLAGS and not rest:
            _end(252, f"aws: error: argument {name}: expected one argument")
        options[name] = "" if name in _FLAGS else rest.pop(0)
    if missing := needs - options.keys():
        _end(252, f"aws: error: the following arguments are required: {', '.join(missing)}")
    return (argv[0], argv[1]), options


def _describe(account: dict[str, Any], options: dict[str, str]) -> None:
    name = options["--db-instance-identifier"]
    print(json.dumps({"DBInstances": [{"DBInstanceIdentifier": name, **_database(account, name)}]}))  # noqa: T201


def _modify(account: dict[str, Any], options: dict[str, str]) -> None:
    _database(account, options["--db-instance-identifier"])["DBInstanceClass"] = options.get(
        "--db-instance-class", "db.r6g.large"
    )
    account["changes"] += 1
    print("{}")  # noqa: T201


def _parameters(account: dict[str, Any], options: dict[str, str]) -> None:
    group = account["parameters"][options["--db-parameter-group-name"]]
    found: object = [
        {"ParameterName": name, "ParameterValue": value} for name, value in sorted(group.items())
    ]
    # Of JMESPath, what picks one parameter by its name.
    asked = re.fullmatch(r"Parameters\[\?ParameterName=='(\w+)'\]", options.get("--query", ""))
    if asked is None:
        found = {"Parameters": found}
    else:
        found = [{"ParameterName": asked[1], "ParameterValue": group[asked[1]]}]
    print(json.dumps(found))  # noqa: T201


def _set_parameters(account: dict[str, Any], options: dict[str, str]) -> None:
    for each in json.loads(options["--parameters"]):
        name, value = each["ParameterName"], each["ParameterValue"]
        account["parameters"][options["--db-parameter-group-name"]][name] = value
    account["changes"] += 1
    print("{}")  # noqa: T201


def _records(account: dict[str, Any], options: dict[str, str]) -> None:
    print(json.dumps({"ResourceRecordSets": account["zones"][options["--hosted-zone-id"]]}))  # noqa: T201


def _change_records(account: dict[str, Any], options: dict[str, str]) -> None:
    zone = account["zones"][options["--hosted-zone-id"]]
    for change in json.loads(options["--change-batch"])["Changes"]:
        wanted = change["ResourceRecordSet"]
        zone[:] = [each for each in zone if each["Name"] != wanted["Name"]]
        if change["Action"] == "UPSERT":
            zone.append(wanted)
    account["changes"] += 1
    print("{}")  # noqa: T201


def _reboot(account: dict[str, Any], options: dict[str, str]) -> None:
    if "--dry-run" in options:
        _refuse("DryRunOperation", "RebootInstances", "Request would have succeeded")
    account["changes"] += 1


def _identity(account: dict[str, Any], options: dict[str, str]) -> None:
    del account, options
    print(json.dumps({"Account": "123456789012"}))  # noqa: T201


def _database(account: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in account["databases"]:
        _refuse("DBInstanceNotFound", "DescribeDBInstances", f"DBInstance {name} not found.")
    found: dict[str, Any] = account["databases"][name]
    return found


_ANSWERS: dict[tuple[str, str], Callable[[dict[str, Any], dict[str, str]], None]] = {
    ("rds", "describe-db-instances"): _describe,
    ("rds", "modify-db-instance"): _modify,
    ("rds", "promote-read-replica"): _modify,
    ("rds", "describe-db-parameters"): _parameters,
    ("rds", "modify-db-parameter-group"): _set_parameters,
    ("route53", "list-resource-record-sets"): _records,
    ("route53", "change-resource-record-sets"): _change_records,
    ("ec2", "reboot-instances"): _reboot,
    ("sts", "get-caller-identity"): _identity,
}


def _refuse(code: str, operation: str, why: str) -> NoReturn:
    _end(254, f"An error occurred ({code}) when calling the {operation} operation: {why}")


def _end(code: int, message: str) -> NoReturn:
    print(f"\n{message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
