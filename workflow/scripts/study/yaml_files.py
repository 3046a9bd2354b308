"""YAML files, read with plain errors, whatever they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from study.errors import StudyError

#: Far beyond any study: deeper files, or ones that aliases blow up, are refused.
_MOST_LEVELS, _MOST_VALUES = 100, 100_000

#: Whole numbers have fewer bits; numbers of thousands of digits are slow to do anything with.
_MOST_BITS = 63


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads numbers as YAML 1.2 does, and dates as text.

    So 1e-3 is a number, 0400 is 400, not 256, and 3:20 is text, not 200.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number."""
        text = node.value.replace("_", "")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        try:
            value = int(text, base)
        except ValueError:  # of thousands of digits
            value = None
        if value is None or value.bit_length() > _MOST_BITS:
            raise yaml.constructor.ConstructorError(
                None, None, "a whole number is too large", node.start_mark
            )
        return value


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] not in (_INT, _FLOAT, "tag:yaml.org,2002:timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT, re.compile(r"([-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor(_INT, _Loader.construct_yaml_int)


def read_yaml(path: Path, file: str) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path : Path
        The file.
    file : str
        What to call it in an error.

    Returns
    -------
    object
        Mappings with text as keys, lists, text, numbers, true and false, None.

    Raises
    ------
    StudyError
        If it cannot be read, is no YAML, or holds what no configuration holds: a key
        twice, a key that is not text of one line, tags, an alias inside what it stands
        for, more than 100 levels or 100,000 values.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _check_size(text, file)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise StudyError(f"{file}: is empty")
            _check_keys(node, file, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except OSError as error:
        raise StudyError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or error
        raise StudyError(f"{file}: is not valid YAML: {where}{reason}") from error


@dataclass
class _Collection:
    """A list or mapping that is being read: its anchor, values so far and levels inside it."""

    anchor: str | None
    values: int = 1
    levels: int = 1

    def hold(self, values: int, levels: int) -> None:
        self.values += values
        self.levels = max(self.levels, levels + 1)


def _check_size(text: str, file: str) -> None:
    """Refuse tags, and what would become too deep or too large, before anything is built.

    An alias counts as often as it is used, with all that it stands for.
    """
    open_ones = [_Collection(None)]
    anchored: dict[str, tuple[int, int]] = {}
    for event in yaml.parse(text, Loader=_Loader):
        line = f"{file}: line {event.start_mark.line + 1}"
        values, levels, anchor = 0, 0, getattr(event, "anchor", None)
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise StudyError(f"{line}: tag {tag} is not allowed; write values without tags")
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append(_Collection(anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = open_ones.pop()
            anchor, values, levels = closed.anchor, closed.values, closed.levels
        elif isinstance(event, yaml.ScalarEvent):
            values, levels = 1, 0
        elif isinstance(event, yaml.AliasEvent):
            if any(one.anchor == anchor for one in open_ones[1:]):
                raise StudyError(f"{line}: *{anchor} stands inside of what it stands for")
            values, levels = anchored.get(anchor, (0, 0))
        if anchor is not None and values:
            anchored[anchor] = (values, levels)
        open_ones[-1].hold(values, levels)
        if len(open_ones) - 1 + levels > _MOST_LEVELS:
            raise StudyError(f"{line}: has more than {_MOST_LEVELS} levels")
        if sum(one.values for one in open_ones) > _MOST_VALUES:
            raise StudyError(f"{line}: has more than {_MOST_VALUES:,} values")


def _check_keys(node: yaml.Node, file: str, visited: set[int]) -> None:
    """Refuse what YAML's loaders let pass: a key that comes twice, or is not text."""
    if isinstance(node, yaml.ScalarNode) or id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    else:
        children = [child for _, child in node.value]
        seen: set[str] = set()
        for key, _ in node.value:
            _check_key(key, seen, f"{file}: line {key.start_mark.line + 1}")
            seen.add(key.value)
    for child in children:
        _check_keys(child, file, visited)


def _check_key(key: yaml.Node, seen: set[str], line: str) -> None:
    if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
        name = key.value if isinstance(key, yaml.ScalarNode) else "of several values"
        raise StudyError(f"{line}: key {name} is not text; put it in quotes")
    if not key.value.isprintable():
        raise StudyError(f"{line}: key {key.value} is not text of one line")
    if key.value in seen:
        raise StudyError(f"{line}: key {key.value} comes twice")
