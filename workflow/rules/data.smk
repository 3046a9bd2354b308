# Needs: the files that a dataset's entry in the study file names; those with an address are
#        fetched into downloads/, which all studies share.
# Makes: results/STUDY/data/DATASET/SPLIT.npz, packs of uint8 images, labels and source ids.


for dataset, entry in STUDY.datasets.items():
    for file, origin in entry.origins.items():
        if origin.url:

            rule:
                name:
                    f"download_data_{dataset}_{file}"
                output:
                    PATHS.data_files(dataset)[file],
                log:
                    f"{RESULTS}/logs/download_data/{dataset}_{file}.log",
                localrule: True
                conda:
                    "../../envs/download.yaml"
                params:
                    url=depends.data_file(STUDY, dataset, file),
                    # What else is known of the file does not make it another one. Snakemake
                    # compares no parameter that is derived from outputs.
                    source=lambda wildcards, output, origin=origin: origin.download.model_dump(
                        exclude_none=True
                    ),
                script:
                    "../scripts/download_data.py"

    rule:
        name:
            f"prepare_data_{dataset}"
        input:
            INPUTS.dataset(dataset),
        output:
            [PATHS.pack(dataset, split) for split in entry.splits],
        log:
            f"{RESULTS}/logs/prepare_data/{dataset}.log",
        conda:
            "../../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            dataset=dataset,
            depends=depends.data(STUDY, dataset),
            files=lambda wildcards, input, dataset=dataset: PATHS.data_files(dataset),
        script:
            "../scripts/prepare_data.py"
