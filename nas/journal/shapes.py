"""What stands under the keys of a journal's meta table, so that a damaged one is named by its place where it is read."""

from __future__ import annotations

from collections.abc import Mapping

from nas.records import JSON

# A kind for each key, or for what stands before a slash in it; keys that are not here may hold anything.
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "identity": dict, "settings": dict, "versions": dict, "space": dict, "objectives": dict, "task": dict, "lease": dict, "data": dict,
    "predictor": dict, "arch": dict, "command": str, "fidelities": list, "machine": dict,
}  # fmt: skip
NOUNS: Mapping[object, str] = {dict: "keys and values", str: "text", list: "a list"}
NUMBER = (int, float)
INNER: Mapping[tuple[str, str], type | tuple[type, ...]] = {
    ("space", "name"): str, ("space", "size"): NUMBER, ("space", "genes"): list,
    ("objectives", "metrics"): list, ("objectives", "constraints"): list, ("objectives", "reward"): str,
    ("objectives", "exponent"): NUMBER, ("objectives", "beta"): NUMBER, ("objectives", "target"): NUMBER,
    ("task", "metrics"): dict, ("task", "primary"): str,
}  # fmt: skip


def checked(key: str, value: JSON) -> JSON:
    """The value of a key. Raises ValueError naming the key where nas does not write such a value."""
    kind = KINDS.get(key.partition("/")[0])
    if value is None or kind is None:
        return value
    if not isinstance(value, kind):
        raise ValueError(f"damaged: {key}: expected {NOUNS[kind]}, got {type(value).__name__}")
    for (outer, inner), expected in INNER.items():
        if outer == key and value.get(inner) is not None and not isinstance(value[inner], expected):
            raise ValueError(f"damaged: {key}.{inner}: expected another kind of value, got {type(value[inner]).__name__}")
    return value


def metrics(column: list[JSON]) -> list[JSON]:
    """Metrics by name. Raises ValueError for a row with anything else."""
    for row in column:
        if not isinstance(row, dict) or not all(isinstance(value, int | float) for value in row.values()):
            raise ValueError("damaged: metrics that are not numbers by name")
    return column


def mappings(column: list[JSON]) -> list[JSON]:
    """Keys and values. Raises ValueError for a row with anything else."""
    if not all(isinstance(row, dict) for row in column):
        raise ValueError("damaged: a column of keys and values holds something else")
    return column
