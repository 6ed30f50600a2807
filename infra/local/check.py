"""One check: a command that is run in the open, and its line of the summary."""

import os
import re
import subprocess
import sys
import time

from console import say
from paths import ROOT

TESTS = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]
"""How every test is built and run: another set of packages or options would build the SDK again."""
BESIDE = ["nice", "-n", "19"]
"""What starts a command that is to be in no other's way."""
RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
COLOUR = re.compile(r"\x1b\[[0-9;]*m|\x1b\(B")


def check(name, command, beside=False):
    """Runs one check; returns how many passed and failed, and its line of the summary.

    It is run in the open; or beside another, as far as that leaves room, and then shown when it is over.
    """
    shown = [os.path.relpath(part, ROOT) if os.path.isabs(part) else str(part) for part in command]
    title = f"\n▸ {name}: {' '.join(shown)}"
    say(f"{title} (beside the others, shown at its end)" if beside else title)
    began, passed, failed, ignored = time.monotonic(), 0, 0, 0
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0"}
    if sys.stdout.isatty():
        environment["CARGO_TERM_COLOR"] = "always"
    process = subprocess.Popen(
        [*BESIDE, *command] if beside else command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    kept = []
    for line in process.stdout:
        if beside:
            kept.append(line)
        else:
            print(line, end="", flush=True)
        if result := RESULT.search(COLOUR.sub("", line)):
            counts = [int(count) for count in result.groups()]
            passed, failed, ignored = passed + counts[0], failed + counts[1], ignored + counts[2]
    status = process.wait()
    if beside:
        say(title + "\n" + "".join(kept))
    if status and not failed:
        failed = 1
    elif not status and not passed:
        passed = 1
    skipped = f", {ignored} ignored" if ignored else ""
    mark = "✗" if failed else "✓"
    line = f"{mark} {name:14} {passed:5} passed, {failed} failed{skipped}  ({time.monotonic() - began:.0f} s)"
    return passed, failed, line


def summary(outcomes):
    """Prints a line for each check and one for all; returns how many failed."""
    passed, failed = (sum(outcome[column] for outcome in outcomes) for column in (0, 1))
    say("\n" + "\n".join(outcome[2] for outcome in outcomes))
    say(f"{passed} passed, {failed} failed")
    return failed
