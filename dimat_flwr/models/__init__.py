"""The networks of the papers and small ones. Any other ``torch.nn.Module`` works too, by its path."""

from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.models.cifar_vgg import VGG16
from dimat_flwr.models.digits_cnn import DigitsCNN
from dimat_flwr.models.mlp import MLP

__all__ = ["MLP", "VGG16", "DigitsCNN", "ResNet20"]
