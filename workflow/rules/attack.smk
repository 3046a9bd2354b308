# Needs: prepared data, and the weights of what is attacked.
# Makes: results/STUDY/attacks/NAME/sigma_0.25/images_00000-00099.parquet, what became of some
#        images at one sigma, with its provenance in .json beside; and all of them in
#        results/STUDY/attacks/NAME.parquet.


# Outputs flagged `update` are kept until the job writes them: results that are there and still
# right stay.
rule attack_images:
    """Attack the smoothed classifiers on some images at one sigma."""
    input:
        unpack(lambda wildcards: INPUTS.attacked_models(wildcards.attack, float(wildcards.sigma))),
        pack=lambda wildcards: INPUTS.attacked_images(wildcards.attack),
    output:
        attacked=update(f"{RESULTS}/attacks/{{attack}}/sigma_{{sigma}}/{{shard}}.parquet"),
        provenance=update(f"{RESULTS}/attacks/{{attack}}/sigma_{{sigma}}/{{shard}}.json"),
    log:
        f"{RESULTS}/logs/attack_images/{{attack}}/sigma_{{sigma}}/{{shard}}.log",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=120,
    params:
        depends=lambda wildcards: depends.attack(STUDY, wildcards.attack),
        # Whose weights must be there before anything runs. Snakemake compares no parameter that
        # is derived from inputs.
        models=lambda wildcards, input: [*depends.attack(STUDY, wildcards.attack)["models"]],
    script:
        "../scripts/attack_images.py"


rule merge_attacks:
    """Check what became of the images of an attack's shards and put it into one file."""
    input:
        lambda wildcards: PATHS.attack_shards(wildcards.attack),
    output:
        attacked=PATHS.attack("{attack}"),
        provenance=PATHS.attack_summary("{attack}"),
    log:
        f"{RESULTS}/logs/merge_attacks/{{attack}}.log",
    wildcard_constraints:
        attack=one_of(STUDY.attacked),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=lambda wildcards: depends.merged_attack(STUDY, wildcards.attack),
    script:
        "../scripts/merge_attacks.py"
