"""Prints what the serverless transform makes of a template, as JSON: SAM's own code, which runs in CloudFormation too. Nothing is sent."""

import json
import sys
from unittest.mock import Mock

from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse

template = yaml_parse(open(sys.argv[1], encoding="utf-8").read())
# The loader would ask IAM for AWS's managed policies by name; none is named.
made = SamTemplateValidator(template, Mock(), region="eu-central-1").get_translated_template_if_valid()
json.dump(yaml_parse(made), sys.stdout)
