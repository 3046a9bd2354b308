"""Diffusion denoised smoothing: certified robustness from off-the-shelf models.

The names below are the library's public names. Each is imported when it is first asked
for, so that statistics and logs never wait for, or need, PyTorch.
"""

from importlib import import_module

_HOME = {
    "ABSTAIN": "statistics.certificates",
    "Certificate": "api",
    "Classifier": "networks.classifiers",
    "DiffusionDenoiser": "networks.denoisers",
    "NoDenoiser": "networks.denoisers",
    "SmoothedClassifier": "sampling.smoothing",
    "build_classifier": "networks.registry",
    "build_denoiser": "networks.registry",
    "certified_accuracy": "statistics.accuracy",
    "certified_radius": "statistics.bounds",
    "certify": "api",
    "clopper_pearson_lower": "statistics.bounds",
    "cosine_schedule": "networks.schedules",
    "guided_diffusion_unet": "networks.unet",
    "linear_schedule": "networks.schedules",
    "load_weights": "networks.weights",
    "make_plan": "statistics.plans",
    "read_log": "logs",
    "read_logs": "logs",
    "save_weights": "networks.weights",
    "write_log": "logs",
    "write_logs": "logs",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
