from framework.build.tracking.none import NoTracking


def test_no_logger() -> None:
    assert NoTracking().logger("a") is None
