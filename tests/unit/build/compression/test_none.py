from framework.build.compression import ExportCompression, ModelCompression
from framework.build.compression.none import NoCompression


def test_no_compression_releases_the_float_export() -> None:
    """No step runs: the option is neither a model nor an export compression."""
    assert NoCompression.changes_nothing
    assert NoCompression.label == "fp32"
    assert not issubclass(NoCompression, ExportCompression | ModelCompression)
