"""Makes the virtual environment from the hashed locks. Runs on the system's Python, before anything is installed.

Usage: environment.py VENV LOCK...
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from console import Failure, run, step  # noqa: E402

OLDEST_PYTHON = (3, 11)
INSTALLER_LOCK = Path(__file__).with_name("uv-requirements.txt")


def main():
    """Brings the environment in line with the locks, or does nothing if it is."""
    venv, locks = Path(sys.argv[1]), [Path(lock) for lock in sys.argv[2:]]
    if sys.version_info < OLDEST_PYTHON:
        raise Failure(
            f"this is Python {sys.version_info.major}.{sys.version_info.minor}; 3.11 or later is needed",
            "install a newer Python and name it: make PYTHON=python3.12 …",
        )
    stale = [lock for lock in locks if not up_to_date(venv, lock)]
    if not stale:
        return
    if not (venv / "bin" / "uv").exists():
        with step("creating the Python environment"):
            create(venv)
            pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            call([*pip, "--require-hashes", "-r", INSTALLER_LOCK])
    for lock in stale:
        with step(f"installing {lock.name}"):
            uv = [venv / "bin" / "uv", "pip", "install", "--quiet", "--require-hashes"]
            call([*uv, "--python", venv / "bin" / "python", "-r", lock])
        stamp(venv, lock).write_text(digest(lock))


def create(venv):
    """Makes an empty environment; a half-made one from an earlier try is replaced."""
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True)
    if made.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise Failure(
            f"python -m venv failed: {(made.stdout + made.stderr).strip()}",
            "on Debian and Ubuntu: apt-get install python3-venv",
        )


def call(command):
    """Runs an installer."""
    if subprocess.run(command).returncode:
        raise Failure(
            "the packages could not be installed",
            "they come from the Python package index: check the network and the proxy, then run the same again",
        )


def stamp(venv, lock):
    """The file that remembers which version of a lock is installed."""
    return venv / f".{lock.stem}.sha256"


def digest(lock):
    """What a stamp holds."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def up_to_date(venv, lock):
    """Whether just this lock is installed."""
    return stamp(venv, lock).exists() and stamp(venv, lock).read_text() == digest(lock)


run(main)
