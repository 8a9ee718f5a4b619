import copy

import pytest
import torch

from dimat_flwr.merging import MergeError, merge
from dimat_flwr.symmetry import find_permutation_spec
from tests.merging.networks import images, network


def _preactivations(model, state, batch):
    """Return each hidden convolution's or linear layer's outputs, (units, observations)."""
    model = copy.deepcopy(model)
    model.load_state_dict(state)
    seen = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and name not in ("classifier", "5"):
            layer.register_forward_hook(
                lambda m, i, out, name=name: seen.__setitem__(name, out.transpose(0, 1).flatten(1))
            )
    with torch.no_grad():
        model(batch)
    return seen


@pytest.mark.parametrize("family", ["vgg16", "mlp"])
def test_merged_units_get_their_ancestors_mean_and_deviation(family):
    model = network(family)
    mine, theirs = (copy.deepcopy(network(family, seed).state_dict()) for seed in (1, 2))
    batch = images(32, 32)  # one batch: then what is measured and what is normalized by are the same numbers
    spec = find_permutation_spec(model, batch[0])
    options = {"spec": spec, "batches": batch, "method": "none"}
    plain = merge(model, mine, [theirs], [0.4, 0.6], **options)
    repaired = merge(model, mine, [theirs], [0.4, 0.6], repair=True, **options)
    ours, others, before, after = (_preactivations(model, state, batch[0]) for state in (mine, theirs, plain, repaired))
    shrunk = 0.0
    for name, units in after.items():
        varies = before[name].std(1) > 1e-5
        mean = 0.4 * ours[name].mean(1) + 0.6 * others[name].mean(1)
        deviation = 0.4 * ours[name].std(1) + 0.6 * others[name].std(1)
        torch.testing.assert_close(units.mean(1)[varies], mean[varies], rtol=1e-3, atol=1e-3 * float(deviation.max()))
        torch.testing.assert_close(units.std(1)[varies], deviation[varies], rtol=1e-3, atol=1e-5)
        shrunk += float((before[name].std(1) < 0.9 * deviation).float().mean())
    assert shrunk / len(after) > 0.5  # the collapse that repair is for is there without it
    last = [name for name in mine if name.startswith(("classifier", "5."))]
    assert last
    assert all(torch.equal(plain[name], repaired[name]) for name in last)


def test_a_network_merged_with_itself_is_not_changed():
    model = network("vgg16")
    mine = model.state_dict()
    batches = images(32, 32)
    spec = find_permutation_spec(model, batches[0])
    repaired = merge(model, mine, [mine], [0.5, 0.5], spec=spec, batches=batches, method="none", repair=True)
    for name, tensor in mine.items():
        torch.testing.assert_close(repaired[name], tensor, rtol=1e-3, atol=1e-5)


def test_networks_with_batchnorm_and_negative_weights_are_refused():
    model = network("vgg16_bn")
    spec = find_permutation_spec(model, images(2, 2)[0])
    options = {"spec": spec, "batches": images(8, 8), "method": "none", "repair": True}
    with pytest.raises(MergeError, match="without BatchNorm"):
        merge(model, model.state_dict(), [model.state_dict()], [0.5, 0.5], **options)
    model = network("mlp")
    options["spec"] = find_permutation_spec(model, images(2, 2)[0])
    with pytest.raises(MergeError, match="weights >= 0"):
        merge(model, model.state_dict(), [model.state_dict()], [1.5, -0.5], **options)
