#!/usr/bin/env python3
"""Holds reports against the schemas of the package `xarf`, or prints the examples that those schemas bring.

    schemas.py check < [{"name": ..., "report": {...}, "lacks": [...]}, ...]
    schemas.py examples

`check` prints a line for everything that is wrong. Recommended fields, which strict mode requires, may be missing if `lacks` names them, or
all of them where it is null.
"""
import importlib.resources
import json
import re
import sys

from xarf import parse


def check(cases):
    wrong = []
    for case in cases:
        name, report, lacks = case["name"], case["report"], case["lacks"]
        usual = parse(report)
        wrong += [f"{name}: {error.field}: {error.message}" for error in usual.errors]
        wrong += [f"{name}: {warning.field}: {warning.message}" for warning in usual.warnings]
        missing = set()
        for error in parse(report, strict=True).errors:
            field = re.fullmatch(r"'(\w+)' is a required property", error.message)
            if field and not error.field:
                missing.add(field[1])
            else:
                wrong.append(f"{name}: {error.field}: {error.message}")
        if lacks is not None and missing != set(lacks):
            wrong.append(f"{name}: lacks {sorted(missing)}, not {sorted(lacks)}")
    for line in wrong:
        print(line)
    print(f"{len(cases)} checked")
    return 1 if wrong else 0


def examples():
    folder = importlib.resources.files("xarf") / "schemas"
    found = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("types/*.json")]):
        schema = json.loads(path.read_text())
        for part in [schema, *schema.get("allOf", [])]:
            found += [example for example in part.get("examples", []) if isinstance(example, dict)]
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(examples() if sys.argv[1] == "examples" else check(json.load(sys.stdin)))
