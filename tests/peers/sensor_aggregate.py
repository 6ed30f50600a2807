"""Makes hourly aggregates anew from the readings of the hours that were touched.

Triggered by a schedule: it works off the markers that sensor_store leaves. Invoked with {"devices": […], "start": …,
"end": …} it does the hours from start to end, both ISO 8601 with an offset, of those devices instead.

Environment: TABLE (pk, sk), of which it reads DEVICE#{device}, READING#…, reads and deletes PENDING, and writes
AGGREGATE#{device}#{metric}, {hour} {count, valid_count, sum, min, max, mean}; WORKERS, the most queries at once.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import boto3
from aws_lambda_powertools import Logger
from boto3.dynamodb.conditions import Attr, Key
from botocore.config import Config
from botocore.exceptions import ClientError

from batch_writes import WRITERS, put_all

WORKERS = int(os.environ.get("WORKERS", "8"))
# What one run takes on.
MOST_MARKERS = 5_000

logger = Logger(service="sensor-aggregate")
config = Config(
    retries={"mode": "standard", "max_attempts": 5},
    max_pool_connections=WORKERS + WRITERS,
    # What is sent is built here, and checking it again costs a quarter of a put.
    parameter_validation=False,
)
table = boto3.resource("dynamodb", config=config).Table(os.environ["TABLE"])
paginator = table.meta.client.get_paginator("query")
pool = ThreadPoolExecutor(WORKERS)


@dataclass(frozen=True)
class Work:
    """Whole hours of a device: the first, and the one that they end before, as YYYY-MM-DDTHH."""

    device_id: str
    start: str
    end: str


class Aggregate:
    """Statistics of the readings of one metric and hour."""

    __slots__ = ("count", "max", "min", "sum", "valid_count")

    def __init__(self):
        self.count = self.valid_count = 0
        self.sum = Decimal(0)
        self.min = self.max = None

    def add(self, value: Decimal, is_valid: bool) -> None:
        """Counts a reading; the statistics are of the valid ones."""
        self.count += 1
        if not is_valid:
            return
        self.valid_count += 1
        self.sum += value
        if self.min is None or value < self.min:
            self.min = value
        if self.max is None or value > self.max:
            self.max = value

    def item(self, device_id: str, metric: str, hour: str) -> dict:
        """The item of it."""
        item = {"pk": f"AGGREGATE#{device_id}#{metric}", "sk": hour, "count": self.count}
        if self.valid_count:
            mean = self.sum / self.valid_count
            item |= {"sum": self.sum, "min": self.min, "max": self.max, "mean": mean}
        return item | {"valid_count": self.valid_count}


@logger.inject_lambda_context
def handler(event: dict, context) -> dict:
    """Does what the event names, or what is marked."""
    if "devices" in event:
        start, end = hour_of(event["start"]), hour_of(event["end"], timedelta(hours=1) - timedelta(microseconds=1))
        markers = []
        works = [Work(device_id, start, end) for device_id in event["devices"]]
    else:
        markers = pending()
        works = [
            Work(marker["device_id"], marker["hour"], hour_of(f"{marker['hour']}:00Z", timedelta(hours=1)))
            for marker in markers
        ]
    items = [item for items in pool.map(aggregates, works) for item in items]
    put_all(table, items)
    list(pool.map(settle, markers))
    report = {"hours": len(works), "aggregates": len(items)}
    logger.info("hours aggregated", **report)
    return report


def hour_of(time: str, ahead: timedelta = timedelta()) -> str:
    """The hour that a time lies in, looked at from so far ahead."""
    return (datetime.fromisoformat(time).astimezone(UTC) + ahead).strftime("%Y-%m-%dT%H")


def pending() -> list[dict]:
    """The markers of hours that were touched."""
    pages = paginator.paginate(
        TableName=table.name,
        KeyConditionExpression=Key("pk").eq("PENDING"),
        ConsistentRead=True,
        PaginationConfig={"MaxItems": MOST_MARKERS},
    )
    return [item for page in pages for item in page["Items"]]


def aggregates(work: Work) -> list[dict]:
    """The aggregates of a device's hours, one for each metric and hour."""
    pages = paginator.paginate(
        TableName=table.name,
        KeyConditionExpression=Key("pk").eq(f"DEVICE#{work.device_id}")
        & Key("sk").between(f"READING#{work.start}", f"READING#{work.end}"),
        ProjectionExpression="sk, #value, is_valid",
        ExpressionAttributeNames={"#value": "value"},
        ConsistentRead=True,
    )
    found: dict[tuple[str, str], Aggregate] = {}
    for page in pages:
        for item in page["Items"]:
            _, moment, metric = item["sk"].split("#", 2)
            key = metric, moment[:13]
            aggregate = found.get(key)
            if aggregate is None:
                aggregate = found[key] = Aggregate()
            aggregate.add(item["value"], item["is_valid"])
    return [aggregate.item(work.device_id, metric, hour) for (metric, hour), aggregate in found.items()]


def settle(marker: dict) -> None:
    """Takes a marker away, unless readings came to its hour since."""
    try:
        table.delete_item(
            Key={"pk": marker["pk"], "sk": marker["sk"]}, ConditionExpression=Attr("noted").eq(marker["noted"])
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
