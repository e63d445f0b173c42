"""A number with what it rests on, and lists of them."""

from __future__ import annotations

from dataclasses import dataclass

Z95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal law."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a measurement says of one number.

    Parameters
    ----------
    name, unit
        Dotted name, with the scenario's or the profile's own field names where it is one of theirs.
    value, error, low95, high95
        Estimate, standard error, 95 % interval. A bound alone has one of the last two; what the data do
        not tell is None.
    identified
        Whether the data tell this number, not only bound it.
    why
        What it rests on, or why the data do not tell it, as a sentence.
    """

    name: str
    unit: str
    value: float | None = None
    error: float | None = None
    low95: float | None = None
    high95: float | None = None
    identified: bool = False
    why: str = ""


def measured(name: str, unit: str, value: float, error: float, why: str) -> Parameter:
    """Make a parameter above 0 that the data tell, with a normal interval cut at 0."""
    low, high = max(value - Z95 * error, 0.0), value + Z95 * error
    return Parameter(
        name=name, unit=unit, value=value, error=error, low95=low, high95=high, identified=True, why=why
    )


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """All that follows from some measurements.

    Parameters
    ----------
    parameters
        In the order of their discovery.
    warnings
        What weakens them, as sentences.
    fragment
        YAML for the user's scenario or profile; empty where nothing is identified.
    """

    parameters: tuple[Parameter, ...]
    warnings: tuple[str, ...] = ()
    fragment: str = ""

    def __getitem__(self, name: str) -> Parameter:
        """Return a parameter by its name."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def get(self, name: str) -> Parameter | None:
        """Return a parameter by its name, or None."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)
