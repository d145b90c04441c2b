"""Alerts reach their receiver, as amtool evaluates the operator's Alertmanager config."""

from pathlib import Path

import yaml

from framework.core.release import Release
from framework.delivery.monitoring.routing import alertmanager_config
from framework.manifests.identity import Identity

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")


def alertmanager(item):
    """Return the Alertmanager config that Prometheus Operator generates from an AlertmanagerConfig."""
    spec, namespace = item["spec"], item["metadata"]["namespace"]

    def matchers(items):
        return [
            f'namespace="{namespace}"',
            *(f'{one["name"]}{one["matchType"]}"{one["value"]}"' for one in items),
        ]

    def route(one):
        names = {"groupBy": "group_by", "groupWait": "group_wait", "groupInterval": "group_interval"}
        plain = {names[key]: value for key, value in one.items() if key in names}
        return {
            **plain,
            "receiver": one["receiver"],
            "repeat_interval": one["repeatInterval"],
            "matchers": matchers(one["matchers"]),
            "routes": [route(child) for child in one.get("routes", ())],
        }

    return {
        "route": {"receiver": "null", "routes": [route(spec["route"])]},
        "receivers": [
            {"name": "null"},
            *(
                {"name": one["name"], "webhook_configs": [{"url": "http://127.0.0.1:9/"}]}
                for one in spec["receivers"]
            ),
        ],
        "inhibit_rules": [
            {
                "source_matchers": matchers(one["sourceMatch"]),
                "target_matchers": matchers(one["targetMatch"]),
                "equal": one["equal"],
            }
            for one in spec["inhibitRules"]
        ],
    }


def test_alerts_reach_the_receiver_of_their_severity(tmp_path, run_tool):
    config = alertmanager_config(Identity.of(RELEASE, "staging"), "alerts")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager(config)))
    checked = run_tool("amtool", "check-config", tmp_path / "alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 inhibit rules" in checked.stdout
    for labels, receiver in (
        ({"severity": "critical", "release": "tiny", "namespace": "staging"}, "critical"),
        ({"severity": "warning", "release": "tiny", "namespace": "staging"}, "warning"),
        ({"severity": "critical", "release": "other", "namespace": "staging"}, "null"),
        ({"severity": "critical", "release": "tiny", "namespace": "production"}, "null"),
    ):
        arguments = [f"{key}={value}" for key, value in labels.items()]
        done = run_tool(
            "amtool", "config", "routes", "test", f"--config.file={tmp_path / 'alertmanager.yml'}", *arguments
        )
        assert done.stdout.strip() == receiver, done.stdout + done.stderr
