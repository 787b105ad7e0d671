"""The component plans, in the real host. Run these with `necro-host plugin test`."""

import unittest

from necro_testing import run


class Plans(unittest.TestCase):
    def test_who_has_waited_longest_starts_first_and_only_as_many_as_fit(self):
        ready = [{"waiting_ms": 10}, {"waiting_ms": 30}, {"waiting_ms": 20}]
        answer = run("order", input={"ready": ready, "pools": [{"capacity": 2}]})
        self.assertEqual([placement["task"] for placement in answer.result["placements"]], ["2", "3"])

    def test_without_a_pool_nothing_can_be_planned(self):
        answer = run("order", input={"ready": [{}], "pools": []})
        self.assertEqual(answer.failure, {"failure": "invalid", "detail": "there is no pool"})


if __name__ == "__main__":
    unittest.main()
