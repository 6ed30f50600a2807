"""Takes readings of devices: POST /api/sensors/readings/bulk and, as InfluxDB 2 has it, POST /api/v2/write.

Triggered by API Gateway (REST, proxy integration). Bodies are JSON, NDJSON or line protocol, by content type, plain or
gzip. Readings that are accepted are in the queue before the answer.

Environment: TABLE (pk, sk), of which it reads the devices DEVICE#{id}, META {is_active}; QUEUE_URL; RETENTION_DAYS.
"""

import json
import os
import time
import uuid
import zlib
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
from aws_lambda_powertools import Logger
from line_protocol_parser import LineFormatError, parse_line
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from reading import DeviceId, Message, Reading

QUEUE_URL = os.environ["QUEUE_URL"]
RETENTION = timedelta(days=int(os.environ.get("RETENTION_DAYS", "90")))
AHEAD = timedelta(minutes=10)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
MOST_BODY_BYTES = 4 * 1024 * 1024
MOST_MESSAGE_BYTES = 1024 * 1024
MOST_MESSAGES = 10
MOST_READINGS = 50_000
MOST_ERRORS = 100
REMEMBERED_SECONDS = 60
PRECISIONS = {"ns": 1_000_000, "us": 1_000, "ms": 1}
MILLISECONDS_PER_SECOND = 1_000

logger = Logger(service="sensor-ingest")
sqs = boto3.client("sqs")
dynamodb = boto3.resource("dynamodb")
table = dynamodb.Table(os.environ["TABLE"])


class DeviceReading(Reading):
    """A line of NDJSON."""

    device_id: DeviceId


class Bulk(BaseModel, extra="forbid"):
    """A JSON body."""

    device_id: DeviceId
    readings: list[Reading] = Field(max_length=10_000)


class Refused(Exception):
    """A body that is refused as a whole."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status = status


class Intake:
    """What a body came to: readings with their device and place, and what is wrong with the others."""

    def __init__(self):
        self.readings: list[tuple[int, str, Reading]] = []
        self.rejected = 0
        self.errors: list[dict] = []

    def reject(self, index: int, code: str, detail: str) -> None:
        """Counts a reading that is refused."""
        self.rejected += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append({"index": index, "code": code, "detail": detail})

    def reject_invalid(self, index: int, error: ValidationError) -> None:
        """Counts a reading that does not validate, for its first fault."""
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        self.reject(index, fault["type"], f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")


device_readings = TypeAdapter(DeviceReading)
remembered: dict[str, tuple[float, str | None]] = {}


@logger.inject_lambda_context
def handler(event: dict, context) -> dict:
    """Answers one request."""
    is_influx = event["path"].rstrip("/").endswith("/write")
    now = datetime.now(UTC)
    try:
        intake = parsed(event, is_influx)
    except Refused as refusal:
        return answer(refusal.status, {"detail": str(refusal)})
    query = event.get("queryStringParameters") or {}
    accepted = admitted(intake, now, is_backfill=query.get("backfill") == "true")
    if accepted:
        send(accepted, now)
    logger.info("readings taken", accepted=len(accepted), rejected=intake.rejected)
    if is_influx:
        if not intake.errors:
            return {"statusCode": 204, "headers": {}, "body": ""}
        first = intake.errors[0]
        return answer(400, {"code": "invalid", "message": first["detail"], "line": first["index"] + 1})
    counts = {"accepted": len(accepted), "rejected": intake.rejected, "errors": intake.errors}
    if not accepted:
        return answer(422, counts)
    return answer(202, counts | {"batch_id": str(uuid.uuid4())})


def answer(status: int, body: dict) -> dict:
    """A proxy integration's answer."""
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


def parsed(event: dict, is_influx: bool) -> Intake:
    """The readings of a request."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    body = plain(event)
    form = headers.get("content-type", "").partition(";")[0].strip().lower()
    if is_influx or form == "text/plain":
        query = event.get("queryStringParameters") or {}
        return from_line_protocol(body, query.get("precision", "ns"))
    if form in ("application/x-ndjson", "application/ndjson"):
        return from_ndjson(body)
    if form == "application/json":
        return from_json_body(body)
    raise Refused(415, "send JSON, NDJSON or line protocol")


def plain(event: dict) -> bytes:
    """A request's body, decoded and decompressed."""
    text = event.get("body") or ""
    body = b64decode(text) if event.get("isBase64Encoded") else text.encode()
    if body.startswith(b"\x1f\x8b"):
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            body = stream.decompress(body, MOST_BODY_BYTES + 1)
        except zlib.error as error:
            raise Refused(400, "the body cannot be decompressed") from error
        if not stream.eof and len(body) <= MOST_BODY_BYTES:
            raise Refused(400, "the body is cut off")
    if len(body) > MOST_BODY_BYTES:
        raise Refused(413, "the body is too large")
    return body


def from_json_body(body: bytes) -> Intake:
    """Reads a JSON body: at once if every reading is right, else one by one."""
    intake = Intake()
    try:
        bulk = Bulk.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if any(fault["loc"][:1] != ("readings",) or len(fault["loc"]) < 2 for fault in faults):
            raise Refused(400, "the body is not readings of a device") from error
        content = from_json(body)
        for index, member in enumerate(content["readings"]):
            try:
                intake.readings.append((index, content["device_id"], Reading.model_validate(member)))
            except ValidationError as error:
                intake.reject_invalid(index, error)
    else:
        intake.readings = [(index, bulk.device_id, reading) for index, reading in enumerate(bulk.readings)]
    return intake


def from_ndjson(body: bytes) -> Intake:
    """Reads a JSON object a line."""
    intake = Intake()
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    check_count(lines)
    for index, line in enumerate(lines):
        try:
            reading = device_readings.validate_json(line)
        except ValidationError as error:
            intake.reject_invalid(index, error)
        else:
            intake.readings.append((index, reading.device_id, reading))
    return intake


def from_line_protocol(body: bytes, precision: str) -> Intake:
    """Reads line protocol: the tag device_id names the device, and each field is a metric."""
    if precision != "s" and precision not in PRECISIONS:
        raise Refused(400, "precision is ns, us, ms or s")
    intake = Intake()
    try:
        lines = [line for line in body.decode().split("\n") if line and not line.isspace() and line.lstrip()[0] != "#"]
    except UnicodeDecodeError as error:
        raise Refused(400, "the body is not UTF-8") from error
    check_count(lines)
    for index, line in enumerate(lines):
        try:
            point = parse_line(line)
        except LineFormatError as error:
            intake.reject(index, "malformed-line", str(error))
            continue
        device_id = point["tags"].get("device_id")
        if device_id is None:
            intake.reject(index, "missing-device", "the line has no tag device_id")
            continue
        timestamp = point["time"]
        if timestamp is not None:
            if precision == "s":
                timestamp *= MILLISECONDS_PER_SECOND
            else:
                timestamp //= PRECISIONS[precision]
        for metric, value in point["fields"].items():
            if isinstance(value, str):
                intake.reject(index, "not-a-number", f"{metric} is text")
                continue
            if isinstance(value, int) and abs(value) > 2**53:
                intake.reject(index, "integer-too-large", f"{metric} is beyond 2^53")
                continue
            reading = {"device_id": device_id, "metric": metric, "timestamp": timestamp, "value": float(value)}
            try:
                intake.readings.append((index, device_id, DeviceReading.model_validate(reading)))
            except ValidationError as error:
                intake.reject_invalid(index, error)
    return intake


def check_count(lines: list) -> None:
    """Refuses a body of too many lines."""
    if len(lines) > MOST_READINGS:
        raise Refused(413, f"more than {MOST_READINGS} readings")


def admitted(intake: Intake, now: datetime, *, is_backfill: bool) -> list[tuple[str, Reading]]:
    """The readings that are in time and of a device that may send some, with their device."""
    earliest = EARLIEST if is_backfill else now - RETENTION
    latest = now + AHEAD
    refused = refused_devices({device_id for _, device_id, _ in intake.readings})
    accepted = []
    for index, device_id, reading in intake.readings:
        timestamp = reading.timestamp
        if timestamp is not None and not earliest <= timestamp <= latest:
            code = "too-late" if timestamp < earliest else "in-the-future"
            intake.reject(index, code, f"timestamp is {timestamp.isoformat()}")
        elif device_id in refused:
            intake.reject(index, refused[device_id], f"device {device_id}")
        else:
            accepted.append((device_id, reading))
    return accepted


def refused_devices(device_ids: set[str]) -> dict[str, str]:
    """Why readings of some of these devices are refused; what the table says is remembered for a minute."""
    clock = time.monotonic()
    unknown = [device_id for device_id in device_ids if remembered.get(device_id, (0.0,))[0] < clock]
    for start in range(0, len(unknown), 100):
        asked = unknown[start : start + 100]
        found = {}
        keys = [{"pk": f"DEVICE#{device_id}", "sk": "META"} for device_id in asked]
        request = {table.name: {"Keys": keys, "ProjectionExpression": "pk, is_active"}}
        while request:
            response = dynamodb.batch_get_item(RequestItems=request)
            found.update((item["pk"][7:], item["is_active"]) for item in response["Responses"].get(table.name, []))
            request = response.get("UnprocessedKeys")
        for device_id in asked:
            if device_id not in found:
                # A device that is registered next is seen at once.
                remembered[device_id] = (0.0, "unknown-device")
            else:
                fault = None if found[device_id] else "inactive-device"
                remembered[device_id] = (clock + REMEMBERED_SECONDS, fault)
    return {device_id: fault for device_id in device_ids if (fault := remembered[device_id][1])}


def send(readings: list[tuple[str, Reading]], now: datetime) -> None:
    """Puts readings into the queue, as few messages as hold them."""
    entries, size = [], 0
    for number, body in enumerate(messages(readings, now)):
        length = len(body)
        if size + length > MOST_MESSAGE_BYTES or len(entries) == MOST_MESSAGES:
            send_batch(entries)
            entries, size = [], 0
        entries.append({"Id": str(number), "MessageBody": body.decode()})
        size += length
    send_batch(entries)


def send_batch(entries: list[dict]) -> None:
    """Sends messages; each of them, or the request fails and may be sent again."""
    response = sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=entries)
    if response.get("Failed"):
        raise RuntimeError(f"{len(response['Failed'])} messages were not taken: {response['Failed'][0]['Code']}")


def messages(readings: list[tuple[str, Reading]], now: datetime) -> Iterator[bytes]:
    """The bodies of the messages that hold `readings`, none larger than a message may be."""
    devices: dict[str, list[Reading]] = {}
    for device_id, reading in readings:
        devices.setdefault(device_id, []).append(reading)
    message = Message.model_construct(received_at=now, devices=devices)
    body = message.model_dump_json(exclude_defaults=True).encode()
    if len(body) <= MOST_MESSAGE_BYTES or len(readings) == 1:
        yield body
        return
    # A tenth less than the average says, so that few parts have to be cut again.
    count = max(1, len(readings) * MOST_MESSAGE_BYTES * 9 // 10 // len(body))
    for start in range(0, len(readings), count):
        yield from messages(readings[start : start + count], now)
