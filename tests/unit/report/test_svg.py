from itertools import pairwise
from xml.etree import ElementTree

import pytest

from framework.report.svg import HEIGHT, WIDTH, Axis, Frame, labels, picture, text


def test_axis_is_logarithmic_or_reversed_as_needed():
    speed, size = Axis.over([10.0, 1000.0], "speed"), Axis.over([1.0, 2.0], "size", reverse=True)
    assert speed.log
    assert speed.share(100.0) == pytest.approx(0.5)
    assert not size.log
    assert (size.share(size.low), size.share(size.high)) == (1.0, 0.0)


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.75, 0.75], [-1.0, -1.0], [5.0], [1e-9, 1e9], [-3.0, 4.0]])
def test_every_value_is_inside_its_axis(values):
    axis = Axis.over(values, "x")
    assert all(-1e-9 <= axis.share(value) <= 1 + 1e-9 for value in values)
    assert axis.low < axis.high
    assert len(axis.named) < 30


def test_share_axis_ends_at_one():
    assert max(Axis.over([0.7, 0.99], "accuracy", most=1.0).named) == 1.0


def test_axis_labels_do_not_overlap():
    frame = Frame(Axis.over([100_000.0, 900_000.0], "many"), Axis.over([0.0, 1.0], "y"))
    drawn = ElementTree.fromstring(f"<svg>{frame.drawn()}</svg>")
    row = [each for each in drawn.iter("text") if each.get("y") == str(HEIGHT - 25)]
    edges = [(float(each.get("x", 0)), len(each.text or "") * 6.7 / 2) for each in row]
    assert len(edges) > 1
    pairs = pairwise(edges)
    assert all(one + half < other - next_half for (one, half), (other, next_half) in pairs)


def test_labels_avoid_points_and_each_other():
    points = [(100.0, 100.0, "tuned"), (112.0, 101.0, "int8"), (105.0, 108.0, "int4"), (350.0, 20.0, "fp32")]
    drawn = ElementTree.fromstring(f"<svg>{labels(points)}</svg>")
    boxes = []
    for each in drawn.iter("text"):
        x, y, width = float(each.get("x", 0)), float(each.get("y", 0)), len(each.text or "") * 6.7
        assert x >= 0
        assert x + width <= WIDTH
        boxes.append((x, y - 10, x + width, y + 3))
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_text_is_escaped():
    drawn = picture("a", "<b>", "&", text(0, 0, '</text><script src="x">'))
    assert "<script" not in drawn
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    assert [child.text for child in root][:2] == ["<b>", "&"]
