"""Runs a command with a private stack: started on a free port, deployed to, and stopped whatever happens.

Usage: with_stack.py COMMAND...

The command finds the stack in its environment: MILLRACE_ENDPOINT, MILLRACE_API_URL, MILLRACE_ADMIN_TOKEN,
MILLRACE_ANALYST_TOKEN, MILLRACE_CUSTOMER_TOKEN, MILLRACE_BUCKET, MILLRACE_TABLE, MILLRACE_QUEUE_URL,
MILLRACE_DEAD_LETTERS_URL, MILLRACE_FAILURES_URL, MILLRACE_SENSORS_TABLE, MILLRACE_READINGS_QUEUE_URL,
MILLRACE_READINGS_DEAD_LETTERS_URL, MILLRACE_AGGREGATE_FUNCTION, MILLRACE_DEVICE_KEY (for every device),
MILLRACE_COMMERCE_TABLE, MILLRACE_ORDER_SAGA_ARN, MILLRACE_EVENT_BUS, MILLRACE_EVENT_POISON_QUEUE_URL,
MILLRACE_NOTIFICATION_QUEUE_URL, MILLRACE_NOTIFICATION_DEAD_LETTERS_URL, MILLRACE_ORDER_REVENUE_QUEUE_URL,
MILLRACE_ORDER_REVENUE_DEAD_LETTERS_URL, MILLRACE_SWEEP_FUNCTION, MILLRACE_SIGNUP_FUNCTION, MILLRACE_USER_POOL_ID and
MILLRACE_USER_POOL_CLIENT_ID, MILLRACE_JOURNAL (what roles made use of), besides the AWS_ variables that lead an SDK there.
"""

import contextlib
import shutil
import signal
import subprocess
import sys

from api import device_key
from console import Failure, run, say
from deploy import deploy
from paths import ROOT
from roles import Roles
from signin import GROUPS, sign_in
from stack import Stack, free_port


@contextlib.contextmanager
def private_stack():
    """Gives the environment of a stack that is gone afterwards; its log stays when something failed."""
    stack = Stack(free_port())
    try:
        stack.start()
        outputs = deploy(stack.cloud)
        tokens = {f"MILLRACE_{role.upper()}_TOKEN": sign_in(stack.cloud, role) for role in GROUPS}
        yield (
            stack.cloud.environment()
            | tokens
            | {
                "MILLRACE_ENDPOINT": stack.cloud.endpoint,
                "MILLRACE_JOURNAL": str(stack.journal),
                "MILLRACE_API_URL": outputs["ApiUrl"],
                "MILLRACE_BUCKET": outputs["BucketName"],
                "MILLRACE_TABLE": outputs["TableName"],
                "MILLRACE_QUEUE_URL": outputs["SalesImportQueueUrl"],
                "MILLRACE_DEAD_LETTERS_URL": outputs["SalesImportDeadLettersUrl"],
                "MILLRACE_FAILURES_URL": outputs["SalesImportFailuresUrl"],
                "MILLRACE_SENSORS_TABLE": outputs["SensorsTableName"],
                "MILLRACE_READINGS_QUEUE_URL": outputs["SensorReadingsQueueUrl"],
                "MILLRACE_READINGS_DEAD_LETTERS_URL": outputs["SensorReadingsDeadLettersUrl"],
                "MILLRACE_AGGREGATE_FUNCTION": outputs["SensorAggregateName"],
                "MILLRACE_DEVICE_KEY": device_key(stack.cloud, "tests", ["*"]),
                "MILLRACE_COMMERCE_TABLE": outputs["CommerceTableName"],
                "MILLRACE_ORDER_SAGA_ARN": outputs["OrderSagaArn"],
                "MILLRACE_EVENT_BUS": outputs["EventBusName"],
                "MILLRACE_EVENT_POISON_QUEUE_URL": outputs["EventPoisonQueueUrl"],
                "MILLRACE_NOTIFICATION_QUEUE_URL": outputs["NotificationQueueUrl"],
                "MILLRACE_NOTIFICATION_DEAD_LETTERS_URL": outputs["NotificationDeadLettersUrl"],
                "MILLRACE_ORDER_REVENUE_QUEUE_URL": outputs["OrderRevenueQueueUrl"],
                "MILLRACE_ORDER_REVENUE_DEAD_LETTERS_URL": outputs["OrderRevenueDeadLettersUrl"],
                "MILLRACE_SWEEP_FUNCTION": outputs["ReservationSweepName"],
                "MILLRACE_SIGNUP_FUNCTION": outputs["CustomerSignupName"],
                "MILLRACE_USER_POOL_ID": outputs["UserPoolId"],
                "MILLRACE_USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
            }
        )
    except BaseException:
        stack.stop()
        say(f"▸ the private stack's log: {stack.log.relative_to(ROOT)}")
        raise
    stack.stop()
    shutil.rmtree(stack.home, ignore_errors=True)


def main():
    """The command."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with private_stack() as environment:
        status = subprocess.run(sys.argv[1:], env=environment).returncode
        Roles.of(environment).keep()
        if status:
            raise Failure(f"{sys.argv[1]} ended with status {status}")


if __name__ == "__main__":
    run(main)
