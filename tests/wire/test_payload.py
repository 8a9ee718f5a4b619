"""Whatever arrives, a payload is either exactly what was expected or refused with a reason."""

import json
import math

import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from dimat_flwr.wire.payload import Expected, Payload, PayloadError, from_record, pack, to_record, unpack

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = {
        "flag": torch.tensor([True, False, True]),  # an odd number of bytes before the larger types, if not sorted
        "weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(3, generator=generator),
        "num_batches_tracked": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.float16),
        "nothing": torch.zeros(2, 0),
    }
    return found | {f"any.{dtype}": torch.arange(5).to(dtype) for dtype in DTYPES}


LIKE = tensors()
ANY = (-math.inf, math.inf)


def header(blob: bytes) -> dict[str, object]:
    length = int.from_bytes(blob[:8], "little")
    found: dict[str, object] = json.loads(blob[8 : 8 + length])
    return found


def with_header(blob: bytes, found: object) -> bytes:
    text = found if isinstance(found, bytes) else json.dumps(found).encode()
    return len(text).to_bytes(8, "little") + text + blob[8 + int.from_bytes(blob[:8], "little") :]


def same(received: Payload, sent: dict[str, torch.Tensor]) -> bool:
    return list(received.tensors) == list(sent) and all(
        torch.equal(received.tensors[name], tensor) and received.tensors[name].dtype == tensor.dtype
        for name, tensor in sent.items()
    )


def test_a_payload_survives_the_wire_bit_for_bit() -> None:
    numbers = {"push_sum": 0.1, "count": 3.0, "tiny": 5e-324, "negative": -0.0, "large": 1.7e308}
    received = unpack(
        from_record(to_record(pack(Payload(tensors(), numbers)))), Expected(LIKE, dict.fromkeys(numbers, ANY))
    )
    assert same(received, tensors())
    assert received.numbers == numbers
    assert math.copysign(1, received.numbers["negative"]) == -1


def test_it_is_a_safetensors_file_both_ways() -> None:
    ours = load(pack(Payload(tensors(), {"w": 1.0})))
    assert all(torch.equal(ours[name], tensor) for name, tensor in tensors().items())
    assert same(unpack(save(tensors()), Expected(LIKE)), tensors())


def test_views_and_tensors_that_need_gradients_are_sent_as_they_look() -> None:
    base = torch.arange(12.0).view(3, 4)
    sent = {"turned": base.t(), "every_other": base[:, ::2], "learned": torch.ones(2, requires_grad=True)}
    received = unpack(pack(Payload(sent)), Expected(sent))
    assert all(torch.equal(received.tensors[name], tensor) for name, tensor in sent.items())


def test_what_is_received_may_be_written_to_without_touching_anything_else() -> None:
    blob = pack(Payload(tensors()))
    before = bytes(blob)
    received = unpack(blob, Expected(LIKE)).tensors
    for tensor in received.values():
        tensor.zero_()
    assert blob == before
    assert float(unpack(blob, Expected(LIKE)).tensors["weight"].abs().sum()) > 0
    received["weight"].fill_(1)
    assert not received["bias"].any()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"bias": None}, "missing tensor 'bias'"),
        ({"extra": torch.zeros(1)}, "unexpected tensor 'extra'|bytes"),
        ({"bias": torch.zeros(3, 1)}, r"'bias' has shape \[3, 1\] instead of \[3\]"),
        ({"bias": torch.zeros(3, dtype=torch.int32)}, "'bias' has type \"I32\" instead of F32"),
        ({"bias": torch.tensor([0, math.nan, 0])}, "'bias' holds NaN"),
        ({"weight": torch.full((3, 4), math.inf)}, "'weight' holds NaN or infinite"),
        ({"half": torch.tensor([1, math.inf, 1], dtype=torch.float16)}, "'half' holds NaN or infinite"),
        ({"any.torch.bfloat16": torch.full((5,), math.nan, dtype=torch.bfloat16)}, "'any.torch.bfloat16' holds NaN"),
    ],
)
def test_a_wrong_payload_is_refused_with_the_tensor_and_the_reason(sent, reason) -> None:  # type: ignore[no-untyped-def]
    whole = {name: tensor for name, tensor in {**tensors(), **sent}.items() if tensor is not None}
    if "bias" in sent and sent["bias"] is None:
        whole["spare"] = torch.zeros(3)  # of the same size, so that it is the name that is looked at
    with pytest.raises(PayloadError, match=reason):
        unpack(pack(Payload(whole)), Expected(LIKE))


def test_a_sum_that_overflows_is_not_taken_for_an_infinity() -> None:
    sent = {"half": torch.full((5000,), 60000.0, dtype=torch.float16), "big": torch.full((9,), 3e38)}
    assert torch.equal(unpack(pack(Payload(sent)), Expected(sent)).tensors["big"], sent["big"])


def test_truth_values_are_zero_or_one() -> None:
    blob = pack(Payload({"flag": torch.tensor([True, False])}))
    with pytest.raises(PayloadError, match=r"'flag' holds .*truth values"):
        unpack(blob[:-1] + b"\x02", Expected({"flag": torch.tensor([True, False])}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h["bias"].update(data_offsets=h["half"]["data_offsets"]), "'bias' lies at"),
        (lambda h: h["bias"].update(data_offsets=[2**70, 2**70 + 12]), "overlap or leave gaps"),
        (lambda h: h["bias"].update(data_offsets=[-12, 0]), "overlap or leave gaps"),
        (lambda h: h["bias"].update(data_offsets=[1.0, 13.0]), "'bias' lies at"),
        (lambda h: h["bias"].update(data_offsets="ab"), "'bias' lies at"),
        (lambda h: h["bias"].update(data_offsets=[h["bias"]["data_offsets"][0] + 2, h["bias"]["data_offsets"][1] + 2]),
         "'bias' lies at"),
        (lambda h: h["bias"].update(data_offsets=h["any.torch.float32"]["data_offsets"]), "'bias' lies at"),
        (lambda h: h["bias"].update(more=1), "'bias' is not described as safetensors does"),
        (lambda h: h.update(bias=[]), "'bias' is not described as safetensors does"),
        (lambda h: h["__metadata__"].update(w="nan"), "number 'w' is not a finite number"),
        (lambda h: h["__metadata__"].update(w="0x1.0p+9999"), "number 'w' is not a finite number"),
        (lambda h: h["__metadata__"].update(w="1"), "number 'w' is not a finite number"),
        (lambda h: h["__metadata__"].update(w=1.0), "number 'w' is not a finite number"),
        (lambda h: h["__metadata__"].update(x="0x1.0000000000000p+0"), "unexpected number 'x'"),
        (lambda h: h.pop("__metadata__"), "missing number 'w'"),
        (lambda h: h.update(__metadata__=[]), "the payload's numbers are not"),
        (lambda h: h.update(__metadata__={str(k): "" for k in range(65)}), "not at most 64 named numbers"),
    ],
)  # fmt: skip
def test_a_header_is_not_believed(change, reason) -> None:  # type: ignore[no-untyped-def]
    blob = pack(Payload(tensors(), {"w": 1.0}))
    found = header(blob)
    change(found)
    with pytest.raises(PayloadError, match=reason):
        unpack(with_header(blob, found), Expected(LIKE, {"w": ANY}))


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff", b"[" * 2000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a":1,"a":1}', b"\xef\xbb\xbf{}"],
)
def test_what_is_no_header_is_refused(text: bytes) -> None:
    with pytest.raises(PayloadError, match="the payload's header is not readable"):
        unpack(with_header(pack(Payload(tensors())), text), Expected(LIKE))


@pytest.mark.parametrize("blob", [b"", b"\0", b"\xff" * 8, b"\xff" * 2000, (2**40).to_bytes(8, "little") + b"{}"])
def test_sizes_are_checked_before_anything_is_read(blob: bytes) -> None:
    with pytest.raises(PayloadError, match="bytes of tensors and a small header were expected"):
        unpack(blob, Expected(LIKE))


def test_a_long_header_is_not_parsed() -> None:
    blob = pack(Payload(tensors()))
    with pytest.raises(PayloadError, match="a small header"):
        unpack(with_header(blob, json.dumps(header(blob)).encode() + b" " * 1_000_000), Expected(LIKE))


def test_a_type_that_cannot_be_sent_cannot_be_received_either() -> None:
    blob = pack(Payload({"z": torch.zeros(1, dtype=torch.float64)}))
    found = header(blob)
    found["z"].update(dtype=None)  # type: ignore[attr-defined]
    with pytest.raises(PayloadError, match=r"'z' has type null instead of torch.complex64"):
        unpack(with_header(blob, found), Expected({"z": torch.zeros(1, dtype=torch.complex64)}))


@given(st.integers(0, 8000), st.binary(min_size=1, max_size=4))
def test_bytes_overwritten_anywhere_give_a_refusal_or_a_sound_payload(position: int, replacement: bytes) -> None:
    blob = pack(Payload(tensors(), {"w": 0.5}))
    position %= len(blob)
    try:
        received = unpack(blob[:position] + replacement + blob[position + len(replacement) :], Expected(LIKE))
    except PayloadError:
        return
    for name, tensor in received.tensors.items():
        assert tensor.shape == LIKE[name].shape
        assert tensor.dtype == LIKE[name].dtype
        assert torch.isfinite(tensor.double()).all()


def test_reasons_are_short_and_clean_whatever_the_names_are() -> None:
    hostile = {"\ud800\x1b\n" * 100: torch.zeros(1), "ok": torch.zeros(1)}
    with pytest.raises(PayloadError) as caught:
        unpack(pack(Payload(hostile)), Expected({"a": torch.zeros(1), "b": torch.zeros(1)}))
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (Payload({"z": torch.zeros(1, dtype=torch.complex64)}), "complex64, which cannot be sent"),
        (Payload({"__metadata__": torch.zeros(1)}), "cannot be sent under the name"),
        (Payload({"": torch.zeros(1)}), "cannot be sent under the name"),
        (Payload({}, {str(k): 1.0 for k in range(65)}), "65 numbers; at most 64"),
    ],
)
def test_what_no_reader_takes_is_not_sent(payload: Payload, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        pack(payload)


@pytest.mark.parametrize(
    "record",
    [
        3, b"blob", {}, {"blob": b""}, ArrayRecord(), MetricRecord({"blob": 1}),
        ArrayRecord([torch.zeros(2).numpy()]),
        ArrayRecord({"blob": Array("float32", (3,), "dimat.payload", b"abc")}),
        ArrayRecord({"blob": Array("uint8", (2**62,), "dimat.payload", b"abc")}),
        ArrayRecord({"blob": Array("uint8", (), "dimat.payload", b"abc")}),
        ArrayRecord({"blob": Array("uint8", (3,), "numpy.ndarray", b"abc")}),
        ArrayRecord({"blob": to_record(b"abc")["blob"], "more": to_record(b"abc")["blob"]}),
    ],
)  # fmt: skip
def test_what_is_not_one_blob_is_refused(record: object) -> None:
    with pytest.raises(PayloadError, match=r"not one blob|not a blob"):
        from_record(record)


def test_no_record_at_all_is_said() -> None:
    with pytest.raises(PayloadError, match="no payload arrived"):
        from_record(None)
    assert from_record(to_record(b"abc")) == b"abc"
