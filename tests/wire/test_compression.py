"""Lossy codecs: writer and readers agree to the last bit on what was read, and what is left out is sent later."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.wire.codecs.base import Codec, Passage
from dimat_flwr.wire.codecs.bfloat16 import BFloat16
from dimat_flwr.wire.codecs.feedback import FeedbackCodec
from dimat_flwr.wire.codecs.float32 import Float32
from dimat_flwr.wire.codecs.int8 import Int8
from dimat_flwr.wire.codecs.random_k import RandomK
from dimat_flwr.wire.codecs.top_k import TopK
from dimat_flwr.wire.payload import Expected, Payload, PayloadError, pack

FEEDBACK = [Int8(), TopK(share=0.2), RandomK(share=0.2)]
LOSSY = [*FEEDBACK, BFloat16()]
NUMBERS = {"w": (0.0, 1.0)}


def model(seed: int = 0, width: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4 * width, 3, 3, 3, generator=generator),
        "bn.running_var": torch.rand(4, generator=generator),
        "bn.num_batches_tracked": torch.tensor(12345678901),
        "fc.weight": torch.randn(7 * width, 5, generator=generator) * 1e-3,
        "double.weight": torch.randn(2, 2, generator=generator, dtype=torch.float64),
        "nothing": torch.zeros(0, 3),
    }


def passage(round: int, reader: int | None = None) -> Passage:
    return Passage("run", round, "merge", 1, reader)


class Edge:
    """A writer and a reader, each with a memory of its own."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.writer, self.reader = codec, {}, {}
        self.readers = [0]

    def write(self, state: dict[str, torch.Tensor], round: int) -> bytes:
        return self.codec.encode(Payload(state, {"w": 0.5}), passage(round), self.writer, self.readers)

    def read(self, blob: bytes, like: dict[str, torch.Tensor], round: int) -> Any:
        found = self.codec.decode(blob, passage(round), Expected(like, NUMBERS), self.reader)
        assert found.numbers == {"w": 0.5}
        assert sorted(found.tensors) == sorted(like)
        return found.tensors

    def as_read(self, state: dict[str, torch.Tensor], round: int) -> Any:
        return self.codec.as_read(Payload(state), passage(round), self.writer)


def off(found: Any, wanted: Any) -> float:
    return max(float((found[name] - tensor).abs().max()) for name, tensor in wanted.items() if tensor.numel())


@pytest.mark.parametrize("codec", LOSSY, ids=lambda c: type(c).__name__)
def test_writer_and_reader_agree_to_the_last_bit_on_a_model_that_moves(codec: Codec) -> None:
    edge, state = Edge(codec), model()
    for round in range(12):
        found = edge.read(edge.write(state, round), state, round)
        said = edge.as_read(state, round)
        for name, tensor in state.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert torch.equal(found[name], said[name])
            if tensor.ndim < 2 or not tensor.is_floating_point():
                assert torch.equal(found[name], tensor), "few and delicate: they travel as they are"
        state = {
            name: tensor + 0.01 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }


@pytest.mark.parametrize("codec", FEEDBACK, ids=lambda c: type(c).__name__)
def test_what_is_left_out_comes_later(codec: FeedbackCodec) -> None:
    edge, start, state = Edge(codec), model(1), model(2)
    edge.read(edge.write(start, 0), start, 0)
    errors = [off(edge.read(edge.write(state, round), state, round), state) for round in range(1, 40)]
    assert errors[0] > 1e-3, "or there is nothing to show"
    assert errors[-1] < 1e-6
    assert errors[20] < errors[0]


def test_int8_is_off_by_half_a_scale_at_most() -> None:
    edge, state = Edge(Int8()), model(3)
    found = edge.read(edge.write(state, 0), state, 0)
    for name in ("conv.weight", "fc.weight"):
        scale = state[name].flatten(1).abs().amax(1) / 127
        error = (found[name] - state[name]).flatten(1).abs().amax(1)
        assert bool((error <= scale * 0.501).all())
        assert bool((error > 0).any())


def test_top_k_takes_the_largest_differences_first() -> None:
    edge, start = Edge(TopK(share=0.01)), {"w": torch.zeros(100, 10)}
    edge.read(edge.write(start, 0), start, 0)
    state = {"w": torch.arange(1000.0).view(100, 10)}
    found = edge.read(edge.write(state, 1), state, 1)["w"].flatten()
    assert found.nonzero().flatten().tolist() == list(range(990, 1000))


@pytest.mark.parametrize(
    ("codec", "ratio"), [(BFloat16(), 1.95), (Int8(), 3.8), (TopK(share=0.01), 40), (RandomK(share=0.01), 80)], ids=str
)
def test_how_many_times_fewer_bytes(codec: Codec, ratio: float) -> None:
    edge, state = Edge(codec), {f"layer{k}.weight": torch.randn(64, 500) for k in range(9)}
    edge.write(state, 0)
    blob = edge.write({name: tensor + 1 for name, tensor in state.items()}, 1)
    assert len(pack(Payload(state))) / len(blob) >= ratio


@pytest.mark.parametrize("codec", [Int8(whole_every=5), TopK(share=0.2, whole_every=5)], ids=lambda c: type(c).__name__)
def test_a_reader_that_missed_a_payload_refuses_until_a_whole_one_comes(codec: FeedbackCodec) -> None:
    edge, state = Edge(codec), model()
    blobs = [edge.write(model(round), round) for round in range(6)]
    edge.read(blobs[0], state, 0)
    edge.read(blobs[1], state, 1)
    for lost in (3, 4):
        with pytest.raises(
            PayloadError, match=f"payload {lost} of this edge builds on the one before it, but the last"
        ):
            edge.read(blobs[lost], state, lost)
    found = edge.read(blobs[5], state, 5)
    assert all(torch.equal(found[name], said) for name, said in edge.as_read(model(5), 5).items())


def test_a_late_peers_payload_may_be_read_twice() -> None:
    edge, state = Edge(TopK(share=0.2)), model()
    edge.read(edge.write(state, 0), state, 0)
    blob = edge.write(model(1), 1)
    first, again = edge.read(blob, state, 1), edge.read(blob, state, 1)
    assert all(torch.equal(first[name], again[name]) for name in state)


@pytest.mark.parametrize("codec", FEEDBACK, ids=lambda c: type(c).__name__)
def test_a_reader_that_comes_anew_can_follow_at_once(codec: FeedbackCodec) -> None:
    edge, newcomer, state = Edge(codec), Edge(codec), model()
    edge.write(state, 0)
    edge.readers = [0, 3]
    blob = edge.write(model(1), 1)
    assert torch.equal(newcomer.read(blob, state, 1)["fc.weight"], edge.as_read(model(1), 1)["fc.weight"])
    edge.readers = [3]
    again = edge.write(model(2), 2)
    assert len(again) < len(blob) or codec.compresses_wholes, "who has followed needs no whole one"
    assert torch.equal(newcomer.read(again, state, 2)["fc.weight"], edge.as_read(model(2), 2)["fc.weight"])


@pytest.mark.parametrize("codec", FEEDBACK, ids=lambda c: type(c).__name__)
def test_a_reader_that_is_known_to_have_missed_a_payload_can_read_the_next(codec: FeedbackCodec) -> None:
    edge, state = Edge(codec), model()
    edge.readers = [0, 3]
    edge.read(edge.write(state, 0), state, 0)
    edge.write(model(1), 1)
    codec.missed(passage(2), edge.writer, [0])
    found = edge.read(edge.write(model(2), 2), state, 2)
    assert all(torch.equal(found[name], said) for name, said in edge.as_read(model(2), 2).items())


def test_each_reader_has_its_own_edge() -> None:
    codec, memory, like = TopK(share=0.1), {}, {"w": torch.zeros(10, 10)}
    for reader in (0, 2):
        codec.encode(Payload({"w": torch.full((10, 10), float(reader))}), passage(0, reader), memory, [reader])
    blob = codec.encode(Payload({"w": torch.zeros(10, 10)}), passage(1, 2), memory, [2])
    read = {"read merge 1 2": torch.full((100,), 2.0), "read merge 1 2 number": torch.tensor(0)}
    found = codec.decode(blob, passage(1, 2), Expected(like), read)
    assert int((found.tensors["w"] == 0).sum()) == 10


def test_a_network_without_matrices_travels_too() -> None:
    for codec in LOSSY:
        edge, state = Edge(codec), {"bias": torch.ones(3)}
        for round in range(3):
            assert torch.equal(edge.read(edge.write(state, round), state, round)["bias"], state["bias"])


@pytest.mark.parametrize("counts", [[3, -1], [1, 0], [5, 5]])
def test_places_that_are_none_are_refused(counts: list[int]) -> None:
    codec = TopK(share=0.5)
    parts = {"counts": torch.tensor(counts).int(), "places": torch.tensor([0, 1]).short()}
    with pytest.raises(PayloadError, match="places"):
        codec.read_places(parts, 2**16 + 5, 0)
    beyond = {"counts": torch.tensor([0, 2]).int(), "places": torch.tensor([-(2**15), -(2**15) + 5]).short()}
    with pytest.raises(PayloadError, match="beyond the end"):
        codec.read_places(beyond, 2**16 + 5, 0)


@pytest.mark.parametrize("reader", [*LOSSY, Float32()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("writer", [*LOSSY, Float32()], ids=lambda c: type(c).__name__)
def test_a_payload_in_a_codec_that_was_not_agreed_is_refused_or_reads_the_same(writer: Codec, reader: Codec) -> None:
    edge, agreed = Edge(writer), Edge(writer)
    other = Edge(reader)
    refused = 0
    for round in range(3):
        state = model(round)
        blob = edge.write(state, round)
        wanted = agreed.read(blob, state, round)
        try:
            found = other.read(blob, state, round)
        except PayloadError:
            refused += 1
        else:
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert refused >= (0 if type(writer) is type(reader) else 2)


@pytest.mark.parametrize("codec", LOSSY, ids=lambda c: type(c).__name__)
def test_values_beyond_the_type_that_is_expected_are_refused(codec: Codec) -> None:
    edge, sent = Edge(codec), {"w": torch.full((4, 3), 7e4)}
    with pytest.raises(PayloadError, match=r"'w' is of type torch\.float16, which does not hold its values"):
        edge.read(edge.write(sent, 0), {"w": torch.zeros(4, 3).half()}, 0)
    assert edge.reader == {}


LIKE = {"conv.weight": torch.randn(4, 3), "b": torch.ones(2), "n": torch.tensor(3)}
BLOBS = {
    (k, kind): blob
    for k, codec in enumerate(LOSSY)
    for edge in [Edge(codec)]
    for kind, blob in (("first", edge.write(LIKE, 0)), ("second", edge.write(LIKE, 1)))
}


@settings(max_examples=400)
@given(
    which=st.sampled_from(sorted(BLOBS)),
    position=st.integers(0, 10**6),
    junk=st.binary(max_size=12),
    knows=st.booleans(),
)
def test_whatever_arrives_is_read_or_refused(which: tuple[int, str], position: int, junk: bytes, knows: bool) -> None:
    codec, blob = LOSSY[which[0]], BLOBS[which]
    edge = Edge(codec)
    if knows:
        edge.read(BLOBS[which[0], "first"], LIKE, 0)
    position %= len(blob)
    try:
        found = edge.codec.decode(
            blob[:position] + junk + blob[position + len(junk) :], passage(1), Expected(LIKE, NUMBERS), edge.reader
        )
    except PayloadError:
        return
    for name, tensor in found.tensors.items():
        assert tensor.shape == LIKE[name].shape
        assert bool(tensor.double().isfinite().all())


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "conf/codec").glob("*.yaml")), ids=lambda p: p.stem
)
def test_yaml_and_class_agree(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    cls = get_class(values.pop("_target_"))
    assert cls(**values) == cls()
    assert set(values) == {field.name for field in dataclasses.fields(cls)}


def test_draws_come_from_the_seed_and_not_from_the_run_s_name() -> None:
    seeds = {Passage(run, 2, "merge", 1, None, draws).seed() for run in ("monday", "tuesday") for draws in (0, 1)}
    assert len(seeds) == 2
