"""Which instance takes an issue: of those that are free, the one that has waited longest for work."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import routing
from wit_world.imports import types


class Routing(exports.Routing):
    def route(self, issue, candidates, settings, state):
        free = [candidate for candidate in candidates if candidate.load < candidate.capacity]
        if not free:
            raise Err(types.Failure_Invalid("nobody is free"))
        chosen = min(free, key=lambda candidate: candidate.last_assigned)
        return routing.Decision(chosen.instance, [], "it has waited longest for work", "")
