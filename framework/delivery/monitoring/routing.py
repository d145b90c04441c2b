"""Alert routing: receivers by severity, grouping by release, and inhibition of less severe alerts.

It renders Prometheus Operator's AlertmanagerConfig, which matches only alerts of the object's own namespace.
It does not know the alerts.
"""

from framework.manifests.identity import Identity, Object

_REPEAT = {"critical": "1h", "warning": "12h"}
"""How often an alert that keeps firing is sent again, by severity."""


def alertmanager_config(identity: Identity, secret: str) -> Object:
    """Return the AlertmanagerConfig for *identity*'s alerts.

    Args:
        identity: the release's name and labels.
        secret: the Secret whose keys ``critical`` and ``warning`` hold webhook URLs.
    """
    receivers = [
        {
            "name": severity,
            "webhookConfigs": [{"sendResolved": True, "urlSecret": {"name": secret, "key": severity}}],
        }
        for severity in _REPEAT
    ]
    routes = [
        {"matchers": [_equal("severity", severity)], "receiver": severity, "repeatInterval": every}
        for severity, every in _REPEAT.items()
    ]
    route = {
        "receiver": "warning",
        "matchers": [_equal("release", identity.name)],
        "groupBy": ["release", "severity"],
        "groupWait": "30s",
        "groupInterval": "5m",
        "repeatInterval": "12h",
        "routes": routes,
    }
    inhibitions = [
        # While no pod answers, all other alerts are consequences.
        {
            "sourceMatch": [_equal("alertname", "GituneDown")],
            "targetMatch": [_equal("release", identity.name), _not_equal("alertname", "GituneDown")],
            "equal": ["namespace", "release"],
        },
        # A critical alert covers the warnings of its level.
        {
            "sourceMatch": [_equal("severity", "critical")],
            "targetMatch": [_equal("release", identity.name), _equal("severity", "warning")],
            "equal": ["namespace", "release", "level"],
        },
    ]
    spec = {"inhibitRules": inhibitions, "receivers": receivers, "route": route}
    return identity.object("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", spec=spec)


def _equal(name: str, value: str) -> Object:
    return {"matchType": "=", "name": name, "value": value}


def _not_equal(name: str, value: str) -> Object:
    return {"matchType": "!=", "name": name, "value": value}
