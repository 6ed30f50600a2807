"""What the tools print: steps with their time, a progress bar, and failures that say what to do."""

import contextlib
import sys
import time

_INTERACTIVE = sys.stdout.isatty()


class Failure(Exception):
    """Something the user can act on: what went wrong, and what to do about it."""

    def __init__(self, what, remedy=""):
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def say(text=""):
    """Prints a line at once, whether or not the output is a terminal."""
    print(text, flush=True)


@contextlib.contextmanager
def step(title):
    """Announces a piece of work, and says how long it took once it is done."""
    say(f"▸ {title} …")
    began = time.monotonic()
    yield
    say(f"  done in {time.monotonic() - began:.1f} s")


class Progress:
    """A bar that redraws itself on a terminal, and writes a line every few seconds elsewhere."""

    WIDTH = 32
    QUIET_SECONDS = 3

    def __init__(self, label):
        self._label = label
        self._last = 0.0

    def show(self, done, total, note=""):
        """Draws `done` of `total`; a total of zero is one not known yet."""
        share = min(done / total, 1.0) if total else 0.0
        filled = round(share * self.WIDTH)
        line = f"  {self._label} [{'█' * filled}{'·' * (self.WIDTH - filled)}] {share:4.0%}  {note}"
        if _INTERACTIVE:
            print(f"\r\033[K{line}", end="", flush=True)
        elif time.monotonic() - self._last >= self.QUIET_SECONDS:
            self._last = time.monotonic()
            say(line)

    def finish(self, note=""):
        """Leaves the full bar standing."""
        self._last = 0.0
        self.show(1, 1, note)
        if _INTERACTIVE:
            say()


def run(main):
    """Runs a tool's main function and turns its failures into a message and an exit code."""
    try:
        sys.exit(main())
    except Failure as failure:
        sys.stdout.flush()
        print(f"\n✗ {failure.what}", file=sys.stderr)
        if failure.remedy:
            print(f"  → {failure.remedy}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\n✗ interrupted", file=sys.stderr)
        sys.exit(130)
