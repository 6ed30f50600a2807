"""Shows that every right of the deployed roles is needed and none is missing.

Usage: rights.py used                    every right was made use of by the last run with a private stack, none was missed
       with_stack.py … rights.py quick   takes a few rights away, one at a time, by the seed, and sees a test fail
       with_stack.py … rights.py full    takes each right away
       with_stack.py … rights.py learn [PATTERN]
                                         finds the tests, of those whose names match, that notice what no test is known
                                         for, and writes rights-tests.json
"""

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from console import Failure, run, say, step
from gauntlet import SEED, figure
from paths import ROOT, STATE
from roles import USAGE, Right, Roles

NOTICED = Path(__file__).with_name("rights-tests.json")
"""Which tests notice the absence of which right, the best first, and how long each takes with all of them."""
QUICK = 8
"""Rights that the quick size takes away."""
LANES = 4
"""Rights that are away at the same time, each of a role that the others' tests have nothing to do with."""
LEFT_OUT = {"support", "kills"}
"""Modules whose tests take no part: they test other tests, or kill the functions."""
TRIES = 4
"""Tests that are tried before a right counts as unnoticed."""
LONG = 15
"""Seconds from which a test is only tried where no shorter one is known."""
BUSY = 4
"""How many times longer a test may take on a machine that is busy."""
LINGER_SECONDS = 1.5
"""How long a right stays away after its test when nobody has missed it yet."""
IDLE_SECONDS = 0.6
"""How long nothing is done but looking into sources before a stack counts as idle."""

# What MiniStack does not ask a role for, with the reason why it is given all the same.
UNASKED = {
    ("SalesImport", "TellAbsence"): "S3 asks for it when an object is not there; MiniStack tells absence to everybody",
    ("OrderSaga", "DeliverLogs"): "Step Functions delivers its log by them; MiniStack logs without a delivery",
}
# What no test on a deployed stack reaches, with what calls for it and where that is tested without roles.
UNREACHED = {
    "NotificationSend Remember BREAKER#*": "a provider that does not answer: functions, notifications::send::tests",
    "NotificationSend Text sns:Publish *": "a customer with a telephone: functions, notifications::send::tests",
    "SensorApi Write dynamodb:BatchWriteItem table/${SensorsTable}": "more than 500 hours recomputed at once",
}


def is_asked(right):
    """Whether the local cloud ever asks for a right."""
    return (right.role, right.statement) not in UNASKED


def removals(given):
    """What is taken away in turn: each action on each resource, and each partition of each statement."""
    found = set()
    for right in filter(is_asked, given):
        found.add(right._replace(partition=""))
        if right.partition:
            found.add(right._replace(action="", resource=""))
    return sorted(found)


def covers(removal, right):
    """Whether a right goes with a removal."""
    return all(wanted in ("", has) for wanted, has in zip(removal, right, strict=True))


def used():
    """Judges the last run."""
    if not USAGE.exists():
        raise Failure("no run with a private stack has left its rights", "run the tests first: make test")
    usage = {name: [tuple(each) for each in found] for name, found in json.loads(USAGE.read_text()).items()}
    given = {Right(*each) for each in usage["given"]}
    needed = {Right(*each) for each in usage["used"]}
    unreached = [each for each in removals(given) if not any(covers(each, right) for right in needed)]
    unused = [each for each in unreached if str(each) not in UNREACHED]
    figure("rights", "given (action on resource, or partition)", len(removals(given)))
    figure("rights", "given and not used", len(unused))
    figure("rights", "given for what no test on a stack reaches", len(unreached) - len(unused))
    figure("rights", "refused to a role", len(usage["refused"]))
    figure("rights", "given for the service alone", sum(not is_asked(each) for each in given))
    for each in unused:
        say(f"  not used: {each}")
    for role, action, resource in sorted(set(usage["refused"])):
        say(f"  refused: {role} {action} {resource}")
    if unused or usage["refused"]:
        raise Failure("rights and what is done with them differ", "mend template.yaml, or test what needs the right")


class Suite:
    """The tests that talk to a deployed stack, one at a time."""

    def __init__(self):
        build = ["cargo", "test", "--locked", "--workspace", "--test", "all", "--no-run", "--message-format=json"]
        built = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        artifacts = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
        found = [each for each in artifacts if each.get("executable") and each["target"]["name"] == "all"]
        if built.returncode or not found:
            raise Failure("the tests could not be built")
        # Another build must not put another one in its place meanwhile.
        self._binary = STATE / "rights-tests"
        shutil.copy2(found[0]["executable"], self._binary)
        self._folder = Path(found[0]["manifest_path"]).parent
        self._environment = os.environ | {"CARGO_MANIFEST_DIR": str(self._folder), "INSTA_UPDATE": "no"}

    def names(self):
        """The tests of those files that use the deployed stack."""
        listing = subprocess.run([self._binary, "--list"], cwd=self._folder, capture_output=True, text=True, check=True)
        names = [line.removesuffix(": test") for line in listing.stdout.splitlines() if line.endswith(": test")]
        folder = ROOT / "tests" / "all"
        deployed = re.compile(r"support::(\{[^}]*\b)?(api|bucket|lambda|people|sensors|stack)\b")
        modules = [
            str(file.relative_to(folder).with_suffix("")).removesuffix("/mod").replace("/", "::")
            for file in folder.rglob("*.rs")
            if deployed.search(file.read_text()) and not LEFT_OUT & set(file.relative_to(folder).parts)
        ]
        return [name for name in names if name.rpartition("::")[0] in modules]

    def passes(self, tests, limit):
        """Whether tests pass, and within so many seconds: one that does not end has failed."""
        process = subprocess.Popen(
            [self._binary, "--include-ignored", "--exact", *tests],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(limit) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def failing(self, tests):
        """Those of some tests that fail with every right: first all at once but for those that want to be alone."""
        alone = [name for name in tests if name.startswith("gauntlet::roles::")]
        together = [name for name in tests if name not in alone]
        failed = [] if self.passes(together, 600) else [name for name in together if not self.passes([name], 300)]
        return failed + [name for name in alone if not self.passes([name], 300)]


def limit(seconds, patience):
    """How long a test may take that usually takes so many seconds."""
    return patience * (3 + 2 * seconds)


def is_noticed(removal, test, seconds, suite, roles, patience=1):
    """Whether a test fails for want of a right, and whether the want was seen at all."""
    with roles.lacking(removal):
        began = time.time()
        has_passed = suite.passes([test], limit(seconds, patience))
        # What a test leaves under way may come to need the right a moment later.
        give_up = time.monotonic() + LINGER_SECONDS
        while not (was_refused := any(roles.concerns(removal, each) for each in roles.refused(began))):
            if time.monotonic() > give_up:
                break
            time.sleep(0.1)
    return not has_passed and was_refused, was_refused


def settle(roles):
    """Waits until nothing is left under way, so that what is made use of next is for what comes next."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        roles.forget()
        time.sleep(IDLE_SECONDS)
        if not roles.at_work():
            break
    roles.forget()


class Lanes:
    """Plays removals beside each other, of which none is in another's way."""

    def __init__(self, play):
        self._play = play
        self._turn = threading.Condition()
        self._running = []

    def run(self, removals):
        """Plays all; each says its role and the roles that its test has to do with."""
        waiting = list(removals)
        with ThreadPoolExecutor(LANES) as lanes:
            futures = [lanes.submit(self._work, waiting) for _ in range(LANES)]
            for future in futures:
                future.result()

    def _work(self, waiting):
        while True:
            with self._turn:
                while (chosen := self._next(waiting)) is None:
                    if not waiting:
                        return
                    self._turn.wait()
                waiting.remove(chosen)
                self._running.append(chosen)
            try:
                self._play(chosen[0])
            finally:
                with self._turn:
                    self._running.remove(chosen)
                    self._turn.notify_all()

    def _next(self, waiting):
        def is_apart(one, other):
            return one[0].role not in other[1] and other[0].role not in one[1]

        apart = (each for each in waiting if all(is_apart(each, other) for other in self._running))
        return next(apart, None)


def mutate(count):
    """Takes rights away, all or so many by the seed, and sees that the tests that are known for them fail."""
    known = json.loads(NOTICED.read_text())
    suite, roles = Suite(), Roles.of(os.environ)
    chosen = removals(roles.given())
    unknown = [each for each in chosen if str(each) not in known["rights"] and str(each) not in UNREACHED]
    chosen = [each for each in chosen if str(each) in known["rights"]]
    if count is not None:
        chosen = random.Random(os.environ.get("GAUNTLET_SEED", SEED)).sample(chosen, count)
    tests, candidates = known["tests"], {each: known["rights"][str(each)] for each in chosen}
    failed, seen, played = {}, {}, set()

    def play(removal):
        # On a busy machine a test may be out of time before it comes to what needs the right.
        for patience, test in itertools.product((1, BUSY), candidates[removal]):
            played.add(test)
            seconds = tests[test]["seconds"]
            failed[removal], seen[removal] = is_noticed(removal, test, seconds, suite, roles, patience)
            if seen[removal]:
                break

    with step(f"taking {len(chosen)} rights away in turn"):
        slow_first = sorted(chosen, key=lambda each: -tests[candidates[each][0]]["seconds"])
        Lanes(play).run([(each, concerned(each, candidates[each], tests)) for each in slow_first])
    unnoticed = [each for each in chosen if not seen[each]]
    figure("rights", "taken away", len(chosen))
    figure("rights", "noticed by a test that failed", sum(failed.values()))
    # What a function gets over when it is refused is noticed by `used`, which wants no refusals.
    figure("rights", "noticed by the refusal alone", sum(seen[each] and not failed[each] for each in chosen))
    figure("rights", "not noticed", len(unnoticed))
    figure("rights", "without a test that is known", len(unknown))
    for each in unnoticed:
        say(f"  not noticed: {each}: {candidates[each]}")
    for each in unknown if count is None else []:
        say(f"  no test is known: {each}")
    with step(f"running the {len(played)} tests with every right"):
        if failing := suite.failing(sorted(played)):
            raise Failure(f"with every right these fail as well, so their failing proves nothing: {failing}")
    if unnoticed or (unknown and count is None):
        remedy = "find a test: rights.py learn" if unknown else ""
        raise Failure(f"{len(unnoticed) + len(unknown)} rights are not noticed when they are gone", remedy)


def concerned(removal, candidates, tests):
    """The roles that must not lack anything else meanwhile."""
    return {removal.role}.union(*(tests[test]["roles"] for test in candidates))


def learn(pattern):
    """Runs tests alone to see what each uses, and takes away what any of them used to see which of them notices."""
    known = json.loads(NOTICED.read_text()) if NOTICED.exists() else {"tests": {}, "rights": {}}
    tests, rights = known["tests"], known["rights"]
    suite, roles = Suite(), Roles.of(os.environ)
    uses = {}
    for name in filter(re.compile(pattern).search, suite.names()):
        settle(roles)
        began = time.monotonic()
        if not suite.passes([name], 300):
            say(f"  fails alone: {name}")
            continue
        seconds = round(time.monotonic() - began, 1)
        uses[name], _ = roles.used()
        tests[name] = {"seconds": seconds, "roles": sorted(roles.at_work())}
        say(f"  {seconds:6.1f} s, {len(uses[name]):3} rights: {name}")
    removable = removals(roles.given())
    users = {each: users_of(each, uses, tests, rights.get(str(each), [])) for each in removable}

    def play(removal):
        failed, refused, left = [], [], list(users[removal])
        for test in users[removal]:
            left.remove(test)
            fails, is_refused = is_noticed(removal, test, tests[test]["seconds"], suite, roles)
            if fails:
                failed.append(test)
                break
            if is_refused:
                refused.append(test)
        if failed or refused:
            # What was found in another run, and took no part in this one, still stands.
            kept = [name for name in rights.get(str(removal), []) if name not in uses]
            rights[str(removal)] = [*failed, *kept, *refused, *left][:TRIES]
            say(f"  {removal}: {[*failed, *refused][0]}{'' if failed else ': by the refusal'}")
        else:
            say(f"  nobody notices: {removal}; tried {users[removal]}")

    try:
        touched = [each for each in removable if users[each]]
        Lanes(play).run([(each, concerned(each, users[each], tests)) for each in touched])
    finally:
        given = {str(each) for each in removable}
        rights = {right: rights[right] for right in sorted(rights) if right in given}
        tests = {name: tests[name] for name in sorted({name for names in rights.values() for name in names})}
        NOTICED.write_text(json.dumps({"tests": tests, "rights": rights}, indent=1, ensure_ascii=False) + "\n")


def users_of(removal, uses, tests, known):
    """The tests that made use of a right, those known for it first, then the short ones."""
    found = [name for name in uses if any(covers(removal, right) for right in uses[name])]
    found.sort(key=lambda name: (name not in known, tests[name]["seconds"]))
    return ([name for name in found if tests[name]["seconds"] < LONG] or found)[:TRIES]


def main():
    """The command."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    match sys.argv[1:]:
        case ["used"]:
            used()
        case ["quick"]:
            mutate(QUICK)
        case ["full"]:
            mutate(None)
        case ["learn", *pattern]:
            learn("".join(pattern))
        case _:
            raise Failure("say what to do", __doc__.strip().splitlines()[2])


if __name__ == "__main__":
    run(main)
