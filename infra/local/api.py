"""The deployed API as a client calls it.

Usage: api.py ENDPOINT NAME DEVICE...     prints a new device key of that name for those devices
"""

import decimal
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from cloud import Cloud
from console import Failure, run, say
from signin import sign_in

BUSY = (429, 503)
TRIES = 8
TIMEOUT_SECONDS = 60


class Refusal(Failure):
    """An answer that is no success."""

    def __init__(self, status, what):
        super().__init__(what, "the functions' logs say why: .local/<port>/cloud.log, or see `make env`")
        self.status = status


class Api:
    """The deployed API, called by one caller."""

    def __init__(self, url, identity):
        self._url = url
        self._identity = identity

    @classmethod
    def of_person(cls, cloud, role):
        """The API as a person of a role calls it."""
        return cls(cloud.outputs()["ApiUrl"], {"Authorization": f"Bearer {sign_in(cloud, role)}"})

    @classmethod
    def of_device(cls, cloud, key):
        """The API as a device calls it."""
        return cls(cloud.outputs()["ApiUrl"], {"x-api-key": key})

    def call(self, method, path, headers=None, body=None, **query):
        """Returns an answer's body, numbers exact, and its headers; a refusal becomes a failure.

        A body that is not bytes is sent as JSON. Whoever is told to come again does, for a while.
        """
        address = f"{self._url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = self._identity | (headers or {})
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        request = urllib.request.Request(address, data=body, method=method, headers=headers)
        for attempt in range(1, TRIES + 1):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                    text = answer.read()
                    return json.loads(text, parse_float=decimal.Decimal) if text else None, answer.headers
            except urllib.error.HTTPError as refusal:
                if refusal.code in BUSY and attempt < TRIES:
                    time.sleep(float(refusal.headers.get("Retry-After", 1)))
                    continue
                text = refusal.read().decode(errors="replace")[:500]
                raise Refusal(refusal.code, f"{method} {path} was answered {refusal.code}: {text}") from None
        raise AssertionError("the last attempt returns or raises")


def device_key(cloud, name, devices):
    """Makes a device key, and returns its secret."""
    key, _ = Api.of_person(cloud, "admin").call("POST", "/api/sensors/keys", body={"name": name, "devices": devices})
    return key["secret"]


def main():
    """The command."""
    say(device_key(Cloud(sys.argv[1]), sys.argv[2], sys.argv[3:]))


if __name__ == "__main__":
    run(main)
