"""Looks for secrets in every file that git knows, and in every version of one that it has ever known.

Usage: secret_scan.py tree|history

What looks like a secret and is none stands in waivers.toml with the reason; one that nothing needs any more fails too.
One that is `past` is for versions that are no more: it counts in the history alone.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from console import Failure, run, say
from paths import ROOT

WAIVERS = Path(__file__).with_name("waivers.toml")
DETECTORS = [
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector",
    "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector",
    "IbmCosHmacDetector", "JwtTokenDetector", "KeywordDetector", "MailchimpDetector", "NpmDetector", "OpenAIDetector",
    "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector", "SoftlayerDetector",
    "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
]  # fmt: skip
HEURISTICS = ["is_sequential_string", "is_templated_secret", "is_indirect_reference", "is_not_alphanumeric_string"]
SETTINGS = {
    "plugins_used": [{"name": name} for name in DETECTORS]
    + [{"name": "Base64HighEntropyString", "limit": 4.5}, {"name": "HexHighEntropyString", "limit": 3.0}],
    # Without the filter that asks the services themselves whether a secret is one of theirs.
    "filters_used": [{"path": f"detect_secrets.filters.heuristic.{name}"} for name in HEURISTICS],
}


def git(*arguments):
    """What git says."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def suspects(files):
    """What looks like a secret in files, each with what it is called in the tree: its kind, line and digest."""
    found = []
    with transient_settings(SETTINGS):
        for path, file in files:
            for secret in scan_file(str(file)):
                digest = hashlib.sha256(secret.secret_value.encode()).hexdigest()[:16]
                found.append({"path": path, "kind": secret.type, "line": secret.line_number, "digest": digest})
    return found


def scanned(files):
    """The suspects of files, on all processors."""
    share = os.cpu_count() or 1
    with ProcessPoolExecutor(share) as processes:
        return [each for found in processes.map(suspects, [files[at::share] for at in range(share)]) for each in found]


def files_of_tree():
    """The paths of the project's files; where it is no repository, of all that nothing made."""
    if (ROOT / ".git").exists():
        return git("ls-files", "-z").decode().split("\0")
    made = {"target", ".venv", ".local", ".aws-sam", "__pycache__", "node_modules"}
    paths = [file.relative_to(ROOT) for file in ROOT.rglob("*")]
    return [str(path) for path in paths if made.isdisjoint(path.parts)]


def tree(is_skipped):
    """The suspects of the tree."""
    paths = files_of_tree()
    return scanned([(path, ROOT / path) for path in paths if (ROOT / path).is_file() and not is_skipped(path)])


def history(is_skipped):
    """The suspects of every version of every file, each version once."""
    objects = [line.split(" ", 1) for line in git("rev-list", "--objects", "--all").decode().splitlines() if " " in line]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, path in objects:
            if not is_skipped(path) and git("cat-file", "-t", name).strip() == b"blob":
                # Some detectors go by the end of a file's name.
                file = Path(folder) / f"{name}{Path(path).suffix}"
                file.write_bytes(git("cat-file", "blob", name))
                files.append((path, file))
        return scanned(files)


def is_waived(suspect, waiver):
    """Whether a waiver is meant for a suspect."""
    narrower = [name for name in ("kind", "digest") if name in waiver]
    return fnmatchcase(suspect["path"], waiver["path"]) and all(waiver[name] == suspect[name] for name in narrower)


def main():
    """The command."""
    is_history = sys.argv[1] == "history"
    every = tomllib.loads(WAIVERS.read_text())["secret"]
    unexplained = [each for each in every if not each.get("reason", "").strip()]
    skipped = [each["path"] for each in every if each.get("skip")]
    waivers = [each for each in every if not each.get("skip") and (is_history or not each.get("past"))]

    def is_skipped(path):
        return any(fnmatchcase(path, pattern) for pattern in skipped)

    found = history(is_skipped) if is_history else tree(is_skipped)
    left = [each for each in found if not any(is_waived(each, waiver) for waiver in waivers)]
    idle = [each for each in waivers if not any(is_waived(suspect, each) for suspect in found)]
    say(f"{len(found)} suspects, {len(waivers)} waivers")
    for each in left:
        say(f"  {each['path']}:{each['line']}: {each['kind']} (digest {each['digest']})")
    for each in idle + unexplained:
        say(f"  waiver without use or reason: {each}")
    if left or idle or unexplained:
        raise Failure("something looks like a secret", "take it out, or say in waivers.toml why it is none")


if __name__ == "__main__":
    run(main)
