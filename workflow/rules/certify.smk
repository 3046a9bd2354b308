# Needs: prepared data, and the weights of an experiment's classifiers and denoiser.
# Makes: results/STUDY/counts/EXPERIMENT/sigma_0.25/images_00000-00499.parquet, class
#        counts of some images at one sigma, with their provenance in .json beside.


# Outputs flagged `update` are kept until the job writes them: votes that are there and still right
# are taken over, however many of the shard's images they hold.
rule certify_shard:
    """Count the votes of the smoothed classifiers on some images at one sigma."""
    input:
        unpack(
            lambda wildcards: INPUTS.smoothed_models(wildcards.experiment, float(wildcards.sigma))
        ),
        pack=lambda wildcards: INPUTS.images(wildcards.experiment),
    output:
        counts=update(f"{RESULTS}/counts/{{experiment}}/sigma_{{sigma}}/{{shard}}.parquet"),
        provenance=update(f"{RESULTS}/counts/{{experiment}}/sigma_{{sigma}}/{{shard}}.json"),
    log:
        f"{RESULTS}/logs/certify_shard/{{experiment}}/sigma_{{sigma}}/{{shard}}.log",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=120,
    params:
        depends=lambda wildcards: depends.votes(STUDY, wildcards.experiment),
        # Votes do not depend on it. Snakemake compares no parameter that is derived from inputs.
        batch_size=lambda wildcards, input: STUDY.experiments[wildcards.experiment].batch_size,
        # Whose weights must be there before anything runs.
        models=lambda wildcards, input: STUDY.experiments[wildcards.experiment].models,
    script:
        "../scripts/certify_shard.py"
