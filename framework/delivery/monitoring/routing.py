"""Who hears of an alert: routes by severity, one message a release, and what keeps quiet behind a worse one.

Written for Prometheus Operator's AlertmanagerConfig, which adds to each route that the alert's namespace
must be the object's own. It does not know the alerts.
"""

from framework.manifests.identity import Identity, Object

_REPEAT = {"critical": "1h", "warning": "12h"}
"""How often an alert that goes on is told again."""


def alertmanager_config(identity: Identity, secret: str) -> Object:
    """Return the routes of *identity*'s alerts.

    Args:
        identity: whose alerts they are.
        secret: the Secret whose keys ``critical`` and ``warning`` each hold the URL of a webhook.
    """
    receivers = [
        {
            "name": severity,
            "webhookConfigs": [{"sendResolved": True, "urlSecret": {"name": secret, "key": severity}}],
        }
        for severity in _REPEAT
    ]
    routes = [
        {"matchers": [_is("severity", severity)], "receiver": severity, "repeatInterval": every}
        for severity, every in _REPEAT.items()
    ]
    route = {
        "receiver": "warning",
        "matchers": [_is("release", identity.name)],
        "groupBy": ["release", "severity"],
        "groupWait": "30s",
        "groupInterval": "5m",
        "repeatInterval": "12h",
        "routes": routes,
    }
    quiet = [
        # While nothing answers, all else follows from that.
        {
            "sourceMatch": [_is("alertname", "GituneDown")],
            "targetMatch": [_is("release", identity.name), _is_not("alertname", "GituneDown")],
            "equal": ["namespace", "release"],
        },
        # One level's warnings say what its worse alert says already.
        {
            "sourceMatch": [_is("severity", "critical")],
            "targetMatch": [_is("release", identity.name), _is("severity", "warning")],
            "equal": ["namespace", "release", "level"],
        },
    ]
    spec = {"inhibitRules": quiet, "receivers": receivers, "route": route}
    return identity.object("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", spec=spec)


def _is(name: str, value: str) -> Object:
    return {"matchType": "=", "name": name, "value": value}


def _is_not(name: str, value: str) -> Object:
    return {"matchType": "!=", "name": name, "value": value}
