"""A token data set and a network for it, as somebody else would write them: no class of ours knows of tokens.

Chosen by ``dataset._target_=tests.data.tokens.Tokens`` and ``model._target_=tests.data.tokens.Tagger`` alone.
"""

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.component import STRICT
from dimat_flwr.data import DataError, Dataset, DataSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tokens(DataSource):
    """Made-up sequences; the class of a place is the sum of its token and the one before, modulo ``num_classes``.

    Attributes:
        vocabulary: tokens are 0..vocabulary - 1.
        length: tokens in a sequence.
        tag_every_place: False: a sequence has one class, that of its last place.
        padded: the last place of every second sequence has no label.
    """

    num_classes: int = Field(default=4, ge=2)
    vocabulary: int = Field(default=12, ge=2)
    length: int = Field(default=6, ge=2)
    tag_every_place: bool = True
    padded: bool = False

    def example_input(self, samples: int = 2) -> Tensor:
        return torch.zeros(samples, self.length, dtype=torch.int64)

    def check(self) -> None:
        pass

    def read(self) -> Dataset:
        train = self._part(0, self.train_samples or 400)
        return Dataset(*train, *self._part(1, self.test_samples or 200))

    def _part(self, seed: int, samples: int) -> tuple[Tensor, Tensor]:
        if samples > 10_000:
            raise DataError(f"Tokens makes up at most 10000 sequences, not {samples}; ask for fewer")
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, self.vocabulary, (samples, self.length), generator=generator)
        before = torch.nn.functional.pad(tokens, (1, 0))[:, :-1]
        labels = (tokens + before) % self.num_classes
        if self.padded:
            labels[::2, -1] = -100
        return tokens, labels if self.tag_every_place else labels[:, -1].contiguous()


class Tagger(nn.Module):
    """Embeds tokens, looks at each place and the one before, and scores every place (or the last one)."""

    def __init__(
        self, vocabulary: int = 12, num_classes: int = 4, width: int = 32, tag_every_place: bool = True
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.here, self.before = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.classifier = nn.Linear(width, num_classes)
        self.tag_every_place = tag_every_place

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, T, num_classes), or (B, num_classes), for int64 (B, T)."""
        x = self.embedding(tokens)
        before = torch.nn.functional.pad(self.before(x), (0, 0, 1, 0))[:, :-1]
        scores = self.classifier(torch.relu(self.here(x) + before))
        return scores if self.tag_every_place else scores[:, -1]
