"""``data=requests``: rows from a request log."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from framework.build.data.mix import Mix
from framework.build.data.requests import Requests
from framework.build.data.row_formats import canonical
from framework.build.stages.read import ReadRows
from framework.core.errors import SourceError
from framework.core.step import Workspace
from framework.requestlog.log_folder import LogFolder

START = datetime(2026, 1, 2, tzinfo=UTC)


def asked(name, prompt="Capital?", answer="Paris", minute=0, **columns):
    messages = None if "text" in columns else json.dumps([{"role": "user", "content": prompt}])
    row = {"id": name, "time": START + timedelta(minutes=minute), "digest": "sha256:ab", "answer": answer}
    return row | {"messages": messages, "finish_reason": "stop" if messages else None} | columns


def said(name, **columns):
    return {"id": name, "time": START, **columns}


@pytest.fixture
def log(tmp_path):
    def write(requests, feedback=()):
        folder = LogFolder(str(tmp_path / "log"))
        folder.write("requests", requests)
        if feedback:
            folder.write("feedback", feedback)
        return str(tmp_path / "log")

    return write


def learned(data):
    """Return prompt and answer of each row of both splits."""
    lines = [*data.read("train"), *data.read("test")]
    return {line.raw["messages"][0]["content"]: line.raw["messages"][-1]["content"] for line in lines}


def test_good_answers_and_corrections_are_taken_and_the_others_counted(log):
    requests = [
        asked("good", "q1"),
        asked("low", "q2"),
        asked("fixed", "q3", "wrong"),
        asked("silent", "q4"),
        asked("done", "q5"),
        asked("failed", "q6"),
        asked("empty", "q7", "", bad="empty"),
        asked("cut", "q8", finish_reason="length"),
    ]
    feedback = [
        said("good", rating=4),
        said("low", rating=3),
        said("fixed", rating=1),
        said("fixed", correction="right"),
        said("done", completed=True),
        said("failed", rating=5),
        said("failed", completed=False),
        said("empty", rating=5),
        said("cut", rating=5),
        said("unknown", rating=5),
    ]
    data = Requests(log=log(requests, feedback))
    assert learned(data) == {"q1": "Paris", "q3": "right", "q5": "Paris"}
    assert data.left_out() == {
        "bad or cut answer": 2,
        "feedback without its request": 1,
        "no feedback": 1,
        "not completed": 1,
        "rated too low": 1,
    }
    assert set(learned(data.model_copy(update={"unrated": True}))) == {"q1", "q3", "q4", "q5"}
    assert set(learned(data.model_copy(update={"min_rating": 3}))) == {"q1", "q2", "q3", "q5"}


def test_one_row_for_a_prompt_corrected_before_rated_before_later(log):
    requests = [asked(f"{number}", answer=f"answer {number}", minute=number) for number in range(4)]
    rated = [said("0", rating=4), said("1", rating=5), said("2", rating=5), said("3", rating=4)]
    data = Requests(log=log(requests, rated))
    assert learned(data) == {"Capital?": "answer 2"}
    assert data.left_out() == {"same prompt as another": 3}
    LogFolder(data.log.url).write("feedback", [said("0", correction="Berlin")])
    assert learned(data) == {"Capital?": "Berlin"}


def test_splits_are_stable_and_rows_name_their_origin(log):
    requests = [asked(f"{number}", f"question {number}") for number in range(200)]
    data = Requests(log=log(requests, [said(f"{number}", rating=5) for number in range(200)]))
    train, test = (list(data.read(split)) for split in ("train", "test"))
    assert 10 <= len(test) <= 35
    assert len(train) + len(test) == 200
    prompts = [{line.raw["messages"][0]["content"] for line in split} for split in (train, test)]
    assert not prompts[0] & prompts[1]
    assert list(data.read("train")) == train
    first = train[0]
    assert first.file.startswith("requests/")
    assert first.raw["metadata"]["id"] == f"{first.number - 1}"
    assert canonical(first.raw, first.ignore)["messages"][-1]["role"] == "assistant"
    size = data.guess_size()
    assert size.train + size.test == 200


def test_classified_texts_get_the_corrected_label(log):
    requests = [asked("a", answer="bad", text="lovely"), asked("b", answer='["x", "y"]', text="both")]
    requests.append(asked("c", answer=" a time", text="Once upon", finish_reason="stop"))
    data = Requests(
        log=log(requests, [said("a", correction="good"), said("b", rating=5), said("c", rating=5)])
    )
    assert data.left_out() == {"a continued text, and no conversation": 1}
    rows = [line.raw for line in (*data.read("train"), *data.read("test"))]
    found = {row["text"]: row.get("label", row.get("labels")) for row in rows}
    assert found == {"lovely": "good", "both": ["x", "y"]}


def test_the_read_stage_and_a_mix_report_what_was_left_out(log, tmp_path):
    requests = [asked(f"{number}", f"question {number}") for number in range(60)]
    url = log(requests, [said(f"{number}", rating=5) for number in range(50)])
    mix = Mix(parts={"users": {"data": Requests(log=url).dump()}})
    assert mix.left_out() == {"users: no feedback": 10}
    output = tmp_path / "read"
    output.mkdir()
    ReadRows.of(mix).run({}, output, Workspace(tmp_path))
    summary = json.loads((output / "summary.json").read_text())
    assert summary["left_out"] == {"users: no feedback": 10}
    assert summary["train"]["rows"] + summary["test"]["rows"] == 50


def test_a_folder_without_a_log_is_a_problem(tmp_path):
    (tmp_path / "empty").mkdir()
    data = Requests(log=str(tmp_path / "empty"))
    assert [problem.key for problem in data.problems()] == ["log"]
    with pytest.raises(SourceError, match="no request log"):
        list(data.read("train"))
