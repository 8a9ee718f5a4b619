"""The first weights of the networks here."""

from torch import nn


def initialize(network: nn.Module) -> None:
    """Draw first weights from torch's global generator: He normal, zero biases; BatchNorm starts as the identity.

    Source: He et al., Delving Deep into Rectifiers (ICCV 2015), equation 10. Linear layers keep torch's own uniform
    draw: as classifiers their smaller scores start the loss near log(classes).

    Args:
        network: changed in place; may be on the meta device.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
