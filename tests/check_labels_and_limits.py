#!/usr/bin/env python3
"""Fails where a test of CTest may run for ever, or where no `ctest -L` of ours finds it:
check_labels_and_limits.py CTEST BUILD_FOLDER."""

import json
import subprocess
import sys

LABELS = {"unit", "parity", "cli", "faults", "slow"}  # tests/CMakeLists.txt says what they mean


def problems_of(properties):
    if "TIMEOUT" not in properties:
        yield "has no TIMEOUT"
    if not LABELS & set(properties.get("LABELS", [])):
        yield f"has no label of {', '.join(sorted(LABELS))}"


def main():
    ctest, build = sys.argv[1:]
    command = [ctest, "--test-dir", build, "--show-only=json-v1"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    tests = json.loads(listing.stdout)["tests"]
    problems = 0
    for test in tests:
        for problem in problems_of({entry["name"]: entry["value"] for entry in test.get("properties", [])}):
            print(f"{test['name']}: {problem}")
            problems += 1
    print(f"{len(tests)} tests, {problems} problems")
    return 1 if problems or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
