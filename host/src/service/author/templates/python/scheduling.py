"""Which ready tasks start next: the ones that have waited longest, as many as there is room for."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import scheduling
from wit_world.imports import types


class Scheduling(exports.Scheduling):
    def order(self, ready, pools, settings, state):
        if not pools:
            raise Err(types.Failure_Invalid("there is no pool"))
        pool = pools[0]
        tasks = sorted(ready, key=lambda task: -task.waiting_ms)[: max(0, pool.capacity - pool.running)]
        placements = [scheduling.Placement(task.spec, task.task, pool.name) for task in tasks]
        return scheduling.Plan(placements, "")
