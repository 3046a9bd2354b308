# Needs: config/models.yaml, whose entries say where published weights lie.
# Makes: results/STUDY/models/NAME.pt (or as the file is called there), a link to the file in
#        downloads/, which all studies share; where it comes from in NAME.json beside; and
#        NAME.accuracy.json, the accuracy of classifiers that one is expected of.


for model, entry in STUDY.models.items():
    if entry.weights.download:

        rule:
            name:
                f"download_model_{model}"
            output:
                weights=PATHS.weights(model),
                provenance=f"{RESULTS}/models/{model}.json",
            log:
                f"{RESULTS}/logs/download_model/{model}.log",
            localrule: True
            conda:
                "../../envs/download.yaml"
            params:
                depends=depends.download(STUDY, model),
                # What else is known of the file does not make it another one. Snakemake
                # compares no parameter that is derived from outputs.
                model=lambda wildcards, output, entry=entry: entry.model_dump(
                    mode="json", by_alias=True, exclude_none=True
                ),
            script:
                "../scripts/download_model.py"


rule measure_accuracy:
    """Measure a classifier's accuracy on clean images, beside the expected one."""
    input:
        unpack(
            lambda wildcards: INPUTS.weights({"weights": model_of(wildcards)}, sigma_of(wildcards))
        ),
        pack=lambda wildcards: INPUTS.measured_images(model_of(wildcards)),
    output:
        f"{RESULTS}/models/{{weights}}.accuracy.json",
    log:
        f"{RESULTS}/logs/measure_accuracy/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(
            model for model in STUDY.measured_models if not STUDY.deposit_of_model(model)
        ),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=60,
    params:
        depends=lambda wildcards: depends.accuracy(STUDY, model_of(wildcards)),
        # Whose weights must be there before anything runs. Snakemake compares no parameter that
        # is derived from inputs.
        models=lambda wildcards, input: [model_of(wildcards)],
    script:
        "../scripts/measure_accuracy.py"
