#!/usr/bin/env python3
"""Fails where a test of CTest may run for ever: check_time_limits.py CTEST BUILD_FOLDER."""

import json
import subprocess
import sys


def main():
    ctest, build = sys.argv[1:]
    listing = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True, capture_output=True,
                             text=True, timeout=120)
    tests = json.loads(listing.stdout)["tests"]
    names_of_properties = {test["name"]: {entry["name"] for entry in test.get("properties", [])} for test in tests}
    unlimited = [name for name, properties in names_of_properties.items() if "TIMEOUT" not in properties]
    for name in unlimited:
        print(f"{name}: has no TIMEOUT")
    print(f"{len(tests)} tests, {len(unlimited)} without a time limit")
    return 1 if unlimited or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
