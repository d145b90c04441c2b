"""The thread that writes the log."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framework.core import metric_names as names
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.requestlog.log_folder import LogFolder
from framework.serving.request_log import log_writer
from framework.serving.request_log.log_writer import LogWriter
from framework.serving.request_log.options import RequestLog
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
NOW = datetime.now(UTC)


def row(name="a", **columns):
    return {"id": name, "time": NOW, **columns}


@pytest.fixture
def metrics():
    return Metrics(RELEASE)


def counts(metrics):
    families = {family.name: family for family in metrics.registry.collect()}
    samples = families[names.LOGGED_ROWS.removesuffix("_total")].samples
    return {(one.labels["table"], one.labels["outcome"]): one.value for one in samples}


def test_rows_of_many_threads_are_all_written_at_the_end(metrics, tmp_path):
    writer = LogWriter(RequestLog(folder=str(tmp_path), flush_seconds=0.05), metrics)

    def add(thread):
        for number in range(200):
            writer.add("requests", row(f"{thread}-{number}", answer="x" * 100))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.add("feedback", row(rating=5))
    writer.close()
    found = [each["id"] for _, _, each in LogFolder(str(tmp_path)).read("requests")]
    assert len(found) == len(set(found)) == 800
    assert [each["rating"] for _, _, each in LogFolder(str(tmp_path)).read("feedback")] == [5]
    assert counts(metrics) == {("requests", "written"): 800, ("feedback", "written"): 1}
    writer.add("requests", row("late"))
    assert counts(metrics)["requests", "dropped"] == 1


def test_rows_beyond_the_buffer_are_dropped_and_counted(metrics, tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "MOST_CHARACTERS", 1000)
    writer = LogWriter(RequestLog(folder=str(tmp_path), flush_seconds=3600), metrics)
    for number in range(5):
        writer.add("requests", row(f"{number}", messages=[{"content": "x" * 300}]))
    writer.close()
    assert counts(metrics) == {("requests", "written"): 3, ("requests", "dropped"): 2}


def test_a_folder_that_fails_later_costs_rows_but_no_request(metrics, tmp_path):
    folder = tmp_path / "log"
    writer = LogWriter(RequestLog(folder=str(folder), flush_seconds=3600), metrics)
    folder.rmdir()
    folder.write_text("a file is in the way")
    writer.add("requests", row())
    writer.close()
    assert counts(metrics) == {("requests", "failed"): 1}


def test_a_folder_that_cannot_be_made_stops_the_start(metrics, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServeError, match="request_log"):
        LogWriter(RequestLog(folder=str(tmp_path / "file" / "log")), metrics)


def test_personal_data_is_masked_wherever_users_write(metrics, tmp_path):
    writer = LogWriter(RequestLog(folder=str(tmp_path), mask=("email", "phone")), metrics)
    text = "write to\nann@example.com or\n+49 170 1234567"
    call = {"function": {"name": "send", "arguments": {"to": "bob@example.com"}}}
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    writer.add("requests", row(messages=turns, tools=[{"a": text}], text=text, answer=text))
    writer.add("feedback", row(comment=text, correction=text))
    writer.close()
    for table in ("requests", "feedback"):
        ((_, _, found),) = LogFolder(str(tmp_path)).read(table)
        assert "example.com" not in str(found)
        assert "1234567" not in str(found)
    assert found["correction"] == "write to\n[EMAIL] or\n[PHONE]"
