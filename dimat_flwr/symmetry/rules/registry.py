"""The table of rules, by operator name: torch functions, methods and aten operators share one name and one rule."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Kind = Literal["pointwise", "same", "mixes", "normalizes", "moves", "reduces", "creates", "checks"]
_R = TypeVar("_R", bound=Callable[..., Any])


class UnsupportedError(Exception):
    """A rule does not cover this use of its operator; its operands are then kept in place."""


@dataclass(frozen=True)
class Rule:
    """A rule and what else has to be known of its operators.

    Attributes:
        function: called as function(context, *arguments of the operator); see ``rule``.
        kind: see ``rule``.
        aliases: see ``rule``.
        random: see ``rule``.
        training: see ``rule``.
        state: see ``rule``.
        signature: of the function, for telling early that a call does not fit.
    """

    function: Callable[..., Any]
    kind: Kind
    aliases: bool
    random: bool
    training: int | None
    state: bool
    signature: inspect.Signature


RULES: dict[str, Rule] = {}


def rule(
    *names: str,
    kind: Kind,
    aliases: bool = False,
    random: bool = False,
    training: int | None = None,
    state: bool = False,
) -> Callable[[_R], _R]:
    """Register how operators treat the order of units; importing the module that uses it is all it takes.

    The decorated function is called with a ``Context`` and the operator's own arguments, tensors among them as
    ``Value`` (computed), ``Param`` (of the state dict) or ``Const``, and returns what the context's constructors
    return: ``like``, ``ordered_along``, ``mixed_over``, ``fresh_axis`` (see ``Context``). Raising
    ``UnsupportedError`` keeps all operands in place, with a warning. Example, for an operator of one's own::

        @rule("mylib::scaled_relu", kind="pointwise")
        def scaled_relu(ctx, x, scale):
            return ctx.like(x, scale)

    Args:
        names: operator names without the trailing underscore of in-place forms. Torch's own go by their plain name
            (``relu``), operators of a library by ``library::name``, plain functions by ``module.name``.
        kind: what the operator does. ``pointwise``: place by place. ``same``: returns its operand, perhaps in another
            format. ``mixes``: computes new units out of others, which is where units are watched. ``normalizes``:
            rescales units; watched units are watched behind it. ``moves``: only reorders or picks. ``reduces``: sums
            up. ``creates``: makes a tensor that depends on shapes alone. ``checks``: returns nothing.
        aliases: the result may share memory with the operand, as views do.
        random: the result is drawn, so it is no constant even where its arguments are.
        training: position of the argument that says whether the network trains, such as dropout's.
        state: buffers among the arguments are statistics of units, and move with them.

    Raises:
        ValueError: there is a rule for a name already.
    """

    def register(function: _R) -> _R:
        for name in names:
            if name in RULES:
                raise ValueError(f"operator '{name}' has a rule already, {RULES[name].function.__qualname__}")
            RULES[name] = Rule(function, kind, aliases, random, training, state, inspect.signature(function))
        return function

    return register
