"""Mixing weights as they are written on the command line."""

from dimat_flwr.cli.errors import CommandError


def parsed_weights(weights: str) -> list[float]:
    """Return the numbers of a text such as ``0.5,0.25,0.25``.

    Raises:
        CommandError: it is not like that.
    """
    try:
        return [float(weight) for weight in weights.split(",")]
    except ValueError as error:
        raise CommandError(f"'{weights}' are not mixing weights: write numbers such as 0.5,0.25,0.25.") from error
