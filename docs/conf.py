"""Settings of the documentation: pages in Markdown, figures from records, mathematics as MathML."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "thalweg"
author = "the thalweg authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "claims",
    "mathml",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "thalweg"
html_static_path = ["_static"]
html_css_files = ["claims.css"]
html_math_renderer = "mathml"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes of a docstring are not described a second time
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Where ``thalweg reproduce --run`` kept its records; pages say what is missing from it.
claims_run = os.environ.get("THALWEG_DOCS_CLAIMS", "")
suppress_warnings = ["ref.python", "myst.xref_ambiguous"]
