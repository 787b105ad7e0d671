"""Runs the component of this project in the real host: `necro-host plugin exec`, once for each call.

`run(call, input=…, settings=…, grant=…, files=…, replies=…, commands=…)` takes what a request of that command has
(`necro-host plugin exec --help`), and gives an `Answer`."""

import functools
import json
import os
import pathlib
import shutil
import subprocess

PROJECT = pathlib.Path(__file__).resolve().parent.parent


class Answer:
    """What came of a call."""

    def __init__(self, answer):
        self.outcome = answer["outcome"]
        self.calls = answer["calls"]
        self.log = answer.get("log", [])
        self.usage = answer.get("usage", {})
        self.files = answer.get("files") or {}
        self.diff = answer.get("diff") or ""

    @property
    def result(self):
        """What the component returned; an error is a failure of the test."""
        if "error" in self.outcome:
            raise AssertionError(f"{self.outcome['error']}: {self.outcome['message']}")
        return self.outcome["ok"]

    @property
    def failure(self):
        """How the component itself says that it failed."""
        if "failure" not in self.outcome:
            raise AssertionError(f"it did not fail: {self.outcome}")
        return self.outcome["failure"]

    @property
    def functions(self):
        """Functions of the host that it called, in order."""
        return [call["function"] for call in self.calls]


def run(call, **request):
    """Runs one call."""
    return Answer(_host(["plugin", "exec", _component()], json.dumps({"call": call, **request})))


def replay(fixture):
    """Replays a recorded decision (`necro-host run --record-fixtures`): the answer's `same` says whether it is."""
    return _host(["plugin", "exec", _component(), "--fixture", str(fixture)], "", (0, 1))


@functools.cache
def _component():
    if "NECRO_COMPONENT" in os.environ:
        return os.environ["NECRO_COMPONENT"]
    return _host(["plugin", "build", str(PROJECT), "--json"], "")["component"]


def _host(arguments, text, codes=(0,)):
    host = os.environ.get("NECRO_HOST") or shutil.which("necro-host")
    if not host:
        raise AssertionError("the host is missing: run `necro-host plugin test`, or set NECRO_HOST to the program")
    ended = subprocess.run([host, *arguments], input=text, capture_output=True, text=True, encoding="utf-8", check=False)
    if ended.returncode not in codes:
        raise AssertionError(ended.stderr)
    return json.loads(ended.stdout)
