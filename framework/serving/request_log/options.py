"""The option ``serving.request_log``."""

from typing import Annotated

from pydantic import Field

from framework.build.clean.personal_data import Kind
from framework.build.clean.pii import KINDS
from framework.core.component import Component


class RequestLog(Component):
    """Where finished requests and feedback are kept, how many, and for how long."""

    folder: Annotated[str, Field(min_length=1)]
    """A folder, or a URL that fsspec opens (``s3://…``, ``gs://…``). Several servers may share it."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the finished requests that is kept,
    chosen by a hash of the answer's id; feedback always is."""
    mask: tuple[Kind, ...] = KINDS
    """What is masked in prompts, answers, comments and corrections, as ``clean=pii`` does: ``[EMAIL]``.
    Names and addresses have no form and are not found."""
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days after which a file is removed."""
    most_mib: Annotated[int, Field(ge=1)] = 1024
    """Most MiB of all files; the oldest are removed first."""
    flush_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    """Longest time that a row is in memory alone: what a killed server loses."""
