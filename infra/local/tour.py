"""The tour: sales files, sensor readings and orders go through the local cloud, and their figures are checked.

Usage: tour.py ENDPOINT [--sales FILE] [--readings FILE]     with a file of yours, only its part of the tour is taken
"""

import argparse
from pathlib import Path

import commerce_tour
import sales_tour
import sensor_tour
from cloud import Cloud
from console import run, say


def main():
    """The command."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("endpoint")
    arguments.add_argument("--sales", type=Path)
    arguments.add_argument("--readings", type=Path)
    asked = arguments.parse_args()
    cloud, everything = Cloud(asked.endpoint), not (asked.sales or asked.readings)
    hints = []
    if asked.sales or everything:
        span = sales_tour.take(cloud, asked.sales)
        hints.append(f"""\
  curl -H "Authorization: Bearer $TOKEN" "$API_URL/api/metrics/v1/revenue?{span}&group_by=month"
  curl -H "Authorization: Bearer $TOKEN" "$API_URL/api/sales/imports/"
  .venv/bin/aws s3 cp my-export.csv "s3://$BUCKET/imports/\"""")
    if asked.readings or everything:
        device, span = sensor_tour.take(cloud, asked.readings)
        hints.append(f"""\
  curl -H "Authorization: Bearer $TOKEN" "$API_URL/api/sensors/devices/{device}/aggregates?{span}&interval=1hour"
  curl -H "Authorization: Bearer $TOKEN" -H "Accept: text/csv" "$API_URL/api/sensors/devices/{device}/readings?{span}"
  curl -H "x-api-key: $(make -s key)" --data-binary 'room,device_id={device} value=21.5' \\
    -H "Content-Type: text/plain" "$API_URL/api/sensors/readings/bulk\"""")
    if everything:
        order = commerce_tour.take(cloud)
        hints.append(f"""\
  curl "$API_URL/api/catalog/tree/"
  curl -H "Authorization: Bearer $TOKEN" "$API_URL/api/orders/{order}/track/"
  curl -H "Authorization: Bearer $TOKEN" -X POST "$API_URL/api/orders/{order}/process/"
  .venv/bin/aws stepfunctions get-execution-history --query events[].stateEnteredEventDetails.name \\
    --execution-arn "${{ORDER_SAGA_ARN/:stateMachine:/:execution:}}:{order}\"""")
    logs = "--log-group-name /millrace/local/SensorStore --query events[].message --output text"
    say("""
✓ That was the tour. The stack stays up; try:

  eval "$(make -s env)"             # leads the AWS tools to it, and sets API_URL, BUCKET and the tables' names
  TOKEN=$(make -s token)            # an administrator's; ROLE=analyst for an analyst's
{hints}
  .venv/bin/aws logs filter-log-events {logs}

  make demo FILE=my-export.csv      # the sales' part with your own file
  make demo READINGS=my-sensor.csv  # the sensors' part with your own file: a line is timestamp,value
  make down                         # stops the stack
""".format(hints="\n".join(hints), logs=logs))


if __name__ == "__main__":
    run(main)
