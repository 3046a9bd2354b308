# Needs: the counts of every shard of an experiment.
# Makes: results/STUDY/counts/EXPERIMENT.parquet, with the provenance of all its shards in
#        .json beside it, and results/STUDY/certificates/EXPERIMENT.parquet, a radius for
#        every image, sigma and classifier.


rule merge_counts:
    """Check the counts of an experiment's shards and put them into one file."""
    input:
        lambda wildcards: PATHS.shards(wildcards.experiment),
    output:
        counts=f"{RESULTS}/counts/{{experiment}}.parquet",
        provenance=f"{RESULTS}/counts/{{experiment}}.json",
    log:
        f"{RESULTS}/logs/merge_counts/{{experiment}}.log",
    wildcard_constraints:
        experiment=one_of(STUDY.sampled),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=lambda wildcards: depends.merged(STUDY, wildcards.experiment),
    script:
        "../scripts/merge_counts.py"


rule compute_certificates:
    """Bound the class probabilities and compute the certified radii."""
    input:
        f"{RESULTS}/counts/{{experiment}}.parquet",
    output:
        f"{RESULTS}/certificates/{{experiment}}.parquet",
    log:
        f"{RESULTS}/logs/compute_certificates/{{experiment}}.log",
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=lambda wildcards: depends.certificates(STUDY, wildcards.experiment),
    script:
        "../scripts/compute_certificates.py"
