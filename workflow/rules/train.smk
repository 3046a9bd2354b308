# Needs: prepared data; for fine-tuning also the classifier to start from, and the denoiser if any.
# Makes: results/STUDY/models/NAME.pt, or NAME/sigma_0.25.pt where each sigma has its own.


# Outputs flagged `update` are kept until the job writes them: weights that are there and still
# right stay.
rule train_denoiser:
    """Train a diffusion model on clean images."""
    input:
        unpack(lambda wildcards: INPUTS.training_images(model_of(wildcards))),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
    log:
        f"{RESULTS}/logs/train_denoiser/{{weights}}.log",
    wildcard_constraints:
        weights=one_of(STUDY.models_by("denoiser", "train")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        depends=lambda wildcards: depends.weights(STUDY, model_of(wildcards), sigma_of(wildcards)),
    script:
        "../scripts/train_denoiser.py"


rule train_classifier:
    """Train a classifier on clean images, or on noisy ones of one sigma."""
    input:
        unpack(lambda wildcards: INPUTS.training_images(model_of(wildcards))),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
    log:
        f"{RESULTS}/logs/train_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(STUDY.models_by("classifier", "train")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        depends=lambda wildcards: depends.weights(STUDY, model_of(wildcards), sigma_of(wildcards)),
    script:
        "../scripts/train_classifier.py"


rule finetune_classifier:
    """Tune a classifier to the denoised, or the noisy, images of one sigma."""
    input:
        unpack(lambda wildcards: INPUTS.training_images(model_of(wildcards))),
        unpack(lambda wildcards: INPUTS.tuning(model_of(wildcards))),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
    log:
        f"{RESULTS}/logs/finetune_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(STUDY.models_by("classifier", "finetune")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        depends=lambda wildcards: depends.weights(STUDY, model_of(wildcards), sigma_of(wildcards)),
        # Whose weights must be there before anything runs. Snakemake compares no parameter that
        # is derived from inputs.
        models=lambda wildcards, input: list(
            STUDY.models[model_of(wildcards)].weights.recipe.reads.values()
        ),
    script:
        "../scripts/finetune_classifier.py"
