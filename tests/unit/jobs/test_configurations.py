"""A denoiser of the hub is fetched from where its entry says, if its entry describes it."""

import json
import runpy
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dds.networks.hub import described
from jobs.models import load_denoiser
from study import depends
from study.load import load_config, load_study
from study.paths import Paths
from study.study import Study

diffusers = pytest.importorskip("diffusers")

ROOT = Path(__file__).parents[3]
PLACE = "huggingface.co/somebody/tiny/resolve/v1"
UNET = {
    "sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
}  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A repository as diffusers saves it, its network, and the address of a server that has it."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**UNET).eval()
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction")
    diffusers.DDIMPipeline(unet, scheduler).save_pretrained(folder / PLACE)
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield folder / PLACE, unet, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def study_with(entry):
    """The digits study, with one more denoiser."""
    plain = load_study(load_config({"study": "digits"}), ROOT).to_json()
    plain["models"] = {"tiny": entry} | plain["models"]
    return Study.from_json(plain)


def entry_of(repository):
    config, scheduler = (
        json.loads((repository / file).read_text())
        for file in ("unet/config.json", "scheduler/scheduler_config.json")
    )
    source = {"hub": "somebody/tiny", "revision": "v1"}
    source["file"] = "unet/diffusion_pytorch_model.safetensors"
    return {"kind": "denoiser", **described(config, scheduler), "weights": {"download": source}}


def fetch(study, server):
    """Run the rule's script, as its rule does."""
    model = study.models["tiny"].model_dump(mode="json", by_alias=True, exclude_none=True)
    weights = Path(Paths(study).weights("tiny"))
    weights.parent.mkdir(parents=True)
    snakemake = SimpleNamespace(
        rule="download_model", log=["log"], threads=1, input=[],
        output=SimpleNamespace(weights=str(weights), provenance=str(weights.with_suffix(".json"))),
        params=SimpleNamespace(model=model),
        config={"url_overrides": {"https://": server}},
    )  # fmt: skip
    runpy.run_path(
        str(ROOT / "workflow" / "scripts" / "download_model.py"), {"snakemake": snakemake}
    )
    return weights


def test_the_weights_of_the_hub_are_those_of_its_network(published, tmp_path, monkeypatch):
    repository, unet, server = published
    monkeypatch.chdir(tmp_path)
    study = study_with(entry_of(repository))
    weights = fetch(study, server)
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["url"] == f"https://{PLACE}/unet/diffusion_pytorch_model.safetensors"
    described = depends.model(study, "tiny")
    denoiser = load_denoiser(described, weights, timestep="nearest").eval()
    assert (denoiser.predicts, depends.download(study, "tiny")["url"]) == ("v", record["url"])
    x, time = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    with torch.inference_mode():
        torch.testing.assert_close(denoiser.network(x, time), unet(x, time).sample)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"predicts": "noise"}, "predicts: noise is published as v"),
        ({"schedule": {"name": "cosine", "steps": 1000}}, "schedule: "),
    ],
)
def test_an_entry_unlike_the_repository_fetches_no_weights(
    published, tmp_path, monkeypatch, capfd, change, reason
):
    repository, _, server = published
    monkeypatch.chdir(tmp_path)
    study = study_with(entry_of(repository) | change)
    with pytest.raises(SystemExit) as ended:
        fetch(study, server)
    assert ended.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"the model's entry differs from somebody/tiny: {reason}" in line
    assert not list(tmp_path.rglob("*.safetensors"))
