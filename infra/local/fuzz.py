"""Fuzzes: builds every target once, with coverage and assertions, and runs each for some seconds.

Usage: fuzz.py SECONDS [TARGET…]

Every run begins with the saved corpus of its target, fuzz/corpus, and with what earlier runs found, which lies below
.local. Two run at a time. An input that fails is told with its path and how to try it again; put it into the saved
corpus with the fix, and the tests try it for good.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

from console import Failure, run, say, step
from gauntlet import figure
from paths import ROOT, STATE

FUZZ = ROOT / "fuzz"
AT_ONCE = 2
FLAGS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
]
"""What cargo-fuzz sets, but for the address sanitizer, which needs a nightly compiler: there is no unsafe code."""
WRAPPER = """#!/bin/sh
# Our own code is compiled with coverage; the SDK that is linked into it would take a quarter of an hour so.
case " $* " in
  *" --crate-name shared "* | *" --crate-name fuzz "* {targets}) exec "$@" {flags} ;;
  *) exec "$@" ;;
esac
"""
LIMITS = ["-max_len=8192", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
COVERED = re.compile(r"cov: (\d+)")


def targets():
    """The names of all targets."""
    return sorted(source.stem for source in (FUZZ / "fuzz_targets").glob("*.rs"))


def build():
    """Compiles every target; gives the folder they are in."""
    folder = FUZZ / os.environ.get("FUZZ_TARGET_DIR", "target")
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "rustc"
    own = " ".join(f'| *" --crate-name {name} "*' for name in targets())
    script = WRAPPER.format(targets=own, flags=" ".join(FLAGS))
    if not wrapper.exists() or wrapper.read_text() != script:
        wrapper.write_text(script)
        wrapper.chmod(0o755)
    environment = os.environ | {"RUSTC_WRAPPER": str(wrapper), "CARGO_TARGET_DIR": str(folder)}
    command = ["cargo", "build", "--locked", "--release", "--bins"]
    with step("building the fuzz targets (minutes the first time)"):
        if subprocess.run(command, cwd=FUZZ, env=environment).returncode:
            raise Failure("the build failed", "the compiler says why above; it needs a C++ compiler (build-essential)")
    return folder / "release"


def fuzz(binary, seconds):
    """Runs a target; gives its name, executions, covered edges, and the inputs that failed."""
    name = binary.name
    found, failed = STATE / "fuzz" / name / "found", STATE / "fuzz" / name / "failed"
    for folder in (found, failed):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(failed.iterdir())
    command = [binary, *LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={failed}/", found, FUZZ / "corpus" / name]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    log = STATE / "fuzz" / name / "log"
    log.write_text(ended.stderr)
    inputs = sorted(set(failed.iterdir()) - before)
    executed, covered = EXECUTED.search(ended.stderr), COVERED.findall(ended.stderr)
    if ended.returncode and not inputs:
        raise Failure(f"{name} ended with status {ended.returncode}", f"see {log.relative_to(ROOT)}")
    return name, int(executed[1]) if executed else 0, int(covered[-1]) if covered else 0, inputs


def main():
    """The command."""
    seconds, chosen = int(sys.argv[1]), sys.argv[2:] or targets()
    if unknown := set(chosen) - set(targets()):
        raise Failure(f"there is no target {', '.join(sorted(unknown))}", f"targets: {', '.join(targets())}")
    folder = build()
    with step(f"fuzzing {len(chosen)} targets, {seconds} s each"):
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(lambda name: fuzz(folder / name, seconds), chosen))
    crashes = 0
    for name, executed, covered, inputs in outcomes:
        crashes += len(inputs)
        say(f"{'✗' if inputs else '✓'} {name:20} {executed:>12,} executions {covered:>7,} edges {len(inputs):>3} failures")
        figure("fuzzing", f"{name}: executions, edges", f"{executed:,}, {covered:,}")
        for path in inputs:
            say(f"    {path.relative_to(ROOT)}\n    again: {os.path.relpath(folder / name)} {os.path.relpath(path)}")
    figure("fuzzing", "inputs that failed", crashes)
    return 1 if crashes else 0


if __name__ == "__main__":
    run(main)
