"""Hugging Face networks in miniature: where ``transformers`` is installed."""

import pytest
import torch

pytest.importorskip("transformers")

from benchmarks.huggingface import CASES
from dimat_flwr.symmetry import find_permutation_spec, verify


@pytest.mark.parametrize(
    "name", ["gpt2", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n not in ("gpt2", "mamba"))]
)
def test_hugging_face_network(name):
    model, inputs = CASES[name]()
    spec = find_permutation_spec(model, inputs)
    assert spec.permutable_share > 0.99
    assert spec.warnings == () or name == "mixtral"
    assert verify(model, spec, inputs) <= (1e-4 if name == "mixtral" else 1e-9)  # its experts only run in float32


@pytest.mark.slow
def test_grouped_queries_with_rotary_positions_move_in_whole_heads():
    model, inputs = CASES["llama"]()
    spec = find_permutation_spec(model, inputs)
    heads = [g for g in spec.groups.values() if g.name.endswith("heads")]
    assert [g.units for g in heads] == [2, 2]  # one per key and value head
    query = next(a for a in heads[0].axes if a.tensor.endswith("q_proj.weight"))
    assert query.positions.shape == (16, 2)  # two query heads of eight units move with each
    text = torch.randint(3, 60, (3, 9))
    with torch.no_grad():
        torch.testing.assert_close(spec.traced.run(model.state_dict(), {"input_ids": text}), model(input_ids=text))
