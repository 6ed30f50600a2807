"""Writes to Millrace with InfluxDB's own client, which knows nothing of it, and prints as JSON what it was told.

Usage: influxdb.py URL KEY DEVICE START, the latter in seconds of Unix time
"""

import datetime
import json
import sys

from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

START = int(sys.argv[4])
UNITS = {WritePrecision.S: 1, WritePrecision.MS: 10**3, WritePrecision.US: 10**6, WritePrecision.NS: 10**9}


def point(device, metric, value, second=0):
    """A point of a device, so many seconds after the start."""
    return Point("machine").tag("device_id", device).field(metric, value).time(instant(second))


def instant(second):
    """A time so many seconds after the start, as the client takes times."""
    return datetime.datetime.fromtimestamp(START + second, datetime.UTC)


def synchronous(client, device):
    """Writes one point of each precision, and several at once."""
    with client.write_api(write_options=SYNCHRONOUS) as writer:
        for precision, unit in UNITS.items():
            line = f"machine,device_id={device} {precision}=1.5 {START * unit}"
            writer.write("bucket", record=line, write_precision=precision)
        writer.write("bucket", record=[point(device, "list", 1, at) for at in range(3)])
        record = {"measurement": "machine", "tags": {"device_id": device}, "fields": {"record": 2.5}, "time": instant(0)}
        writer.write("bucket", record=record)


def batching(client, device):
    """Writes many points in batches of the client's own making; returns how they went."""
    outcomes = {"success": 0, "error": 0, "retry": 0}

    def count(name):
        def callback(*_):
            outcomes[name] += 1

        return callback

    callbacks = {f"{name}_callback": count(name) for name in outcomes}
    with client.write_api(write_options=WriteOptions(batch_size=400, flush_interval=1_000), **callbacks) as writer:
        for at in range(1000):
            writer.write("bucket", record=point(device, "batched", float(at), at))
    return outcomes


def refused(client, records):
    """What the client says of a write that is refused."""
    with client.write_api(write_options=SYNCHRONOUS) as writer:
        try:
            writer.write("bucket", record=records, write_precision=WritePrecision.S)
        except ApiException as error:
            body = json.loads(error.body)
            return {"status": error.status, "message": error.message, "line": body.get("line")}
    return None


def main():
    """The command."""
    url, key, device = sys.argv[1:4]
    told = {}
    for is_gzip in (False, True):
        with InfluxDBClient(url=url, token=key, org="org", enable_gzip=is_gzip) as client:
            if is_gzip:
                told["batching"] = batching(client, device)
            else:
                synchronous(client, device)
            kept = [f"machine,device_id={device} kept{is_gzip:d}={at} {START + at}" for at in range(2)]
            told[f"bad line {is_gzip}"] = refused(client, [kept[0], f"machine,device_id={device} bad=", kept[1]])
    with InfluxDBClient(url=url, token="mr_" + "0" * 40, org="org") as client:
        told["bad key"] = refused(client, kept)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
