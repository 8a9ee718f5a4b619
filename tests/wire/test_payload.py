"""Whatever arrives, a payload is either exactly what was expected or refused with a reason."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dimat_flwr.wire.payload import Payload, PayloadError, decode, encode

LIKE = {
    "weight": torch.zeros(3, 4),
    "bias": torch.zeros(3),
    "num_batches_tracked": torch.tensor(0),
    "half": torch.zeros(2, dtype=torch.float16),
}


def good() -> Payload:
    generator = torch.Generator().manual_seed(1)
    return Payload(
        {
            "weight": torch.randn(3, 4, generator=generator),
            "bias": torch.randn(3, generator=generator),
            "num_batches_tracked": torch.tensor(7),
            "half": torch.ones(2, dtype=torch.float16),
        },
        {"push_sum": 0.25},
    )


def test_a_payload_survives_the_wire_bit_for_bit() -> None:
    sent = good()
    received = decode(*encode(sent), LIKE)
    assert list(received.tensors) == list(LIKE)
    for name, tensor in sent.tensors.items():
        assert torch.equal(received.tensors[name], tensor)
        assert received.tensors[name].dtype == tensor.dtype
    assert received.numbers == {"push_sum": 0.25}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("bias"), "missing tensor 'bias'"),
        (lambda a: a.update(extra=Array(np.zeros(1))), "unexpected tensor 'extra'"),
        (lambda a: a.update(bias=Array(np.zeros(4, np.float32))), r"'bias' has shape \(4,\) instead of \(3,\)"),
        (lambda a: a.update(bias=Array(np.zeros(3))), "'bias' has type float64 instead of float32"),
        (lambda a: a.update(bias=Array(np.full(3, np.nan, np.float32))), "'bias' holds NaN"),
        (lambda a: a.update(bias=Array(np.array([0, np.inf, 0], np.float32))), "'bias' holds NaN or infinite"),
    ],
)
def test_a_wrong_payload_is_refused_with_the_tensor_and_the_reason(change, reason) -> None:  # type: ignore[no-untyped-def]
    arrays, numbers = encode(good())
    change(arrays)
    with pytest.raises(PayloadError, match=reason):
        decode(arrays, numbers, LIKE)


def test_a_claimed_shape_is_not_believed() -> None:
    arrays, numbers = encode(good())
    liar = Array(np.zeros((4, 3), np.float32))
    arrays["weight"] = Array("float32", (3, 4), "numpy.ndarray", liar.data)
    with pytest.raises(PayloadError, match="not what it claimed"):
        decode(arrays, numbers, LIKE)


def test_numbers_must_be_finite_and_single() -> None:
    arrays, _ = encode(good())
    for bad in (float("nan"), [1.0, 2.0]):
        with pytest.raises(PayloadError, match="not one finite number"):
            decode(arrays, MetricRecord({"push_sum": bad}), LIKE)


def test_bfloat16_is_refused_before_sending() -> None:
    with pytest.raises(PayloadError, match="keep the model's weights in float32"):
        encode(Payload({"w": torch.zeros(2, dtype=torch.bfloat16)}))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_arrays_never_get_through_and_never_crash(data: st.DataObject) -> None:
    arrays, numbers = encode(good())
    name = data.draw(st.sampled_from([*LIKE, "other"]))
    original = arrays["weight"].data
    raw = data.draw(
        st.one_of(
            st.binary(max_size=400),
            st.tuples(st.integers(0, len(original) - 1), st.integers(0, 255)).map(
                lambda flip: original[: flip[0]] + bytes([flip[1]]) + original[flip[0] + 1 :]
            ),
            hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_dims=3, max_side=4), elements=None).map(
                lambda values: Array(values).data
            ),
        )
    )
    shape = data.draw(st.sampled_from([(3, 4), (3,), (), (2,), (2**40,)]))
    dtype = data.draw(st.sampled_from(["float32", "float16", "int64", "object", "|O"]))
    stype = data.draw(st.sampled_from(["numpy.ndarray", "pickle", ""]))
    arrays[name] = Array(dtype, shape, stype, raw)
    try:
        received = decode(arrays, numbers, LIKE)
    except PayloadError:
        return
    for key, tensor in received.tensors.items():
        assert tensor.shape == LIKE[key].shape
        assert tensor.dtype == LIKE[key].dtype
        assert torch.isfinite(tensor.double()).all()


def test_what_is_no_record_at_all_is_refused() -> None:
    for nothing in (None, {}, MetricRecord({})):
        with pytest.raises(PayloadError, match="no tensors arrived"):
            decode(nothing, None, LIKE)
    assert decode(ArrayRecord(), None, {}).tensors == {}
