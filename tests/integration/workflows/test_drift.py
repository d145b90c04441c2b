"""The workflow `drift`: one issue for as long as Git and its locks differ."""

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_edited_manifest_opens_an_issue_that_its_fix_closes(hub: Any) -> None:
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert hub.state()["issues"] == []

    clone = hub.clone("editor")
    (file,) = (clone / "environments" / "dev" / "quickstart").glob("service-*.yaml")
    whole = file.read_text()
    file.write_text(whole.replace("targetPort: http", "targetPort: other"))
    hub.commit(clone, "Edit by hand", "main")
    for _ in range(2):
        ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
        assert ran.returncode != 0
    (issue,) = hub.state()["issues"]
    assert issue["state"] == "open"
    assert file.name in issue["body"]
    assert "fix with    run render +recipe=quickstart environment=dev" in issue["body"]

    file.write_text(whole)
    hub.commit(clone, "Render again", "main")
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert [each["state"] for each in hub.state()["issues"]] == ["closed"]
