"""A spirit that asks a model for one file and writes it: the shortest way from an assignment to a change."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import role
from wit_world.imports import llm, types, workspace_edit

ASK = 'Answer with a JSON object and nothing else: {"path": "a file", "text": "its whole text"}'


class Role(exports.Role):
    def describe(self):
        return role.RoleInfo("{{role}}", "{{title}}", ["{{role}}"])

    def perform(self, assignment, settings):
        messages = [
            llm.Message(llm.Speaker.SYSTEM, ASK, [], None, None),
            llm.Message(llm.Speaker.USER, f"{assignment.title}\n\n{assignment.text}", [], None, None),
        ]
        request = llm.Request("default", messages, [], llm.ToolChoice_Auto(), llm.ResponseFormat_JsonObject(), None)
        answer = call(llm.complete, request)
        try:
            file = json.loads(answer.text)
            path, text = file["path"], file["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise Err(types.Failure_GaveUp(f"the model's answer is no such object: {error}")) from error
        call(workspace_edit.write, path, text)
        return role.Report(assignment.title, f"wrote {path}")


def call(function, *arguments):
    """A host call whose error ends the attempt."""
    try:
        return function(*arguments)
    except Err as error:
        raise Err(types.Failure_Host(error.value)) from error
