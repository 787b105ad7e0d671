"""A spirit in Python that reports what it sees of time and chance: one line for each thing it tries."""

import datetime
import os
import random
import secrets
import time
import uuid

from wit_world import exports
from wit_world.exports import role
from wit_world.imports import log

SECONDS_SLEPT = 3600


def look():
    """The lines."""
    began = time.monotonic()
    wall = time.time()
    time.sleep(SECONDS_SLEPT)
    slept, passed = time.monotonic() - began, time.time() - wall
    words = ["moon", "bone", "candle", "raven", "ash", "bell", "crypt", "dust"]
    return [
        f"slept an hour: {slept >= SECONDS_SLEPT and passed >= SECONDS_SLEPT}",
        f"time.time: {time.time()!r}",
        f"time.monotonic_ns: {time.monotonic_ns()}",
        f"time.perf_counter_ns: {time.perf_counter_ns()}",
        f"datetime.now: {datetime.datetime.now(datetime.timezone.utc).isoformat()}",
        f"local time: {time.localtime().tm_hour} {time.tzname}",
        f"os.urandom: {os.urandom(16).hex()}",
        f"secrets.token_hex: {secrets.token_hex(8)}",
        f"uuid.uuid4: {uuid.uuid4()}",
        f"uuid.uuid1: {uuid.uuid1()}",
        f"random.random: {random.random()!r}",
        f"random.Random: {random.Random().random()!r}",
        f"random.SystemRandom: {random.SystemRandom().random()!r}",
        f"random.shuffle: {shuffled(words)}",
        f"hash: {hash('a word')}",
        f"set: {list(set(words))}",
        f"id: {id(object()) % 2}",
        f"environment: {len(os.environ)}",
        f"file: {can_read('/etc/passwd')}",
    ]


def shuffled(words):
    """The words in another order."""
    words = list(words)
    random.shuffle(words)
    return words


def can_read(path):
    """Whether a file of the machine is there."""
    try:
        with open(path, encoding="utf-8") as file:
            return bool(file.read())
    except OSError:
        return False


class Role(exports.Role):
    """What the world `spirit` asks for."""

    def describe(self):
        return role.RoleInfo("observer", "Observer in Python", [])

    def perform(self, assignment, settings):
        log.emit(log.Level.INFO, "looking", [("task", assignment.task)])
        return role.Report("what there is", "\n".join(look()))
