"""Stores the readings of the queue, an item each, and marks which hours of which devices they touched.

Triggered by SQS with ReportBatchItemFailures; the messages are those of sensor_ingest.

Environment: TABLE (pk, sk; TTL on expiration), of which it writes
- a reading: DEVICE#{device}, READING#{time}#{metric} {value, is_valid, unit, metadata, expiration}
- an hour to aggregate: PENDING, {device}#{hour} {device_id, hour, noted}
and RETENTION_DAYS, WRITERS (see batch_writes).
"""

import json
import os
import time
import uuid
from datetime import UTC
from decimal import Decimal

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from botocore.config import Config

from batch_writes import WRITERS, put_all
from reading import Message

RETENTION_SECONDS = int(os.environ.get("RETENTION_DAYS", "90")) * 24 * 3600
# What is closer to zero is zero to DynamoDB.
LEAST = 1e-130

logger = Logger(service="sensor-store")
processor = BatchProcessor(event_type=EventType.SQS)
config = Config(
    retries={"mode": "standard", "max_attempts": 5},
    max_pool_connections=max(WRITERS, 10),
    # What is sent is built here, and checking it again costs a quarter of a put.
    parameter_validation=False,
)
table = boto3.resource("dynamodb", config=config).Table(os.environ["TABLE"])


@logger.inject_lambda_context
def handler(event: dict, context) -> dict:
    """Stores a batch of messages. One that cannot be read is reported alone; a failed write fails all of them."""
    items: dict[tuple[str, str], dict] = {}
    markers: dict[tuple[str, str], dict] = {}
    with processor(event["Records"], items_of, lambda_context=context) as batch:
        outcomes = batch.process()
    for outcome in outcomes:
        if outcome[0] == "success":
            found, touched = outcome[1]
            items.update(found)
            markers.update(touched)
    put_all(table, items.values())
    # After the readings: an hour that is aggregated has them.
    put_all(table, markers.values())
    logger.info("readings stored", messages=len(outcomes), readings=len(items), hours=len(markers))
    return processor.response()


def items_of(record: SQSRecord) -> tuple[dict, dict]:
    """The items of one message's readings, the last of equal ones, and the markers of their hours."""
    message = Message.model_validate_json(record.body)
    expiration = int(time.time()) + RETENTION_SECONDS
    noted = uuid.uuid4().hex
    items, markers = {}, {}
    for device_id, readings in message.devices.items():
        pk = f"DEVICE#{device_id}"
        for reading in readings:
            timestamp = (reading.timestamp or message.received_at).astimezone(UTC)
            moment = timestamp.isoformat(timespec="milliseconds")[:23]
            sk = f"READING#{moment}Z#{reading.metric}"
            value = reading.value
            item = {
                "pk": pk,
                "sk": sk,
                "value": Decimal(repr(value)) if abs(value) > LEAST else Decimal(0),
                "is_valid": reading.is_valid,
                "expiration": expiration,
            }
            if reading.unit:
                item["unit"] = reading.unit
            if reading.metadata:
                item["metadata"] = json.dumps(reading.metadata)
            items[pk, sk] = item
            hour = moment[:13]
            if (device_id, hour) not in markers:
                markers[device_id, hour] = {
                    "pk": "PENDING",
                    "sk": f"{device_id}#{hour}",
                    "device_id": device_id,
                    "hour": hour,
                    "noted": noted,
                }
    return items, markers
