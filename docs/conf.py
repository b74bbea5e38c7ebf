"""Sphinx: the pages of this folder as a site, made without network by `make docs`."""

project = "agriseg"
author = "agriseg"
project_copyright = ""
html_title = "agriseg"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
root_doc = "index"
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
highlight_language = "none"

myst_heading_anchors = 3
nitpicky = True
