"""What a peer keeps survives Flower's context bit for bit."""

import torch
from flwr.app import RecordDict
from torch import nn

from dimat_flwr.peer.optimizer_state import restore_optimizer, save_optimizer
from dimat_flwr.peer.state import PeerState, load_state, save_state


def test_a_fresh_peer_has_nothing() -> None:
    assert load_state(RecordDict()) == PeerState()


def test_state_survives_the_context() -> None:
    state = PeerState(
        weights={"w": torch.randn(3, 2), "n": torch.tensor(5)},
        tensors={"momentum": torch.randn(4, dtype=torch.float64)},
        numbers={"push_sum": 1 / 3},
        optimizer={"w/exp_avg": torch.ones(2)},
        batches_drawn=17,
        evaluation={"accuracy": 97.5, "local_accuracy": None, "loss": 0.25},
    )
    records = RecordDict()
    save_state(state, records)
    loaded = load_state(records)
    for mine, theirs in (
        (state.weights, loaded.weights),
        (state.tensors, loaded.tensors),
        (state.optimizer, loaded.optimizer),
    ):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine)
    assert (loaded.numbers, loaded.batches_drawn, loaded.evaluation) == (
        state.numbers,
        state.batches_drawn,
        state.evaluation,
    )


def test_kept_moments_make_the_next_steps_those_of_one_long_training() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(6, 8, 4)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, batches: torch.Tensor) -> None:
        for batch in batches:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

    long, parts = nn.Linear(4, 2), nn.Linear(4, 2)
    parts.load_state_dict(long.state_dict())
    steps(long, torch.optim.Adam(long.parameters(), 0.01), inputs)
    saved: dict[str, torch.Tensor] = {}
    for half in (inputs[:3], inputs[3:]):
        optimizer = torch.optim.Adam(parts.parameters(), 0.01)
        restore_optimizer(optimizer, parts, saved)
        steps(parts, optimizer, half)
        saved = save_optimizer(optimizer, parts)
    assert torch.equal(long.weight, parts.weight)
    assert torch.equal(long.bias, parts.bias)
