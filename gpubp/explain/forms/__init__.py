"""An explanation as text, Markdown, LaTeX and HTML."""
