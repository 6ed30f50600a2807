"""Runs the gauntlet: faults, crashes, hostile input and security on all three domains; ends with a table of figures.

Usage: gauntlet.py
       with_stack.py … gauntlet.py stack

This is the full size. Small sizes of what needs no stack of its own are among the tests of `make test`. What a run draws
from chance comes from GAUNTLET_SEED; the table names the seed.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from check import TESTS, check, summary
from console import run, say
from paths import ROOT

HERE = ROOT / "infra" / "local"
FIGURES = ROOT / ".local" / "gauntlet.jsonl"
SEED = "20261121"
EMBEDDED = ["gauntlet::chaos", "gauntlet::crash_points", "gauntlet::csv_corpus", "gauntlet::fuzz", "gauntlet::queues"]
"""Parts that need no stack, and keep a database in their own process busy for minutes."""


def embedded():
    """The tests that need no stack."""
    return [*TESTS, "--test", "all", "--", *EMBEDDED]


def not_embedded():
    """What leaves them out."""
    return [part for name in EMBEDDED for part in ("--skip", name)]


def roles():
    """The tests under the functions' own roles, which need a stack's queues and people to themselves."""
    return [*TESTS, "--test", "all", "--", "--ignored", "gauntlet::roles"]


def sections():
    """Name and command of each section of the full size that needs a stack: what kills, or takes away, one of its own."""
    python, stack = sys.executable, [sys.executable, HERE / "with_stack.py"]
    return [
        ("with a stack", [*stack, python, HERE / "gauntlet.py", "stack"]),
        ("kills", [*stack, *TESTS, "--test", "all", "--", "--ignored", "gauntlet::kills"]),
        ("rights", [*stack, python, HERE / "rights.py", "full"]),
    ]


def sections_beside():
    """Name and command of each section that needs no stack, and so nobody who answers in time."""
    python = sys.executable
    return [
        ("faults", embedded()),
        ("template", [python, HERE / "template_checks.py"]),
        ("history", [python, HERE / "secret_scan.py", "history"]),
        ("fuzzing", [python, HERE / "fuzz.py", "30"]),
    ]


def sections_of_a_stack():
    """Name and command of each section on the stack in the environment."""
    answers = [*TESTS, "--test", "all", "--", *not_embedded(), "gauntlet::"]
    return [
        ("answers", answers),
        ("roles", roles()),
        ("schemas", [sys.executable, HERE / "schemas.py", "full"]),
    ]


def begin(size):
    """Empties the list of figures, and has every process add to it."""
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.unlink(missing_ok=True)
    os.environ.update(GAUNTLET=size, GAUNTLET_FIGURES=str(FIGURES))
    os.environ.setdefault("GAUNTLET_SEED", SEED)


def figure(name, what, value):
    """Adds a figure to the list that the environment names, if it names one."""
    say(f"{name}: {what}: {value}")
    if path := os.environ.get("GAUNTLET_FIGURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"check": name, "what": what, "value": str(value)}) + "\n")


def table():
    """Prints the figures, a line each, in the order of their checks."""
    if not FIGURES.exists():
        return
    found = [json.loads(line) for line in FIGURES.read_text(encoding="utf-8").splitlines()]
    names = dict.fromkeys(one["check"] for one in found)
    rows = [one for name in names for one in found if one["check"] == name]
    wide = [max(len(one[column]) for one in rows) for column in ("check", "what")] if rows else [0, 0]
    say(f"\ngauntlet, seed {os.environ['GAUNTLET_SEED']}")
    for one in rows:
        say(f"  {one['check']:{wide[0]}}  {one['what']:{wide[1]}}  {one['value']}")


def main():
    """The command."""
    if sys.argv[1:] == ["stack"]:
        return 1 if summary([check(*section) for section in sections_of_a_stack()]) else 0
    began = time.monotonic()
    begin("full")
    # Some of the tests without a stack read the files of npm's package.
    outcomes = [check("npm", [sys.executable, HERE / "npm.py"])]
    with ThreadPoolExecutor(1) as beside:
        others = beside.submit(lambda: [check(*section, beside=True) for section in sections_beside()])
        outcomes += [check(*section) for section in sections()]
        outcomes += others.result()
    table()
    failed = summary(outcomes)
    say(f"in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
