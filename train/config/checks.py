"""Check values of settings: shares, ranges and choices."""

from __future__ import annotations


def check_shares(config: object, *names: str) -> None:
    """Refuse fields that are not between 0 and 1.

    Raises
    ------
    ValueError
        If one is not; the message names it.
    """
    for name in names:
        if not 0 <= (value := getattr(config, name)) <= 1:
            raise ValueError(f"expected {name} between 0 and 1, got {value}")


def check_ranges(config: object, *names: str) -> None:
    """Refuse fields that are not [lowest, highest].

    Raises
    ------
    ValueError
        If one is not; the message names it.
    """
    for name in names:
        value = getattr(config, name)
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"expected {name} as [lowest, highest], got {list(value)}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those allowed.

    Parameters
    ----------
    name
        Of the field, for the message.
    value
        Its value.
    allowed
        All possible values.

    Raises
    ------
    ValueError
        If it is not; the message lists them.
    """
    if value not in allowed:
        raise ValueError(f"expected {name} to be one of {', '.join(allowed)}, got {value!r}")
