# Needs: prepared data; for fine-tuning also the classifier to start from and the denoiser.
# Makes: results/STUDY/models/NAME.pt, or NAME/sigma_0.25.pt where each sigma has its own.


rule train_denoiser:
    """Train a diffusion model on clean images."""
    input:
        unpack(trained_splits("train")),
    output:
        weights=f"{RESULTS}/models/{{weights}}.pt",
        provenance=f"{RESULTS}/models/{{weights}}.json",
    log:
        f"{RESULTS}/logs/train_denoiser/{{weights}}.log",
    wildcard_constraints:
        weights=one_of(models_by("denoiser", "train")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        seed=STUDY["seed"],
        model=lambda wildcards: MODELS[wildcards.weights],
        state=f"{RESULTS}/models/{{weights}}.training",
    script:
        "../scripts/train_denoiser.py"


rule train_classifier:
    """Train a classifier on clean images, or on noisy ones of one sigma."""
    input:
        unpack(trained_splits("train")),
    output:
        weights=f"{RESULTS}/models/{{weights}}.pt",
        provenance=f"{RESULTS}/models/{{weights}}.json",
    log:
        f"{RESULTS}/logs/train_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_of(models_by("classifier", "train")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        seed=STUDY["seed"],
        model=lambda wildcards: MODELS[model_of(wildcards)],
        sigma=sigma_of,
        state=f"{RESULTS}/models/{{weights}}.training",
    script:
        "../scripts/train_classifier.py"


rule finetune_classifier:
    """Tune a classifier to the denoised images of one sigma."""
    input:
        unpack(trained_splits("finetune")),
        start=lambda wildcards: weights_path(finetuning(wildcards)["from"]),
        denoiser=lambda wildcards: weights_path(finetuning(wildcards)["denoiser"]),
    output:
        weights=f"{RESULTS}/models/{{weights}}.pt",
        provenance=f"{RESULTS}/models/{{weights}}.json",
    log:
        f"{RESULTS}/logs/finetune_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_of(models_by("classifier", "finetune")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        seed=STUDY["seed"],
        model=lambda wildcards: MODELS[model_of(wildcards)],
        start=lambda wildcards: description(finetuning(wildcards)["from"]),
        denoiser=lambda wildcards: description(finetuning(wildcards)["denoiser"]),
        sigma=sigma_of,
        state=f"{RESULTS}/models/{{weights}}.training",
    script:
        "../scripts/finetune_classifier.py"
