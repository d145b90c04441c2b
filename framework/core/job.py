"""A job: the steps that a worker is to build, as JSON that travels to another process or machine.

It knows steps by their keys; where they are built, and by whom, it does not.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from framework.core.errors import StepError
from framework.core.step import Stage, Step


def write_job(
    steps: Sequence[Step],
    pending: Iterable[Step],
    store: str,
    plugins: Iterable[str],
    machines: int = 1,
    again: Iterable[Step] = (),
) -> str:
    """Return the text of a job: every step by key, and the keys that are to be built.

    Args:
        steps: all of a plan, inputs first.
        pending: those that are to be built, in this order.
        store: the absolute path of the artifacts' store, where the worker will run.
        plugins: the packages besides ``framework`` that options may come from.
        machines: how many work on it; all but the first join where it trains.
        again: what is built even where the store has it, since what it left elsewhere is gone.
    """
    job = {
        "store": store,
        "plugins": list(plugins),
        "machines": machines,
        "total": len(steps),
        "positions": {step.key: number for number, step in enumerate(steps, 1)},
        "pending": [step.key for step in pending],
        "again": [step.key for step in again],
        "steps": [
            {
                "key": step.key,
                "label": step.label,
                "stage": step.stage.dump(),
                "libraries": step.identity()["libraries"],
                "needs": {slot: need.key for slot, need in step.needs.items()},
            }
            for step in steps
        ],
    }
    return json.dumps(job, indent=1, sort_keys=True)


def read_steps(job: dict[str, Any]) -> dict[str, Step]:
    """Return the job's steps by key.

    Raises:
        StepError: a step has another key than when it was planned.
    """
    steps: dict[str, Step] = {}
    context = {"plugins": tuple(job["plugins"])}
    for entry in job["steps"]:
        stage = Stage.model_validate(entry["stage"], context=context)
        step = Step(entry["label"], stage, {slot: steps[key] for slot, key in entry["needs"].items()})
        if step.key != entry["key"]:
            raise StepError(_changed(step, entry["libraries"]))
        steps[step.key] = step
    return steps


def _changed(step: Step, planned: dict[str, str]) -> str:
    here = step.identity()["libraries"]
    other = sorted(name for name in planned if here.get(name) != planned[name])
    if other:
        return (
            f"{step.label}: {other[0]} is {here.get(other[0])} here, and was {planned[other[0]]} where the "
            "plan was made; install the same versions in both places, or type the same command again"
        )
    return f"{step.label}: a file or a library changed after the plan was made; type the same command again"
