"""The component works in a temporary repository, with a model whose replies are written here. Run these with
`necro-host plugin test`."""

import json
import unittest

from necro_testing import run


class Works(unittest.TestCase):
    def test_what_the_model_writes_is_in_the_work_tree(self):
        reply = {"text": json.dumps({"path": "b.py", "text": "b = 1\n"})}
        answer = run("perform", input={"assignment": {"title": "Write b"}}, replies=[reply])
        self.assertEqual(answer.result["title"], "Write b")
        self.assertEqual(answer.files["b.py"], "b = 1\n")
        self.assertEqual(answer.functions, ["llm.complete", "workspace-edit.write"])

    def test_without_a_model_it_fails_and_says_so(self):
        answer = run("perform", grant=["workspace-edit"])
        self.assertEqual(answer.failure["failure"], "host")
        self.assertEqual(answer.failure["detail"]["error"], "denied")


if __name__ == "__main__":
    unittest.main()
