"""Training of denoisers and classifiers, and fine-tuning on denoised images.

Every random choice of an iteration comes from a generator keyed by (seed, iteration),
so a run that was interrupted and resumed ends like one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dds.networks.classifiers import Classifier
from dds.networks.compiling import (
    WORTH_COMPILING,
    compile_networks,
    flops_of,
    undo_compilation,
)
from dds.networks.denoisers import Denoiser, DiffusionDenoiser, prediction_of
from dds.networks.layers import layer_groups
from dds.networks.schedules import Schedule
from dds.progress import Interrupted, Progress
from dds.seeds import stream_seed

#: Turns a batch of training images into what the classifier shall see.
Corruption = Callable[[Tensor, Generator], Tensor]

#: Images that the largest networks have room for, at 512 pixels and in float32.
FEW_IMAGES = 32

#: The share of the iterations over which the learning rate warms up.
_WARM_UP = 0.05


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; the keys of ``train`` and ``finetune`` in the model registry.

    Attributes
    ----------
    iterations : int
        Optimiser steps.
    batch_size : int
        Images a step.
    learning_rate : float
        The highest; it warms up over the first 5% of the iterations and falls to 0
        along a cosine.
    weight_decay : float
        Of the optimiser.
    optimizer : {"adamw", "sgd"}
        SGD runs with Nesterov momentum 0.9.
    ema : float
        Decay of an exponential moving average of the weights, which is what training
        then ends with; 0 for none.
    augmentation : {"none", "crop_flip"}
        ``"crop_flip"``: random crops after padding by an eighth of the image, and
        horizontal flips.
    precision : {"float32", "bfloat16"}
        Of matrix products and convolutions; weights stay in float32.
    layer_decay : float, optional
        The learning rate of each layer as a share of that of the layer above; then biases, norms
        and embeddings of positions are spared the weight decay. For networks that tell their
        layers in order (`dds.networks.layers.layer_groups`).
    label_smoothing : float
        Of classifiers: how much of a label is spread evenly over all classes, in [0, 1).

    References
    ----------
    Loshchilov and Hutter (2019): Decoupled weight decay regularization. ICLR. AdamW.
    Loshchilov and Hutter (2017): SGDR: Stochastic gradient descent with warm restarts. ICLR.
    Section 3, the cosine; here without restarts.
    Clark, Luong, Le and Manning (2020): ELECTRA: Pre-training text encoders as discriminators
    rather than generators. ICLR. Appendix B, the layer-wise learning rate decay.
    Szegedy et al. (2016): Rethinking the Inception architecture for computer vision. CVPR.
    Section 7, label smoothing.

    Examples
    --------
    >>> Recipe(iterations=2000, batch_size=64, learning_rate=0.003, ema=0.995).optimizer
    'adamw'
    """

    iterations: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    ema: float = 0.0
    augmentation: str = "none"
    precision: str = "float32"
    layer_decay: float | None = None
    label_smoothing: float = 0.0


class Resume(Protocol):
    """Keeps the state of a training run, so that it can go on after an interruption.

    The caller implements it, and decides where the state lies and whether a state that is
    there is this run's. A run that is interrupted and resumed ends, bit for bit, like one
    that was not.
    """

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last; None to start anew.

        Training may go on to change its tensors, which may lie on any device.
        """
        ...

    def save(self, state: dict[str, Any], iteration: int) -> None:
        """Keep the state after so many iterations.

        Parameters
        ----------
        state : dict
            Nested dicts and lists of tensors and plain values, which ``torch.save`` writes
            and ``torch.load`` with ``weights_only`` reads. The tensors are those that training
            goes on to change: write or copy them before returning.
        iteration : int
            How many iterations are done.
        """
        ...

    def due(self) -> bool:
        """Tell whether it is time to save; asked after every iteration."""
        ...

    def stop(self) -> bool:
        """Tell whether to stop; asked after every iteration.

        When true the state is saved and training raises `dds.progress.Interrupted`.
        """
        ...


def train_denoiser(
    denoiser: DiffusionDenoiser,
    images: np.ndarray,
    recipe: Recipe,
    *,
    seed: int,
    label: str,
    device: str | torch.device = "cpu",
    resume: Resume | None = None,
) -> None:
    """Train a diffusion model's noise prediction (Ho et al. 2020, equation 14).

    Parameters
    ----------
    denoiser : DiffusionDenoiser
        Its network is trained, in place, for all timesteps of its schedule.
    images : ndarray of uint8, shape (images, channels, height, width)
        Clean training images.
    recipe : Recipe
        How to train.
    seed : int
        Keys every random choice.
    label : str
        What to call the run in its progress lines.
    device : str or torch.device, optional
        Where to train.
    resume : Resume, optional
        Keeps the run's state.

    Raises
    ------
    Interrupted
        If `resume` says to stop; the state is saved.
    ValueError
        If the recipe names an optimiser or an augmentation that there is not, or smooths labels,
        or the denoiser predicts anything but noise, has no timesteps, or returns no images.

    References
    ----------
    Ho, Jain and Abbeel (2020): Denoising diffusion probabilistic models. NeurIPS.
    Equation 14.

    Examples
    --------
    A network of one layer that is not told the time, on images of noise:

    >>> from dds import DiffusionDenoiser, cosine_schedule
    >>> class Network(nn.Conv2d):
    ...     def forward(self, x, time):
    ...         return super().forward(x)
    >>> denoiser = DiffusionDenoiser(Network(1, 1, 3, padding=1), cosine_schedule(1000))
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    >>> recipe = Recipe(iterations=5, batch_size=10, learning_rate=0.01)
    >>> before = denoiser.network.weight.clone()
    >>> train_denoiser(denoiser, images, recipe, seed=1, label="example")
    >>> torch.equal(denoiser.network.weight, before)
    False
    """
    schedule = denoiser.schedule
    if denoiser.predicts != "noise" or not isinstance(schedule, Schedule):
        raise ValueError("only denoisers that predict noise at timesteps can be trained")
    if recipe.label_smoothing:
        raise ValueError("label_smoothing is for classifiers; leave it out")
    alpha_bars = torch.tensor(schedule.alpha_bar, dtype=torch.float32, device=device)
    data = torch.from_numpy(images).to(device)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        clean = 2 * _augment(data[indices], recipe, generator) - 1
        t = torch.randint(len(alpha_bars), (len(clean),), generator=generator, device=device)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        alpha_bar = alpha_bars[t].view(-1, 1, 1, 1)
        x = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
        answer = denoiser.network(x, schedule.network_time(t.float()))
        return functional.mse_loss(prediction_of(answer, x, denoiser.predicts), noise)

    _fit(denoiser.network, loss, len(data), recipe, seed, label, device, resume)


def train_classifier(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    seed: int,
    label: str,
    corruption: Corruption | None = None,
    device: str | torch.device = "cpu",
    resume: Resume | None = None,
) -> None:
    """Train or fine-tune a classifier, on corrupted images if asked to.

    Parameters
    ----------
    classifier : Classifier
        Its network is trained, in place, from the weights it has.
    images : ndarray of uint8, shape (images, channels, height, width)
        Training images.
    labels : ndarray of int64, shape (images,)
        Their classes.
    corruption : callable, optional
        `gaussian` trains the base classifier of plain randomized smoothing (Cohen
        et al. 2019); `denoised` tunes to a denoiser's output (section 4.1).
    recipe, seed, label, device, resume
        As in `train_denoiser`.

    Raises
    ------
    Interrupted
        If `resume` says to stop; the state is saved.
    ValueError
        If the recipe names an optimiser or an augmentation that there is not, or decays
        learning rates by layer where the network does not tell its layers.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019): Certified adversarial robustness via randomized
    smoothing. ICML. Section 3.3.
    Carlini et al. (2023): (Certified!!) Adversarial robustness for free! ICLR. Section 4.1.
    """
    data = torch.from_numpy(images).to(device)
    targets = torch.from_numpy(labels).to(device)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        batch = _augment(data[indices], recipe, generator)
        if corruption is not None:
            batch = corruption(batch, generator)
        return functional.cross_entropy(
            classifier(batch), targets[indices], label_smoothing=recipe.label_smoothing
        )

    classifier.to(device)
    _fit(classifier.network, loss, len(data), recipe, seed, label, device, resume)


def gaussian(sigma: float) -> Corruption:
    """Return the corruption that adds Gaussian noise.

    Parameters
    ----------
    sigma : float
        Noise level in [0,1] pixel units.

    Returns
    -------
    callable
        For `train_classifier` and `accuracy`: from images (batch, channels, height, width)
        and a torch generator to noisy images.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019): Certified adversarial robustness via randomized
    smoothing. ICML. Section 3.3.
    """
    return lambda images, generator: images + sigma * _normal_like(images, generator)


def denoised(denoiser: Denoiser, sigma: float) -> Corruption:
    """Return the corruption that adds noise and removes it with a denoiser.

    Parameters
    ----------
    denoiser : Denoiser
        As in certification; it is not trained.
    sigma : float
        Nominal noise level in [0,1] pixel units.

    Returns
    -------
    callable
        As of `gaussian`.

    References
    ----------
    Carlini et al. (2023): (Certified!!) Adversarial robustness for free! ICLR. Section 4.1.
    """
    noise_sigma = denoiser.noise_sigma(sigma)

    @torch.no_grad()
    def corrupt(images: Tensor, generator: Generator) -> Tensor:
        noisy = images + noise_sigma * _normal_like(images, generator)
        return denoiser.denoise(noisy, sigma, lambda step: _normal_like(images, generator))

    return corrupt


@torch.inference_mode()
def accuracy(
    classifier: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    corruption: Corruption | None = None,
    batch_size: int = FEW_IMAGES,
    device: str | torch.device = "cpu",
) -> float:
    """Return the share of images classified correctly, once each, corrupted if asked to.

    Parameters
    ----------
    classifier : Module
        Maps [0,1] images to logits.
    images : ndarray of uint8, shape (images, channels, height, width)
        What to classify.
    labels : ndarray of int64, shape (images,)
        True classes.
    corruption : callable, optional
        See `gaussian` and `denoised`; the same noise in every call.
    batch_size : int, optional
        Images the networks see at a time; by default what the largest, at 512 pixels, has room
        for.
    device : str or torch.device, optional
        Where the networks run; the classifier is moved there.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    Which of two pixels is brighter? A network that hands them on as its logits:

    >>> images = np.array([[[[10, 200]]], [[[90, 80]]]], np.uint8)
    >>> accuracy(nn.Flatten(), images, labels=np.array([1, 1]))
    0.5
    """
    classifier.to(device).eval()
    generator = torch.Generator(device).manual_seed(0)
    correct = 0
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(images[rows]).to(device) / 255
        if corruption is not None:
            batch = corruption(batch, generator)
        predictions = classifier(batch).argmax(dim=1).cpu().numpy()
        correct += int((predictions == labels[rows]).sum())
    return correct / len(images)


def _fit(
    network: nn.Module,
    loss: Callable[[Tensor, Generator], Tensor],
    images: int,
    recipe: Recipe,
    seed: int,
    label: str,
    device: str | torch.device,
    resume: Resume | None,
) -> None:
    """Minimise a loss of (image indices, generator) over a network's weights."""
    network.to(device).train()
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:  # the order of memory that convolutions on tensor cores want
        convert_conv2d_weight_memory_format(network, torch.channels_last)
    optimizer = _build_optimizer(network, recipe, device)
    average = (
        AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        if recipe.ema
        else None
    )
    parts = {"network": network, "optimizer": optimizer} | ({"average": average} if average else {})
    start = _restore(parts, resume)
    generator, indices = torch.Generator(device), torch.arange(recipe.batch_size) % images

    def try_out() -> None:
        with _precision(recipe, device):
            loss(indices.to(device), generator).backward()

    _compile_if_worth_it(network, try_out, recipe.iterations - start, device)
    with Progress(recipe.iterations, label, "iterations", done=start) as progress:
        for iteration in range(start, recipe.iterations):
            generator = torch.Generator(device)
            generator.manual_seed(stream_seed(seed, f"{label}/{iteration}"))
            torch.manual_seed(stream_seed(seed, f"{label}/{iteration}/dropout"))
            for group in optimizer.param_groups:
                rate = recipe.learning_rate * group.get("lr_scale", 1)
                group["lr"] = rate * _warm_cosine(iteration / recipe.iterations)
            indices = _batch_indices(images, recipe.batch_size, iteration, seed, label)
            # A copy that is waited for would keep a GPU idle until the next step is queued.
            indices = indices.to(device, non_blocking=True)
            optimizer.zero_grad()  # what CUDA graphs are about to write over
            with _precision(recipe, device):
                value = loss(indices, generator)
            value.backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(network)
            progress.advance(1)
            if resume is not None:
                _save_sometimes(parts, iteration + 1, resume, label)
    if average is not None:
        network.load_state_dict(average.module.state_dict())
    undo_compilation(network)
    if on_gpu:
        convert_conv2d_weight_memory_format(network, torch.contiguous_format)
    network.eval()


def _precision(recipe: Recipe, device: str | torch.device) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _compile_if_worth_it(
    network: nn.Module, try_out: Callable[[], None], iterations: int, device: str | torch.device
) -> None:
    """Compile a network that has much to do on a GPU; `try_out` is a step that changes nothing."""
    if torch.device(device).type != "cuda":
        return
    statistics = [buffer.clone() for buffer in network.buffers()]
    # Backward passes do twice the FLOP of forward ones, and take as long again to compile.
    (flops,) = flops_of([network], try_out)
    if 3 * flops * iterations >= 10 * WORTH_COMPILING:
        # As CUDA graphs: Python takes twice as long to queue a step's kernels as a GPU to run them.
        compile_networks([network], try_out, once=True)
    network.zero_grad()
    for buffer, value in zip(network.buffers(), statistics, strict=True):
        buffer.copy_(value)


def _build_optimizer(
    network: nn.Module, recipe: Recipe, device: str | torch.device
) -> torch.optim.Optimizer:
    settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    settings["fused"] = torch.device(device).type == "cuda" or None
    parameters = (
        network.parameters()
        if recipe.layer_decay is None
        else layer_groups(network, layer_decay=recipe.layer_decay, weight_decay=recipe.weight_decay)
    )
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **settings)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    raise ValueError(f"unknown optimizer {recipe.optimizer!r}; allowed: adamw, sgd")


def _warm_cosine(fraction: float) -> float:
    """Return the factor on the learning rate when `fraction` of the training is done."""
    if fraction < _WARM_UP:
        return fraction / _WARM_UP
    return (1 + math.cos(math.pi * (fraction - _WARM_UP) / (1 - _WARM_UP))) / 2


def _batch_indices(images: int, batch_size: int, iteration: int, seed: int, label: str) -> Tensor:
    """Return the images of an iteration: every image once an epoch, in an order of its own."""
    first = iteration * batch_size
    picked: list[int] = []
    while len(picked) < batch_size:
        epoch, offset = divmod(first + len(picked), images)
        generator = torch.Generator().manual_seed(stream_seed(seed, f"{label}/epoch/{epoch}"))
        order = torch.randperm(images, generator=generator)
        picked += order[offset : offset + batch_size - len(picked)].tolist()
    return torch.tensor(picked)


def _augment(batch: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Return uint8 images as [0,1] floats, cropped and flipped if the recipe says so."""
    images = batch / 255
    if recipe.augmentation == "none":
        return images
    if recipe.augmentation != "crop_flip":
        raise ValueError(f"unknown augmentation {recipe.augmentation!r}; allowed: none, crop_flip")
    count, _, height, width = images.shape
    margin = height // 8
    device = images.device
    padded = functional.pad(images, [margin] * 4)
    top, left = torch.randint(2 * margin + 1, (2, count, 1), generator=generator, device=device)
    rows = (top + torch.arange(height, device=device)).view(count, 1, height, 1)
    columns = (left + torch.arange(width, device=device)).view(count, 1, 1, width)
    flip = torch.rand(count, generator=generator, device=device) < 0.5
    columns = torch.where(flip.view(-1, 1, 1, 1), columns.flip(3), columns)
    everywhere = torch.arange(count, device=device).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=device).view(1, -1, 1, 1)
    return padded[everywhere, channels, rows, columns]


def _normal_like(images: Tensor, generator: Generator) -> Tensor:
    return torch.randn(images.shape, generator=generator, device=images.device)


def _save_sometimes(
    parts: Mapping[str, nn.Module | torch.optim.Optimizer],
    iteration: int,
    resume: Resume,
    label: str,
) -> None:
    """Hand the state over if it is time to; raise `Interrupted` if training shall stop."""
    stop = resume.stop()
    if stop or resume.due():
        state = {name: part.state_dict() for name, part in parts.items()}
        resume.save({"iteration": iteration} | state, iteration)
    if stop:
        raise Interrupted(f"{label}: stopped after {iteration} iterations; saved")


def _restore(parts: Mapping[str, nn.Module | torch.optim.Optimizer], resume: Resume | None) -> int:
    """Take a saved state up if there is one; return the iteration to start at."""
    state = None if resume is None else resume.load()
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["iteration"]
