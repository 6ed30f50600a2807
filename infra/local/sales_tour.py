"""The tour of sales: a sales file goes through S3, Lambda and DynamoDB and comes out as revenue."""

import datetime
import decimal
import json
import subprocess
import time

from api import Api
from console import Failure, Progress, say, step
from paths import ROOT, STATE

ROWS = 100_000
APPEAR_SECONDS = 60
STALL_SECONDS = 180
POLL_SECONDS = 0.3
SHOWN_ERRORS = 5
MOST_BARS = 31
BAR_WIDTH = 40
UNDOABLE = ("completed", "completed-with-errors")
FINAL = (*UNDOABLE, "failed", "deleted")
FILES = STATE / "tour"
PREFIX = "imports/tour/"


class Tour:
    """The walk, with what it needs on the way."""

    def __init__(self, cloud):
        outputs = cloud.outputs()
        self._bucket, self._s3 = outputs["BucketName"], cloud.client("s3")
        self._admin = Api.of_person(cloud, "admin")
        self._analyst = Api.of_person(cloud, "analyst")

    def bring_in(self, file):
        """Puts a file under imports/, follows its import to the end, prints its report, and returns its status."""
        # A name of its own for each run, so that the import found by it is this run's.
        key = f"{PREFIX}{file.stem}-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%f}.csv"
        say(f"▸ copying {file.name} ({file.stat().st_size / 1e6:.1f} MB) to s3://{self._bucket}/{key}")
        self._s3.upload_file(str(file), self._bucket, key)
        began = time.monotonic()
        status = self._follow(self._find(key), "importing")
        if status["status"] == "failed":
            failure = status.get("failure") or {}
            raise Failure(f"the import failed: {failure.get('message', 'no reason given')} ({failure.get('code')})")
        report(status, time.monotonic() - began)
        return status

    def _find(self, key):
        deadline = time.monotonic() + APPEAR_SECONDS
        while time.monotonic() < deadline:
            page, _ = self._admin.call("GET", "/api/sales/imports/", key=key)
            if page["data"]:
                return page["data"][0]["id"]
            time.sleep(POLL_SECONDS)
        raise Failure(f"no import of {key} appeared", "the log of SalesImport says why; see `make env`")

    def _status(self, identity):
        return self._admin.call("GET", f"/api/sales/imports/{identity}/")

    def _follow(self, identity, label):
        bar, seen, changed = Progress(label), None, time.monotonic()
        while True:
            status, _ = self._status(identity)
            amount, rows = status["bytes"], status["rows"]
            if status["status"] in FINAL:
                bar.finish(f"{rows['done']:,} rows")
                return status
            bar.show(amount["done"], amount["total"], f"{rows['done']:,} rows, {status['status']}")
            if (status["status"], amount, rows) != seen:
                seen, changed = (status["status"], amount, rows), time.monotonic()
            if time.monotonic() - changed > STALL_SECONDS:
                raise Failure(
                    f"the import {identity} has stood still for {STALL_SECONDS} s",
                    "the log of SalesImport says why; see `make env`",
                )
            time.sleep(POLL_SECONDS)

    def clear(self):
        """Takes back what earlier tours brought in, so that the figures of this one are its own."""
        query, left = {"limit": 100}, []
        while True:
            page, _ = self._admin.call("GET", "/api/sales/imports/", **query)
            left += [item for item in page["data"] if item["key"].startswith(PREFIX) and item["status"] in UNDOABLE]
            if not page["next_cursor"]:
                break
            query["cursor"] = page["next_cursor"]
        if left:
            say(f"▸ taking back {len(left)} imports of earlier tours")
        for item in left:
            self.take_back(item["id"])

    def take_back(self, identity):
        """Deletes an import and waits until its rows are out of the totals."""
        _, headers = self._status(identity)
        self._admin.call("DELETE", f"/api/sales/imports/{identity}/", headers={"If-Match": headers["ETag"]})
        self._follow(identity, "taking back")

    def revenue(self, days):
        """The revenue of a span of days, exactly."""
        body, _ = self._analyst.call("GET", "/api/metrics/revenue/", start=days["first"], end=days["last"])
        return decimal.Decimal(body["data"]["total_revenue_sgd"])

    def chart(self, days):
        """Prints the revenue of the days, or of the months where the days are many."""
        body, _ = self._analyst.call("GET", "/api/metrics/revenue/daily/", start=days["first"], end=days["last"])
        bars = {day["date"]: decimal.Decimal(day["revenue_sgd"]) for day in body["data"]}
        if len(bars) > MOST_BARS:
            by_day, bars = bars, {}
            for day, revenue in by_day.items():
                bars[day[:7]] = bars.get(day[:7], 0) + revenue
        longest = max(bars.values(), default=0)
        for label, revenue in bars.items():
            length = round(revenue / longest * BAR_WIDTH) if longest > 0 and revenue > 0 else 0
            say(f"  {label:10} {'█' * length:{BAR_WIDTH}} {revenue:>14,}")


def report(status, seconds):
    """Prints what an import came to."""
    counts = status["counts"]
    pace = status["rows"]["done"] / max(seconds, 0.001)
    say(f"  {counts['imported']:>9,} imported   {pace:,.0f} rows/s, the wait included")
    say(f"  {counts['duplicate']:>9,} duplicate")
    say(f"  {counts['rejected']:>9,} rejected")
    for error in status["errors"][:SHOWN_ERRORS]:
        value = f" {error['value']!r}" if error.get("value") else ""
        place = f"row {error['row']}, {error['column'] or 'the whole row'}{value}"
        say(f"            {place}: {error['message']} ({error['code']})")
    if counts["rejected"] > SHOWN_ERRORS:
        say(f"            … all of them: s3 errors/{status['id']}/errors.csv, ready to be corrected and put in again")
    for warning in status.get("warnings") or []:
        say(f"  warning: {warning}")


def generate():
    """Writes the tour's two files and what they should come to, with the project's own generator."""
    FILES.mkdir(parents=True, exist_ok=True)
    first, overlapping, expected = FILES / "sales.csv", FILES / "overlap.csv", FILES / "expected.json"
    command = ["cargo", "run", "--quiet", "--locked", "--release", "--package", "tests", "--bin", "generate-sales"]
    command += ["--"]
    command += ["--rows", str(ROWS), "--seed", "1", "--out", first]
    command += ["--overlap-out", overlapping, "--expected", expected]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Failure("the sales files could not be generated", "cargo says why above")
    return first, overlapping, json.loads(expected.read_text(), parse_float=decimal.Decimal)


def must_be(what, found, wanted):
    """Prints a figure, and fails if it is not the one it must be."""
    if found != wanted:
        raise Failure(
            f"{what} is {found:,}, and should be {wanted:,}",
            "on a fresh stack (make down, make demo) this is a defect: please report it",
        )
    say(f"  {what}: {found:,}")


def with_generated(tour):
    """The tour with files whose figures are known beforehand."""
    with step(f"writing a year of sales: {ROWS:,} rows, some of them bad, and a second file that overlaps"):
        first, overlapping, expected = generate()
    alone, more = expected["file"], expected["overlap"]
    dates = [day["date"] for part in (alone, more) for day in part["daily"]]
    days = {"first": min(dates), "last": max(dates)}
    # Nothing on a fresh stack; whatever else was put in since, on one that has been played with.
    total = tour.revenue(days)
    counts_must_be(tour.bring_in(first), alone)
    say(f"▸ revenue from {days['first']} to {days['last']}")
    total += decimal.Decimal(alone["total_revenue"])
    must_be("total", tour.revenue(days), total)
    tour.chart(days)
    say("▸ the overlapping file: what is in already counts once")
    second = tour.bring_in(overlapping)
    counts_must_be(second, more)
    must_be("total of both", tour.revenue(days), total + decimal.Decimal(more["total_revenue"]))
    say("▸ taking the overlapping file back")
    tour.take_back(second["id"])
    must_be("total", tour.revenue(days), total)
    return days


def counts_must_be(status, expected):
    """Checks an import's counts against those that the generator planted."""
    wanted = (("imported", "imported"), ("duplicate", "duplicate"), ("rejected", "rejected_total"))
    if any(status["counts"][count] != expected[name] for count, name in wanted):
        for count, name in wanted:
            must_be(count, status["counts"][count], expected[name])
    say("  as it must be")


def with_own(tour, file):
    """The tour with the user's own file."""
    status = tour.bring_in(file)
    days = status.get("days")
    if not days:
        raise Failure(f"{file} holds no row that could be imported", "the reasons are above")
    total = tour.revenue(days)
    say(f"▸ revenue from {days['first']} to {days['last']}: {total:,}")
    tour.chart(days)
    say("▸ the same file again: it adds nothing")
    again = tour.bring_in(file)
    must_be("imported", again["counts"]["imported"], 0)
    must_be("total", tour.revenue(days), total)
    return days


def take(cloud, file):
    """Takes the tour with a sales file, or with generated ones; returns the days it covered, as a query."""
    if file and not file.is_file():
        raise Failure(f"there is no file {file}", "name a sales file: make demo FILE=path.csv")
    tour = Tour(cloud)
    tour.clear()
    days = with_own(tour, file) if file else with_generated(tour)
    return f"start={days['first']}&end={days['last']}"
