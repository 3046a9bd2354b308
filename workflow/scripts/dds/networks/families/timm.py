"""Networks of the timm library, by the names it gives them."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from dds import keys
from dds.keys import Text, key
from dds.reasons import first_line

if TYPE_CHECKING:
    from torch import nn

ROLE = "classifier"
RECIPE = ("layer_decay", "drop_path")


class Keys(keys.Keys):
    """A network of timm's; any further argument of timm.create_model may stand beside its name."""

    model_config = ConfigDict(extra="allow")

    model: Text = key("Its name in timm.", paper="4", allowed="a name that timm.list_models knows")


#: How timm's modules say which networks they hold; to import them all takes seconds.
_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def check(arguments: Keys) -> None:
    """Check that timm has the network, where timm is installed.

    Raises
    ------
    ValueError
        Naming those with nearly that name.
    """
    name, _, _ = arguments.model.partition(".")
    names, text = _known()
    if not names or name in names or ":" in name:  # such as hf-hub:OWNER/NAME
        return
    if f"'{name}': '" not in text:  # names of earlier versions stand beside those of today
        raise ValueError(f"model {arguments.model}: timm has no such network; {_nearest(name)}")


@cache
def _known() -> tuple[frozenset[str], str]:
    """Return the networks that timm's modules register, and the text of the modules."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return frozenset(), ""
    folder = Path(spec.origin).parent / "models"
    text = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    return frozenset(_REGISTERED.findall(text)), text


def _nearest(name: str) -> str:
    names, _ = _known()
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.6)
    return f"did you mean {', '.join(close)}?" if close else "see timm.list_models"


def build(arguments: Keys, *, classes: int, channels: int) -> nn.Module:
    """Build the network, untrained.

    Raises
    ------
    ValueError
        If timm has no such network, or its network no such argument.
    """
    import timm

    from dds.networks._timm import FASTER
    from dds.networks.parts import become
    from dds.networks.patches import as_products

    check(arguments)
    options = dict(arguments)
    name = options.pop("model")
    try:
        network = timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=channels, **options
        )
    except Exception as error:  # timm and its many networks raise whatever they like
        raise ValueError(f"timm cannot build {name}: {first_line(error)}") from error
    return as_products(become(network, FASTER))
