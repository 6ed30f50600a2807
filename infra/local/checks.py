"""Runs every check of the project and ends with one summary; its last line is "N passed, N failed".

Usage: checks.py lint|all PROFILE

A lint counts as one; a test run counts its tests. Nothing stops the rest from running.
"""

import sys

import gauntlet
from check import check, summary
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
    ]


def main():
    """The command."""
    scope, profile = sys.argv[1], sys.argv[2]
    wanted = lints()
    if scope == "all":
        gauntlet.begin("quick")
        wanted += tests(profile)
    outcomes = [check(*each) for each in wanted]
    if scope == "all":
        gauntlet.table()
    return 1 if summary(outcomes) else 0


if __name__ == "__main__":
    run(main)
