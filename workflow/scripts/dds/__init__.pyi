"""The public names and where they lie; `dds/__init__.py` reads it, as do type checkers."""

from dds.api import Certificate as Certificate
from dds.api import certify as certify
from dds.attacks import Attacked as Attacked
from dds.attacks import attack as attack
from dds.logs import read_log as read_log
from dds.logs import read_logs as read_logs
from dds.logs import write_log as write_log
from dds.logs import write_logs as write_logs
from dds.networks.classifiers import Classifier as Classifier
from dds.networks.denoisers import DiffusionDenoiser as DiffusionDenoiser
from dds.networks.denoisers import NoDenoiser as NoDenoiser
from dds.networks.registry import build_classifier as build_classifier
from dds.networks.registry import build_denoiser as build_denoiser
from dds.networks.schedules import cosine_schedule as cosine_schedule
from dds.networks.schedules import linear_schedule as linear_schedule
from dds.networks.unet import guided_diffusion_unet as guided_diffusion_unet
from dds.networks.weights import load_weights as load_weights
from dds.networks.weights import save_weights as save_weights
from dds.sampling.smoothing import SmoothedClassifier as SmoothedClassifier
from dds.statistics.accuracy import certified_accuracy as certified_accuracy
from dds.statistics.bounds import certified_radius as certified_radius
from dds.statistics.bounds import clopper_pearson_lower as clopper_pearson_lower
from dds.statistics.certificates import ABSTAIN as ABSTAIN
from dds.statistics.empirical import empirical_accuracy as empirical_accuracy
from dds.statistics.plans import make_plan as make_plan
from dds.version import __version__ as __version__
