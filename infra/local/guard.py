"""Starts the local cloud with a guard beside it, which decides as AWS does where MiniStack does not, and writes down what it sees.

Closer to AWS: MiniStack does not look at the partitions that a policy is narrowed to, and asks no role when it acts for one
itself: when it polls a queue or stream for a function, hands a failed event on, or takes a step of a state machine.
And it has rights of its own for calls in batches.

Written down: each right that a role made use of, once, and each refusal, as lines of JSON in the file that
GUARD_JOURNAL names. See rights.py for what is made of them.
"""

import contextvars
import json
import os
import queue
import re
import threading
import time
import types
from pathlib import Path
from socketserver import ThreadingTCPServer

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id, get_region
from ministack.services import lambda_svc, stepfunctions

# The partition key of every table of the template.
PARTITION_KEY = "pk"
LEADING_KEYS = "dynamodb:LeadingKeys"
ITEMS = "guard:items"

# How long what waits does so before it looks whether it still should.
IDLE_SECONDS = 5

# Steps of state machines that are taken at once: each needs an environment, and starting one costs more than the step.
STEPS = threading.BoundedSemaphore(16)

# What Lambda asks the function's role for before it reads a source for it:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
# https://docs.aws.amazon.com/lambda/latest/dg/services-ddb.html
POLLING = {
    "sqs": ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
    "dynamodb": (
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
    ),
}

# AWS has one right for a call and the same call in batches.
BATCHES = {
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}

_asked = contextvars.ContextVar("asked", default=None)
_machine_role = contextvars.ContextVar("machine_role", default="")


class Journal:
    """The file of what was allowed, each right once, and of what was refused."""

    def __init__(self, path):
        self._path = Path(path)
        self._known = set()
        self._lock = threading.Lock()

    def allowed(self, role, rights, is_poll):
        """Notes the rights that one call made use of; more than one of a kind means that one would have done."""
        for right in rights:
            self._write({"role": role, "right": right, "alone": len(rights) == 1, "poll": is_poll})

    def refused(self, role, action, resource):
        """Notes a refusal, with its time: whoever took a right away looks for those after that."""
        self._write({"role": role, "refused": action, "resource": resource, "at": time.time()})

    def _write(self, entry):
        line = json.dumps(entry)
        with self._lock:
            # Whoever takes the file away wants a new one.
            if not self._path.exists():
                self._known.clear()
            if line not in self._known:
                self._known.add(line)
                with self._path.open("a") as file:
                    file.write(line + "\n")


JOURNAL = Journal(os.environ["GUARD_JOURNAL"])


def partition(item):
    """The partition of an item or key in DynamoDB's JSON."""
    return next(iter(item.get(PARTITION_KEY, {}).values()), "")


def queried(request):
    """The partition that a query of a table names."""
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    for name, value in re.findall(r"(#?\w+)\s*=\s*(:\w+)", request["KeyConditionExpression"]):
        if names.get(name, name) == PARTITION_KEY:
            return next(iter(values[value].values()))
    return ""


def leading_keys(body):
    """What a request adds to the condition keys: its partitions, or those of a transaction one by one."""
    request = json.loads(body or b"{}")
    if "TransactItems" in request:
        parts = [next(iter(item.values())) for item in request["TransactItems"]]
        return {ITEMS: [partition(part.get("Key") or part.get("Item") or {}) for part in parts]}
    if "RequestItems" in request:
        keys = []
        for wanted in request["RequestItems"].values():
            reads = wanted.get("Keys", []) if isinstance(wanted, dict) else []
            writes = [next(iter(write.values())) for write in wanted] if isinstance(wanted, list) else []
            keys += reads + [write.get("Item") or write.get("Key") for write in writes]
        return {LEADING_KEYS: [partition(key) for key in keys]}
    # An index has keys of its own, and the rights on it are narrowed to none.
    if "KeyConditionExpression" in request and "IndexName" not in request:
        return {LEADING_KEYS: [queried(request)]}
    single = request.get("Key") or request.get("Item")
    return {LEADING_KEYS: [partition(single)]} if isinstance(single, dict) else {}


def narrowed(statement):
    """The partitions that a statement is narrowed to."""
    wanted = statement.conditions.get("ForAllValues:StringLike", {}).get(LEADING_KEYS, [])
    return [wanted] if isinstance(wanted, str) else wanted


def rights(context, policies):
    """The rights of a role that a call makes use of: statement, action, resource and, where narrowed, partition."""
    found = []
    for statement in (statement for statements in policies for statement in statements):
        if statement.effect != "Allow" or not iam_evaluator._conditions_met(statement.conditions, context):
            continue
        actions = [each for each in statement.actions if iam_evaluator.fnmatch_iam(context.action, each)]
        resources = [each for each in statement.resources if iam_evaluator.fnmatch_iam_cs(context.resource_arn, each)]
        asked = context.service_context.get(LEADING_KEYS.lower(), [])
        matched = [each for each in narrowed(statement) if any(iam_evaluator.fnmatch_iam_cs(key, each) for key in asked)]
        for action in actions:
            found += [[statement.sid, action, resource, matched] for resource in resources]
    return found


def role_of(arn):
    """The name of a role, or of the one that a session's ARN names."""
    return arn.split("/")[1] if ":assumed-role/" in arn else arn.rpartition("/")[2]


def enforce(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
    """MiniStack's decision on a call, with partitions looked at and written down."""
    context = dict(service_context or {})
    if context.get(ITEMS):
        # The items of a transaction are asked for one after the other, and each is one of its own.
        context[LEADING_KEYS] = [context[ITEMS].pop(0)]
    context.pop(ITEMS, None)
    asked = []
    token = _asked.set(asked)
    iam_action = BATCHES.get(iam_action, iam_action)
    try:
        refusal = decide(access_key_id, iam_action, service, region, resource_arn, context)
    finally:
        _asked.reset(token)
    # The first question is put to the role's own policies; another one would be the resource's.
    for question, policies in asked[:1]:
        if ":assumed-role/" in question.principal_arn:
            note(question, policies, refusal is None)
    return refusal


def evaluate(context, policies, *limits):
    """MiniStack's evaluation; what it was asked is kept for `enforce`."""
    asked = _asked.get()
    if asked is not None:
        asked.append((context, policies))
    return weigh(context, policies, *limits)


def note(context, policies, is_allowed, is_poll=False):
    """Writes a decision on a role down."""
    role = role_of(context.principal_arn)
    if is_allowed:
        JOURNAL.allowed(role, rights(context, policies), is_poll)
    else:
        JOURNAL.refused(role, context.action, context.resource_arn)


def may(role_arn, action, resource, is_poll=False):
    """Whether a role may do something that MiniStack does for it unasked."""
    account = get_account_id()
    policies = iam_evaluator._gather_role_policies(role_of(role_arn), account)
    context = iam_evaluator.EvalContext(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
    )
    is_allowed = weigh(context, policies).decision == "Allow"
    note(context, policies, is_allowed, is_poll)
    return is_allowed


def role_of_function(name):
    """The role of a function, if there still is such a function."""
    return (lambda_svc._get_func_record_for_ref(name)[1] or {}).get("Role")


def mappings():
    """The event source mappings, without those whose function may not read its source."""
    for account, region, mapping in every_mapping():
        source = mapping.get("EventSourceArn", "")
        actions = POLLING.get(source.split(":")[2] if source else "", ())
        role = role_of_function(mapping["FunctionName"])
        if role is None or all([may(role, action, source, is_poll=True) for action in actions]):
            yield account, region, mapping


def hand_on(target, function, event, result):
    """Sends a failed event on if its function may."""
    if may(role_of_function(function), "sqs:SendMessage", target):
        send_on(target, function, event, result)


def run_execution(execution):
    """Runs an execution, and remembers as whom."""
    machine = stepfunctions._executions[execution]["stateMachineArn"]
    _machine_role.set(stepfunctions._state_machines[machine]["roleArn"])
    return execute(execution)


def invoke(resource, arguments):
    """Takes a step of a state machine if its role may."""
    if "lambda:invoke" in resource:
        action, target = "lambda:InvokeFunction", arguments["FunctionName"]
    elif "sqs:sendMessage" in resource:
        action, name = "sqs:SendMessage", arguments["QueueUrl"].rpartition("/")[2]
        target = f"arn:aws:sqs:{get_region()}:{get_account_id()}:{name}"
    else:
        raise stepfunctions._ExecutionError("States.Runtime", f"the guard does not know {resource}")
    if not may(_machine_role.get(), action, target):
        raise stepfunctions._ExecutionError("States.Permissions", f"{action} on {target}")
    with STEPS:
        return take_step(resource, arguments)


class Events(queue.Queue):
    """The events of a function's environment, which looks up from its wait for one every few seconds, not ten times a second."""

    def get(self, block=True, timeout=None):
        """As the queue's own, with more time; what is put into it is got at once all the same."""
        return super().get(block, None if timeout is None else max(timeout, IDLE_SECONDS))


def serve(server, poll_interval):
    """Serves an environment, and looks less often whether it is to end."""
    serve_on(server, max(poll_interval, 1))


decide, iam_evaluator.enforce = iam_evaluator.enforce, enforce
weigh, iam_evaluator.evaluate = iam_evaluator.evaluate, evaluate
describe, iam_actions.dynamodb_service_context = (
    iam_actions.dynamodb_service_context,
    lambda body: describe(body) | leading_keys(body),
)
every_mapping, lambda_svc._iter_all_esms = lambda_svc._iter_all_esms, mappings
send_on, lambda_svc._route_async_failure = lambda_svc._route_async_failure, hand_on
execute, stepfunctions._run_execution = stepfunctions._run_execution, run_execution
take_step, stepfunctions._invoke_resource = stepfunctions._invoke_resource, invoke

# Hundreds of idle environments that wake up ten times a second would keep a core busy.
lambda_runtime._PROVIDED_POLL = 1
serve_on, ThreadingTCPServer.serve_forever = ThreadingTCPServer.serve_forever, serve
lambda_runtime.queue = types.SimpleNamespace(Queue=Events, Empty=queue.Empty, Full=queue.Full)

if __name__ == "__main__":
    app.main()
