"""The tour of sensors: readings go through the API and its queue into the table, and come out as roll-ups."""

import csv
import datetime
import gzip
import hashlib
import itertools
import json
import math
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from api import Api, Refusal, device_key
from console import Failure, Progress, say, step
from paths import ROOT, STATE

FLEET = {"devices": 1000, "seconds": 2 * 3600, "every": 30}
# The generator's first device reports a whole day, and much more often, for a chart worth looking at.
CHARTED = "thermometer-0000"
CHARTED_DAY = {"devices": 1, "seconds": 24 * 3600, "every": 5}
METRIC = "temperature"
DEVICES = ["thermometer-*", "file-*"]
KEY_NAME = "the tour"
# Of the 90 that raw readings are kept by default.
DAYS_BACK = 60
MOST_DAYS_A_QUERY = 1000
LINES_A_REQUEST = 20_000
CALLERS = 8
SENDERS = 4
DRAIN_SECONDS = 180
AGGREGATE_SECONDS = 300
POLL_SECONDS = 0.2
SHOWN_DAYS = 12
BAR_WIDTH = 44
NARROW, WIDE = 9, 17
PERCENTILES = (50, 95, 99)
PERCENTILE_ERROR = 0.01
MEAN_ERROR = 1e-9
FILES = STATE / "tour"
DAY = datetime.timedelta(days=1)
DEFECT = "on a fresh stack (make down, make demo) this is a defect: please report it"


class Tour:
    """The walk, with what it needs on the way."""

    def __init__(self, cloud):
        outputs = cloud.outputs()
        self._queue, self._sqs = outputs["SensorReadingsQueueUrl"], cloud.client("sqs")
        self._aggregate, self._lambda = outputs["SensorAggregateName"], cloud.client("lambda")
        self._admin = Api.of_person(cloud, "admin")
        self._analyst = Api.of_person(cloud, "analyst")
        self._revoke_keys()
        self._device = Api.of_device(cloud, device_key(cloud, KEY_NAME, DEVICES))

    def _revoke_keys(self):
        """Takes the keys of earlier tours out of force: their secrets are kept nowhere."""
        query = {"limit": 100}
        while True:
            page, _ = self._admin.call("GET", "/api/sensors/keys/", **query)
            for key in page["data"]:
                if key["name"] == KEY_NAME and key["status"] != "revoked":
                    _, headers = self._admin.call("GET", f"/api/sensors/keys/{key['id']}/")
                    path = f"/api/sensors/keys/{key['id']}/"
                    self._admin.call("DELETE", path, headers={"If-Match": headers["ETag"]})
            if not page["next_cursor"]:
                return
            query["cursor"] = page["next_cursor"]

    def register(self, devices):
        """Registers devices; those of earlier tours are there already."""
        together("registering", self._register, devices)

    def _register(self, device):
        try:
            self._admin.call("POST", "/api/sensors/devices/", body=device)
        except Refusal as refusal:
            if refusal.status != 409:
                raise

    def send(self, readings, callers=1, **query):
        """Sends lines of JSON in requests of many, and returns once each reading is in the queue."""
        requests = batched(readings, LINES_A_REQUEST)
        together("sending", lambda lines: self._send(lines, query), requests, callers)

    def _send(self, lines, query):
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        body = gzip.compress("\n".join(lines).encode(), compresslevel=1)
        answer, _ = self._device.call("POST", "/api/sensors/readings/bulk/", headers=headers, body=body, **query)
        if answer["rejected"]:
            raise Failure(f"{answer['rejected']:,} readings were rejected: {answer['errors'][:3]}", DEFECT)

    def settle(self):
        """Waits until the readings are in the table, and has them rolled up now and not within the minute."""
        with step("storing what is queued"):
            self._drain()
        with step("rolling it up"):
            hours = self._roll_up()
            say(f"  {hours:,} hours of devices")

    def _drain(self):
        counted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            found = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=counted)["Attributes"]
            if all(found[name] == "0" for name in counted):
                return
            time.sleep(POLL_SECONDS)
        remedy = "the log of SensorStore says why; see `make env`"
        raise Failure(f"the queue is not empty after {DRAIN_SECONDS} s", remedy)

    def _roll_up(self):
        hours, deadline = 0, time.monotonic() + AGGREGATE_SECONDS
        while time.monotonic() < deadline:
            run = self._lambda.invoke(FunctionName=self._aggregate, Payload=b"{}")
            report = json.load(run["Payload"])
            if "FunctionError" in run or report["failed"]:
                raise Failure(f"the run ended with {report}", "the log of SensorAggregate says why; see `make env`")
            hours += report["hours"]
            if not report["entries"] and not report["left"]:
                return hours
        raise Failure(f"the log is not worked off after {AGGREGATE_SECONDS} s", DEFECT)

    def series(self, device, metric, interval, start, end, stats):
        """The buckets of a device that hold readings, by their starts."""
        span = {"start": instant(start), "end": instant(end)}
        query = {"metric": metric, "interval": interval, "stats": ",".join(stats)} | span
        body, _ = self._analyst.call("GET", f"/api/sensors/devices/{device}/aggregates/", **query)
        return {bucket["start"]: bucket for bucket in body["data"]}

    def empty_day(self):
        """The latest day that is over and that no earlier tour has filled."""
        today = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            filled = self.series(CHARTED, METRIC, "1day", today - DAYS_BACK * DAY, today, ["count"])
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            filled = {}
        taken = {start[:10] for start in filled}
        for back in range(1, DAYS_BACK + 1):
            if f"{today - back * DAY:%Y-%m-%d}" not in taken:
                return today - back * DAY
        raise Failure(f"earlier tours have filled the last {DAYS_BACK} days", "begin afresh: make down, make demo")

    def check_counts(self, expected, day):
        """Compares each device's day with what the generator counted."""
        stats = ["count", "min", "max"]

        def check(device):
            buckets = list(self.series(device, METRIC, "1day", day, day + DAY, stats).values())
            found = [float(buckets[0][stat]) for stat in stats] if len(buckets) == 1 else None
            wanted = [float(expected[device][stat]) for stat in stats]
            if found != wanted:
                raise Failure(f"{device}: {', '.join(stats)} are {found}, and should be {wanted}", DEFECT)

        together("comparing", check, expected)
        total = sum(figures["count"] for figures in expected.values())
        say(f"  {total:,} readings of {len(expected):,} devices, as it must be: none lacks, none counts twice")


def together(label, work, items, callers=CALLERS):
    """Does the same to many items, several at once, behind a bar. The first failure ends it."""
    bar, items = Progress(label), list(items)
    with ThreadPoolExecutor(callers) as pool:
        try:
            for done, _ in enumerate(pool.map(work, items), 1):
                if done < len(items):
                    bar.show(done, len(items), f"{done:,} of {len(items):,}")
        except Failure:
            pool.shutdown(cancel_futures=True)
            raise
    bar.finish(f"{len(items):,}")


def batched(items, size):
    """The items in tuples of a size, the last one shorter."""
    rest = iter(items)
    while batch := tuple(itertools.islice(rest, size)):
        yield batch


def instant(moment):
    """A time as the API writes it."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generate(name, start, plan):
    """Writes readings with the project's own generator.

    Returns their lines in order of arrival, the devices, and by device what its readings of that day come to.
    """
    FILES.mkdir(parents=True, exist_ok=True)
    out, devices, expected = (FILES / f"{name}-{what}" for what in ("readings.ndjson", "devices.json", "expected.json"))
    command = ["cargo", "run", "--quiet", "--locked", "--release", "--package", "tests", "--bin", "generate-sensors"]
    command += ["--", "--start", instant(start), "--seed", "1"]
    command += itertools.chain.from_iterable((f"--{option}", str(value)) for option, value in plan.items())
    command += ["--out", out, "--devices-out", devices, "--expected", expected]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Failure("the readings could not be generated", "cargo says why above")
    days = json.loads(expected.read_text())["days"]
    figures = {device: found[0] for device, found in days.items()}
    return out.read_text().splitlines(), json.loads(devices.read_text()), figures


def with_generated(tour):
    """The tour with readings whose figures are known beforehand."""
    day = tour.empty_day()
    with step("writing readings: daily cycles, noise, gaps and bursts, batches late and sent twice"):
        lines, devices, expected = generate("fleet", day, FLEET)
        charted_lines, _, charted_expected = generate("charted", day, CHARTED_DAY)
    lines = charted_lines + [line for line in lines if CHARTED not in line]
    say(f"▸ {len(lines):,} readings of {len(devices):,} devices, from {instant(day)} on")
    tour.register(devices)
    tour.send(lines, SENDERS)
    tour.settle()
    tour.check_counts(expected | charted_expected, day)
    say(f"▸ {CHARTED} on {day:%Y-%m-%d} by the hour: p50 █, p95 ▓, p99 ░")
    stats = ["count", "min", "max", "avg", *(f"p{percentile}" for percentile in PERCENTILES)]
    before = tour.series(CHARTED, METRIC, "1hour", day, day + DAY, stats)
    chart(before.values())
    late_batch(tour, day, before, stats)
    return CHARTED, METRIC, day


def chart(buckets):
    """Prints a bar for each bucket; the one with the lowest median is short, whatever the figures are."""
    rows = [(bucket, [float(bucket[f"p{percentile}"]) for percentile in PERCENTILES]) for bucket in buckets]
    highest = max(values[-1] for _, values in rows)
    lowest = min(values[0] for _, values in rows)
    lowest -= (highest - lowest) / 10
    for bucket, values in rows:
        ends = [round((value - lowest) / ((highest - lowest) or 1) * BAR_WIDTH) for value in values]
        bar = "█" * ends[0] + "▓" * (ends[1] - ends[0]) + "░" * (ends[2] - ends[1])
        figures = "".join(f"{value:9.2f}" for value in values)
        say(f"  {bucket['start'][11:16]} {bar:{BAR_WIDTH}}{figures}{bucket['count']:>7,} readings")


def late_batch(tour, day, before, stats):
    """Sends readings of an hour that is long rolled up, and shows what they change."""
    hour = day + datetime.timedelta(hours=14)
    peak = max(float(bucket["max"]) for start, bucket in before.items() if is_of(hour, start))
    # Between the readings that are there, so that none of them is replaced.
    times = [hour + datetime.timedelta(minutes=30, seconds=second, milliseconds=500) for second in range(0, 120, 2)]
    say(f"▸ a batch comes late: {len(times)} readings of {instant(times[0])}, a spike that nobody had reported")
    tour.send(line(CHARTED, METRIC, time, round(peak + 10 + nth % 7 / 10, 2)) for nth, time in enumerate(times))
    tour.settle()
    after = tour.series(CHARTED, METRIC, "1hour", day, day + DAY, stats)
    changed = [start for start in after if after[start] != before.get(start)]
    if len(changed) != 1 or not is_of(hour, changed[0]):
        raise Failure(f"the hours {changed} changed, and only that of {instant(hour)} should", DEFECT)
    old, new = before[changed[0]], after[changed[0]]
    for stat in stats:
        say(f"  {stat:6}{short(old[stat]):>9} → {short(new[stat])}")
    if new["count"] != old["count"] + len(times):
        raise Failure(f"the count went from {old['count']} to {new['count']} with {len(times)} readings", DEFECT)
    say(f"  that is the hour of {instant(hour)}; the other {len(after) - 1} are as they were")


def is_of(hour, start):
    """Whether a bucket that starts so is that of an hour."""
    return start.startswith(f"{hour:%Y-%m-%dT%H}:")


def line(device, metric, moment, value):
    """A reading as a line of JSON."""
    milliseconds = round(moment.timestamp() * 1000)
    return json.dumps({"device_id": device, "metric": metric, "timestamp": milliseconds, "value": value})


def read(file):
    """The readings of a file of `timestamp,value`, in its order; a time without a zone is UTC."""
    readings = []
    with file.open(newline="") as text:
        for number, row in enumerate(csv.reader(text), 1):
            if not row or (number == 1 and row[0].strip().lower() == "timestamp"):
                continue
            try:
                moment, value = datetime.datetime.fromisoformat(row[0].strip()), float(row[1])
            except (ValueError, IndexError):
                raise Failure(
                    f"line {number} of {file} is no reading: {','.join(row)[:80]}",
                    "a line is timestamp,value: 2026-03-01 12:30:00,21.5",
                ) from None
            if not math.isfinite(value):
                raise Failure(f"line {number} of {file} holds no finite number", "take such lines out")
            moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
            readings.append((moment.astimezone(datetime.UTC), value))
    if not readings:
        raise Failure(f"{file} holds no reading", "a line is timestamp,value: 2026-03-01 12:30:00,21.5")
    return readings


def with_own(tour, file):
    """The tour with a file of readings, sent as a backfill of one device."""
    readings = read(file)
    # Of several readings of one time the last one counts.
    distinct = {moment.replace(microsecond=moment.microsecond // 1000 * 1000): value for moment, value in readings}
    say(f"▸ {file.name}: {len(readings):,} lines, {len(distinct):,} readings of distinct times")
    # A device for each content, so that readings of another file never mix with these.
    name = re.sub(r"[^A-Za-z0-9._-]", "-", file.stem)[:60]
    device = f"file-{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    tour.register([{"device_id": device, "name": file.name[:200], "type": "custom"}])
    tour.send([line(device, "value", moment, value) for moment, value in readings], backfill="true")
    tour.settle()
    first = min(distinct).replace(hour=0, minute=0, second=0, microsecond=0)
    compare(tour, device, plain(distinct), first, max(distinct))
    return device, "value", first


def plain(readings):
    """The figures of each day, computed over all its readings at once."""
    days = {}
    for moment, value in readings.items():
        days.setdefault(f"{moment:%Y-%m-%d}", []).append(value)
    figures = {}
    for day, values in sorted(days.items()):
        values.sort()
        figures[day] = {"count": len(values), "min": values[0], "max": values[-1]}
        figures[day]["avg"] = math.fsum(values) / len(values)
        figures[day] |= {f"p{p}": values[p * (len(values) - 1) // 100] for p in PERCENTILES}
    return figures


def compare(tour, device, wanted, first, last):
    """Compares each day's roll-up with the plain figures, and fails if a single one differs by more than it may."""
    stats = list(next(iter(wanted.values())))
    found, start = {}, first
    while start <= last:
        end = min(start + MOST_DAYS_A_QUERY * DAY, last + DAY)
        buckets = tour.series(device, "value", "1day", start, end, stats)
        found |= {key[:10]: bucket for key, bucket in buckets.items()}
        start += MOST_DAYS_A_QUERY * DAY
    if list(found) != list(wanted):
        raise Failure(f"there are roll-ups of {len(found)} days, and readings of {len(wanted)}", DEFECT)
    worst, wrong = dict.fromkeys(stats, 0.0), []
    for day, figures in wanted.items():
        for stat, figure in figures.items():
            error = abs(float(found[day][stat]) - figure) / (abs(figure) or 1)
            worst[stat] = max(worst[stat], error)
            if error > allowed(stat):
                wrong.append(f"{day}: {stat} is {found[day][stat]}, and plainly computed {figure}")
    say(f"▸ days as rolled up, in brackets what differs from the plain computation; {len(wanted)} in all")
    say("  " + " " * 10 + "".join(f"{stat:>{WIDE if allowed(stat) else NARROW}}" for stat in stats))
    for day in list(wanted)[:: -(-len(wanted) // SHOWN_DAYS)]:
        say(f"  {day}" + "".join(cell(stat, found[day][stat], wanted[day][stat]) for stat in stats))
    say("  largest difference: " + ", ".join(f"{stat} {worst[stat]:.2%}" for stat in stats))
    if wrong:
        raise Failure("\n  ".join([f"{len(wrong)} figures differ", *wrong[:20]]), DEFECT)
    say("  count, min and max are the same, the mean to nine digits, percentiles within 1 %")


def allowed(stat):
    """By how much of itself a figure may differ from the plain one."""
    return PERCENTILE_ERROR if stat.startswith("p") else MEAN_ERROR if stat == "avg" else 0.0


def cell(stat, found, plain_figure):
    """A figure of the table, with the plain one where they may differ and do."""
    figures = [short(found), short(plain_figure)]
    text = figures[0] if figures[0] == figures[1] else f"{figures[0]} ({figures[1]})"
    return f"{text:>{WIDE if allowed(stat) else NARROW}}"


def short(figure):
    """A figure in as many digits as one wants to read."""
    return f"{figure}" if isinstance(figure, int) else f"{float(figure):.2f}"


def take(cloud, file):
    """Takes the tour with a file of readings, or with generated ones; returns a device and a query for a day of it."""
    if file and not file.is_file():
        raise Failure(f"there is no file {file}", "name a file of readings: make demo READINGS=path.csv")
    tour = Tour(cloud)
    device, metric, day = with_own(tour, file) if file else with_generated(tour)
    return device, f"metric={metric}&start={instant(day)}&end={instant(day + DAY)}"
