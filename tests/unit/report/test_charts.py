from xml.etree import ElementTree

from framework.report.charts import loss_curve, rate_curve, trade_off
from framework.report.facts import Candidate

SVG = "{http://www.w3.org/2000/svg}"


def candidate(name: str, speed: float, quality: float) -> Candidate:
    return Candidate(name, "merge", name, {"rows_per_second": speed, "accuracy": quality})


def marks(drawing: str) -> list[str]:
    every = ElementTree.fromstring(drawing).iter()
    return [kind.split()[-1] for each in every if (kind := each.get("class", "")).startswith("mark")]


def test_unbeaten_candidates_are_filled():
    every = [candidate("slow", 10, 0.9), candidate("fast", 100, 0.8), candidate("worse", 50, 0.7)]
    drawing = trade_off("a", every, [0, 0, 0], "accuracy", "rows_per_second")
    assert marks(drawing) == ["best", "best", "beaten"]
    assert "slow: 90.0% at 10; fast: 80.0% at 100; worse: 70.0% at 50." in drawing
    assert "rows/s (higher is better)" in drawing


def test_single_point_draws_no_chart():
    assert trade_off("a", [candidate("a", 1, 1)], [0], "accuracy", "rows_per_second") == ""


def test_non_finite_metrics_are_not_drawn():
    every = [candidate("slow", 10, 0.9), candidate("fast", 100, 0.8), candidate("broken", 50, float("nan"))]
    drawing = trade_off("a", every, [0, 0, 0], "accuracy", "rows_per_second")
    assert marks(drawing) == ["best", "best"]


def test_untimed_candidate_is_a_horizontal_line():
    base = Candidate("base", "model", "b", {"accuracy": 0.3})
    every = [base, candidate("slow", 10, 0.9), candidate("fast", 100, 0.8)]
    drawing = trade_off("a", every, [0, 0, 0], "accuracy", "rows_per_second")
    assert 'class="line level"' in drawing
    assert ">base</text>" in drawing


def test_many_points_are_labeled_by_number():
    every = [candidate(f"candidate-{n}", n, n / 20) for n in range(1, 13)]
    drawing = trade_off("a", every, [0] * 12, "accuracy", "rows_per_second")
    texts = [each.text for each in ElementTree.fromstring(drawing).iter(f"{SVG}text")]
    assert "12" in texts
    assert "candidate-12" not in texts


def test_long_curve_is_thinned_and_keeps_its_peak():
    entries = [{"step": n, "loss": 1.0, "learning_rate": 1e-3} for n in range(1, 5001)]
    entries[2500]["loss"] = 9.0
    drawing = ElementTree.fromstring(loss_curve("a", "tune", entries))
    (line,) = (each for each in drawing.iter(f"{SVG}polyline") if "series0" in each.get("class", ""))
    points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
    assert len(points) < 260
    assert min(y for _, y in points) < min(points[0][1], points[-1][1]) - 100
    xs = [x for x, _ in points]
    assert xs == sorted(xs)


def test_validation_loss_has_its_own_line():
    entries = [{"step": n, "loss": 5.0 - n, "learning_rate": 0.1} for n in range(1, 4)]
    drawing = loss_curve(
        "a", "tune", [*entries, {"step": 3, "validation_loss": 2.5}, {"step": 4, "loss": 1.5}]
    )
    assert "validation loss" in drawing
    assert "The loss falls from 4.000 at step 1 to 1.500 at step 4." in drawing
    assert "Maximum 0.1, final 0.1." in rate_curve("b", "tune", entries)
