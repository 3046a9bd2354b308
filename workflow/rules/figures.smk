# Needs: certificates; for pictures, prepared data and the denoiser.
# Makes: results/STUDY/figures/NAME.pdf and .png; where it comes from in .json.


rule draw_pictures:
    """Add noise to some images at each sigma, and remove it again, for a figure."""
    input:
        pack=lambda wildcards: pack_path(
            pictured(wildcards)["dataset"], pictured(wildcards)["split"]
        ),
        denoiser=lambda wildcards: weights_path(pictured(wildcards)["denoiser"]),
    output:
        f"{RESULTS}/pictures/{{figure}}.npz",
    log:
        f"{RESULTS}/logs/draw_pictures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(figures_by_kind("pictures")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=30,
    params:
        seed=STUDY["seed"],
        settings=pictured,
        denoiser=lambda wildcards: MODELS[pictured(wildcards)["denoiser"]],
        images=lambda wildcards: STUDY["figures"][wildcards.figure]["images"],
    script:
        "../scripts/draw_pictures.py"


rule render_figure:
    """Draw one of the paper's figures."""
    input:
        data=figure_inputs,
        provenance=lambda wildcards: [
            summary_path(experiment)
            for experiment in experiments_of(STUDY["figures"][wildcards.figure])
        ],
    output:
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        png=report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/artefact.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        provenance=report(
            f"{RESULTS}/figures/{{figure}}.json",
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"of": "{figure}"},
        ),
    log:
        f"{RESULTS}/logs/render_figure/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(STUDY["figures"]),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        entry=lambda wildcards: STUDY["figures"][wildcards.figure],
    script:
        "../scripts/render_figure.py"
