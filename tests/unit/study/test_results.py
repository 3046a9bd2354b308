"""Everything that a finished study should have is what its rules make."""

from pathlib import Path

from project import ROOT, open_study
from study.results import results


def test_every_result_of_the_shipped_study_is_named_with_what_it_depends_on():
    found = results(open_study("digits"), ROOT)
    folders = {str(Path(path).parent.relative_to("results/digits")) for path in found}
    assert folders >= {
        "counts", "certificates", "tables", "figures", "notebooks", "models", "costs", ".",
        "counts/denoised/sigma_0.25", "models/digits_cnn_finetuned",
    }  # fmt: skip
    assert {Path(path).suffix for path in found} == {
        ".parquet", ".json", ".csv", ".md", ".tex", ".html", ".pdf", ".png", ".ipynb",
    }  # fmt: skip
    assert "results/digits/counts/denoised/sigma_0.5/images_00100-00199.json" in found
    assert {"results/digits/provenance.html", "results/digits/checks.html"} <= found.keys()
    assert found["results/digits/certificates/denoised.parquet"]["alpha"] == 0.001
    assert (
        found["results/digits/counts/denoised/sigma_0.5/images_00100-00199.parquet"]
        == (found["results/digits/counts/denoised.json"]["expected"])
    )


def test_downloaded_models_and_measured_accuracies_are_results_of_the_paper():
    found = results(open_study("paper"), ROOT)
    assert "results/paper/models/imagenet_beit.accuracy.json" in found
    assert "results/paper/models/cifar10_vit.json" in found
    assert "url" in found["results/paper/models/imagenet_unet.json"]
