"""Networks of tokens, of several inputs and of named ones on the command line."""

import pytest
import torch
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.cli.components import example_input
from dimat_flwr.cli.errors import CommandError


def test_tokens():
    result = CliRunner().invoke(app, ["verify", "tests.symmetry.networks.Gpt", "--input-shape", "6:int11"])
    assert result.exit_code == 0, result.output
    assert "unchanged" in result.output


def test_a_network_without_groups_is_not_called_unchanged():
    result = CliRunner().invoke(
        app,
        [
            "verify",
            "torch.nn.Linear",
            "--model-arg",
            "in_features=3",
            "--model-arg",
            "out_features=2",
            "--input-shape",
            "3",
        ],
    )
    assert result.exit_code != 0
    assert "nothing to verify" in " ".join(result.output.split())


def test_descriptions_of_inputs():
    tokens = example_input("16:int5", 0)
    assert tokens.shape == (2, 16)
    assert tokens.dtype == torch.int64
    assert set(tokens.unique().tolist()) <= set(range(5))
    assert [tuple(x.shape) for x in example_input("3,4;7:int2", 0)] == [(2, 3, 4), (2, 7)]
    assert {k: tuple(v.shape) for k, v in example_input("x=3;mask=4,4:int2", 0).items()} == {
        "x": (2, 3),
        "mask": (2, 4, 4),
    }


@pytest.mark.parametrize("wrong", ["3,", "3:int", "3:int0", "3:float", "a=3;4", "a=3;a=4", "3;;4", "", "3:tokens7"])
def test_wrong_descriptions_are_refused(wrong):
    with pytest.raises(CommandError, match=r"input shape|no name"):
        example_input(wrong, 0)
