"""Executes a state machine in moto's Step Functions engine, with stubbed task results, and prints the states it visits.

Standard input:  {"definition": "...", "scenarios": [{"name", "input", "answers": [{"state", "function", "op", "section", "error", "cause"}]}]}
Standard output: [{"name", "path": [...], "status", "error", "output", "calls", "events"}]; output is the input of the last state.

The engine is moto's own (moto.stepfunctions.parser); only its Lambda client, its sleep and its wait are replaced. For speed
a definition and a JSONPath are parsed once each (what was parsed keeps nothing of an execution), and the history is read
from the engine itself and not through the API's serializer.
"""

import functools
import io
import json
import logging
import sys

import boto3
from moto import mock_aws
from moto.stepfunctions.parser.asl.component.common.path import result_path
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from moto.stepfunctions.parser.utils import TMP_THREADS

REGION = "eu-central-1"
ACCOUNT = "123456789012"


class StubbedLambda:
    """A Lambda client that gives a scenario's answers in their order and refuses a call that is not the next one."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = 0

    def invoke(self, FunctionName, Payload, **_):
        request = json.loads(Payload)
        function = FunctionName.split(":")[6]
        answer = self.answers[self.calls] if self.calls < len(self.answers) else None
        asked = (function, request.get("op"), request.get("state"))
        if answer is None or asked != (answer["function"], answer["op"], answer["state"]) or "run" not in request:
            raise RuntimeError(f"call {self.calls} of the scenario is not {asked}")
        self.calls += 1
        if answer.get("error"):
            body = {"errorType": answer["error"], "errorMessage": answer.get("cause", "")}
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(body).encode())}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer["section"]).encode())}


class NoSleep:
    """Stands in for the time module of the retrier: nothing waits."""

    @staticmethod
    def sleep(_seconds):
        return None


def execute(client, arn, number, scenario):
    stub = StubbedLambda(scenario["answers"])
    lambda_eval_utils.boto_client_for = lambda **_: stub
    started = client.start_execution(stateMachineArn=arn, name=f"scenario-{number}", input=json.dumps(scenario["input"]))
    while TMP_THREADS:
        TMP_THREADS.pop(0).join(timeout=60)
    execution = stepfunctions_parser_backends[ACCOUNT][REGION].describe_execution(started["executionArn"])
    events = execution.to_history_output()["events"]
    entered = [e["stateEnteredEventDetails"] for e in events if e["type"].endswith("StateEntered")]
    return {
        "name": scenario["name"],
        "path": [e["name"] for e in entered],
        "status": str(execution.status),
        "error": execution.error or "",
        "output": entered[-1]["input"] and json.loads(entered[-1]["input"]),
        "calls": stub.calls,
        "events": len(events),
    }


def main():
    job = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)  # every failure is a result here
    retrier_decl.time = NoSleep
    WaitFunction._wait_interval = lambda self, env, wait_seconds: None
    result_path.parse = functools.lru_cache(maxsize=None)(result_path.parse)
    json_path.parse = functools.lru_cache(maxsize=None)(json_path.parse)
    AmazonStateLanguageParser.parse = staticmethod(functools.lru_cache(AmazonStateLanguageParser.parse))
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        client = boto3.client("stepfunctions", region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")
        arn = client.create_state_machine(
            name="judged", definition=job["definition"], roleArn=f"arn:aws:iam::{ACCOUNT}:role/judge"
        )["stateMachineArn"]
        results = [execute(client, arn, n, s) for n, s in enumerate(job["scenarios"])]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
