# Needs: config/models.yaml, whose entries say where published weights lie.
# Makes: results/STUDY/models/NAME.pt (or as the file is called there), a link to the file in
#        downloads/, which all studies share; where it comes from in NAME.json beside; and
#        NAME.accuracy.json, the accuracy of classifiers whose accuracy is published.

for model, entry in MODELS.items():
    if "download" in entry["weights"]:

        rule:
            name:
                f"download_model_{model}"
            output:
                weights=weights_path(model),
                provenance=f"{RESULTS}/models/{model}.json",
            log:
                f"{RESULTS}/logs/download_model/{model}.log",
            localrule: True
            conda:
                "../../envs/download.yaml"
            params:
                model=entry,
            script:
                "../scripts/download_model.py"


rule measure_accuracy:
    """Measure a classifier's accuracy on clean images, beside the published one."""
    input:
        weights=lambda wildcards: weights_path(model_of(wildcards), sigma_of(wildcards)),
        pack=lambda wildcards: pack_path(
            classified(model_of(wildcards))["dataset"], classified(model_of(wildcards))["split"]
        ),
    output:
        f"{RESULTS}/models/{{weights}}.accuracy.json",
    log:
        f"{RESULTS}/logs/measure_accuracy/{{weights}}.log",
    wildcard_constraints:
        weights=weights_of(measured_models()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=60,
    params:
        model=lambda wildcards: description(model_of(wildcards)),
        expected=lambda wildcards: expected_accuracy(model_of(wildcards)),
    script:
        "../scripts/measure_accuracy.py"
