"""What each kind of engine can do, and the error for what it cannot."""

import pytest

from framework.build.engine import (
    Classifies,
    ClassifiesImages,
    Embeds,
    Generates,
    GeneratesTogether,
    GivesAnswerLogits,
    GivesLogits,
    require,
)
from framework.build.engine.genai import GenaiEngine
from framework.build.engine.onnx_decoder import OnnxDecoder
from framework.build.engine.onnxruntime import OnnxClassifier, OnnxEmbedder, OnnxTokenClassifier
from framework.build.engine.openvino import (
    OpenVinoClassifier,
    OpenVinoDecoder,
    OpenVinoEmbedder,
    OpenVinoTokenClassifier,
)
from framework.build.engine.tensorrt import TensorRTClassifier, TensorRTTokenClassifier
from framework.build.engine.tensorrt_decoder import TensorRTDecoder
from framework.build.engine.torch_models import (
    TorchClassifier,
    TorchDecoder,
    TorchEmbedder,
    TorchEncoderDecoder,
    TorchImageClassifier,
    TorchTokenClassifier,
)
from framework.core.errors import ServeError

CAPABILITIES = (
    GivesLogits,
    GivesAnswerLogits,
    Generates,
    GeneratesTogether,
    Classifies,
    ClassifiesImages,
    Embeds,
)
DECODER = {GivesLogits, Generates, GeneratesTogether}
ENGINES = {
    TorchDecoder: DECODER,
    OnnxDecoder: DECODER,
    OpenVinoDecoder: DECODER,
    TensorRTDecoder: DECODER,
    GenaiEngine: DECODER,
    TorchEncoderDecoder: {GivesAnswerLogits, Generates, GeneratesTogether},
    TorchClassifier: {Classifies},
    OnnxClassifier: {Classifies},
    OpenVinoClassifier: {Classifies},
    TensorRTClassifier: {Classifies},
    TorchTokenClassifier: {GivesLogits},
    OnnxTokenClassifier: {GivesLogits},
    OpenVinoTokenClassifier: {GivesLogits},
    TensorRTTokenClassifier: {GivesLogits},
    TorchImageClassifier: {ClassifiesImages},
    TorchEmbedder: {Embeds},
    OnnxEmbedder: {Embeds},
    OpenVinoEmbedder: {Embeds},
}


@pytest.mark.parametrize("kind", ENGINES)
def test_engine_has_the_methods_of_its_model_only(kind) -> None:
    assert {capability for capability in CAPABILITIES if has_methods(kind, capability)} == ENGINES[kind]


def has_methods(kind: type, capability: type) -> bool:
    """Tell whether *kind* has the methods of a protocol; its attributes exist once a folder is open."""
    methods = [name for name, value in vars(capability).items() if callable(value) and name[0] != "_"]
    return all(callable(getattr(kind, name, None)) for name in methods)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_missing_capability_names_engine_and_remedy(capability) -> None:
    class Empty:
        runtime = "empty"

    with pytest.raises(ServeError, match=r"^the empty engine cannot .*; open ") as caught:
        require(Empty(), capability)
    assert "\n" not in str(caught.value)
