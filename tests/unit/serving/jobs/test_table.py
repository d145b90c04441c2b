import concurrent.futures
import time

import pytest

from framework.core.errors import ServeError
from framework.serving.jobs.job import NewJob
from framework.serving.jobs.rows import JobRows
from framework.serving.jobs.table import JobTable
from framework.serving.jobs.upkeep import Upkeep


def at_once(call, times=8):
    """Return the results of *times* parallel calls with their numbers."""
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        return [done.result() for done in [pool.submit(call, number) for number in range(times)]]


def test_a_job_keeps_what_was_sent(table):
    new = NewJob(
        "/v1/x", {"text": "ä\u2028", "n": None}, "owner", {"metadata": {"a": "b"}}, "key", "http://x"
    )
    job, is_new = table.add(new, "job_a")
    assert is_new
    read = table.get("job_a", "owner")
    assert read == job
    assert (read.path, read.body, read.shown, read.webhook) == (new.path, new.body, new.shown, new.webhook)
    assert (read.status, read.result, read.error, read.ended, read.attempts) == (
        "queued",
        None,
        None,
        None,
        0,
    )
    assert table.get("job_a", "another") is None
    assert table.cancel("job_a", "another") is None
    assert table.get("job_a", "owner").status == "queued"


def test_one_idempotency_key_creates_one_job_of_an_owner(table):
    added = at_once(lambda n: table.add(NewJob("/v1/x", {}, "owner", key="k"), f"job_{n}"))
    assert sum(is_new for _, is_new in added) == 1
    assert len({job.id for job, _ in added}) == 1
    assert table.add(NewJob("/v1/x", {}, "another", key="k"), "job_other")[1]
    assert table.add(NewJob("/v1/x", {}, "owner"), "job_without")[1]
    assert table.add(NewJob("/v1/x", {}, "owner"), "job_without_too")[1]
    assert sum(table.open_jobs().values()) == 4


def test_an_answer_is_kept_without_being_a_job(rows, table):
    table.keep(NewJob("/v1/x", {"n": 1}, "owner"), "resp_kept", "completed", {"a": 1})
    kept = table.get("resp_kept", "owner")
    assert (kept.status, kept.result, kept.body) == ("completed", {"a": 1}, {"n": 1})
    assert (table.open_jobs(), table.waiting(9), Upkeep(rows).count_ended()) == ({}, [], {})
    assert not table.delete("resp_kept", "another")
    assert Upkeep(rows).erase(60) == 0
    assert Upkeep(rows).erase(-60) == 1


def test_a_deleted_job_gets_no_result(table, add):
    job_id = add(key="k")
    assert table.with_key("k", "owner").id == job_id
    assert table.with_key("k", "another") is None
    table.claim(job_id, "holder")
    assert table.delete(job_id, "owner")
    assert not table.renew(job_id, "holder")
    assert not table.finish(job_id, "completed", {})
    assert (table.get(job_id, "owner"), table.with_key("k", "owner")) == (None, None)


def test_one_holder_begins_a_job(table, add):
    job_id = add()
    begun = [job for job in at_once(lambda n: table.claim(job_id, f"holder-{n}")) if job is not None]
    assert [job.attempts for job in begun] == [1]
    assert table.waiting(9) == []


def test_the_first_result_stays(table, add):
    job_id = add()
    table.claim(job_id, "holder")
    wrote = at_once(lambda n: table.finish(job_id, "completed", {"n": n}))
    assert sum(wrote) == 1
    job = table.get(job_id, "owner")
    assert (job.status, job.result) == ("completed", {"n": wrote.index(True)})
    assert table.cancel(job_id, "owner") == job
    assert not table.renew(job_id, "holder")
    assert not table.release(job_id, "holder")


def test_a_cancelled_job_gets_no_result(table, add):
    job_id = add()
    table.claim(job_id, "holder")
    assert table.renew(job_id, "holder")
    assert table.cancel(job_id, "owner").status == "cancelled"
    assert not table.renew(job_id, "holder")
    assert not table.finish(job_id, "completed", {})
    assert table.get(job_id, "owner").result is None


def test_a_job_is_given_back_by_its_holder_alone(table, add):
    job_id = add()
    table.claim(job_id, "holder")
    assert not table.release(job_id, "another")
    assert table.release(job_id, "holder")
    assert table.claim(job_id, "another").attempts == 1
    assert table.release(job_id, "another", 60, lost=True)
    assert (table.claim(job_id, "holder"), table.waiting(1)) == (None, [])
    assert table.get(job_id, "owner").attempts == 1


def test_oldest_jobs_first(table, add):
    ids = [add(number) for number in range(3)]
    assert (table.waiting(2), sum(table.open_jobs().values())) == (ids[:2], 3)


def test_a_silent_holder_loses_its_job(rows, add):
    table, upkeep = JobTable(rows, 3600, lease_seconds=-1), Upkeep(rows)
    job_id = add()
    assert upkeep.take_back(2) == 0
    for attempt in (1, 2):
        assert table.claim(job_id, "holder").attempts == attempt
        assert table.get(job_id, "owner").status == "in_progress"
        assert (upkeep.take_back(2), upkeep.take_back(2)) == (1, 0)
        assert table.get(job_id, "owner").status == ("failed" if attempt == 2 else "queued")
    job = table.get(job_id, "owner")
    assert (job.status, job.error["code"]) == ("failed", "attempts_exceeded")


def test_late_jobs_fail(rows, add):
    JobTable(rows, -1, 30).add(NewJob("/v1/x", {}, "owner"), "job_late")
    kept = add()
    late = JobTable(rows, 3600, 30)
    assert late.claim("job_late", "holder") is None
    assert [job.id for job in Upkeep(rows).fail_late()] == ["job_late"]
    assert late.get("job_late", "owner").error["code"] == "deadline_exceeded"
    assert late.get(kept, "owner").status == "queued"


def test_ended_jobs_are_counted_once_and_erased(rows, table, add):
    upkeep, ids = Upkeep(rows), [add(number) for number in range(3)]
    before = time.time()
    table.finish(ids[0], "completed", {})
    table.finish(ids[1], "failed", None, {"message": "x"})
    counts = at_once(lambda n: upkeep.count_ended())
    assert [count for count in counts if count] == [{"completed": 1, "failed": 1}]
    queued, oldest = upkeep.queued()
    assert queued == 1
    assert oldest <= before
    assert upkeep.erase(60) == 0
    assert upkeep.erase(-60) == 2
    assert [table.get(each, "owner") is None for each in ids] == [True, True, False]


def test_queued_jobs_are_sent_again_later_and_later(rows, table, add):
    upkeep, job_id = Upkeep(rows), add()
    assert sorted(at_once(lambda n: upkeep.to_publish(9, 60))) == [[]] * 7 + [[job_id]]
    assert upkeep.to_publish(9, 60) == []
    upkeep.unpublish([job_id])
    waits = []
    for _ in range(4):
        assert upkeep.to_publish(9, 60) == [job_id]
        [(due,)] = rows.select(rows.c.publish_due, which=rows.c.id == job_id)
        waits.append(round((due - time.time()) / 60))
        rows.change(rows.c.id == job_id, {"publish_due": 0.0})
    assert waits == [1, 2, 4, 8]
    table.claim(job_id, "holder")
    assert upkeep.to_publish(9, 60) == []
    table.release(job_id, "holder")
    assert upkeep.to_publish(9, 60) == [job_id]


def test_releases_do_not_see_each_other(rows, table, add, request):
    job_id = add()
    other = JobRows(rows.url, "another")
    try:
        assert JobTable(other, 9, 9).waiting(9) == []
        assert JobTable(other, 9, 9).claim(job_id, "holder") is None
    finally:
        other.close()


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "nonsense://secret", "secret"])
def test_a_wrong_url_is_refused_without_showing_it(url):
    with pytest.raises(ServeError, match=r"serving.jobs.results") as caught:
        JobRows(url, "x")
    assert "secret" not in str(caught.value)
