"""Installs what tests/npm locks, with its hashes, below .local. Does nothing if just that is there.

Usage: npm.py
"""

import shutil
import subprocess

from console import Failure, run, step
from paths import ROOT, STATE

LOCKED = ROOT / "tests" / "npm"
FILES = ("package.json", "package-lock.json")
INSTALLED = STATE / "npm"


def is_current():
    """Whether the last installation was of these very files."""
    stamps = [INSTALLED / "node_modules" / f".{name}" for name in FILES]
    pairs = zip(stamps, (LOCKED / name for name in FILES))
    return all(stamp.exists() and stamp.read_bytes() == file.read_bytes() for stamp, file in pairs)


def main():
    """The command."""
    if is_current():
        return
    if not shutil.which("npm"):
        raise Failure("npm is not on the PATH", "install Node.js: https://nodejs.org")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy2(LOCKED / name, INSTALLED / name)
    with step("installing what tests/npm locks"):
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=INSTALLED).returncode:
            raise Failure("the packages could not be installed", "they come from npm's registry: check the network")
    for name in FILES:
        shutil.copy2(LOCKED / name, INSTALLED / "node_modules" / f".{name}")


if __name__ == "__main__":
    run(main)
