# Needs: the counts of every shard of an experiment.
# Makes: results/STUDY/counts/EXPERIMENT.parquet, and results/STUDY/certificates/EXPERIMENT.parquet,
#        a radius for every image, sigma and classifier.


rule merge_counts:
    """Check the counts of an experiment's shards and put them into one file."""
    input:
        lambda wildcards: counts_paths(wildcards.experiment),
    output:
        f"{RESULTS}/counts/{{experiment}}.parquet",
    log:
        f"{RESULTS}/logs/merge_counts/{{experiment}}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../../envs/analysis.yaml"
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
    params:
        alpha=lambda wildcards: EXPERIMENTS[wildcards.experiment]["alpha"],
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../../envs/analysis.yaml"
    script:
        "../scripts/compute_certificates.py"
