"""The server's metrics, as a scrape shows them."""

import os
from contextvars import copy_context
from pathlib import Path

import pytest

from framework.core import metric_names as names
from framework.core.release import Release
from framework.serving.request_record import RequestRecord, begin_request
from framework.serving.telemetry.drift_watch import DriftWatch
from framework.serving.telemetry.metrics import VERSIONS, Metrics, Queue, resident_bytes
from framework.serving.telemetry.outputs import judge

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")


def scraped(metrics):
    return {sample.name: sample.value for family in metrics.registry.collect() for sample in family.samples}


def count_request_of(adapter, metrics):
    begin_request(RequestRecord("x", adapter=adapter))
    metrics.adapters.answered("200", "")
    metrics.read_prompt(7)
    metrics.spoke(0.5)


def test_exactly_the_documented_metrics_are_exposed():
    metrics = Metrics(RELEASE)
    metrics.watch_memory("server", os.getpid)
    metrics.watch_drift(DriftWatch(50))
    metrics.reported("a", {"completed": True}, 5)
    metrics.requests.labels("/", "200", "").inc()
    metrics.keys.reloaded("loaded")
    metrics.seconds.labels("/").observe(1)
    metrics.timeouts.labels("/").inc()
    metrics.jobs.ended.labels("completed").inc()
    metrics.outbound.watch("redis", lambda: False)
    metrics.cache.watch_size(lambda: 0)
    metrics.judged(judge("", cut=False), 0)
    metrics.logged.labels("requests", "written").inc()
    metrics.adapters.expect(["a"])
    copy_context().run(count_request_of, "a", metrics)
    found = {name.removesuffix(tail) for name in scraped(metrics) for tail in ("_bucket", "_sum", "_count")}
    everywhere = names.NAMES - names.OPTIONAL
    assert {name for name in found if name in names.NAMES} - names.OPTIONAL == everywhere
    exposed = {family.name for family in metrics.registry.collect()} - names.OPTIONAL
    assert exposed == {name.removesuffix("_total") for name in everywhere}


def test_gpus_are_shown_where_the_driver_counts_them():
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        count = 0
    families = {family.name: family.samples for family in Metrics(RELEASE).registry.collect()}
    assert [len(families.get(name, ())) for name in sorted(names.OPTIONAL)] == [count, count]


def test_queue_tracks_its_oldest_text():
    queue = Queue()
    assert queue.oldest() == 0
    queue.enter("first")
    queue.enter("second")
    before = queue.oldest()
    assert before >= queue.oldest() - 1
    queue.leave("first")
    queue.leave("first")
    assert len(queue) == 1
    queue.leave("second")
    assert queue.oldest() == 0


def test_invented_versions_do_not_create_series():
    metrics = Metrics(RELEASE)
    for number in range(3 * VERSIONS):
        metrics.reported(f"{number:012x}", {"completed": True}, None)
    (family,) = (each for each in metrics.registry.collect() if f"{each.name}_total" == names.FEEDBACK)
    versions = {sample.labels["version"]: sample.value for sample in family.samples}
    assert len(versions) == VERSIONS + 1
    assert versions["other"] == 2 * VERSIONS


def test_memory_of_an_ended_process_is_nan():
    assert resident_bytes(os.getpid()) > 1e6
    assert resident_bytes(2**22 + 1) == pytest.approx(float("nan"), nan_ok=True)
