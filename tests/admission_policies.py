"""Evaluate admission policies as the API server does, with a library for CEL."""

import copy
import functools

import cel


def pod_of(objects):
    """Return the pod that a cluster makes of the rendered workload."""
    kind = next(kind for kind in ("Deployment", "Rollout", "InferenceService") if kind in objects)
    spec = objects[kind]["spec"]
    if kind == "InferenceService":
        keys = ("containers", "initContainers", "volumes")
        metadata = {"annotations": spec["predictor"]["annotations"]}
        return {"metadata": metadata, "spec": {key: spec["predictor"][key] for key in keys}}
    return copy.deepcopy(spec["template"])


def refusals(spec, new, old=None, operation=None, user="platform"):
    """Return the messages of what a policy refuses, as the API server evaluates it."""
    request = {"operation": operation or ("UPDATE" if old else "CREATE"), "userInfo": {"username": user}}
    values = {"object": new, "oldObject": old, "request": request}
    if not all(evaluated(rule["expression"], values) for rule in spec.get("matchConditions", ())):
        return []
    values["variables"] = {}
    for variable in spec.get("variables", ()):
        values["variables"][variable["name"]] = evaluated(variable["expression"], values)
    return [rule["message"] for rule in spec["validations"] if not evaluated(rule["expression"], values)]


def evaluated(expression, values):
    context = cel.Context()
    for name, value in values.items():
        context.add_variable(name, value)
    context.add_function("dyn", lambda value: value)
    return compiled(expression).execute(context)


compiled = functools.cache(cel.compile)
