# Needs: certificates; for pictures, prepared data and the denoiser.
# Makes: results/STUDY/figures/NAME.pdf and .png; where it comes from in .json.


rule draw_pictures:
    """Add noise to some images at each sigma, and remove it again, for a figure."""
    input:
        unpack(lambda wildcards: INPUTS.weights({"denoiser": denoiser_of(wildcards)})),
        pack=lambda wildcards: INPUTS.images(STUDY.figures[wildcards.figure].experiment),
    output:
        PATHS.pictures("{figure}"),
    log:
        f"{RESULTS}/logs/draw_pictures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(STUDY.pictures),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=30,
    params:
        depends=lambda wildcards: depends.pictures(STUDY, wildcards.figure),
        # Whose weights must be there before anything runs. Snakemake compares no parameter that
        # is derived from inputs.
        models=lambda wildcards, input: [denoiser_of(wildcards)],
    script:
        "../scripts/draw_pictures.py"


rule render_figure:
    """Draw one of the paper's figures."""
    input:
        data=lambda wildcards: INPUTS.figure(wildcards.figure),
        provenance=lambda wildcards: INPUTS.summaries(STUDY.figures[wildcards.figure].experiments),
    output:
        pdf=PATHS.figure("{figure}", "pdf"),
        png=report(
            PATHS.figure("{figure}", "png"),
            caption="../report/artefact.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        provenance=PATHS.figure("{figure}", "json"),
    log:
        f"{RESULTS}/logs/render_figure/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(name for name in STUDY.figures if not STUDY.deposit_of_figure(name)),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=lambda wildcards: Printed(depends.figure(STUDY, wildcards.figure)),
    script:
        "../scripts/render_figure.py"
