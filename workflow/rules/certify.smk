# Needs: prepared data, and the weights of an experiment's classifiers and denoiser.
# Makes: results/STUDY/counts/EXPERIMENT/sigma_0.25/images_00000-00499.parquet, class
#        counts of some images at one sigma, with their provenance in .json beside.


rule certify_shard:
    """Count the votes of the smoothed classifiers on some images at one sigma."""
    input:
        unpack(lambda wildcards: smoothed_models(wildcards.experiment, wildcards.sigma)),
        pack=lambda wildcards: pack_path(
            EXPERIMENTS[wildcards.experiment]["dataset"],
            EXPERIMENTS[wildcards.experiment]["split"],
        ),
    output:
        counts=f"{RESULTS}/counts/{{experiment}}/sigma_{{sigma}}/{{shard}}.parquet",
        provenance=f"{RESULTS}/counts/{{experiment}}/sigma_{{sigma}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/certify_shard/{{experiment}}/sigma_{{sigma}}/{{shard}}.log",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        protocol=PROTOCOL,
        seed=STUDY["seed"],
        settings=lambda wildcards: settings_of_samples(wildcards.experiment),
        models=lambda wildcards: {
            name: description(name)
            for name in smoothed_models(wildcards.experiment, wildcards.sigma)
        },
    script:
        "../scripts/certify_shard.py"
