# Needs: the source that a dataset's entry in the study file names.
# Makes: results/STUDY/data/DATASET/SPLIT.npz, packs of uint8 images, labels and source ids.

for dataset, entry in STUDY["datasets"].items():

    rule:
        name:
            f"prepare_data_{dataset}"
        output:
            [pack_path(dataset, split) for split in entry["splits"]],
        log:
            f"{RESULTS}/logs/prepare_data/{dataset}.log",
        conda:
            "../../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            seed=STUDY["seed"],
            entry=entry,
        script:
            "../scripts/prepare_data.py"
