from framework.build.tracking.none import NoTracking


def test_nothing_is_watched() -> None:
    assert NoTracking().logger("a") is None
