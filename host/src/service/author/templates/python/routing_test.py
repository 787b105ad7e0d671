"""The component decides, in the real host. Run these with `necro-host plugin test`."""

import unittest

from necro_testing import run


class Decides(unittest.TestCase):
    def test_the_one_that_has_waited_longest_is_chosen(self):
        candidates = [
            {"instance": "qa_spirit_1", "last_assigned": 9},
            {"instance": "qa_spirit_2", "last_assigned": 4},
            {"instance": "qa_spirit_3", "last_assigned": 1, "load": 1},
        ]
        answer = run("route", input={"issue": {"title": "Test the login"}, "candidates": candidates})
        self.assertEqual(answer.result["instance"], "qa_spirit_2")
        self.assertEqual(answer.calls, [])

    def test_when_nobody_who_fits_is_free_the_policy_says_so(self):
        candidates = [{"instance": "qa_spirit_1", "load": 1}, {"instance": "backend_spirit_1"}]
        answer = run("route", input={"issue": {"labels": ["qa"]}, "candidates": candidates})
        self.assertEqual(answer.failure, {"failure": "invalid", "detail": "nobody who fits is free"})


if __name__ == "__main__":
    unittest.main()
