"""Runs every peer in this process against a LocalStack-compatible endpoint and compares what it did with a plain fold.

Usage: python tests/peers/test_peers.py ENDPOINT

Tables, queue, bucket and state machine are made anew, under names of their own.
"""

import base64
import csv
import http.server
import io
import json
import math
import os
import random
import subprocess
import sys
import threading
import unittest
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
ENDPOINT = sys.argv.pop(1) if len(sys.argv) > 1 else sys.exit(__doc__)
NAME = f"peers-{uuid.uuid4().hex[:8]}"
NOW = datetime.now(UTC).replace(microsecond=0)
CONTEXT = SimpleNamespace(
    function_name="peer",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:peer",
    aws_request_id="00000000-0000-0000-0000-000000000000",
    get_remaining_time_in_millis=lambda: 60_000,
)

TAX_RATES = {"default": "0.09", "rates": [{"class": "reduced", "country": "SG", "rate": "0.055"}]}

os.environ |= {
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test"),
    **dict.fromkeys(("AWS_DEFAULT_REGION", "AWS_REGION"), "us-east-1"),
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": ENDPOINT,
    "POWERTOOLS_LOG_LEVEL": "WARNING",
    "TABLE": NAME,
    "IDEMPOTENCY_TABLE": f"{NAME}-idempotency",
    "TAX_RATES": json.dumps(TAX_RATES),
}

import boto3  # noqa: E402
from boto3.dynamodb.conditions import Key  # noqa: E402

import sample_events  # noqa: E402

dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
sqs = boto3.client("sqs")
step_functions = boto3.client("stepfunctions")


def make_resources() -> None:
    """Makes what the peers work on, and names it to them."""
    attributes = {"pk": "S", "sk": "S"}
    dynamodb.create_table(
        TableName=NAME,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in attributes.items()],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    ).wait_until_exists()
    dynamodb.create_table(
        TableName=f"{NAME}-idempotency",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    ).wait_until_exists()
    s3.create_bucket(Bucket=NAME)
    os.environ["QUEUE_URL"] = sqs.create_queue(QueueName=NAME)["QueueUrl"]
    definition = {"StartAt": "Begun", "States": {"Begun": {"Type": "Succeed"}}}
    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = boto3.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=policy)["Role"]
    machine = step_functions.create_state_machine(name=NAME, definition=json.dumps(definition), roleArn=role["Arn"])
    os.environ["STATE_MACHINE_ARN"] = machine["stateMachineArn"]


make_resources()
import create_order  # noqa: E402
import order_steps  # noqa: E402
import revenue  # noqa: E402
import sales_import  # noqa: E402
import sensor_aggregate  # noqa: E402
import sensor_ingest  # noqa: E402
import sensor_store  # noqa: E402

table = dynamodb.Table(NAME)


def items_of(pk: str, prefix: str = "") -> list[dict]:
    """The items of a partition."""
    condition = Key("pk").eq(pk)
    if prefix:
        condition &= Key("sk").begins_with(prefix)
    pages = table.meta.client.get_paginator("query").paginate(
        TableName=NAME, KeyConditionExpression=condition, ConsistentRead=True
    )
    return [item for page in pages for item in page["Items"]]


def received() -> list[str]:
    """The bodies of all messages in the queue, which is empty then."""
    bodies = []
    while messages := sqs.receive_message(
        QueueUrl=os.environ["QUEUE_URL"], MaxNumberOfMessages=10, WaitTimeSeconds=0
    ).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=os.environ["QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"])
    return bodies


def sent(event: dict) -> tuple[dict, list[str]]:
    """What sensor_ingest answers, and the messages it sent."""
    response = sensor_ingest.handler(event, CONTEXT)
    return response | {"body": json.loads(response["body"] or "null")}, received()


class Sensors(unittest.TestCase):
    """sensor_ingest, sensor_store and sensor_aggregate."""

    def setUp(self):
        received()
        self.devices = [f"boiler-{uuid.uuid4().hex[:8]}" for _ in range(3)]
        for device_id in [*self.devices, "boiler-7", "cellar-3"]:
            table.put_item(Item={"pk": f"DEVICE#{device_id}", "sk": "META", "is_active": True})

    def readings(self, count: int) -> list[dict]:
        """Distinct readings of the devices, five seconds apart."""
        chance = random.Random(1)
        return [
            {
                "device_id": self.devices[at % 3],
                "metric": ("temperature", "flow")[at % 2],
                "timestamp": int((NOW - timedelta(seconds=5 * at)).timestamp() * 1000),
                "value": round(chance.uniform(-50, 150), 3),
                "is_valid": at % 10 != 0,
            }
            for at in range(count)
        ]

    def ndjson(self, readings: list[dict]) -> bytes:
        return "\n".join(json.dumps(reading) for reading in readings).encode()

    def stored(self) -> dict[tuple[str, str, str], dict]:
        """The stored readings by device, time and metric."""
        found = {}
        for device_id in self.devices:
            for item in items_of(f"DEVICE#{device_id}", "READING#"):
                _, moment, metric = item["sk"].split("#", 2)
                found[device_id, moment, metric] = item
        return found

    def test_what_was_sent_is_stored_once_however_often_it_comes(self):
        readings = self.readings(2_000)
        event = sample_events.ingest(self.ndjson(readings), "ndjson", compressed=True)
        response, bodies = sent(event)
        self.assertEqual(response["statusCode"], 202, response)
        self.assertEqual((response["body"]["accepted"], response["body"]["rejected"]), (2_000, 0))
        for _ in range(2):
            self.assertEqual(sensor_store.handler(sample_events.messages(bodies), CONTEXT), {"batchItemFailures": []})
        stored = self.stored()
        self.assertEqual(len(stored), 2_000)
        for reading in readings:
            moment = datetime.fromtimestamp(reading["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds")
            item = stored[reading["device_id"], f"{moment[:23]}Z", reading["metric"]]
            self.assertEqual(item["value"], Decimal(str(reading["value"])))
            self.assertEqual(item["is_valid"], reading["is_valid"])

    def test_aggregates_equal_a_plain_fold(self):
        readings = self.readings(1_500)
        _, bodies = sent(sample_events.ingest(self.ndjson(readings), "ndjson"))
        sensor_store.handler(sample_events.messages(bodies), CONTEXT)
        expected: dict[tuple[str, str, str], list[dict]] = {}
        for reading in readings:
            hour = datetime.fromtimestamp(reading["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H")
            expected.setdefault((reading["device_id"], reading["metric"], hour), []).append(reading)
        named = {
            "devices": self.devices,
            "start": (NOW - timedelta(hours=3)).isoformat(),
            "end": (NOW + timedelta(seconds=1)).isoformat(),
        }
        for event in (sample_events.of_file("sensors/aggregate-schedule"), named):
            self.assertGreaterEqual(sensor_aggregate.handler(event, CONTEXT)["aggregates"], len(expected))
            self.assertEqual(items_of("PENDING"), [])
            for (device_id, metric, hour), members in expected.items():
                [item] = items_of(f"AGGREGATE#{device_id}#{metric}", hour)
                values = [Decimal(str(member["value"])) for member in members if member["is_valid"]]
                self.assertEqual(item["count"], len(members))
                self.assertEqual(item["valid_count"], len(values))
                self.assertEqual(item["sum"], sum(values))
                self.assertEqual((item["min"], item["max"]), (min(values), max(values)))
                self.assertEqual(item["mean"], sum(values) / len(values))

    def test_a_late_reading_marks_its_hour_again(self):
        readings = self.readings(40)
        for part in (readings[:20], readings[20:]):
            _, bodies = sent(sample_events.ingest(self.ndjson(part), "ndjson"))
            sensor_store.handler(sample_events.messages(bodies), CONTEXT)
            sensor_aggregate.handler(sample_events.of_file("sensors/aggregate-schedule"), CONTEXT)
        counts = [
            item["count"]
            for device_id in self.devices
            for metric in ("temperature", "flow")
            for item in items_of(f"AGGREGATE#{device_id}#{metric}")
        ]
        self.assertEqual(sum(counts), 40)

    def test_a_bad_reading_is_refused_alone(self):
        body = {
            "device_id": self.devices[0],
            "readings": [
                {"value": 1},
                {"value": "high"},
                {"value": 2, "timestamp": "2026-11-20T15:59:50"},
                {"value": 3, "timestamp": (NOW - timedelta(days=91)).isoformat()},
                {"value": 4, "timestamp": (NOW + timedelta(hours=1)).isoformat()},
                {"value": 5, "colour": "red"},
                {"value": 6, "timestamp": NOW.isoformat(), "metadata": {"valve": 3}},
            ],
        }
        response, bodies = sent(sample_events.ingest(json.dumps(body).encode(), "json"))
        self.assertEqual(response["statusCode"], 202)
        self.assertEqual((response["body"]["accepted"], response["body"]["rejected"]), (2, 5))
        self.assertEqual({error["index"] for error in response["body"]["errors"]}, {1, 2, 3, 4, 5})
        sensor_store.handler(sample_events.messages(bodies), CONTEXT)
        self.assertEqual({item["value"] for item in self.stored().values()}, {1, 6})

    def test_readings_of_unknown_devices_are_refused(self):
        response, bodies = sent(sample_events.ingest(b'{"device_id":"nobody","value":1}', "ndjson"))
        self.assertEqual((response["statusCode"], bodies), (422, []))
        self.assertEqual(response["body"]["errors"][0]["code"], "unknown-device")

    def test_line_protocol_is_read_in_any_precision(self):
        seconds = int(NOW.timestamp())
        device_id = self.devices[0]
        for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
            lines = [
                "# a comment",
                f"hall,device_id={device_id},site=x {unit}=61.5,up=true,starts=17i {seconds * factor}",
                f'hall,device_id={device_id} note="text" {seconds * factor}',
                "hall value=1",
            ]
            event = sample_events.ingest("\n".join(lines).encode(), "line-protocol", query={"precision": unit})
            response, bodies = sent(event)
            self.assertEqual((response["body"]["accepted"], response["body"]["rejected"]), (3, 2))
            sensor_store.handler(sample_events.messages(bodies), CONTEXT)
        moments = {moment for _, moment, _ in self.stored()}
        self.assertEqual(moments, {f"{NOW:%Y-%m-%dT%H:%M:%S}.000Z"})
        self.assertEqual({metric for _, _, metric in self.stored()}, {"s", "ms", "us", "ns", "up", "starts"})

    def test_the_events_of_the_repository_are_taken(self):
        for name, accepted in (("json", 3), ("ndjson", 3), ("gzip", 3), ("line-protocol", 5)):
            response, bodies = sent(sample_events.of_file(f"sensors/ingest-{name}"))
            self.assertEqual(response["statusCode"], 202, response)
            self.assertEqual(response["body"]["accepted"], accepted)
            self.assertEqual(len(bodies), 1)
        response, bodies = sent(sample_events.of_file("sensors/ingest-write"))
        self.assertEqual((response["statusCode"], len(bodies)), (204, 1), response)

    def test_a_body_that_cannot_be_read_is_refused_whole(self):
        event = sample_events.ingest(self.ndjson(self.readings(100)), "ndjson", compressed=True)
        cut = base64.b64encode(base64.b64decode(event["body"])[:-9]).decode()
        for body, status in ((b"[1]", 400), (b"{}", 400), (b" " * (4 * 1024**2 + 1), 413)):
            self.assertEqual(sent(sample_events.ingest(body, "json"))[0]["statusCode"], status)
        self.assertEqual(sent(event | {"body": cut})[0]["statusCode"], 400)

    def test_a_large_body_takes_few_messages(self):
        readings = self.readings(30_000)
        response, bodies = sent(sample_events.ingest(self.ndjson(readings), "ndjson", compressed=True))
        self.assertEqual(response["body"]["accepted"], 30_000)
        sizes = [len(body.encode()) for body in bodies]
        self.assertLessEqual(max(sizes), 1024 * 1024)
        self.assertLessEqual(len(sizes), math.ceil(sum(sizes) / (1024 * 1024)) + 1)

    def test_a_message_that_cannot_be_read_fails_alone(self):
        _, bodies = sent(sample_events.ingest(self.ndjson(self.readings(10)), "ndjson"))
        event = sample_events.messages([*bodies, "poison"])
        failures = sensor_store.handler(event, CONTEXT)["batchItemFailures"]
        self.assertEqual(failures, [{"itemIdentifier": event["Records"][1]["messageId"]}])
        self.assertEqual(len(self.stored()), 10)


HEADER = [
    "Sale Date", "Client ID", "Sale ID", "Item name", "Batch #", "Sales Notes", "Location", "Notes", "Color", "Size",
    "Item price (excluding tax)", "Quantity", "Subtotal (excluding tax)", "Discount %", "Discount amount", "Tax",
    "Item Total", "Total Paid w/ Payment Method", "Payment Method",
]  # fmt: skip


class Sales(unittest.TestCase):
    """sales_import and revenue."""

    # Days that no other test writes to.
    first = datetime(2025, 1, 1) + timedelta(days=365 * random.randrange(1, 900) // 4)

    def rows(self, count: int) -> list[list[str]]:
        """Good rows of ten days."""
        chance, rows = random.Random(2), []
        for at in range(count):
            day = self.first + timedelta(days=at * 10 // count)
            date = f"{day.month}/{day.day}/{day.year}" if at % 2 else day.date().isoformat()
            total = Decimal(chance.randrange(-5_000_000, 200_000_000)) / 100_000
            text = f"{total:,.5f}" if at % 3 else str(total)
            notes = ("", "---", 'Asked for the "blue" route', "First visit\nsee form 7")[at % 4]
            rows.append([
                date, "700000001", str(20_000 + at // 2), "Café au lait", "---", notes, "Hall 2", "", "---", "---",
                "1,200", "1", "1200", "0", "0", "108", "1308", text, "Cash",
            ])  # fmt: skip
        return rows

    def put(self, rows: list[list[str]], key: str, delimiter: str = ",") -> dict:
        """Puts a file and gives the event of it."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
        writer.writerows([HEADER, *rows])
        s3.put_object(Bucket=NAME, Key=key, Body=text.getvalue().encode("utf-8-sig"))
        return sample_events.object_created(NAME, key)

    def asked(self, *, daily: bool = False) -> dict | list:
        """What revenue says of the ten days."""
        last = self.first + timedelta(days=9)
        start = f"{self.first.month}/{self.first.day}/{self.first.year}"
        response = revenue.handler(sample_events.revenue(start, last.date().isoformat(), daily=daily), CONTEXT)
        self.assertEqual(response["statusCode"], 200, response)
        return json.loads(response["body"])["data"]

    def test_an_import_sums_to_the_cent_and_repeats_without_effect(self):
        rows = self.rows(3_000)
        totals = [Decimal(row[17].replace(",", "")) for row in rows]
        event = self.put(rows, "imports/March sales (shop).csv")
        for _ in range(2):
            [report] = sales_import.handler(event, CONTEXT)
            self.assertEqual((report["rows"], report["imported"], report["rejected"]), (3_000, 3_000, {}))
            self.assertEqual(Decimal(report["revenue"]), sum(totals))
            answer = self.asked()
            self.assertEqual(answer["total_revenue_sgd"], float(sum(totals)))
            self.assertEqual(answer["average_order_value_sg"], float(round(sum(totals) / 3_000, 2)))
        daily = self.asked(daily=True)
        self.assertEqual(len(daily), 10)
        self.assertEqual(daily[0]["date"], self.first.date().isoformat())
        self.assertEqual(daily[0]["revenue_sgd"], float(sum(totals[:300])))
        [item, *_] = items_of(f"DAY#{self.first.date().isoformat()}")
        self.assertEqual((item["item_name"], item["item_price"]), ("Café au lait", 1200))
        self.assertNotIn("batch_number", item)
        [record] = items_of(f"IMPORT#{report['import_id']}")
        self.assertEqual(record["imported"], 3_000)

    def test_a_bad_row_is_refused_alone(self):
        day = (self.first + timedelta(days=20)).date().isoformat()
        good = [day, "", "1", "Tea", *[""] * 13, "10.5", "Cash"]

        def spoiled(at: int, cell: str) -> list[str]:
            return [*good[:at], cell, *good[at + 1 :]]

        rows = [
            good, spoiled(0, "2/30/2025"), spoiled(0, "1/1/1026"), spoiled(2, ""), spoiled(17, "SGD 12.00"),
            spoiled(17, "1.123456"), spoiled(17, "999999999999999999"), spoiled(17, "---"), spoiled(17, "0,123"),
            good[:-1], [*good, "surplus"], good,
        ]  # fmt: skip
        [report] = sales_import.handler(self.put(rows, "imports/bad.csv", delimiter=";"), CONTEXT)
        expected = {
            "invalid-date": 1, "date-out-of-range": 1, "missing-value": 2, "invalid-number": 2, "too-many-decimals": 1,
            "number-out-of-range": 1, "too-few-cells": 1, "too-many-cells": 1,
        }  # fmt: skip
        self.assertEqual((report["imported"], report["rejected"], report["revenue"]), (2, expected, "21.0"))

    def test_malformed_quoting_is_refused_alone(self):
        line = "{},,1,{},,,,,,,,,,,,,,1.5,Cash\n"
        text = ",".join(HEADER) + "\n" + line.format("1/1/2024", '"Tea" x3 new') + line.format("1/1/2024", "Tea")
        s3.put_object(Bucket=NAME, Key="imports/quotes.csv", Body=text.encode())
        [report] = sales_import.handler(sample_events.object_created(NAME, "imports/quotes.csv"), CONTEXT)
        self.assertEqual((report["imported"], report["rejected"]), (1, {"malformed-quoting": 1}))

    def test_what_is_no_sales_file_is_refused_whole(self):
        bodies = {b"a,b\n1,2\n": "missing-headers", b"": "missing-headers", b"\xff\xfe\x00": "not-utf-8"}
        for body, status in bodies.items():
            s3.put_object(Bucket=NAME, Key="imports/other.csv", Body=body)
            [report] = sales_import.handler(sample_events.object_created(NAME, "imports/other.csv"), CONTEXT)
            self.assertEqual((report["status"], report["imported"]), (status, 0))

    def test_only_analysts_and_administrators_are_answered(self):
        event = sample_events.revenue("2025-01-01", "2025-01-02")
        event["requestContext"]["authorizer"]["claims"]["cognito:groups"] = "customer"
        self.assertEqual(revenue.handler(event, CONTEXT)["statusCode"], 403)
        self.assertEqual(revenue.handler(sample_events.revenue("2025-01-02", "2025-01-01"), CONTEXT)["statusCode"], 400)


ADDRESS = {
    "recipient": "Kim Tan", "line1": "1 Orchard Road", "city": "Singapore", "postal_code": "238823", "country": "SG",
}  # fmt: skip


class Orders(unittest.TestCase):
    """create_order and order_steps."""

    def setUp(self):
        self.tea, self.cup = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("TEA", "CUP"))
        for sku, price, tax_class in ((self.tea, "18.50", "standard"), (self.cup, "0.335", "reduced")):
            product = {"product_id": sku.lower(), "name": sku, "price": Decimal(price), "currency": "SGD"}
            table.put_item(Item={"pk": f"PRODUCT#{sku}", "sk": "META", "tax_class": tax_class, **product})
            counts = {"available": 10, "reserved": 0, "sold": 0, "version": 1}
            table.put_item(Item={"pk": f"STOCK#{sku}", "sk": "META", **counts})

    def body(self, tea: int = 2, method: str = "sandbox-approve") -> dict:
        items = [{"sku": self.tea, "quantity": tea}, {"sku": self.cup, "quantity": 3}]
        return {"items": items, "shipping_address": ADDRESS, "payment_method": method, "notes": "Ring twice"}

    def placed(self, body: dict, key: str | None = None, sub: str | None = None) -> dict:
        """What create_order answers."""
        response = create_order.handler(sample_events.order(key or str(uuid.uuid4()), body, sub), CONTEXT)
        return response | {"body": json.loads(response["body"])}

    def order_id(self, **body) -> str:
        response = self.placed(self.body(**body))
        self.assertEqual(response["statusCode"], 202, response)
        return response["body"]["order_id"]

    def stock(self, sku: str) -> tuple[int, int, int]:
        [item] = items_of(f"STOCK#{sku}")
        return item["available"], item["reserved"], item["sold"]

    def run_steps(self, order_id: str, *actions: str) -> list[str]:
        """The order's status after each step."""
        steps = [getattr(order_steps, action)(sample_events.step(action, order_id), CONTEXT) for action in actions]
        return [step["status"] for step in steps]

    def test_an_order_is_priced_to_the_cent_and_begun(self):
        response = self.placed(self.body())
        order = response["body"]
        self.assertEqual(response["statusCode"], 202)
        self.assertEqual(response["headers"]["Location"], f"/api/orders/{order['order_id']}")
        # 37.00 and 9 %, 1.005 rounded half-up and 5.5 %.
        self.assertEqual((order["subtotal"], order["tax"], order["total"]), ("38.01", "3.39", "41.40"))
        [event] = items_of(f"ORDER#{order['order_id']}", "EV#")
        self.assertEqual(event["type"], "order.created")
        executions = step_functions.list_executions(stateMachineArn=os.environ["STATE_MACHINE_ARN"])["executions"]
        self.assertIn(order["order_id"], [execution["name"] for execution in executions])

    def test_one_key_makes_one_order(self):
        key = str(uuid.uuid4())
        first, second = self.placed(self.body(), key), self.placed(self.body(), key)
        self.assertEqual(first["body"], second["body"])
        self.assertNotIn("Idempotent-Replayed", first["headers"])
        self.assertEqual(second["headers"]["Idempotent-Replayed"], "true")
        other = self.placed(self.body(), key, sub="somebody-else")
        self.assertNotEqual(other["body"]["order_id"], first["body"]["order_id"])
        reused = self.placed(self.body(tea=3), key)
        self.assertEqual((reused["statusCode"], reused["body"]["code"]), (422, "idempotency-key-reused"))

    def test_what_cannot_be_ordered_is_refused(self):
        unknown = self.body() | {"items": [{"sku": "NOTHING", "quantity": 1}]}
        priced = self.body() | {"total": "1.00"}
        none = self.body() | {"items": [{"sku": self.tea, "quantity": 0}]}
        self.assertEqual([self.placed(body)["statusCode"] for body in (unknown, priced, none)], [422] * 3)
        event = sample_events.order("", self.body())
        self.assertEqual(create_order.handler(event, CONTEXT)["statusCode"], 400)

    def test_an_order_goes_through_and_each_step_counts_once(self):
        order_id = self.order_id()
        expected = {"reserve": "pending", "authorise": "pending", "confirm": "confirmed", "capture": "confirmed"}
        for action, status in expected.items():
            self.assertEqual(self.run_steps(order_id, action, action), [status, status])
        self.assertEqual((self.stock(self.tea), self.stock(self.cup)), ((8, 0, 2), (7, 0, 3)))
        events = [event["type"] for event in items_of(f"ORDER#{order_id}", "EV#")]
        self.assertEqual(
            events,
            ["order.created", "order.reserved", "order.payment_authorised", "order.confirmed", "order.paid"],
        )
        for action in ("void", "release"):
            with self.assertRaises(order_steps.OutOfOrder):
                self.run_steps(order_id, action)

    def test_what_is_reserved_is_released(self):
        order_id = self.order_id()
        self.run_steps(order_id, "reserve")
        self.assertEqual(self.stock(self.tea), (8, 2, 0))
        self.assertEqual(self.run_steps(order_id, "void", "release", "release"), ["pending", "cancelled", "cancelled"])
        self.assertEqual((self.stock(self.tea), self.stock(self.cup)), ((10, 0, 0), (10, 0, 0)))
        with self.assertRaises(order_steps.OrderCancelled):
            self.run_steps(order_id, "authorise")

    def test_more_than_there_is_takes_nothing(self):
        order_id = self.order_id(tea=11)
        with self.assertRaises(order_steps.OutOfStock) as raised:
            self.run_steps(order_id, "reserve")
        self.assertEqual(raised.exception.args[0], [self.tea])
        self.assertEqual((self.stock(self.tea), self.stock(self.cup)), ((10, 0, 0), (10, 0, 0)))
        self.assertEqual(self.run_steps(order_id, "void", "release"), ["cancelled", "cancelled"])

    def test_a_declined_payment_is_undone(self):
        order_id = self.order_id(method="sandbox-decline")
        self.run_steps(order_id, "reserve")
        for _ in range(2):
            with self.assertRaises(order_steps.PaymentDeclined):
                self.run_steps(order_id, "authorise")
        self.assertEqual(self.run_steps(order_id, "void", "release")[-1], "cancelled")
        self.assertEqual(self.stock(self.tea), (10, 0, 0))

    def test_the_repositorys_event_is_taken(self):
        product = {"product_id": "lamp", "name": "Lamp", "price": Decimal(25), "currency": "SGD"}
        key = {"pk": "PRODUCT#EXAMPLE-LAMP", "sk": "META"}
        table.put_item(Item={**key, **product, "tax_class": "standard"})
        response = create_order.handler(sample_events.of_file("orders/orders-create"), CONTEXT)
        self.assertEqual((response["statusCode"], json.loads(response["body"])["total"]), (202, "54.50"))


class Runtime(http.server.BaseHTTPRequestHandler):
    """Lambda's Runtime API, which hands out one event and keeps the answer."""

    def do_GET(self):
        if self.server.asked.is_set():
            # There is no next event: the client waits until it is stopped.
            self.server.stopped.wait()
            return
        self.server.asked.set()
        event = json.dumps(self.server.event).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", CONTEXT.aws_request_id)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((NOW + timedelta(hours=1)).timestamp() * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", CONTEXT.invoked_function_arn)
        # Without a content type the client does not go on.
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self):
        self.server.answer = self.path, self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.end_headers()
        self.server.answered.set()

    def log_message(self, *_):
        """Says nothing of requests."""


class Bootstrap(unittest.TestCase):
    """awslambdaric, Lambda's own runtime client."""

    def test_it_runs_a_handler(self):
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime) as server:
            server.event = sample_events.revenue("2024-01-01", "2024-01-02")
            server.asked, server.answered, server.stopped = (threading.Event() for _ in range(3))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            environment = os.environ | {
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}",
                "AWS_LAMBDA_FUNCTION_NAME": "peer",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            }
            command = [sys.executable, "-m", "awslambdaric", "revenue.handler"]
            process = subprocess.Popen(command, cwd=HERE, env=environment)
            try:
                self.assertTrue(server.answered.wait(30), "no answer came")
            finally:
                process.kill()
                process.wait()
                server.stopped.set()
                server.shutdown()
            path, body = server.answer
        self.assertTrue(path.endswith(f"{CONTEXT.aws_request_id}/response"), (path, body))
        self.assertEqual(json.loads(body)["statusCode"], 200)


if __name__ == "__main__":
    unittest.main()
