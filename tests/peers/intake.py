"""Takes readings in as a Python function would: pydantic validates, boto3 writes to DynamoDB.

Reads the body of an ingest request from a file and prints, as JSON, how many readings it put and the
seconds of CPU that took, the best of some runs: `seconds` for all of it, `typed_seconds` for no more
than validated readings as DynamoDB's types. There is no network: botocore makes and signs each
request, and an empty answer stands in for the service's, as soon as the request would be sent.
"""

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import boto3
from boto3.dynamodb.types import TypeSerializer
from botocore.awsrequest import AWSResponse
from pydantic import BaseModel, Field, JsonValue, ValidationInfo, field_validator

RETENTION = timedelta(days=90)
AHEAD = timedelta(minutes=10)


class Reading(BaseModel, extra="forbid"):
    metric: str = Field(default="value", min_length=1, max_length=100)
    timestamp: datetime | None = None
    value: float = Field(allow_inf_nan=False)
    unit: str | None = Field(default=None, max_length=32)
    is_valid: bool = True
    metadata: dict[str, JsonValue] | None = None

    @field_validator("timestamp")
    @classmethod
    def in_time(cls, timestamp: datetime | None, info: ValidationInfo) -> datetime | None:
        if timestamp is not None:
            now = info.context["now"]
            if timestamp < now - RETENTION:
                raise ValueError("too late")
            if timestamp > now + AHEAD:
                raise ValueError("in the future")
        return timestamp


class DeviceReading(Reading):
    device_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")


class Bulk(BaseModel, extra="forbid"):
    device_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    readings: list[Reading] = Field(max_length=10_000)


class Answer:
    """The body of an answer that says that everything was written."""

    def stream(self, **_):
        yield b'{"UnprocessedItems": {}}'


def items(body: bytes, form: str, now: datetime):
    context = {"now": now}
    if form == "json":
        bulk = Bulk.model_validate_json(body, context=context)
        readings = ((bulk.device_id, reading) for reading in bulk.readings)
    else:
        lines = (DeviceReading.model_validate_json(line, context=context) for line in body.splitlines())
        readings = ((line.device_id, line) for line in lines)
    expiration = int((now + RETENTION).timestamp())
    for device_id, reading in readings:
        timestamp = (reading.timestamp or now).astimezone(UTC).isoformat(timespec="milliseconds")
        item = {
            "pk": f"DEVICE#{device_id}",
            "sk": f"READING#{reading.metric}#{timestamp}",
            "value": Decimal(repr(reading.value)),
            "is_valid": reading.is_valid,
            "expiration": expiration,
        }
        if reading.unit:
            item["unit"] = reading.unit
        if reading.metadata:
            item["metadata"] = json.dumps(reading.metadata)
        yield item


def write(table, body: bytes, form: str, now: datetime) -> int:
    puts = 0
    with table.batch_writer() as writer:
        for item in items(body, form, now):
            writer.put_item(Item=item)
            puts += 1
    return puts


def serialize(body: bytes, form: str, now: datetime) -> int:
    serializer = TypeSerializer()
    puts = [{name: serializer.serialize(value) for name, value in item.items()} for item in items(body, form, now)]
    return len(puts)


def best_of(runs: int, call) -> float:
    def once() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return min(once() for _ in range(runs))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("body", type=Path)
    arguments.add_argument("--form", choices=["json", "ndjson"], required=True)
    arguments.add_argument("--now", type=datetime.fromisoformat, required=True)
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    body, form, now = options.body.read_bytes(), options.form, options.now

    dynamodb = boto3.resource(
        "dynamodb", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    dynamodb.meta.client.meta.events.register(
        "before-send.dynamodb.BatchWriteItem",
        lambda request, **_: AWSResponse(request.url, 200, {}, Answer()),
    )
    table = dynamodb.Table("readings")
    figures = {
        "puts": write(table, body, form, now),
        "seconds": best_of(options.runs, lambda: write(table, body, form, now)),
        "typed_seconds": best_of(options.runs, lambda: serialize(body, form, now)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
