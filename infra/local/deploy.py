"""Deploys the template to a local cloud with `sam deploy`, and only when something changed.

Usage: deploy.py ENDPOINT
"""

import hashlib
import json
import platform
import subprocess
import sys
from urllib.parse import urlparse

import build
from cloud import STACK, Cloud
from console import Failure, run, say, step
from paths import ROOT, STATE, TOOLS

ARM = ("aarch64", "arm64")
FINISHED = ("CREATE_COMPLETE", "UPDATE_COMPLETE")


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
        put_gateway_responses(cloud)
    remembered.write_text(f"{wanted} {cloud.stack()['StackId']}")
    return cloud.outputs()


def fingerprint(cloud):
    """A hash of all that a deployment depends on."""
    files = [ROOT / "template.yaml", ROOT / "samconfig.toml"]
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


def put_gateway_responses(cloud):
    """Sets the gateway's own answers through its API.

    SAM hands them over inside the API's definition, which AWS reads and MiniStack passes over. The second putting
    changes nothing.
    """
    formation, gateway = cloud.client("cloudformation"), cloud.client("apigateway")
    template = formation.get_template(StackName=STACK, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    answers = template["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
    resource = formation.describe_stack_resource(StackName=STACK, LogicalResourceId="Api")
    api = resource["StackResourceDetail"]["PhysicalResourceId"]
    for kind, answer in answers.items():
        optional = {"statusCode": str(answer["statusCode"])} if "statusCode" in answer else {}
        gateway.put_gateway_response(
            restApiId=api,
            responseType=kind,
            responseParameters=answer["responseParameters"],
            responseTemplates=answer["responseTemplates"],
            **optional,
        )
    gateway.create_deployment(restApiId=api, stageName="local")


def main():
    """The command."""
    for name, value in deploy(Cloud(sys.argv[1])).items():
        say(f"  {name:26}{value}")


if __name__ == "__main__":
    run(main)
