"""Writes bills of materials as CycloneDX JSON: of the functions, under target/sbom, and of the tools that build them.

Usage: sbom.py

The functions share their dependencies, so there is one bill for all of them. It fails when that lacks a package which
cargo builds into them.
"""

import json
import os
import subprocess

from console import Failure, run, say, step
from paths import ROOT, STATE, TOOLS

VERSION = "0.5.9"
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
OUT = ROOT / "target" / "sbom"
INSTALLED = STATE / "cargo-cyclonedx"


def call(command, **settings):
    """Runs a tool; gives what it prints."""
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **settings)
    if result.returncode:
        raise Failure(f"{command[0]} ended with status {result.returncode}")
    return result.stdout


def install():
    """Builds cargo-cyclonedx, which nobody ships as a binary, at the first time."""
    program = INSTALLED / "bin" / "cargo-cyclonedx"
    if not program.exists() or VERSION not in call([program, "cyclonedx", "--version"]):
        with step("building cargo-cyclonedx (minutes, once)"):
            call(["cargo", "install", "--locked", "--root", INSTALLED, "--version", VERSION, "cargo-cyclonedx"])
    return program


def built(target):
    """Name and version of every package that cargo builds into the functions for a target."""
    tree = ["cargo", "tree", "--locked", "--package", "functions", "--target", target]
    lines = call([*tree, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]).splitlines()
    return {tuple(line.split()[:2]) for line in lines if line} - {("functions", "v0.1.0")}


def functions(program, target):
    """Writes the bill of the functions for a target, and checks that it lacks nothing."""
    name = f"functions-{target}"
    manifest = ROOT / "functions" / "Cargo.toml"
    options = ["--manifest-path", manifest, "--format", "json", "--target", target]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    call([program, "cyclonedx", *options, "--override-filename", name], env=environment)
    # It writes one for each package of the workspace, beside its manifest.
    for file in ROOT.rglob(f"{name}.json"):
        if file.parent == manifest.parent:
            file.replace(OUT / f"{name}.cdx.json")
        else:
            file.unlink()
    bill = json.loads((OUT / f"{name}.cdx.json").read_text())
    listed = {(each["name"], f"v{each['version']}") for each in bill["components"]}
    missing = built(target) - listed
    if missing:
        raise Failure(f"{name} lacks {sorted(missing)}")
    say(f"  {name}: {len(listed)} packages, {len(bill['metadata']['component'].get('components', []))} targets")


def tools():
    """Writes the bill of the Python tools."""
    out = OUT / "tools.cdx.json"
    options = ["--output-reproducible", "--of", "JSON", "-o", out]
    call([TOOLS / "cyclonedx-py", "environment", *options, TOOLS / "python"])
    say(f"  tools: {len(json.loads(out.read_text())['components'])} packages")


def main():
    """The command."""
    OUT.mkdir(parents=True, exist_ok=True)
    program = install()
    for target in TARGETS:
        functions(program, target)
    tools()
    say(f"▸ bills of materials: {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    run(main)
