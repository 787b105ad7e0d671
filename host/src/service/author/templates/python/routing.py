"""Which instance takes an issue: of those that are free and fit its labels, the one that has waited longest."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import routing
from wit_world.imports import types


class Routing(exports.Routing):
    def route(self, issue, candidates, settings, state):
        free = [candidate for candidate in candidates if candidate.load < candidate.capacity]
        fitting = [candidate for candidate in free if fits(candidate, issue.labels)]
        if not fitting:
            raise Err(types.Failure_Invalid("nobody who fits is free"))
        chosen = min(fitting, key=lambda candidate: candidate.last_assigned)
        return routing.Decision(chosen.instance, [], "it has waited longest for work", "")


def fits(candidate, labels):
    """A label names a role or a skill; an issue without labels fits everybody."""
    return not labels or any(label == candidate.role or label in candidate.skills for label in labels)
