"""Builds every function in one workspace build, and lays the binaries out as `template.yaml` names them.

`sam build` would run one build per function, each with its own dependencies. Here cargo compiles what the functions
share once, and each binary goes to target/lambda/<name>/bootstrap, where cargo-lambda puts its own: one template serves
both. A change of nothing takes a second.

Usage: build.py PROFILE
"""

import os
import shutil
import subprocess
import sys

from console import Failure, run, step
from paths import ROOT

SOURCES = ROOT / "functions" / "src" / "bin"
TARGET = ROOT / "target"


def functions():
    """The names of the functions: a binary each."""
    return sorted(source.stem for source in SOURCES.glob("*.rs"))


def wanted(profile):
    """What cargo is to build. Of the tests' profile it is all that the tests are, for together it is built once."""
    return ["--workspace", "--bins", "--tests"] if profile == "dev" else ["--package", "functions", "--bins"]


def build(profile):
    """Compiles, and places what was compiled."""
    if not shutil.which("cargo"):
        raise Failure("cargo is not on the PATH", "install Rust: https://rustup.rs")
    with step(f"building the functions (profile {profile}; minutes the first time)"):
        command = ["cargo", "build", "--locked", "--profile", profile, *wanted(profile)]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise Failure("the build failed", "the compiler says why above; it needs a C compiler (build-essential)")
        for name in functions():
            place(name, TARGET / ("debug" if profile == "dev" else profile) / name)


def place(name, binary):
    """Copies a binary as a bootstrap, without what only a debugger reads, unless it is there.

    A link would let cargo-lambda, which writes to the same place, write through to cargo's own file.
    """
    bootstrap = TARGET / "lambda" / name / "bootstrap"
    made = binary.stat()
    if bootstrap.exists() and bootstrap.stat().st_mtime_ns == made.st_mtime_ns:
        return
    bootstrap.parent.mkdir(parents=True, exist_ok=True)
    fresh = bootstrap.with_suffix(".new")
    if subprocess.run(["strip", "-o", fresh, binary]).returncode:
        raise Failure(f"{binary} cannot be stripped", "strip comes with the C compiler (build-essential)")
    os.utime(fresh, ns=(made.st_atime_ns, made.st_mtime_ns))
    fresh.replace(bootstrap)


def main():
    """The command."""
    build(sys.argv[1])


if __name__ == "__main__":
    run(main)
