"""Headers are read once and remembered: what is remembered for one form must never be taken for another."""

import pytest
import torch

from dimat_flwr.wire.payload import Expected, Payload, PayloadError, pack, unpack


def test_one_header_is_judged_by_what_each_reader_expects() -> None:
    sent = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    blob = pack(Payload(sent))
    for _ in range(2):
        assert torch.equal(unpack(blob, Expected(sent)).tensors["a"], sent["a"])
        with pytest.raises(PayloadError, match=r"'a' has shape \[2, 3\] instead of \[3, 2\]"):
            unpack(blob, Expected({**sent, "a": torch.zeros(3, 2)}))
        with pytest.raises(PayloadError, match="'a' has type \"F32\" instead of I32"):
            unpack(blob, Expected({**sent, "a": torch.zeros(2, 3, dtype=torch.int32)}))
        assert list(unpack(blob, Expected({"b": sent["b"], "a": sent["a"]})).tensors) == ["b", "a"]


def test_numbers_are_each_payloads_own() -> None:
    tensors = {"a": torch.ones(3)}
    for value in (1.0, 2.0, 1.0):
        found = unpack(pack(Payload(tensors, {"w": value})), Expected(tensors, {"w": (0.0, 5.0)}))
        assert found.numbers == {"w": value}
    with pytest.raises(PayloadError, match="'w'"):
        unpack(pack(Payload(tensors)), Expected(tensors, {"w": (0.0, 5.0)}))


def test_what_two_readers_make_of_one_blob_is_not_shared() -> None:
    tensors = {"a": torch.ones(3)}
    blob = pack(Payload(tensors))
    first = unpack(blob, Expected(tensors)).tensors["a"]
    first.add_(1)
    assert torch.equal(unpack(blob, Expected(tensors)).tensors["a"], tensors["a"])


def test_tensors_in_any_memory_order_travel_by_their_indices() -> None:
    image = torch.arange(24.0).view(1, 2, 3, 4)
    sent = {"image": image.to(memory_format=torch.channels_last), "turned": torch.arange(6.0).view(2, 3).T}
    found = unpack(pack(Payload(sent)), Expected({name: tensor.contiguous() for name, tensor in sent.items()})).tensors
    assert torch.equal(found["image"], image)
    assert torch.equal(found["turned"], sent["turned"])
