"""Quantities as readers want them: few digits, in units that suit."""

from __future__ import annotations

_PREFIXES = {1e15: "P", 1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k", 1.0: "", 1e-3: "m"}


def duration(seconds: float) -> str:
    """Return a time in milliseconds, seconds, minutes or hours.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.0175, 3.21, 59.96, 119.12, 754, 7.2e6)]
    ['17.5 ms', '3.21 s', '1 min', '1.99 min', '12.6 min', '2,000 h']
    """
    for unit, size in {"h": 3600, "min": 60, "s": 1}.items():
        # 59.96 s are a minute, as they read 60.0 with three digits.
        if _rounded(seconds) >= size:
            return f"{_digits(max(seconds / size, 1.0))} {unit}"
    return f"{_digits(seconds * 1000)} ms"


def metric(value: float, unit: str = "") -> str:
    """Return a value with a metric prefix before its unit.

    Examples
    --------
    >>> metric(55_364_402), metric(1234), metric(3.6e12, "FLOP/s"), metric(12.3, "Wh"), metric(0)
    ('55.4 M', '1,230', '3.6 TFLOP/s', '12.3 Wh', '0')
    """
    value = _rounded(value)
    scale = next((scale for scale in _PREFIXES if value >= scale), 1e-3 if value else 1.0)
    if not unit and value < 1e4:
        scale = 1.0
    return f"{_digits(value / scale)} {_PREFIXES[scale]}{unit}".strip()


def decimal(value: float) -> str:
    """Return a radius or noise level as the paper writes them.

    Examples
    --------
    >>> [decimal(value) for value in (0.25, 0.5, 1.0)]
    ['0.25', '0.5', '1.0']
    """
    text = f"{value:g}"
    return text if set(text) & {".", "e"} else f"{text}.0"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _digits(value: float) -> str:
    return f"{_rounded(value):,.10g}"
