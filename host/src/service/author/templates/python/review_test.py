"""The component reviews changes, in the real host. Run these with `necro-host plugin test`."""

import unittest

from necro_testing import run


def review(text):
    """What is found in a new file with this text."""
    return run("review", input={"change": {"files": [{"path": "src/a.py", "text": text}]}}).result


class Reviews(unittest.TestCase):
    def test_a_line_that_was_left_for_later_is_found(self):
        [finding] = review("a = 1\n# FIXME: and b\n")
        self.assertEqual((finding["file"], finding["line"]), ("src/a.py", 2))

    def test_what_is_done_is_not(self):
        self.assertEqual(review("a = 1\n"), [])


if __name__ == "__main__":
    unittest.main()
