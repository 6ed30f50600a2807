"""Has checkov judge the template; what is not as it wants it stands in waivers.toml with the reason.

Usage: template_checks.py
"""

import json
import subprocess
import sys
import tomllib
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from cfnlint.decode import decode
from cfnlint.template import Template
from cfnlint.template.transforms._language_extensions import language_extension
from cfnlint.template.transforms._sam import Transform

from console import Failure, run, say, step
from paths import ROOT, STATE

HERE = Path(__file__).parent
WAIVERS = HERE / "waivers.toml"
TEMPLATE = str(ROOT / "template.yaml")
REGION = "us-east-1"


def expanded():
    """The template as CloudFormation deploys it: checkov knows neither of its transforms."""
    template, wrong = decode(TEMPLATE)
    if not wrong:
        wrong, template = language_extension(Template(TEMPLATE, template, [REGION]))
    if not wrong:
        transform = Transform(TEMPLATE, template, REGION)
        wrong = transform.transform_template()
    if wrong:
        raise Failure(f"the template cannot be expanded: {wrong}")
    return transform.template()


def findings(file):
    """What checkov finds in a template, as check, name and resource."""
    checkov = STATE / "checkov" / "bin" / "checkov"
    make = [sys.executable, HERE / "environment.py", STATE / "checkov", HERE / "checkov-requirements.txt"]
    subprocess.run(make, check=True)
    ask = [checkov, "-f", file, "--framework", "cloudformation", "--output", "json", "--compact", "--quiet"]
    answer = json.loads(subprocess.run([*ask, "--skip-download"], stdout=subprocess.PIPE, cwd=STATE).stdout)
    summary = answer["summary"]
    if summary["parsing_errors"] or not summary["passed"]:
        raise Failure(f"checkov could not read the template: {summary}")
    say(f"checkov: {summary['passed']} passed, {summary['failed']} failed on {summary['resource_count']} resources")
    return [(each["check_id"], each["check_name"], each["resource"]) for each in answer["results"]["failed_checks"]]


def is_waived(finding, waiver):
    """Whether a waiver is meant for a finding."""
    check, _, resource = finding
    return waiver["check"] == check and any(fnmatchcase(resource, pattern) for pattern in waiver["resources"])


def main():
    """The command."""
    waivers = tomllib.loads(WAIVERS.read_text())["checkov"]
    STATE.mkdir(exist_ok=True)
    file = STATE / "template.json"
    with step("expanding the template"):
        file.write_text(json.dumps(expanded(), default=str))
    found = findings(file)
    left = [each for each in found if not any(is_waived(each, waiver) for waiver in waivers)]
    idle = [each for each in waivers if not any(is_waived(finding, each) for finding in found)]
    unexplained = [each for each in waivers if not each.get("reason", "").strip()]
    for (check, name), count in sorted(Counter(each[:2] for each in left).items()):
        resources = ", ".join(sorted(each[2] for each in left if each[0] == check))
        say(f"  {check}: {name}: {count}: {resources}")
    for each in idle + unexplained:
        say(f"  waiver without use or reason: {each}")
    if left or idle or unexplained:
        raise Failure("checkov finds what no waiver explains", "mend template.yaml, or say why in waivers.toml")


if __name__ == "__main__":
    run(main)
