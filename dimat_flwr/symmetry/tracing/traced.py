"""A network's forward pass as a graph that runs with any weights and shows its activations."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.tap import Tap
from dimat_flwr.symmetry.tracing.call import Call, Example

if TYPE_CHECKING:  # a specification that is read from a file is traced only when it is run
    from torch import fx

    from dimat_flwr.symmetry.tracing.program import Program


class TracedModel:
    """One forward pass of the traced network, functional in its weights and buffers.

    Attributes:
        taps: every tap, in the order of the forward pass.
        tracer: how the network was traced, ``symbolic`` or ``export``.
    """

    def __init__(self, program: "Callable[[], Program]", taps: Sequence[Tap], tracer: str):
        self.taps = tuple(taps)
        self.tracer = tracer
        self._source = program
        self._taps_at: dict[str, list[Tap]] = {}
        for tap in self.taps:
            self._taps_at.setdefault(tap.name, []).append(tap)

    @cached_property
    def program(self) -> "Program":
        """The graph, traced at the first use if the specification was read from a file.

        Raises:
            SymmetryError: the network is traced otherwise than when the specification was made.
        """
        program = self._source()
        missing = self._taps_at.keys() - {node.name for node in program.graph.nodes}
        if missing:
            raise SymmetryError(
                f"the specification was made from another trace of the network, with values {sorted(missing)[:5]}: "
                "find it anew"
            )
        return program

    def run(
        self,
        state_dict: Mapping[str, Tensor],
        batch: Example,
        on_tap: Callable[[Tap, Tensor], None] | None = None,
        *,
        train: bool = False,
    ) -> Any:
        """Run the network once with the given weights and report activations as soon as they are computed.

        Args:
            state_dict: name -> tensor, for every parameter and buffer of the network.
            batch: the network's input, any batch size; a tuple for several inputs, a mapping for named ones.
            on_tap: called with (tap, value of the tap's node); nothing is retained. The value may be overwritten by
                a later operator that works in place, so take what is needed from it at once.
            train: normalize with the batch's statistics and drop units, as a module in train mode. The graph is that
                of eval mode, so branches that exist in training only (auxiliary classifiers) are left out. Running
                statistics are updated in place in the tensors of ``state_dict``, as ``torch.func.functional_call``
                does: pass clones to keep them.

        Returns:
            What the network returns.

        Raises:
            SymmetryError: a tensor is missing, or an operator failed on these inputs.
        """

        def report(node: "fx.Node", value: Any) -> None:
            for tap in self._taps_at.get(node.name, ()):
                if on_tap is not None:
                    on_tap(tap, value)

        return self.program.run(state_dict, Call.of(batch), report, train=train)
