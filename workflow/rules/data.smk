# Needs: the files that a dataset's entry in the study file names; those with an address are
#        fetched into downloads/, which all studies share.
# Makes: results/STUDY/data/DATASET/SPLIT.npz, packs of uint8 images, labels and source ids.

for dataset, entry in STUDY["datasets"].items():
    for file, source in entry.get("files", {}).items():
        if "url" in source:

            rule:
                name:
                    f"download_data_{dataset}_{file}"
                output:
                    data_files(dataset)[file],
                log:
                    f"{RESULTS}/logs/download_data/{dataset}_{file}.log",
                localrule: True
                conda:
                    "../../envs/download.yaml"
                params:
                    source=source,
                script:
                    "../scripts/download_data.py"

    rule:
        name:
            f"prepare_data_{dataset}"
        input:
            downloaded_files(dataset),
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
            entry={key: value for key, value in entry.items() if key != "files"},
            files=data_files(dataset),
        script:
            "../scripts/prepare_data.py"


# Files of the user's own are no inputs, so that a study can be planned where they are not.
onstart:
    try:
        for job in workflow.dag.needrun_jobs():
            if job.rule.name.startswith("prepare_data_"):
                check_files_exist(job.rule.name.removeprefix("prepare_data_"), STUDY)
    except StudyError as error:
        sys.exit(f"error: {error}")
