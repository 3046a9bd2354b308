"""Models: the entries of config/models.yaml, and of a study's own ``models``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FieldSerializationInfo,
    ModelWrapValidatorHandler,
    WithJsonSchema,
    field_serializer,
    model_validator,
)

from dds import keys
from dds.keys import Count, Keys, Text, Whole, each_once, key, refuse
from dds.names import SIGMA, for_sigma
from dds.networks.description import ClassifierKeys, DenoiserKeys, with_arguments
from dds.networks.families import FAMILIES
from dds.origins import Checkpoint, Download, HubDownload
from study.errors import NAME, missing_key, refuse_at, show, suggestion
from study.experiments import TimestepRule

#: What stands beside a checkpoint: the origins that each key is for.
_BESIDE_A_CHECKPOINT = {
    "obtain": ("file",),
    "key": ("file", "download"),
    "strip_prefix": ("file", "download"),
}
_PATH_OF_A_FUNCTION = re.compile(r".+\.py(:\w+)?")
#: No denoiser, and what certification calls its images.
_RESERVED = ("none", "pack")
_RATE = Annotated[float, Field(gt=0, le=100)]
_SHARE = Annotated[float, Field(ge=0, lt=1)]


def _check_name(name: str) -> str:
    if name in _RESERVED or not re.fullmatch(NAME, name):
        raise refuse(
            f"{show(name)} is no name for a model; a name has lower-case letters, digits and _, "
            f"starts with a letter, and is neither {' nor '.join(_RESERVED)}"
        )
    return name


#: The name of a model.
ModelName = Annotated[str, AfterValidator(_check_name)]


def families(role: str) -> list[str]:
    """Return the families of networks that serve as classifiers, or as denoisers."""
    return [name for name in FAMILIES.names if role == FAMILIES[name].ROLE]


def _networks(role: str) -> str:
    return f"{', '.join(f'`{name}`' for name in families(role))}, or `FILE.py:FUNCTION`"


def _check_network(role: str) -> Callable[[str], str]:
    def check(network: str) -> str:
        allowed = families(role)
        if network not in allowed and not _PATH_OF_A_FUNCTION.fullmatch(network):
            one_of = "one of " if len(allowed) > 1 else ""
            raise refuse(
                f"{show(network)} must be {one_of}{', '.join(allowed)}, or FILE.py:FUNCTION"
            )
        return network

    return check


def _check_is_list(classes: Any) -> Any:
    if not isinstance(classes, list):
        raise refuse("must be a list of names, or the path of a file with one a line")
    return classes


_LIST_OF_CLASSES = {"type": "array", "items": {"type": "string"}, "minItems": 2}
Classes = Annotated[
    list[str],
    Field(min_length=2),
    each_once,
    BeforeValidator(_check_is_list),
    WithJsonSchema({"anyOf": [_LIST_OF_CLASSES, {"type": "string"}]}),
]


class Recipe(Keys):
    """How to train a network."""

    dataset: str = key(
        "The images to train on; it needs splits `train` and `validation`.",
        allowed="a name of the study's `datasets`",
    )
    iterations: Annotated[Whole, Field(ge=1, le=100_000_000)] = key("Steps of the optimizer.")
    batch_size: Count = key("Images a step.")
    learning_rate: _RATE = key(
        "The highest; it warms up over the first 5% of the iterations and then falls along a "
        "cosine."
    )
    weight_decay: Annotated[float, Field(ge=0, le=100)] = key("Of the optimizer.", 0.0)
    optimizer: Literal["adamw", "sgd"] = key("AdamW, or SGD with Nesterov momentum 0.9.", "adamw")
    ema: _SHARE = key(
        "Decay of a moving average of the weights, which training ends with; 0 for none.", 0.0
    )
    augmentation: Literal["none", "crop_flip"] = key(
        "`crop_flip`: random crops after padding by an eighth of the image, and horizontal flips.",
        "none",
    )
    precision: Literal["float32", "bfloat16"] = key(
        "Number format of matrix products and convolutions while training.", "float32"
    )


class ClassifierRecipe(Recipe):
    """How to train or tune a classifier."""

    noise: Literal["none", "gaussian"] = key(
        "`gaussian` trains on noisy images (Cohen et al., 2019), one set of weights for each "
        "sigma: for experiments without a denoiser.",
        "none",
        paper="Table 3",
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = key(
        "The learning rate of each layer as a share of that of the layer above; biases, norms and "
        "embeddings of positions are then spared the weight decay. For networks with layers in "
        "order (`timm`, `transformers_vit`).",
        None,
    )
    drop_path: _SHARE = key(
        "Probability of skipping the last layer's residual branches, for an image, while training; "
        "it grows linearly from 0 in the first layer. For `timm` and `transformers_vit`.",
        0.0,
    )
    label_smoothing: _SHARE = key(
        "How much of a label is spread evenly over all classes.",
        0.0,
    )


class Train(ClassifierRecipe):
    """How to train a classifier from scratch."""


class Finetune(ClassifierRecipe):
    """How to tune another classifier's weights to denoised or noisy images, once for each sigma."""

    from_: str = key(
        "The classifier to start from. It has one set of weights for all sigmas, the same network "
        "and, but for what starts `anew`, the same arguments and classes.",
        paper="4.1",
        allowed="a model of kind `classifier`",
        alias="from",
    )
    anew: list[Text] = key(
        "Parts of the network that start untrained, by their names in a checkpoint, such as "
        "`head`: for other classes than those of `from`, or weights from training without labels. "
        "What the checkpoint of `from` has beyond the network is then passed over.",
        [],
    )
    denoiser: str | None = key(
        "The denoiser whose output to tune to; required, but for `noise: gaussian`, which goes "
        "without one.",
        None,
        paper="4.1",
        allowed="a model of kind `denoiser`",
    )
    timestep: TimestepRule = key(
        "How a timestep is chosen for sigma; the same as in the experiments that use the "
        "classifier.",
        "nearest",
        paper="Figure 1",
    )

    @property
    def reads(self) -> dict[str, str]:
        """The models whose weights tuning reads, by what they are to it."""
        models = {"start": self.from_, "denoiser": self.denoiser}
        return {part: name for part, name in models.items() if name is not None}

    @model_validator(mode="after")
    def _denoised_or_noisy(self) -> Self:
        if self.noise == "none":
            if self.denoiser is None:
                raise refuse("needs denoiser, whose output to tune to, or noise: gaussian")
            return self
        for name in ("denoiser", "timestep"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise refuse_at(f"{value} does not go with noise: gaussian; leave one out", name)
        return self


class LabelledDownload(Download):
    """A published checkpoint of a classifier."""

    labels: Download | None = key(
        "Classifiers: a published JSON file whose `id2label` must name `classes` in their order, "
        "such as the `config.json` of a repository on the Hugging Face hub.",
        None,
        allowed="mapping with the keys above",
    )


class Weights(Checkpoint):
    """Where the weights of a network come from: one of several origins."""

    ORIGINS: ClassVar[tuple[str, ...]] = ("train", "file", "download")

    train: Recipe | None = keys.key("Train the model from scratch.", None, paper="4")
    download: Download | None = keys.key("A published checkpoint.", None, paper="4")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(getattr(self, origin) is not None for origin in self.ORIGINS) != 1:
            raise refuse(f"needs exactly one of {', '.join(self.ORIGINS)}")
        for name, origins in _BESIDE_A_CHECKPOINT.items():
            value = getattr(self, name)
            if value is not None and self.origin not in origins:
                alone = " and ".join(origins)
                raise refuse_at(f"{show(value)} is for {alone} alone; leave it out", name)
        return self

    def file_for(self, sigma: float | None) -> str | None:
        """Return the user's own checkpoint, of a noise level if it is not for all of them."""
        return None if self.file is None else for_sigma(self.file, sigma)

    @property
    def origin(self) -> str:
        """Which of `ORIGINS` the weights come from."""
        return next(name for name in self.ORIGINS if getattr(self, name) is not None)

    @property
    def recipe(self) -> Recipe | None:
        """How the weights are trained or tuned; None where they are not."""
        return getattr(self, self.origin) if self.origin in ("train", "finetune") else None


class DenoiserWeights(Weights):
    """Where the weights of a denoiser come from: one of several origins."""

    download: HubDownload | None = key("A published checkpoint.", None, paper="4")

    @model_validator(mode="after")
    def _for_every_sigma(self) -> Self:
        if self.file is not None and SIGMA in self.file:
            raise refuse_at(
                f"{show(self.file)} is of one sigma, and a denoiser's weights are for all; "
                f"leave out {SIGMA}",
                "file",
            )
        return self

    @property
    def finetune(self) -> None:
        """None: denoisers are not tuned."""
        return None


class ClassifierWeights(Weights):
    """Where the weights of a classifier come from: one of several origins."""

    ORIGINS: ClassVar[tuple[str, ...]] = ("train", "finetune", "file", "download")

    train: Train | None = key("Train the model from scratch.", None, paper="4")
    finetune: Finetune | None = key(
        "Classifiers: tune another classifier's weights to denoised or noisy images, once for each "
        "sigma.",
        None,
        paper="4.1",
    )
    download: LabelledDownload | None = key("A published checkpoint.", None, paper="4")


class Model(Keys):
    """A model; beside these it has the keys of its kind, and of its family of networks."""

    like: str | None = key(
        "Another model whose keys this entry takes over, each key as a whole; the entry's own "
        "keys win.",
        None,
        allowed="a model",
    )
    kind: Literal["classifier", "denoiser"] = key("What the model is for.", paper="3")

    @classmethod
    def of(cls, entry: Any) -> type[Self]:
        """Return the class that has all keys that an entry may have.

        Raises
        ------
        ValidationError
            If the entry's kind is missing or wrong.
        """
        if cls is not Model or not isinstance(entry, dict):
            return cls
        if "kind" not in entry:
            raise missing_key("kind", entry)
        kind, network = entry["kind"], entry.get("network")
        if kind not in list(MODELS):
            raise refuse_at(f"{show(kind)} is not allowed; {suggestion(kind, MODELS)}", "kind")
        found = MODELS[kind]
        return with_arguments(found, network) if network in families(kind) else found

    @model_validator(mode="wrap")
    @classmethod
    def _with_the_keys_of_its_kind(
        cls, entry: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        if cls is Model and isinstance(entry, dict):
            return cls.of(entry).model_validate({"arguments": {}, **entry})
        return handler(entry)

    @field_serializer("arguments", check_fields=False)
    def _with_every_argument(
        self, arguments: Keys | dict[str, Any], info: FieldSerializationInfo
    ) -> dict[str, Any]:
        # None is an argument like others, where elsewhere it is that of a key left out.
        if not isinstance(arguments, Keys):
            return arguments
        return arguments.model_dump(
            mode=info.mode, exclude_defaults=info.exclude_defaults, by_alias=info.by_alias
        )

    @property
    def is_per_sigma(self) -> bool:
        """Whether the model has one set of weights for each sigma."""
        return False


class Published(Keys):
    """Where a model's weights come from, and who made them."""

    weights: Weights = key("Where the weights come from.", paper="4")
    source: Text | None = key("Address of the page that describes the weights.", None)
    licence: Text | None = key("Licence of the weights.", None)
    citation: Text | None = key("Who made the model, and where it is described.", None)


class Classifier(Published, ClassifierKeys, Model):
    """A network that tells which class an image is of."""

    kind: Literal["classifier"] = key("What the model is for.", paper="3")
    network: Annotated[str, AfterValidator(_check_network("classifier"))] = key(
        "What builds the network: a family of networks, or a function of your own.",
        paper="4",
        allowed=_networks("classifier"),
    )
    classes: Classes = key(
        "The names of the classes in the order of the network's outputs, or a file with one a "
        "line. The dataset must have the same names in the same order.",
        allowed="list of text, at least 2, or path",
    )
    weights: ClassifierWeights = key(
        "Where the weights come from.",
        paper="4",
        allowed="exactly one of `train`, `finetune`, `file`, `download`",
    )
    expected_accuracy: Annotated[float, Field(gt=0, le=1)] | None = key(
        "The accuracy that you expect on the dataset's clean test images, such as the published "
        "one, as a fraction. The accuracy is then measured, and stands beside it in `paper.pdf`.",
        None,
        paper="4",
    )

    @property
    def is_per_sigma(self) -> bool:
        """Whether the classifier has one set of weights for each sigma."""
        made = self.weights
        if made.file is not None:
            return SIGMA in made.file
        return made.finetune is not None or (made.train is not None and made.train.noise != "none")


class Denoiser(Published, DenoiserKeys, Model):
    """A diffusion model: a network, what it predicts, and its noise schedule."""

    kind: Literal["denoiser"] = key("What the model is for.", paper="3")
    network: Annotated[str, AfterValidator(_check_network("denoiser"))] = key(
        "What builds the network: a family of networks, or a function of your own.",
        paper="4",
        allowed=_networks("denoiser"),
    )
    weights: DenoiserWeights = key(
        "Where the weights come from.",
        paper="4",
        allowed="exactly one of `train`, `file`, `download`",
    )


#: The classes of models, by kind.
MODELS: dict[str, type[Model]] = {"classifier": Classifier, "denoiser": Denoiser}
