"""Change each field of a component, one after another."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from framework.core.component import Component
from framework.manifests.values import SecretKey
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.jobs.settings import Jobs
from framework.serving.request_log.options import RequestLog
from framework.serving.trace_options import Traces


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every keyed field of a component, and of those in it, that holds no component."""
    if isinstance(value, Component):
        for name in value.spec().keys() - {"_target_"}:
            yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), Component):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, tuple) and value and isinstance(value[0], Component):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


EXAMPLES: dict[Any, Component] = {
    CacheOptions: CacheOptions(),
    FallbackOptions: FallbackOptions(text="Later."),
    RequestLog: RequestLog(folder="log"),
    Traces: Traces(endpoint="http://collector:4318"),
    Jobs: Jobs(results="postgresql://database/jobs"),
    SecretKey: SecretKey(name="keys", key="keys.yaml"),
}
"""Parts that rules look into, where there are any."""


def other(value: Any, annotation: Any) -> Any:
    """Another value of the same kind."""
    if get_origin(annotation) is None and isinstance(value, bool):
        return not value
    if isinstance(value, float) and 0 < value < 1:
        return value / 2  # it may be a share
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        choices = [choice for choice in get_args(annotation) if isinstance(choice, str)]
        return next((choice for choice in choices if choice != value), f"{value}x")
    if isinstance(value, tuple):
        return (*value, "x")
    if isinstance(value, dict):
        return {**value, "x": "y"}
    # It was None.
    example = "x" if str in get_args(annotation) else 7
    return next((example for kind, example in EXAMPLES.items() if kind in get_args(annotation)), example)


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy of *value* in which the leaf at *path* is another."""
    first, *rest = path
    if isinstance(value, Component):
        before = getattr(value, first)
        annotation = type(value).model_fields[first].annotation
        after = changed(before, tuple(rest)) if rest else other(before, annotation)
        return value.model_copy(update={first: after})
    if isinstance(value, dict):
        return {**value, first: changed(value[first], tuple(rest))}
    return tuple(changed(item, tuple(rest)) if index == first else item for index, item in enumerate(value))
