"""The rights of the deployed roles: what each may do, how to take one right away, and what a run made use of."""

import contextlib
import itertools
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from cloud import STACK, Cloud
from paths import STATE

USAGE = STATE / "rights.json"
"""What the last run with a private stack was given and made use of."""
LEADING_KEYS = "dynamodb:LeadingKeys"
# What rights are given on, and a random part of its name.
NAMED = (
    "AWS::Cognito::UserPool",
    "AWS::DynamoDB::Table",
    "AWS::Events::EventBus",
    "AWS::Lambda::Function",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::StepFunctions::StateMachine",
)


class Right(NamedTuple):
    """What one statement gives to a role. Without a partition: on all that it gives the action on.

    Without an action and a resource: everything that it gives on that partition.
    """

    role: str
    statement: str
    action: str
    resource: str
    partition: str

    def __str__(self):
        return " ".join(part for part in self if part)


def listed(value):
    """A policy's element as a list."""
    return value if isinstance(value, list) else [value]


def partitions(statement):
    """The partitions that a statement is narrowed to."""
    return listed(statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get(LEADING_KEYS, []))


def without(document, right):
    """A policy without a right."""
    kept = []
    for statement in document["Statement"]:
        if statement.get("Sid", "") != right.statement:
            kept.append(statement)
        elif right.action:
            actions = [each for each in listed(statement["Action"]) if each != right.action]
            resources = [each for each in listed(statement["Resource"]) if each != right.resource]
            if actions:
                kept.append(statement | {"Action": actions})
            if resources:
                kept.append(statement | {"Action": right.action, "Resource": resources})
        elif rest := [each for each in partitions(statement) if each != right.partition]:
            kept.append(statement | {"Condition": {"ForAllValues:StringLike": {LEADING_KEYS: rest}}})
    return document | {"Statement": kept}


class Roles:
    """The roles of a deployed stack. A role is called by the resource that it was made for."""

    def __init__(self, cloud, journal):
        self._iam = cloud.client("iam")
        self._journal = journal
        pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK)
        resources = [each for page in pages for each in page["StackResourceSummaries"]]
        # Queues are known by their URLs, state machines by their ARNs.
        self._logical = {
            re.split("[/:]", each["PhysicalResourceId"])[-1]: each["LogicalResourceId"]
            for each in resources
            if each["ResourceType"] in NAMED
        }
        self._roles = {
            each["PhysicalResourceId"]: each["LogicalResourceId"].removesuffix("Role")
            for each in resources
            if each["ResourceType"] == "AWS::IAM::Role"
        }
        self._policies = {}
        for role in self._roles:
            for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
                self._policies[role, policy] = document
        self._named = {self._name(each): each for each in self._given()}

    @classmethod
    def of(cls, environment):
        """The roles of the private stack that an environment names."""
        return cls(Cloud(environment["MILLRACE_ENDPOINT"]), Path(environment["MILLRACE_JOURNAL"]))

    def _given(self):
        for (role, _), document in self._policies.items():
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow":
                    for action, resource, partition in itertools.product(
                        listed(statement["Action"]), listed(statement["Resource"]), partitions(statement) or [""]
                    ):
                        yield Right(role, statement.get("Sid", ""), action, resource, partition)

    def _name(self, right):
        """A right by what the template calls things."""
        resource = right.resource.split(":", 5)[-1]
        # The label of a stream is the time that it was made.
        resource = re.sub(r"/stream/\d.*", "/stream", resource)
        for physical, logical in self._logical.items():
            resource = re.sub(rf"(?<![\w-]){re.escape(physical)}(?![\w-])", f"${{{logical}}}", resource)
        return right._replace(role=self._roles[right.role], resource=resource)

    def given(self):
        """Every right, as the template names it."""
        return set(self._named)

    def used(self):
        """The rights that calls could not have done without, and those that another right gave as well."""
        used, shared = set(), set()
        for entry in self._entries():
            if "right" in entry and entry["role"] in self._roles:
                *right, keys = entry["right"]
                names = {self._name(Right(entry["role"], *right, key)) for key in keys or [""]}
                (used if entry["alone"] else shared).update(names)
        return used, shared - used

    def at_work(self):
        """The roles that did more than look into a source, which happens all the time."""
        found = {entry["role"] for entry in self._entries() if not entry.get("poll", True)}
        return {self._roles[role] for role in found if role in self._roles}

    def refused(self, since=0.0):
        """What roles asked for in vain: role, action and resource."""
        found = [entry for entry in self._entries() if "refused" in entry and entry["at"] >= since]
        return [(self._roles.get(each["role"], each["role"]), each["refused"], each["resource"]) for each in found]

    def concerns(self, right, refusal):
        """Whether a refusal is for want of a right."""
        role, action, resource = refusal
        if right.action:
            given = [each for each in self._named if each[:4] == right[:4]]
        else:
            given = [each for each in self._named if (each.role, each.statement) == right[:2]]
        return any(
            each.role == role and each.action == action and fnmatchcase(resource, self._named[each].resource)
            for each in given
        )

    def forget(self):
        """Has what is made use of written down anew."""
        self._journal.unlink(missing_ok=True)

    def _entries(self):
        with contextlib.suppress(FileNotFoundError):
            yield from map(json.loads, self._journal.read_text().splitlines())

    @contextlib.contextmanager
    def lacking(self, right):
        """Takes a right away for a while."""
        given = next(
            physical
            for named, physical in self._named.items()
            if all(wanted in ("", has) for wanted, has in zip(right, named, strict=True))
        )
        physical = given._replace(
            action=right.action and given.action,
            resource=right.resource and given.resource,
            partition=right.partition and given.partition,
        )
        changed = [
            (role, policy)
            for (role, policy), document in self._policies.items()
            if role == physical.role and without(document, physical) != document
        ]
        try:
            for key in changed:
                self._put(key, without(self._policies[key], physical))
            yield
        finally:
            for key in changed:
                self._put(key, self._policies[key])

    def _put(self, key, document):
        role, policy = key
        if document["Statement"]:
            text = json.dumps(document)
            self._iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=text)
        else:
            self._iam.delete_role_policy(RoleName=role, PolicyName=policy)

    def keep(self):
        """Leaves what was given and used for `rights.py used`, which runs when the stack is gone."""
        used, shared = self.used()
        kept = {"given": self.given(), "used": used, "shared": shared, "refused": self.refused()}
        USAGE.write_text(json.dumps({name: sorted(each) for name, each in kept.items()}, indent=1))
