# Needs: the files that a dataset's entry in the study file names; those with an address are
#        fetched into downloads/, which all studies share.
# Makes: results/STUDY/data/DATASET/SPLIT.npz, packs of uint8 images, labels and source ids.


def prepared_from(dataset):
    """Return the files that a dataset is made from: those with an address, and those there are.

    A file of the user's own that is missing is no input, so that a study can be planned where
    its data are not; nor is a folder, which changes whenever somebody puts a file into it.
    """
    origins = STUDY.datasets[dataset].origins
    return [
        path
        for name, path in PATHS.data_files(dataset).items()
        if origins[name].url or Path(path).is_file()
    ]


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
                    url=origin.url,
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
            prepared_from(dataset),
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


onstart:
    try:
        for job in workflow.dag.needrun_jobs():
            if dataset := job.params.get("dataset"):
                check_files_exist(dataset, STUDY)
    except StudyError as error:
        sys.exit(f"error: {error}")
