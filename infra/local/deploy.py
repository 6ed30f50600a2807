"""Deploys the template to a local cloud with `sam deploy`, and only when something changed.

Usage: deploy.py ENDPOINT
"""

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import yaml

import build
from cloud import STACK, Cloud
from console import Failure, run, say, step
from paths import ROOT, STATE, TOOLS

ARM = ("aarch64", "arm64")
FINISHED = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
INFLUX_WRITE = "/api/v2/write"
SENDER = "orders@example.com"
ADMIN = "admin@example.com"


def deploy(cloud):
    """Brings the stack at `cloud` in line with the template and the built functions; returns its outputs."""
    state = STATE / str(urlparse(cloud.endpoint).port or urlparse(cloud.endpoint).hostname)
    state.mkdir(parents=True, exist_ok=True)
    remembered = state / "deployed"
    wanted = fingerprint(cloud)
    stack = cloud.stack()
    if (
        stack
        and stack["StackStatus"] in FINISHED
        and remembered.exists()
        and remembered.read_text() == f"{wanted} {stack['StackId']}"
    ):
        say("▸ nothing changed since the last deployment")
        return cloud.outputs()
    with step("deploying the stack with sam deploy"):
        sam_deploy(cloud, state / "deploy.log")
        mend_gateway(cloud)
        translate_saga(cloud)
        # MiniStack's SES sends for addresses that it knows, and takes each new one at its word.
        cloud.client("sesv2").create_email_identity(EmailIdentity=SENDER)
    remembered.write_text(f"{wanted} {cloud.stack()['StackId']}")
    return cloud.outputs()


def fingerprint(cloud):
    """A hash of all that a deployment depends on."""
    files = [ROOT / "template.yaml", ROOT / "infra" / "order-saga.asl.yaml", ROOT / "samconfig.toml"]
    files += [Path(__file__).resolve()]
    files += [ROOT / "target" / "lambda" / name / "bootstrap" for name in build.functions()]
    total = hashlib.sha256(cloud.endpoint.encode())
    for file in files:
        if not file.exists():
            raise Failure(f"{file.relative_to(ROOT)} is missing", "build the functions: make build")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def sam_deploy(cloud, log):
    """Runs `sam deploy`; its tables go to a log, of which a failure shows the end."""
    command = [
        TOOLS / "sam", "deploy", "--config-env", "local", "--parameter-overrides",
        f"Architecture={'arm64' if platform.machine() in ARM else 'x86_64'}",
        f"LocalEndpoint={cloud.endpoint}",
        f"SenderEmail={SENDER}",
        f"AdminAlertEmail={ADMIN}",
    ]  # fmt: skip
    environment = cloud.environment() | {"SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "1"}
    with log.open("w") as output:
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    if result.returncode:
        tail = "\n".join(line for line in log.read_text().splitlines()[-25:] if line.strip())
        raise Failure(
            f"sam deploy failed:\n{tail}",
            f"the whole log: {log.relative_to(ROOT)}; a stack that is stuck goes away with: make down",
        )


def mend_gateway(cloud):
    """Brings the API to what the template asks for where MiniStack falls short of it."""
    formation = cloud.client("cloudformation")
    # MiniStack keeps a patch's value as it comes. On AWS it is always text, and the SDK would see to that.
    gateway = cloud.client("apigateway", parameter_validation=False)
    resource = formation.describe_stack_resource(StackName=STACK, LogicalResourceId="Api")
    api = resource["StackResourceDetail"]["PhysicalResourceId"]
    put_gateway_responses(formation, gateway, api)
    take_keys_from_the_authorizer(gateway, api)
    number_the_limits(gateway)
    gateway.create_deployment(restApiId=api, stageName="local")


def put_gateway_responses(formation, gateway, api):
    """Sets the gateway's own answers through its API.

    SAM hands them over inside the API's definition, which AWS reads and MiniStack passes over. The second putting
    changes nothing.
    """
    template = formation.get_template(StackName=STACK, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    answers = template["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
    for kind, answer in answers.items():
        optional = {"statusCode": str(answer["statusCode"])} if "statusCode" in answer else {}
        gateway.put_gateway_response(
            restApiId=api,
            responseType=kind,
            responseParameters=answer["responseParameters"],
            responseTemplates=answer["responseTemplates"],
            **optional,
        )


def take_keys_from_the_authorizer(gateway, api):
    """Leaves the key to the authorizer where it comes in InfluxDB's header.

    MiniStack looks for the key of a usage plan in x-api-key only, and refuses a request without it; AWS asks the
    authorizer. So this one route has no throttle and no quota here.
    """
    pages = gateway.get_paginator("get_resources").paginate(restApiId=api)
    route = next(found for page in pages for found in page["items"] if found["path"] == INFLUX_WRITE)
    without = {"op": "replace", "path": "/apiKeyRequired", "value": False}
    gateway.update_method(restApiId=api, resourceId=route["id"], httpMethod="POST", patchOperations=[without])


def number_the_limits(gateway):
    """Writes the usage plans' limits as numbers.

    MiniStack takes them from the template's parameters as text, which AWS's SDK for Rust cannot read.
    """
    for plan in gateway.get_usage_plans(limit=500)["items"]:
        limits = {"throttle": ("rateLimit", "burstLimit"), "quota": ("limit",)}
        patches = [
            {"op": "replace", "path": f"/{kind}/{name}", "value": plan[kind][name]}
            for kind, names in limits.items()
            for name in names
        ]
        gateway.update_usage_plan(usagePlanId=plan["id"], patchOperations=patches)


def translate_saga(cloud):
    """Puts the state machine in JSON, which is all that MiniStack reads; AWS takes YAML as well."""
    machines, arn = cloud.client("stepfunctions"), cloud.outputs()["OrderSagaArn"]
    definition = yaml.safe_load(machines.describe_state_machine(stateMachineArn=arn)["definition"])
    machines.update_state_machine(stateMachineArn=arn, definition=json.dumps(definition))


def main():
    """The command."""
    for name, value in deploy(Cloud(sys.argv[1])).items():
        say(f"  {name:29}{value}")


if __name__ == "__main__":
    run(main)
