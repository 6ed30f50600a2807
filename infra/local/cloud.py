"""A local cloud seen as a client: where it answers, the environment that leads tools there, and what is deployed.

Usage: cloud.py ENDPOINT     prints shell exports that lead the AWS tools there, with API_URL, BUCKET, TABLE and more
"""

import os
import shlex
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from console import Failure, run, say

STACK = "millrace-local"
REGION = "us-east-1"

# Nothing here may reach a real account: whatever the user's shell says of AWS is left out.
_FOREIGN = ("AWS_", "SAM_CLI_")
_BUILD = "AWS_LC_"
_LOCAL = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Cloud:
    """A LocalStack-compatible endpoint."""

    def __init__(self, endpoint):
        self.endpoint = endpoint.rstrip("/")

    def environment(self):
        """The environment for the AWS tools and SDKs of a child process."""
        kept = (name for name in os.environ if name.startswith(_BUILD) or not name.startswith(_FOREIGN))
        return {name: os.environ[name] for name in kept} | self.variables()

    def variables(self):
        """Only what leads the AWS tools here."""
        return _LOCAL | {"AWS_ENDPOINT_URL": self.endpoint}

    def client(self, service, **settings):
        """An SDK client."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=_LOCAL["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_LOCAL["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 3, "mode": "standard"},
                # As long as a function may run.
                read_timeout=900,
                **settings,
            ),
        )

    def stack(self):
        """The deployed stack's description, or None where there is none."""
        try:
            return self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        except EndpointConnectionError:
            raise Failure(f"nothing answers at {self.endpoint}", "start the stack: make up") from None

    def outputs(self):
        """The deployed stack's outputs by name."""
        stack = self.stack()
        if stack is None:
            raise Failure(f"no stack {STACK} is deployed at {self.endpoint}", "deploy it: make up")
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def main():
    """The command."""
    cloud = Cloud(sys.argv[1])
    outputs = cloud.outputs()
    names = {
        "API_URL": "ApiUrl",
        "BUCKET": "BucketName",
        "TABLE": "TableName",
        "SENSORS_TABLE": "SensorsTableName",
        "READINGS_QUEUE_URL": "SensorReadingsQueueUrl",
        "SENSOR_AGGREGATE": "SensorAggregateName",
        "COMMERCE_TABLE": "CommerceTableName",
        "ORDER_SAGA_ARN": "OrderSagaArn",
        "USER_POOL_ID": "UserPoolId",
        "CLIENT_ID": "UserPoolClientId",
    }
    for name, value in (cloud.variables() | {name: outputs[output] for name, output in names.items()}).items():
        say(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    run(main)
