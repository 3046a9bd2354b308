# Needs: config/models.yaml, whose entries say where published weights lie.
# Makes: results/STUDY/models/NAME.pt (or as the file is called there), a link to the file in
#        downloads/, which all studies share; where it comes from in NAME.json beside.

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
