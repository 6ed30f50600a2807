"""Sends the deployed API what its document allows and what it forbids, as everybody who may be at the door.

Usage: schemas.py quick|full

The stack is that of `with_stack.py`, best one of its own: this leaves much behind. GAUNTLET_SEED seeds it, and the same
seed sends the same again. schemathesis makes the requests from `infra/openapi.json` and checks each answer.
"""

import dataclasses
import json
import os
import secrets
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from api import Api
from cloud import Cloud
from console import Failure, run, say
from gauntlet import SEED, figure
from paths import ROOT, TOOLS
from signin import sign_in

DOCUMENT = ROOT / "infra" / "openapi.json"
CHECK = "schemas"
AT_ONCE = 5

# What is left out, and why. A check is left out where API Gateway decides and not the API.
EXCLUDED_CHECKS = {
    "unsupported_method": "a path without the method is no route to API Gateway, which answers 404 and names no others",
}
# What a request that fits its schema may be answered besides, and why.
ACCEPTABLE = {
    "400": "no schema says that a cursor is one of ours, that an end is after its start, or that a header is a version",
    "412": "no schema says which version a resource has",
    "413": "no schema says how many bytes a body has",
    "422": "no schema says that a sku or a category exists, or that two members go together",
}
# What a request without a header that it needs may be answered besides, and why.
REFUSED_WITHOUT_HEADER = {
    "428": "that is what RFC 6585 has for a change without If-Match",
}
# What a request that does not fit its schema may be answered besides, and why.
REFUSED_ALSO = {
    "412": "the version is looked at before the body",
    "413": "a body too large is not read",
}
# Requests for each operation: by everybody, by those whose it is, and sequences of them.
BY_ALL, BY_OWNER, SEQUENCES = 4, 30, 40


@dataclasses.dataclass(frozen=True)
class Role:
    """Somebody at the door."""

    name: str
    headers: dict
    security: str
    """What the document says of an operation that is theirs before it is anybody's with more rights."""

    def owns(self, operation):
        """Whether an operation is theirs."""
        return json.dumps(operation["security"]) == self.security


@dataclasses.dataclass(frozen=True)
class Run:
    """What is sent by one role in one go."""

    role: Role
    phases: str
    examples: int
    own: bool = False


def runs(everybody, size):
    """All that is sent: by everybody on everything, then to the letter on what is theirs, and in sequences."""
    found = [Run(role, "fuzzing", BY_ALL) for role in everybody]
    if size == "full":
        found += [Run(role, "examples,coverage,fuzzing", BY_OWNER, own=True) for role in everybody]
        found += [Run(role, "stateful", SEQUENCES) for role in everybody if role.name == "admin"]
    return found


def document():
    """The document, strict: every status has to be named, for `default` would allow any."""
    strict = json.loads(DOCUMENT.read_text())
    for item in strict["paths"].values():
        for operation in item.values():
            operation["responses"].pop("default")
    return strict


def things(url, admin, customer):
    """Makes one of each thing that a path names, so that not all that is asked for is missing; returns their names."""

    def make(path, body=None, by=admin):
        key = {"Idempotency-Key": secrets.token_hex(8)} if "keys" not in path else {}
        return Api(url, by).call("POST", path, headers=key, body=body)[0]

    word = f"schemas-{secrets.token_hex(4)}"
    place = {"recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"}
    product = {"sku": word, "name": "Lamp", "price": {"amount": "34.88", "currency": "SGD"}}
    order = {"items": [{"sku": word, "quantity": 1}], "shipping_address": place, "payment_method": "sandbox-approve"}
    return {
        "/api/catalog/categories/": make("/api/catalog/categories", {"name": word})["id"],
        "/api/catalog/products/": make("/api/catalog/products", product)["id"],
        "/api/catalog/stock/": word,
        "/api/customers/me/addresses/": make(
            "/api/customers/me/addresses", {"type": "shipping"} | place, by=customer
        )["address_id"],
        "/api/orders/": make("/api/orders", order, by=customer)["id"],
        "/api/sales/imports/": make("/api/sales/imports")["id"],
        "/api/sensors/devices/": make(
            "/api/sensors/devices", {"device_id": word, "name": "Boiler", "type": "custom"}
        )["device_id"],
        "/api/sensors/keys/": make("/api/sensors/keys", {"name": word, "devices": [f"{word}*"]})["id"],
    }


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def configuration(sent, names):
    """What schemathesis is told."""
    checks = {name: {"enabled": False} for name in EXCLUDED_CHECKS}
    checks["positive_data_acceptance"] = {"expected-statuses": ["2xx", "304", "401", "403", "404", "409", *ACCEPTABLE]}
    checks["missing_required_header"] = {
        "expected-statuses": ["400", "401", "403", "404", "415", "422", *REFUSED_WITHOUT_HEADER]
    }
    checks["negative_data_rejection"] = {
        "expected-statuses": ["400", "401", "403", "404", "409", "415", "422", "428", *REFUSED_ALSO]
    }
    lines = [
        f"headers = {toml(sent.role.headers)}",
        "request-timeout = 30",
        # More would be threads, beside which Python 3.11's own compiler fails now and then.
        "workers = 1",
        f"generation = {toml({'max-examples': sent.examples, 'database': 'none'})}",
        f"checks = {toml(checks)}",
        f"warnings = {toml(False)}",
    ]
    for number, (path, name) in enumerate(names.items()):
        lines += [f"[dictionaries.names{number}]", f"values = {toml([name])}"]
    for number, path in enumerate(names):
        parameter = "path.sku" if "stock" in path else "path.id"
        binding = {parameter: {"dictionary": f"names{number}", "probability": 0.5}}
        lines += ["[[operations]]", f"include-path-regex = {toml('^' + path)}", f"parameters = {toml(binding)}"]
    return "\n".join(lines) + "\n"


def send(sent, seed, names, strict):
    """Has schemathesis do a run; returns its report and what it printed."""
    home = Path(tempfile.mkdtemp(dir=strict.parent))
    settings, report = home / "schemathesis.toml", home / "report.json"
    settings.write_text(configuration(sent, names))
    command = [TOOLS / "schemathesis", "--config-file", settings, "--no-color", "run", strict]
    command += ["--url", os.environ["MILLRACE_API_URL"], "--seed", seed, "--phases", sent.phases]
    command += ["--continue-on-failure", "--report-json-path", report]
    if sent.own:
        items = json.loads(strict.read_text())["paths"].values()
        own = [operation for item in items for operation in item.values() if sent.role.owns(operation)]
        command += [part for operation in own for part in ("--include-operation-id", operation["operationId"])]
    done = subprocess.run([str(part) for part in command], cwd=home, capture_output=True, text=True)
    if not report.exists():
        raise Failure(f"schemathesis did not run as {sent.role.name}:\n{done.stdout}{done.stderr}")
    return json.loads(report.read_text()), done.stdout


def roles(cloud):
    """Everybody who may be at the door. They are nobody whom another test knows: one may erase itself here."""

    def token(role):
        return {"Authorization": f"Bearer {sign_in(cloud, role, f'schemas-{role}')}"}

    return [
        Role("stranger", {}, "[{}]"),
        Role("customer", token("customer"), '[{"token": []}]'),
        Role("analyst", token("analyst"), '[{"token": ["analyst"]}, {"token": ["admin"]}]'),
        Role("admin", token("admin"), '[{"token": ["admin"]}]'),
        Role("device", {"x-api-key": os.environ["MILLRACE_DEVICE_KEY"]}, '[{"device_key": []}]'),
    ]


def main():
    """The command."""
    size, seed = sys.argv[1], os.environ.get("GAUNTLET_SEED", SEED)
    url, cloud = os.environ["MILLRACE_API_URL"], Cloud(os.environ["MILLRACE_ENDPOINT"])
    everybody = roles(cloud)
    headers = {role.name: role.headers for role in everybody}
    names = things(url, headers["admin"], headers["customer"])
    violations, requests = 0, 0
    with tempfile.TemporaryDirectory() as home:
        strict = Path(home) / "openapi.json"
        strict.write_text(json.dumps(document()))
        plan = runs(everybody, size)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reports = list(pool.map(lambda sent: send(sent, seed, names, strict), plan))
        for sent, (report, shown) in zip(plan, reports, strict=True):
            if not report["complete"] or not report["operations"]["tested"]:
                raise Failure(f"schemathesis did not finish as {sent.role.name}:\n{shown}")
            cases = report["test_cases"]
            found = cases["unique_failures"] + len(report["errors"])
            requests, violations = requests + cases["generated"], violations + found
            if found:
                say(shown)
            operations, seconds = report["operations"]["tested"], report["running_time"]
            counts = f"{cases['generated']} requests on {operations} operations, {found} violations"
            say(f"  {sent.role.name}, {sent.phases}: {counts} ({seconds:.0f} s)")
    figure(CHECK, "roles", len(everybody))
    figure(CHECK, "requests", requests)
    figure(CHECK, "violations", violations)
    if violations:
        raise Failure(f"{violations} violations with seed {seed}", f"the same again: GAUNTLET_SEED={seed}")


if __name__ == "__main__":
    run(main)
