"""The codec seam, and the codec that sends tensors as they are."""

from pathlib import Path

import pytest
import torch
import yaml

from dimat_flwr.wire.codecs.base import Passage
from dimat_flwr.wire.codecs.float32 import Float32
from dimat_flwr.wire.payload import Expected, Payload, PayloadError

W = {"w": (0.0, 1.0)}
PASSAGE = Passage(run="r", round=3, exchange="merge", source=1, reader=None)


def test_float32_is_exact_for_every_type_and_keeps_nothing() -> None:
    codec, memory = Float32(), {}
    sent = Payload({"a": torch.randn(3, 4), "n": torch.tensor(7), "h": torch.ones(2, dtype=torch.float64)}, {"w": 0.1})
    received = codec.decode(codec.encode(sent, PASSAGE, memory, [0]), PASSAGE, Expected(sent.tensors, W), memory)
    assert codec.exact
    assert all(torch.equal(received.tensors[name], tensor) for name, tensor in sent.tensors.items())
    assert received.numbers == sent.numbers
    assert memory == {}


def test_float32_refuses_what_is_not_expected() -> None:
    codec = Float32()
    blob = codec.encode(Payload({"a": torch.zeros(3)}), PASSAGE, {}, [0])
    with pytest.raises(PayloadError, match="missing number 'w'"):
        codec.decode(blob, PASSAGE, Expected({"a": torch.zeros(3)}, W), {})
    with pytest.raises(PayloadError, match="'a' has shape"):
        codec.decode(blob, PASSAGE, Expected({"a": torch.zeros(3, 1)}), {})


def test_the_yaml_names_the_class() -> None:
    text = (Path(__file__).parents[2] / "conf/codec/float32.yaml").read_text()
    assert yaml.safe_load(text) == {"_target_": f"{Float32.__module__}.{Float32.__name__}"}
