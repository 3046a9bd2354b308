"""Diffusion denoised smoothing: certified robustness from off-the-shelf models.

The names below are the library's front door. Each is imported when it is first asked
for, so that statistics, logs and tables never wait for, or need, PyTorch.
"""

from importlib import import_module

_HOME = {
    "ABSTAIN": "certificates",
    "Certificate": "certification",
    "Classifier": "classifiers",
    "DiffusionDenoiser": "denoisers",
    "NoDenoiser": "denoisers",
    "SmoothedClassifier": "smoothing",
    "build_classifier": "models",
    "build_denoiser": "models",
    "certified_accuracy": "accuracy",
    "certified_radius": "certificates",
    "certify": "certification",
    "clopper_pearson_lower": "certificates",
    "cosine_schedule": "schedules",
    "guided_diffusion_unet": "denoisers",
    "linear_schedule": "schedules",
    "load_weights": "models",
    "make_plan": "plans",
    "read_log": "logs",
    "read_logs": "logs",
    "save_weights": "models",
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
