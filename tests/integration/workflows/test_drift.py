"""The workflow `drift` keeps one issue open while Git and its locks differ."""

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_edited_manifest_opens_an_issue_that_its_fix_closes(hub: Any) -> None:
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert hub.state()["issues"] == []

    clone = hub.clone("editor")
    (file,) = (clone / "environments" / "dev" / "quickstart").glob("service-*.yaml")
    original = file.read_text()
    file.write_text(original.replace("targetPort: http", "targetPort: other"))
    hub.commit(clone, "Edit by hand", "main")
    for _ in range(2):
        ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
        assert ran.returncode != 0
    (issue,) = hub.state()["issues"]
    assert issue["state"] == "open"
    assert file.name in issue["body"]
    assert "run render +recipe=quickstart environment=dev" in issue["body"]

    file.write_text(original)
    hub.commit(clone, "Render again", "main")
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert [issue["state"] for issue in hub.state()["issues"]] == ["closed"]
