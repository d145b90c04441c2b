"""Grafana dashboards as JSON, in the ConfigMap that Grafana's sidecar discovers.

``grafana-foundation-sdk`` builds them and is imported only then. Each version of the SDK targets one version
of Grafana, so it is pinned exactly. ``panels`` defines the contents.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from framework.delivery.monitoring.panels import Board, Panel
from framework.manifests.identity import Identity, Object

WIDTH, HEIGHT, COLUMNS = 12, 8, 2
"""Size of a panel on Grafana's grid of 24 columns, and panels per row."""
SOURCE = "${datasource}"
"""The dashboard's variable that selects the Prometheus data source."""


def config_map(identity: Identity, boards: Sequence[Board], label: str, folder: str) -> Object:
    """Return the ConfigMap with one file per board.

    Args:
        identity: the release's name and labels.
        boards: contents of the dashboards.
        label: the label by which Grafana's sidecar finds the ConfigMap.
        folder: Grafana's folder for the dashboards.
    """
    return identity.object(
        "v1",
        "ConfigMap",
        name=f"{identity.name}-dashboards",
        labels={label: "1"},
        annotations={"grafana_folder": folder},
        data={
            f"{identity.namespace}-{identity.name}-{board.level}.json": text(identity, board)
            for board in boards
        },
    )


def text(identity: Identity, board: Board) -> str:
    """Return a dashboard as JSON text."""
    from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    release = f"{identity.namespace}/{identity.name}"
    # Grafana allows 40 characters; the same dashboard keeps its URL after each render.
    uid = hashlib.sha256(f"{release}/{board.level}".encode()).hexdigest()[:20]
    dashboard = (
        Dashboard(f"{board.title} · {identity.name} ({identity.namespace})")
        .uid(uid)
        .tags(["gitune", identity.name, board.level])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for number, panel in enumerate(board.panels):
        dashboard.with_panel(_graph(panel, number))
    plain = json.loads(json.dumps(dashboard.build(), cls=JSONEncoder))
    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def _graph(panel: Panel, number: int) -> Any:
    from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
    from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
    from grafana_foundation_sdk.models.dashboard import (
        DataSourceRef,
        GridPos,
        Threshold,
        ThresholdsMode,
    )

    row, column = divmod(number, COLUMNS)
    source = DataSourceRef(type_val="prometheus", uid=SOURCE)
    graph = (
        Graph()
        .id(number + 1)
        .title(panel.title)
        .description(panel.about)
        .unit(panel.unit)
        .min(0)
        .datasource(source)
        .grid_pos(GridPos(h=HEIGHT, w=WIDTH, x=column * WIDTH, y=row * HEIGHT))
    )
    for letter, (query, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        graph.with_target(
            Dataquery().expr(query).legend_format(legend).ref_id(letter).datasource(source).range()
        )
    if panel.above is not None or panel.below is not None:
        low, high = ("green", "red") if panel.below is None else ("red", "green")
        threshold = panel.above if panel.below is None else panel.below
        steps = [Threshold(value=None, color=low), Threshold(value=threshold, color=high)]
        graph.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        graph.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return graph
