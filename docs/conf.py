"""The documentation as a site: what Sphinx reads, and how; `make docs` builds it.

The project's root is the source folder, so that pages and the links between them are those of
the repository. No page that is built asks another host for anything.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import scipy.stats  # noqa: F401 - loaded before PyTorch is mocked, whose types it asks after
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from numpydoc.xref import DEFAULT_LINKS
from pygments.lexers import find_lexer_class_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature
from sphinx.util.osutil import relative_uri
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

#: Executed notebooks of a study, which `make demo` makes; without them the site has none.
NOTEBOOKS = f"results/{os.environ.get('STUDY', 'digits')}/notebooks"


def found(pattern: str) -> list[str]:
    """Return the names of the pages that a pattern finds."""
    return sorted(str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.glob(pattern))


#: The menu: pages in their order, by heading. A page that is in none stops the build.
MENU = {
    "Workflow": [
        "config/README",
        "config/literature/README",
        "results/README",
        "slurm/README",
        "docs/reruns",
        "docs/deposits",
        "docs/leaderboard",
        "docs/noise_trained",
        "docs/troubleshooting",
    ],
    "Library": ["docs/library", "docs/command_line", "docs/api"],
    "Method": ["docs/certification", "docs/measurements", "docs/mutants"],
    "Notebooks": found(f"{NOTEBOOKS}/*.ipynb"),
    "Project": [page for page in found("*.md") if page != "README"],
}

#: Files of the repository that pages link to, as the build finds them.
LINKED: set[str] = set()

project = "Diffusion denoised smoothing"
root_doc = "README"
include_patterns = [
    "*.md",
    "config/**.md",
    "docs/*.md",
    "results/README.md",
    "slurm/*.md",
    f"{NOTEBOOKS}/*.ipynb",
]
exclude_patterns = [".*", "data", "dist", "downloads", "notebooks", "site", "tests", "workflow"]
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",
    "sphinx.ext.linkcode",
]

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = project
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_render_markdown_format = "myst"

# The library's networks are described and never run, so what they need is not installed.
autodoc_mock_imports = [
    "diffusers", "guided_diffusion", "safetensors", "timm", "torch", "transformers",
]  # fmt: skip
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say types in words
default_role = "py:obj"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
DEFAULT_LINKS.clear()  # which lead to the documentation of Python and NumPy, on other hosts
numpydoc_xref_aliases = {
    "Certificates": "dds.Certificates",
    "Denoiser": "dds.networks.denoisers.Denoiser",
    "NoiseSchedule": "dds.networks.schedules.NoiseSchedule",
    "Predictions": "dds.Predictions",
    "Plan": "dds.statistics.plans.Plan",
    "Schedule": "dds.networks.schedules.Schedule",
    "Timestep": "dds.networks.schedules.Timestep",
}


def add_menu(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the menu to the first page, where readers of the repository do not see it."""
    if docname == root_doc:
        for caption, pages in MENU.items():
            lines = [":hidden:", f":caption: {caption}", "", *pages]
            source[0] += "\n".join(["\n\n```{toctree}", *lines, "```\n"])


def leave_badges_out(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave badges out: they are pictures of a host's, of what it knows when one looks."""
    lines = source[0].splitlines(keepends=True)
    source[0] = "".join(line for line in lines if not line.startswith("[!["))


def link_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Let links to files of the repository lead to a page that shows the file."""
    docname = app.env.docname
    page = app.builder.get_target_uri(docname)
    for link in list(doctree.findall(addnodes.download_reference)):
        path = os.path.normpath(Path(docname).parent / link["reftarget"])
        LINKED.add(path)
        uri = relative_uri(page, app.builder.get_target_uri(f"source/{path}"))
        link.replace_self(nodes.reference("", "", *link.children, refuri=uri))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield the pages that show files of the repository."""
    for path in sorted(LINKED):
        lexer = find_lexer_class_for_filename(path)
        language = lexer.aliases[0] if lexer else "python"  # a Snakefile is nearly that
        text = (ROOT / path).read_text()
        body = app.builder.highlighter.highlight_block(text, language, lineanchors="line")
        yield f"source/{path}", {"title": path, "body": f"<h1>{path}</h1>\n{body}"}, "page.html"


def class_signature(
    app: Sphinx, what: str, name: str, thing: type, options: object, *signature: str | None
) -> tuple[str, None] | None:
    """Show what a class itself takes, and not what PyTorch's stand-in or a protocol does."""
    if what != "class" or signature[0] != "(*args, **kwargs)":
        return None
    if thing.__init__.__module__ != thing.__module__:
        return "", None
    bound = inspect.signature(partial(thing.__init__, None))
    return stringify_signature(bound, show_annotation=False), None


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return where the reference's page links to for the code of a name; Sphinx calls this."""
    thing = sys.modules[info["module"]]
    for name in info["fullname"].split("."):
        thing = getattr(thing, name)
    thing = getattr(thing, "fget", None) or getattr(thing, "func", None) or thing  # properties
    try:
        path = Path(inspect.getfile(thing)).relative_to(ROOT).as_posix()
    except TypeError:  # a constant, whose value says it all
        return None
    LINKED.add(path)
    return f"../source/{path}.html#line-{inspect.getsourcelines(thing)[1]}"  # from docs/api


def inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers typeset without a script."""
    translator.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula as MathML."""
    translator.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def name_index(app: Sphinx, error: Exception | None) -> None:
    """Give the first page the name that hosts look for."""
    if error is None:
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", add_menu)
    app.connect("source-read", leave_badges_out)
    app.connect("doctree-read", link_sources, priority=100)  # before Sphinx collects downloads
    app.connect("autodoc-process-signature", class_signature)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", name_index)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
