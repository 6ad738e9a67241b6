"""Serves moto's AWS on a free port of loopback, its Step Functions engine executing state machines whose tasks call real functions.

Arguments: the address of a Lambda Invoke API (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html).
Standard output: one line, {"address": "http://..."}; then an answer for each command.
Standard input: commands, one JSON object a line; the server ends with it.
  {"cluster": {"name", "region", "endpoint", "authority"}}  makes an EKS cluster that is described with this endpoint and
                                                            certificate authority (base64); moto invents both.
  {"key": {"id", "region"}}                                 makes a KMS key for signing (ECC_NIST_P256) with this ID; moto invents IDs.
  {"ended": {"execution", "seconds"}}                       an execution that has ended did so this much earlier: nobody has to wait.

The engine is moto's own (moto.stepfunctions.parser); only its Lambda client is replaced, because moto runs functions in containers; and
for speed a definition and a JSONPath are parsed once each (what was parsed keeps nothing of an execution). Waits are real. RedriveExecution
is added.
"""

import copy
import datetime
import functools
import io
import json
import logging
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.config import default_user_config
from moto.core.exceptions import AWSError
from moto.core.responses import ActionResult
from moto.eks.models import eks_backends
from moto.events.models import Rule, events_backends
from moto.events.utils import EventTemplateParser
from moto.kms.models import kms_backends
from moto.kms.utils import ECDSAPrivateKey
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.sns.models import sns_backends
from moto.stepfunctions.parser.api import ExecutionStatus, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.flow.start_at import StartAt
from moto.stepfunctions.parser.asl.component.common.path import result_path
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from moto.stepfunctions.responses import StepFunctionResponse

ACCOUNT = "123456789012"
LONGEST = 1000  # seconds; a function's own timeout is shorter


class Functions:
    """A Lambda client whose functions are behind the Invoke API at an address."""

    def __init__(self, address):
        self.address = address

    def invoke(self, FunctionName, Payload, InvocationType="RequestResponse", **_):
        url = f"{self.address}/2015-03-31/functions/{urllib.parse.quote(FunctionName, safe='')}/invocations"
        body = Payload if isinstance(Payload, bytes) else Payload.encode()
        request = urllib.request.Request(url, data=body, headers={"X-Amz-Invocation-Type": InvocationType, "User-Agent": "states"})
        try:
            with urllib.request.urlopen(request, timeout=LONGEST) as answer:
                out = {"StatusCode": answer.status, "Payload": io.BytesIO(answer.read())}
                failed = answer.headers.get("X-Amz-Function-Error")
        except urllib.error.HTTPError as refused:
            # The engine knows the names of a function's errors only from its answer; Step Functions puts "Lambda." before the API's own.
            name = "Lambda." + refused.headers.get("X-Amzn-ErrorType", "Unknown")
            body = {"errorType": name, "errorMessage": refused.read().decode(errors="replace")}
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(body).encode())}
        if failed:
            out["FunctionError"] = failed
        return out


def make(cluster):
    backend = eks_backends[ACCOUNT][cluster["region"]]
    made = backend.create_cluster(
        name=cluster["name"], role_arn=f"arn:aws:iam::{ACCOUNT}:role/cluster", resources_vpc_config={"subnetIds": ["subnet-1", "subnet-2"]}
    )
    made.endpoint = cluster["endpoint"]
    made.certificate_authority = {"data": cluster["authority"]}


def make_key(key):
    backend = kms_backends[ACCOUNT][key["region"]]
    made = backend.create_key(None, "SIGN_VERIFY", "ECC_NIST_P256", "", None)
    del backend.keys[made.id]
    made.arn = made.arn.replace(made.id, key["id"])
    made.id = key["id"]
    backend.keys[made.id] = made


def sign(key, message, _signing_algorithm):
    """Moto takes a digest (MessageType DIGEST) for the message and hashes it once more. Here only digests are signed."""
    return key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))


def ended(execution):
    region = execution["execution"].split(":")[3]
    found = stepfunctions_parser_backends[ACCOUNT][region].describe_execution(execution["execution"])
    found.stop_date -= datetime.timedelta(seconds=execution["seconds"])


class NotRedrivable(AWSError):
    TYPE = "ExecutionNotRedrivable"
    STATUS = 400


def redrive_execution(self):
    """RedriveExecution, which moto lacks: the same execution goes on in the state that it died in, with the input of that state, and its
    history is appended to (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html)."""
    execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
    if execution.status not in ("FAILED", "TIMED_OUT", "ABORTED"):
        raise NotRedrivable(f"the execution is {execution.status}.")
    events = execution.exec_worker.env.event_manager
    entered = [e["stateEnteredEventDetails"] for e in events.get_event_history() if "stateEnteredEventDetails" in e][-1]
    worker = execution._get_start_execution_worker()
    program = copy.copy(worker._get_evaluation_entrypoint())
    program.start_at = StartAt(start_at_name=entered["name"])
    env = worker.env = worker._get_evaluation_environment()
    env.event_manager = events
    env.states.reset(json.loads(entered["input"]))
    events.add_event(context=env.event_history_context, event_type=HistoryEventType.ExecutionRedriven)

    def go():
        program.eval(env)
        worker._execution_communication.terminated()

    execution.exec_worker, execution.exec_status = worker, ExecutionStatus.RUNNING
    execution.stop_date = execution.error = execution.cause = None
    threading.Thread(target=go, daemon=True).start()
    return ActionResult({"redriveDate": datetime.datetime.now(tz=datetime.timezone.utc)})


def with_stop_date(describe):
    """DescribeExecution of moto leaves out when an execution timed out."""

    def described(self):
        answer = describe(self)
        execution = self.stepfunction_backend.describe_execution(answer.result["executionArn"])
        if execution.stop_date is not None:
            answer.result["stopDate"] = execution.stop_date
        return answer

    return described


def text_of(template, event):
    """What a target gets that is told a text: each line of the rule's template is one. A path that finds nothing leaves nothing."""
    paths = template["InputPathsMap"]
    lines = [EventTemplateParser.parse(line, paths, event) for line in template["InputTemplate"].splitlines()]
    return functools.reduce(lambda said, name: said.replace(f"<{name}>", ""), paths, "\n".join(lines))


def with_targets(send, functions):
    """Moto's rules have no targets of Lambda and SNS: these get the event or what the rule makes of it. On its way to the bus of another
    Region an event loses its resources, and its Region and time become new ones; EventBridge passes it on as it was."""

    def sent(rule, event, transform_input=True):
        services = [t["Arn"].split(":")[2] for t in rule.targets]
        if not set(services) <= {"lambda", "sns", "events"}:
            return send(rule, event, transform_input)
        if not rule.event_pattern.matches_event(event):
            return None
        at = datetime.datetime.fromtimestamp(float(event["time"]), datetime.timezone.utc)
        public = {**event, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        for service, target in zip(services, rule.targets):
            template = target.get("InputTransformer")
            if service == "events":
                region, bus = target["Arn"].split(":")[3], target["Arn"].split("/")[-1]
                for there in list(events_backends[ACCOUNT][region].describe_event_bus(bus).rules.values()):
                    there.send_to_targets(event)
            elif service == "sns":
                message = text_of(template, public) if template else json.dumps(public)
                sns_backends[ACCOUNT][rule.region_name].publish(message, target["Arn"])
            else:
                payload = EventTemplateParser.parse(template["InputTemplate"], template.get("InputPathsMap"), public) if template else public
                functions.invoke(target["Arn"], json.dumps(payload), "Event")
        return None

    return sent


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    functions = Functions(sys.argv[1])
    lambda_eval_utils.boto_client_for = lambda **_: functions
    result_path.parse = functools.lru_cache(maxsize=None)(result_path.parse)
    json_path.parse = functools.lru_cache(maxsize=None)(json_path.parse)
    AmazonStateLanguageParser.parse = staticmethod(functools.lru_cache(AmazonStateLanguageParser.parse))
    StepFunctionResponse.describe_execution = with_stop_date(StepFunctionResponse.describe_execution)
    StepFunctionResponse.redrive_execution = redrive_execution
    ECDSAPrivateKey.sign = sign
    Rule.send_to_targets = with_targets(Rule.send_to_targets, functions)
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    say({"address": "http://%s:%d" % server.get_host_and_port()})
    for line in sys.stdin:
        try:
            for name, argument in json.loads(line).items():
                {"cluster": make, "key": make_key, "ended": ended}[name](argument)
            say({})
        except Exception as e:  # whatever it is, who asked must see it
            say({"error": repr(e)})


if __name__ == "__main__":
    main()
