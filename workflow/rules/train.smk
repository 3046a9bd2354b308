# Needs: prepared data; for fine-tuning also the classifier to start from and the denoiser.
# Makes: results/STUDY/models/NAME.pt, or NAME/sigma_0.25.pt where each sigma has its own.


def models_by(kind, origin):
    """Return the study's models of a kind whose weights have an origin."""
    return [
        name
        for name, entry in STUDY.models.items()
        if entry.kind == kind and entry.weights.origin == origin
    ]


def recipe_of(wildcards):
    """Return how a model is trained or tuned."""
    return STUDY.models[model_of(wildcards)].weights.recipe


def training_packs(wildcards):
    """Return the images to train and to validate on."""
    dataset = recipe_of(wildcards).dataset
    return {split: PATHS.pack(dataset, split) for split in ("train", "validation")}


def weights_depend_on(wildcards):
    """Return what weights depend on, beside the files they are made from."""
    return depends.weights(STUDY, model_of(wildcards), sigma_of(wildcards))


# Outputs flagged `update` are kept until the job writes them: weights that are there and still
# right stay.
rule train_denoiser:
    """Train a diffusion model on clean images."""
    input:
        unpack(training_packs),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
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
        depends=weights_depend_on,
    script:
        "../scripts/train_denoiser.py"


rule train_classifier:
    """Train a classifier on clean images, or on noisy ones of one sigma."""
    input:
        unpack(training_packs),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
    log:
        f"{RESULTS}/logs/train_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(models_by("classifier", "train")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        depends=weights_depend_on,
    script:
        "../scripts/train_classifier.py"


rule finetune_classifier:
    """Tune a classifier to the denoised images of one sigma."""
    input:
        unpack(training_packs),
        start=lambda wildcards: PATHS.weights(recipe_of(wildcards).from_),
        denoiser=lambda wildcards: PATHS.weights(recipe_of(wildcards).denoiser),
    output:
        weights=update(f"{RESULTS}/models/{{weights}}.pt"),
        provenance=update(f"{RESULTS}/models/{{weights}}.json"),
    log:
        f"{RESULTS}/logs/finetune_classifier/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(models_by("classifier", "finetune")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        depends=weights_depend_on,
    script:
        "../scripts/finetune_classifier.py"
