"""The command line, as a stranger types it."""

import hashlib
import logging
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

import dds
from dds.commands import commands, main
from dds.commands.models import find_classifier, find_denoiser
from dds.sampling.counts import write_counts
from dds.statistics.bounds import largest_radius, successes_needed
from reference import with_help

PAGE = Path(__file__).parents[3] / "docs" / "command_line.md"

#: Of two channels red and green, whichever is brighter, in images of 4 x 4 pixels; and a blur.
MODEL = """
import torch

class Brighter(torch.nn.Module):
    def forward(self, images):
        return images[:, :2].mean(dim=(2, 3))

class Blur:
    networks, runs = (), 1

    def noise_sigma(self, sigma):
        return sigma

    def denoise(self, noisy, sigma, normal=None):
        return torch.nn.functional.avg_pool2d(noisy, 3, stride=1, padding=1)

def classifier(): return Brighter()
def denoiser(): return Blur()
def fails(): return 1 / 0
def number(): return 5
"""
COLOURS = {"red/a.png": (200, 10, 0), "red/b.png": (100, 99, 0), "green/c.png": (10, 200, 0)}
#: What is said on the standard error where there is a denoiser.
DENOISES = r"denoiser Blur: at sigma 0.25 a PSNR of \d\d.\d dB, of the noisy images 12.\d dB"
CERTIFY = "certify photos --classifier model.py:classifier --sigma 0.25 --n 200 --n0 20"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with photographs in folders of classes and a model."""
    monkeypatch.chdir(tmp_path)
    for name, colour in COLOURS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), colour).save(path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "classes.txt").write_text("red\ngreen\n")
    return tmp_path


def run(capsys, line):
    """Type a line; return the exit status, and the lines on standard output and on error."""
    capsys.readouterr()
    status = main(shlex.split(line))
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err.splitlines()


def certified(capsys, line=""):
    status, out, err = run(capsys, f"{CERTIFY} --size 4 --classes classes.txt {line}")
    assert status == 0
    assert_is_only_of_the_denoiser(err, line)
    return out


def assert_is_only_of_the_denoiser(err, line):
    """Make sure that a command said nothing but what a denoiser is worth, if it has one."""
    assert len(err) == ("--denoiser" in line)
    assert all(re.fullmatch(DENOISES, said) for said in err)


def test_certifying_prints_and_keeps_what_the_library_finds(here, capsys):
    out = certified(capsys, "--each --denoiser model.py:denoiser")
    files = [line.split("\t") for line in out[:3]]
    assert [file[:2] for file in files] == [
        ["green/c.png", "green"], ["red/a.png", "red"], ["red/b.png", "abstains"],
    ]  # fmt: skip
    found = dds.Certificates.load("certificates.parquet")
    assert [file[2] for file in files] == [f"{np.floor(1e3 * r) / 1e3:.3f}" for r in found.radius]
    assert found.prediction.tolist() == [1, 0, dds.ABSTAIN]
    assert found.label.tolist() == [1, 0, 0]
    alone = certified(capsys, "--denoiser model.py:denoiser --every 2 --save-to some.parquet")
    some = dds.Certificates.load("some.parquet")  # an image keeps its noise
    assert some.estimation.tolist() == found.estimation[[0, 2]].tolist()
    assert "some.parquet: results of 2 images" in alone[-1]


def test_a_stopped_certification_goes_on_and_a_changed_one_is_refused(here, capsys):
    first = certified(capsys)
    before = Path("certificates.parquet").read_bytes()
    assert certified(capsys) == first
    assert Path("certificates.parquet").read_bytes() == before
    status, out, err = run(capsys, f"{CERTIFY} --size 4 --classes classes.txt --seed 1")
    assert (status, out) == (2, [])
    assert "certificates.parquet holds votes with other seed: 0, not 1" in err[0]
    assert Path("certificates.parquet").read_bytes() == before


def test_images_in_one_folder_get_certificates_without_labels(here, capsys):
    status, out, err = run(capsys, f"{CERTIFY} --from red --radii 0.25 --each")
    assert (status, err) == (0, [])
    assert out[0].startswith("red/a.png\t0\t0.")
    assert out[2].startswith("Certified share (%)")
    status, out, _ = run(capsys, f"{CERTIFY} --unlabelled --save-to all.parquet --n 100")
    assert out[-1].startswith("all.parquet: results of 3 images")
    status, _, err = run(capsys, "export-log certificates.parquet logs")
    assert status == 2
    assert "the classes of its images are not known" in err[0]


def test_predictions_name_classes(here, capsys):
    line = "predict photos --classifier model.py:classifier --sigma 0.1 --classes classes.txt"
    status, out, err = run(capsys, f"{line} --n 200")
    assert (status, err) == (0, [])
    assert out == ["green/c.png\tgreen", "red/a.png\tred", "red/b.png\tabstains"]


def test_radii_that_the_samples_cannot_reach_are_marked(here, capsys):
    certified(capsys, "--sigma 0.1 --n 100")
    for file in ("certificates.parquet", "of_the_workflow.parquet"):
        status, out, err = run(capsys, f"accuracy {file} --radii 0 0.1 0.2")
        assert (status, err) == (0, [])
        assert out[2].split()[-1] == "n/a"  # 100 samples reach 0.150
        assert out[2].count("[") == 2
        assert out[3].startswith("n/a: n is too small")
        frame = dds.Certificates.load("certificates.parquet").to_frame()
        frame.to_parquet("of_the_workflow.parquet")
    # Earlier versions did not write how far samples reach, nor do logs.
    frame.drop(columns="largest_radius").to_parquet("earlier.parquet")
    _, out, _ = run(capsys, "accuracy earlier.parquet --radii 0.2")
    assert "0.0 [0.0, " in out[-1]


def test_votes_that_are_no_certificates_are_refused_in_words_of_the_shell(here, capsys):
    counts = pd.DataFrame(
        {"image": [0], "label": [1], "sigma": 0.25, "classifier": "f", "selection": [[0, 9]],
         "estimation": [[0, 99]]},
    )  # fmt: skip
    write_counts("counts.parquet", counts, {"plan": {"plan": "fixed", "n0": 9, "n": 99}})
    for command in ("accuracy counts.parquet", "export-log counts.parquet logs"):
        assert run(capsys, command) == (2, [], [
            "error: counts.parquet holds votes and no certificates; take a file that certify "
            "saved, or certificates of the workflow"
        ])  # fmt: skip


def test_one_log_is_called_one(here, capsys):
    certified(capsys)
    assert run(capsys, "export-log certificates.parquet logs")[0] == 0
    _, out, _ = run(capsys, "import-logs logs again.parquet")
    assert out == ["again.parquet: 3 certificates from 1 log"]
    Path("logs/damaged.tsv").write_text("idx\n")
    _, _, err = run(capsys, "import-logs logs again.parquet")
    assert err[-1] == "error: 1 damaged log is left out"
    Path("logs/also.tsv").write_text("idx\n")
    _, _, err = run(capsys, "import-logs logs again.parquet")
    assert err[-1] == "error: 2 damaged logs are left out"


def test_results_are_read_by_all_that_read_certificates(here, capsys):
    certified(capsys)
    certified(capsys, "--seed 1 --save-to other.parquet")
    status, out, _ = run(capsys, "accuracy certificates.parquet --radii 0 0.1")
    expected = dds.Certificates.load("certificates.parquet").certified_accuracy([0, 0.1])
    assert status == 0
    assert [float(cell) for cell in out[-1].split()[3::3]] == [
        round(100 * share, 1) for share in expected["accuracy"]
    ]
    status, out, _ = run(capsys, "accuracy certificates.parquet other.parquet")
    assert [line.split(")")[0].split("(")[-1] for line in out[-3:-1]] == [
        "certificates.parquet", "other.parquet",
    ]  # fmt: skip
    assert run(capsys, "export-log certificates.parquet logs")[0] == 0
    for line in ("logs", "certificates.parquet logs"):  # a log decides every radius
        _, out, _ = run(capsys, f"accuracy {line} --radii 0 0.1")
        assert [float(cell) for cell in out[-1].split()[-6::3]] == [
            round(100 * share, 1) for share in expected["accuracy"]
        ]
    assert run(capsys, "plot certificates.parquet logs --to curves.pdf")[0] == 0
    assert Path("curves.pdf").read_bytes().startswith(b"%PDF")
    status, _, err = run(capsys, "plot certificates.parquet --to curves.doc")
    assert (status, err) == (2, ["error: --to curves.doc: must end in .pdf, .png, .svg"])


def test_what_is_named_twice_is_taken_once(here, capsys):
    printed = certified(capsys, "--radii 0 0.1")
    assert certified(capsys, "--radii 0 0.1 0.1 0") == printed
    expected = run(capsys, "accuracy certificates.parquet --radii 0 0.1")
    again = "accuracy certificates.parquet ./certificates.parquet --radii 0 0.1 0.1"
    assert run(capsys, again) == expected


def test_many_curves_are_told_apart_and_their_names_cover_none(here, capsys, monkeypatch):
    figures, draws = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda *given: figures.append(given[0]) or draws(*given))
    for number in range(16):
        log = Path(f"logs/deit_base_distilled_patch16_224_number_{number}/sigma_0.25.tsv")
        log.parent.mkdir(parents=True)
        log.write_text("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\t0.4\t1\t0:01\n")
    assert run(capsys, "plot logs --to many.png") == (0, ["many.png"], [])
    (axis,) = figures[-1].axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
    assert len(looks) == 16
    legend = axis.get_legend()
    frame, below = axis.get_window_extent(), legend.get_window_extent()
    assert below.y1 < frame.y0
    size = Image.open("many.png").size
    assert size[0] > max(below.x1, frame.x1) - min(below.x0, frame.x0)
    assert size[1] > frame.y1 - below.y0


def test_curves_of_known_and_of_unknown_classes_are_not_drawn_together(here, capsys):
    certified(capsys)
    assert run(capsys, f"{CERTIFY} --unlabelled --save-to unknown.parquet")[0] == 0
    status, _, err = run(capsys, "plot unknown.parquet certificates.parquet")
    assert (status, len(err)) == (2, 1)
    assert "the classes of some images are known, and of others not" in err[0]
    assert not Path("certified_accuracy.pdf").exists()


def test_importing_logs_replaces_no_votes(here, capsys):
    certified(capsys)
    votes = Path("certificates.parquet").read_bytes()
    Path("text.parquet").write_text("mine")
    assert run(capsys, "export-log certificates.parquet logs")[0] == 0
    for file in ("certificates", "text"):
        status, out, err = run(capsys, f"import-logs logs {file}.parquet")
        assert (status, out) == (2, [])
        assert err == [f"error: {file}.parquet is there and was not imported; name another file"]
    assert Path("certificates.parquet").read_bytes() == votes
    for _ in range(2):  # what was imported before may be
        assert run(capsys, "import-logs logs imported.parquet")[0] == 0


@pytest.mark.parametrize("wrap", ["", "classifier = lambda: torch.nn.DataParallel(Brighter())"])
def test_classes_of_a_network_are_not_put_in_another_order(here, capsys, wrap):
    names = "Brighter.classes = ('green', 'red')"
    (here / "model.py").write_text(f"{MODEL}\n{names}\n{wrap}\n")
    status, _, err = run(capsys, f"{CERTIFY} --classes classes.txt")
    assert (status, len(err)) == (2, 1)
    assert "the same classes in another order, such as red and green for 0" in err[0]
    (here / "others.txt").write_text("a\nb\n")  # other names may be given
    status, out, _ = run(capsys, f"{CERTIFY} --classes others.txt --unlabelled --each")
    assert status == 0
    assert any("\ta\t" in line for line in out)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "Missing command; see .* --help"),
        ("certfy", "No such command 'certfy'. Did you mean 'certify'.; see .* --help"),
        ("certify photos --sigma 1", "Missing option '--classifier'; see .* certify --help"),
        (CERTIFY, "2 folders, and 10 classes of the network; name the classes, .* --classes FILE"),
        (f"{CERTIFY} --classes cats.txt", "folder green is no class; .* --classes FILE"),
        (f"{CERTIFY} --classes absent.txt", "absent.txt: No such file or directory"),
        (CERTIFY.replace("photos", "absent"), "there is no absent"),
        (CERTIFY.replace("photos", "mixed"), "make them alike with size"),
        (f"{CERTIFY} --images 9", "error: photos has 3 images, fewer than the 9 asked for"),
        (f"{CERTIFY} --images 1 --every 2", "either by images or by every"),
        (f"{CERTIFY} --classes classes.txt --save-to v.csv", "v.csv must end in .parquet"),
        ("import-logs logs v.csv", "v.csv must end in .parquet, .*; take v.parquet"),
        (CERTIFY.replace("0.25", "64"), "divide one for pixels of 0 to 255 by 255"),
        (f"{CERTIFY} --radii 0.1 2", "n = 200 samples certify no radius above 0.456"),
        (f"{CERTIFY} --plan half", "plan: half is not allowed; allowed: curtailed, fixed"),
        (f"{CERTIFY} --device quantum", "device .*quantum"),
        (CERTIFY.replace(":classifier", ""), "name the function in it too, as model.py:FUNCTION"),
        (CERTIFY.replace(":classifier", ":f"), "model.py has no function f"),
        (CERTIFY.replace(":classifier", ":fails"), "model.py:fails failed: ZeroDivisionError"),
        (CERTIFY.replace(":classifier", ":number"), "returned int, not a torch.nn.Module"),
        (f"{CERTIFY} --denoiser model.py:number", "which is no denoiser; return dds.Diffusion"),
        (f"{CERTIFY} --classifier-weights w.pt", "brings its own weights; leave w.pt out"),
        (f"{CERTIFY} --denoiser blur", "there is no config/models.yaml here .* --models"),
        ("plan --sigma 64", "divide one for pixels of 0 to 255 by 255"),
        ("plan --sigma 1 --n 0", "n must be whole, at least 1"),
        ("plan --sigma 1 --alpha 1", "--alpha must lie between 0 and 1"),
        ("plan --sigma 1 --radii -1", "--radii must be numbers of at least 0"),
        ("plan --sigma 1 --rate 0", "--rate must be above 0"),
        ("plan --sigma 1 --classifier model.py:classifier", "needs --size"),
        ("plot absent.tsv", "absent.tsv: No such file or directory"),
        ("export-log absent.parquet logs", "absent.parquet: No such file or directory"),
        ("export-log classes.txt logs", "classes.txt is no file of certificates or of results"),
        ("export-log photos logs", "photos is no file of certificates .*; logs are made of these"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_with_the_cure(here, capsys, line, problem):
    if "mixed" in line:
        for side in (4, 5):
            (here / "mixed").mkdir(exist_ok=True)
            Image.new("RGB", (side, 4)).save(here / f"mixed/{side}.png")
    (here / "cats.txt").write_text("red\ncat\n")
    if line == CERTIFY:
        ten = "Brighter.forward = lambda self, images: images.new_ones(len(images), 10)"
        (here / "model.py").write_text(f"{MODEL}\n{ten}\n")
    status, out, err = run(capsys, line)
    assert (status, out, len(err)) == (2, [], 1)
    assert re.search(problem, err[0])
    assert not (here / "certificates.parquet").exists()


def test_warnings_take_one_line(here, capsys):
    status, _, err = run(capsys, CERTIFY.replace("0.25", "3") + " --classes classes.txt")
    assert status == 0
    assert [line.split(":")[0] for line in err] == ["warning"]


@pytest.mark.parametrize("command", ["certify", "predict"])
def test_what_the_library_warns_of_in_its_log_is_said_and_its_loggers_are_left(
    here, capsys, command
):
    (here / "model.py").write_text(f"{MODEL}\nBlur.denoise = lambda self, noisy, *told: noisy\n")
    loggers = [logging.getLogger(name) for name in ("dds", "dds.sampling.denoising_check")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    line = CERTIFY.replace("certify", command).replace("--n0 20", "--denoiser model.py:denoiser")
    status, _, err = run(capsys, f"{line} --size 4 --classes classes.txt")
    assert status == 0
    (said,) = err
    assert re.match(f"warning: {DENOISES}, and mixed with grey", said)
    assert [(logger.level, logger.handlers[:]) for logger in loggers] == before


def test_the_example_of_each_command_works_when_typed(here, capsys):
    Path("classes.txt").unlink()
    names = ["certify", "predict", "plan", "accuracy", "plot", "export-log", "import-logs"]
    assert sorted(names) == sorted(commands.commands)
    for name in names:
        example = commands.commands[name].example.replace("\\\n", " ")
        status, out, err = run(capsys, example)
        assert status == 0, example
        assert_is_only_of_the_denoiser(err, example)
        _, helped, _ = run(capsys, f"{name} --help")
        assert helped[-1].strip() in " ".join(f"python -m dds {example}".split())


def test_the_page_has_the_help_of_every_command():
    page = PAGE.read_text()
    assert re.findall(r"<!-- help: ([\w-]+) -->", page) == list(commands.commands)
    assert with_help(page) == page, "run tools/reference.py"
    assert with_help(page.replace("Certify images", "Certify")) == page


def test_the_plan_tells_what_can_be_reached_and_what_it_takes(here, capsys):
    _, out, _ = run(capsys, "plan --sigma 0.25 --n 1000 --radii 0.25 1 --rate 110 --images 10")
    assert out[1] == f"Largest radius: {np.floor(1e3 * largest_radius(1000, 0.001, 0.25)) / 1e3}"
    rows = {line.split()[0]: line.split()[1:] for line in out if line}
    assert rows["0.25"] == ["40", f"{successes_needed(0.25, 0.25, 1000, 0.001)}", "87.70%"]
    assert "out of reach; --n 218105 reaches it" in " ".join(rows["1"])
    assert rows["fixed"] == ["1,100"] * 5
    assert [line.split() for line in out if "10 images" in line][1] == [
        "10", "images", *["2", "min"] * 5,
    ]  # fmt: skip
    columns = {"idx": range(4), "label": 1, "predict": 1, "radius": [0.5, 0.5, 0.5, 0.0]}
    pd.DataFrame(columns | {"correct": 1}).to_csv("log.tsv", sep="\t", index=False)
    _, out, _ = run(capsys, "plan --sigma 0.25 --n 1000 --radii 0.9 --like log.tsv")
    assert next(line for line in out if line.startswith("sequential")).split()[1] == "200"


# -- models by name ------------------------------------------------------------------------------

ENTRY = {
    "kind": "classifier", "network": "wide_resnet", "arguments": {"depth": 10, "width": 1},
    "input": {"channels": 3, "size": 8, "mean": [0.4], "std": [0.2]}, "classes": "classes.txt",
}  # fmt: skip


@pytest.fixture
def registry(here, monkeypatch):
    """A file of models; the weights of two of them lie at an address."""
    network = dds.build_classifier({**ENTRY, "classes": ["red", "green"]}).network
    dds.save_weights(network, "weights.pt")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(here / "cache"))
    url = (here / "weights.pt").as_uri()
    sha256 = hashlib.sha256(Path("weights.pt").read_bytes()).hexdigest()
    entries = {
        "mine": {**ENTRY, "weights": {"download": {"url": url, "sha256": sha256}}},
        "alike": {"like": "mine", "input": {**ENTRY["input"], "mean": [0.3]}},
        "wrong": {"like": "mine", "weights": {"download": {"url": url, "sha256": 64 * "0"}}},
        "away": {"like": "mine", "weights": {"download": {"url": f"{url}.absent"}}},
        "trained": {"like": "mine", "weights": {"train": {"dataset": "pets"}}},
        "noisy": {"like": "mine", "weights": {"file": "{sigma}.pt", "obtain": "tune it"}},
        "circle": {"like": "circle"},
        "unet": {"kind": "denoiser"},
    }
    Path("models.yaml").write_text(yaml.safe_dump(entries))
    return network


def test_a_model_of_the_registry_comes_with_its_weights(here, registry, capsys):
    found = find_classifier("mine", models=Path("models.yaml"))
    assert found.classes == ("red", "green")
    assert all(
        map(torch.equal, found.network.state_dict().values(), registry.state_dict().values())
    )
    (here / "weights.pt").unlink()  # downloaded once
    alike = find_classifier("alike", models=Path("models.yaml"))
    assert (alike.mean.item(), found.mean.item()) == (np.float32(0.3), np.float32(0.4))
    (kept,) = (here / "cache").rglob("weights.pt")
    kept.write_bytes(b"something else")
    with pytest.raises(ValueError, match="another SHA-256 .* delete it"):
        find_classifier("mine", models=Path("models.yaml"))


def test_a_denoiser_of_a_repository_is_fetched_from_the_hub(registry, monkeypatch):
    size = {"sample_size": 8, "block_out_channels": [8], "norm_num_groups": 4}
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    entry = {
        "kind": "denoiser", "network": "diffusers", "arguments": size | blocks,
        "input": {"channels": 3, "size": 8}, "schedule": {"name": "sigma"}, "predicts": "edm",
    }  # fmt: skip
    network = dds.build_denoiser(entry).network
    source = {"hub": "somebody/tiny", "revision": "v1", "file": "unet/weights.bin"}
    entries = {"tiny": {**entry, "weights": {"download": source}}}
    Path("models.yaml").write_text(yaml.safe_dump(entries))
    asked = []

    def download(url, path, hash_prefix):
        asked.append(url)
        dds.save_weights(network, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    found = find_denoiser("tiny", models=Path("models.yaml"))
    assert asked == ["https://huggingface.co/somebody/tiny/resolve/v1/unet/weights.bin"]
    assert found.predicts == "edm"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wrong", "invalid hash value .* by --classifier-weights FILE"),
        ("away", "cannot be downloaded: .*No such file.* by --classifier-weights FILE"),
        ("trained", "is trained by the workflow: .* by --classifier-weights FILE"),
        ("noisy", "noisy: no weights at 0.5.pt: tune it, or .* by --classifier-weights FILE"),
        ("circle", "goes round in a circle"),
        ("unet", "is a denoiser: models.yaml has alike, away, mine, noisy, trained, wrong"),
        ("absent", "is not there: models.yaml has alike, away, mine, noisy, trained, wrong"),
    ],
)
def test_what_the_registry_cannot_give_is_refused(registry, name, problem):
    with pytest.raises(ValueError, match=problem):
        find_classifier(name, models=Path("models.yaml"), sigma=0.5)
    assert not list(Path("cache").rglob("*.partial"))


def test_weights_of_ones_own_take_the_place_of_an_entrys(registry):
    found = find_classifier("trained", Path("weights.pt"), Path("models.yaml"))
    assert torch.equal(next(found.network.parameters()), next(registry.parameters()))
    Path("weights.pt").rename("0.25.pt")
    for given in (None, Path("{sigma}.pt")):
        found = find_classifier("noisy", given, Path("models.yaml"), sigma=0.25)
        assert torch.equal(next(found.network.parameters()), next(registry.parameters()))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classes": 2}, "mine.classes: must be a valid list"),
        ({"input": "rgb"}, "mine.input: must be a mapping"),
        ({"weights": "weights.pt"}, "mine.weights: must be a mapping"),
        ({"weights": {"file": 3}}, "mine.weights.file: must be a valid string"),
        ({"weights": {"download": "weights.pt"}}, "mine.weights.download: must be a mapping"),
        ({"weights": {"download": {"url": "ftp://a/b"}}}, "download.url: ftp://a/b is no address"),
    ],
)
def test_an_entry_that_is_none_is_refused_in_one_line(here, changes, problem):
    entry = {**ENTRY, "classes": ["red", "green"], "weights": {"file": "absent.pt"}}
    Path("models.yaml").write_text(yaml.safe_dump({"mine": entry | changes}))
    with pytest.raises(ValueError, match=f"^[^\n]*{problem}[^\n]*$"):
        find_classifier("mine", models=Path("models.yaml"))


@pytest.mark.parametrize("key", ["classes", "input"])
def test_an_entry_that_lacks_a_key_is_refused_in_one_line(here, key):
    entry = {**ENTRY, "classes": ["red", "green"], "weights": {"file": "absent.pt"}}
    del entry[key]
    Path("models.yaml").write_text(yaml.safe_dump({"mine": entry}))
    with pytest.raises(ValueError, match=f"^mine.{key}: is missing$"):
        find_classifier("mine", models=Path("models.yaml"))


def test_a_denoiser_of_the_registry_comes_with_its_weights(here):
    size = {"image_size": 8, "in_channels": 3, "out_channels": 3, "model_channels": 32}
    blocks = {"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]}
    entry = {
        "kind": "denoiser", "network": "guided_diffusion_unet", "arguments": size | blocks,
        "input": {"channels": 3, "size": 8}, "schedule": {"name": "cosine", "steps": 4000},
    }  # fmt: skip
    network = dds.build_denoiser(entry).network
    dds.save_weights(network, "unet.pt")
    entries = {"models": {"unet": {**entry, "weights": {"file": "unet.pt"}}}}  # a study file
    Path("models.yaml").write_text(yaml.safe_dump(entries))
    found = find_denoiser("unet", models=Path("models.yaml"))
    assert found.noise_sigma(0.25) == 0.25
    assert all(map(torch.equal, found.network.parameters(), network.parameters()))
    with pytest.raises(ValueError, match="classifier unet is a denoiser: models.yaml has none"):
        find_classifier("unet", models=Path("models.yaml"))


UNET = {
    "kind": "denoiser", "network": "guided_diffusion_unet", "input": {"channels": 3, "size": 8},
    "arguments": {"image_size": 8, "in_channels": 3, "out_channels": 3, "model_channels": 32,
                  "num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]},
    "schedule": {"name": "cosine", "steps": 4000}, "weights": {"file": "unet.pt"},
}  # fmt: skip
GREY = {
    "classifier": {**ENTRY, "input": {"channels": 1, "size": 8}, "weights": {"file": "c.pt"}},
    "denoiser": {**UNET, "input": {"channels": 1, "size": 8},
                 "arguments": UNET["arguments"] | {"in_channels": 1, "out_channels": 1}},
}  # fmt: skip


@pytest.mark.parametrize("role", ["classifier", "denoiser"])
def test_images_of_other_channels_than_an_entry_takes_are_refused(here, capsys, role):
    Path("models.yaml").write_text(yaml.safe_dump({"grey": GREY[role]}))  # before any weights
    line = f"{CERTIFY} --size 8 --classes classes.txt --models models.yaml --{role} grey"
    wrong = "error: grey takes images of 1 channel, and --channels is 3; give --channels 1"
    assert run(capsys, line) == (2, [], [wrong])
    assert run(capsys, line.replace("certify", "predict").replace(" --n0 20", ""))[2] == [wrong]
    plan = f"plan --sigma 1 --classifier model.py:classifier --{role} grey --models models.yaml"
    assert run(capsys, f"{plan} --size 8")[2] == [wrong]
    if role == "classifier":
        network = dds.build_classifier({**GREY[role], "classes": ["red", "green"]}).network
        dds.save_weights(network, "c.pt")
        assert run(capsys, f"{line} --channels 1")[0] == 0


def test_images_of_another_size_than_a_denoiser_was_trained_on_are_told(here, capsys, monkeypatch):
    monkeypatch.setattr("dds.front.counting.check_denoising", lambda *given: None)
    dds.save_weights(dds.build_denoiser(UNET).network, "unet.pt")
    Path("models.yaml").write_text(yaml.safe_dump({"unet": UNET}))
    line = f"{CERTIFY} --classes classes.txt --models models.yaml --denoiser unet --n 20"
    status, _, err = run(capsys, f"{line} --size 16")
    assert (status, err) == (0, [
        "warning: the denoiser was trained on images of 8 x 8 pixels, and gets 16 x 16, which it "
        "may denoise worse; resize them to 8 x 8, unless it is known to do well"
    ])  # fmt: skip
    assert run(capsys, f"{line} --size 8 --save-to fits.parquet")[::2] == (0, [])


STUDIES = {
    "config/models.yaml": {"base": {**ENTRY, "weights": {"file": "weights.pt"}}},
    "config/studies/whole.yaml": {
        "seed": 1, "experiments": {"main": {"n": 100}},
        "models": {"small": {"like": "base", "input": {**ENTRY["input"], "mean": [0.3]}}},
    },
    "without.yaml": {"seed": 1, "experiments": {}},
    "changed.yaml": {"like": "whole", "models": {"small": {"input": {"mean": [0.1]}}}},
    "again.yaml": {"like": "changed.yaml", "experiments": {"main": {"n": 200}}},
    "left_out.yaml": {"like": "whole", "models": {"small": None}},
    "circle.yaml": {"like": "circle.yaml"},
    "lost.yaml": {"like": "nothing"},
    "mixed.yaml": {"like": "config/models.yaml"},
}  # fmt: skip


@pytest.fixture
def studies(registry):
    """A project's registry, a study with a model like one of it, and studies that are like that."""
    Path("config/studies").mkdir(parents=True)
    for file, content in STUDIES.items():
        Path(file).write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("name", "file", "mean"),
    [
        ("base", "without.yaml", 0.4),
        ("small", "config/studies/whole.yaml", 0.3),
        ("small", "changed.yaml", 0.1),
        ("small", "again.yaml", 0.1),
        ("small", "whole", 0.3),
    ],
)
def test_models_of_a_study_are_read_as_the_workflow_reads_them(studies, name, file, mean):
    found = find_classifier(name, models=Path(file))
    assert (found.mean.item(), found.size) == (np.float32(mean), 8)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("left_out.yaml", "classifier small is not there: left_out.yaml has base"),
        ("circle.yaml", "circle.yaml: like: goes round in a circle"),
        ("mixed.yaml", "config/models.yaml is no study"),
        ("lost.yaml", "lost.yaml: like: there is no config/studies/nothing.yaml here, and no file"),
    ],
)
def test_studies_that_lack_a_model_are_told(studies, file, problem):
    with pytest.raises(ValueError, match=problem):
        find_classifier("small", models=Path(file))


@pytest.mark.parametrize("name", ["hf:google/ddpm-cifar10-32", "photos"])
def test_denoisers_of_diffusers_are_looked_for_on_the_hub_or_in_a_folder(here, monkeypatch, name):
    stand_in = ModuleType("dds.networks.hub_denoisers")
    stand_in.hub_denoiser = lambda name: f"denoiser {name}"
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    assert find_denoiser(name) == f"denoiser {name}"
    with pytest.raises(ValueError, match="brings its own weights"):
        find_denoiser(name, Path("weights.pt"))


@pytest.mark.parametrize("name", ["timm:resnet50", "hf:google/vit-base-patch16-224", "photos"])
def test_classifiers_of_libraries_are_looked_for_by_the_library(here, monkeypatch, name):
    monkeypatch.setattr("dds.networks.hub_classifiers.hub_classifier", lambda name: [name])
    assert find_classifier(name) == [name]
