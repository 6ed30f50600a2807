"""Starts, shows and stops the local cloud: one process on a loopback port, with its state under .local/<port>.

Usage: stack.py start|stop|status PORT
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cloud import REGION, Cloud
from console import Failure, run, say, step
from paths import ROOT, STATE

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 60
STOP_SECONDS = 10


class Stack:
    """The local cloud on one port."""

    def __init__(self, port):
        self.port = port
        self.cloud = Cloud(f"http://127.0.0.1:{port}")
        self.home = STATE / str(port)
        self.log = self.home / "cloud.log"
        self.journal = self.home / "rights.jsonl"
        self._pid_file = self.home / "pid"

    def start(self):
        """Starts the cloud, or takes the one that an earlier start left running."""
        if self.pid() is not None:
            if self.healthy():
                say(f"▸ the local cloud is already running at {self.cloud.endpoint}")
                return
            self.stop()
        if taken(self.port):
            raise Failure(
                f"port {self.port} is taken by something that this project did not start",
                "stop that, or choose another port: make demo PORT=4567",
            )
        with step(f"starting the local cloud at {self.cloud.endpoint}"):
            self._spawn()
            self._wait()

    def _spawn(self):
        shutil.rmtree(self.home, ignore_errors=True)
        temporary = self.home / "tmp"
        temporary.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = kept | {
            # Function roles are enforced: what runs here has no more rights than on AWS.
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # Handed on to every function, so that its SDK calls come back here.
            "AWS_ENDPOINT_URL": self.cloud.endpoint,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "GUARD_JOURNAL": str(self.journal),
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "PYTHONUNBUFFERED": "1",
            "S3_DATA_DIR": str(self.home / "s3"),
            "STATE_DIR": str(self.home / "state"),
            "TMPDIR": str(temporary),
        }
        with self.log.open("w") as log:
            # A session of its own, so that it outlives this command and its functions end with it.
            process = subprocess.Popen(
                # None of our modules may stand in for one of MiniStack's.
                [sys.executable, "-P", GUARD],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{process.pid} {birth(process.pid)}")

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self.pid() is None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text().splitlines()[-15:])
                self.stop()
                raise Failure(f"the local cloud did not start:\n{tail}", f"the whole log: {self.log.relative_to(ROOT)}")
            time.sleep(0.1)

    def stop(self):
        """Ends the process that `start` started, and its functions. Returns whether there was one."""
        pid = self.pid()
        if pid is not None:
            os.killpg(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while self.pid() is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            # The functions are in the same group and may be busy still.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self._pid_file.unlink(missing_ok=True)
        return pid is not None

    def pid(self):
        """The process, or None if it is gone; a stranger that was given its number does not count."""
        try:
            pid, born = self._pid_file.read_text().split(" ", 1)
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if born and birth(int(pid)) == born else None

    def healthy(self):
        """Whether it is the cloud that answers, with function roles enforced."""
        try:
            with urllib.request.urlopen(f"{self.cloud.endpoint}/_ministack/health", timeout=2) as answer:
                return json.load(answer).get("auth") == "enabled"
        except (urllib.error.URLError, OSError, ValueError):
            return False


def birth(pid):
    """What tells a process from a later one with its number: when it started. Empty for one that is gone."""
    # A child that has ended stays in the table until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2].split()[19]
    except FileNotFoundError:
        if sys.platform == "linux":
            return ""
    return subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()


def taken(port):
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    """A port that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    """The command."""
    action, stack = sys.argv[1], Stack(int(sys.argv[2]))
    if action == "start":
        stack.start()
    elif action == "stop":
        stopped = stack.stop()
        say(f"▸ {'stopped the local cloud' if stopped else 'no local cloud of ours is running'} on port {stack.port}")
    elif action == "status":
        say(f"▸ {stack.cloud.endpoint}: {'running, process ' + str(stack.pid()) if stack.pid() else 'not running'}")
    else:
        raise Failure(f"unknown action {action}", __doc__.strip().splitlines()[-1])


if __name__ == "__main__":
    run(main)
