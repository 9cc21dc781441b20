"""Words and letters for LaTeX, of which pdflatex knows ASCII and some accents alone."""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "'": r"'", '"': r"''", "\u00a0": "~",
}  # fmt: skip
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "ℓ": "ell", "∂": "partial",
}  # fmt: skip
SIGNS = {
    "·": r"\cdot", "×": r"\times", "−": "-", "←": r"\leftarrow", "→": r"\rightarrow", "…": r"\ldots", "√": r"\surd",
    "∞": r"\infty", "≈": r"\approx", "≥": r"\geq", "≤": r"\leq", "≠": r"\neq", "±": r"\pm", "⟨": r"\langle",
    "⟩": r"\rangle", "⌈": r"\lceil", "⌉": r"\rceil", "⌊": r"\lfloor", "⌋": r"\rfloor", "½": r"\frac12",
    "¼": r"\frac14", "°": r"^\circ", "∈": r"\in", "∇": r"\nabla", "⊙": r"\odot", "⊕": r"\oplus", "∏": r"\prod",
    "′": "'",
}  # fmt: skip
WORDS = {
    "’": "'", "‘": "`", "”": "''", "“": "``", "–": "--", "—": "---", "‑": "-", "‐": "-", "‹": r"$\langle$",
    "›": r"$\rangle$", "─": "-",
}  # fmt: skip
MARKS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0307": "dot"}  # over the letter before
NAMES = {*GREEK.values()} | {"epsilon", "phi"}


def escaped(text: str) -> str:
    r"""Words as LaTeX prints them.

    >>> escaped("50% of y_1: σ(x) ≥ ½"), escaped("xᵢ²"), escaped("京")
    ('50\\% of y\\_1: $\\sigma$(x) $\\geq$ $\\frac12$', 'x$_{i}$$^{2}$', '(U+4EAC)')
    >>> print(escaped("ε̂ ȳ é"))
    $\hat{\varepsilon}$ $\bar{y}$ é
    """
    text = unicodedata.normalize("NFC", re.sub(r"[\n\t\r]", " ", text))
    return "".join(_marked(*found) for found in re.findall(f"(.)([{''.join(MARKS)}]?)", text))


def letters(name: str) -> str:
    r"""A name in a formula.

    >>> letters("W"), letters("rstd"), letters("dgamma"), letters("θ"), letters("e′"), letters("ε̂")
    ('W', '\\mathit{rstd}', 'd\\gamma ', '\\theta ', "e'", '\\hat{\\varepsilon }')
    """
    if name[1:] in MARKS:
        return rf"\{MARKS[name[1:]]}{{{letters(name[0])}}}"
    name, primes = name.rstrip("′"), "'" * (len(name) - len(name.rstrip("′")))
    if name in GREEK:
        return f"\\{GREEK[name]} {primes}"
    if name in NAMES:
        return f"\\{name} {primes}"
    if name[:1] == "d" and (name[1:] in GREEK or name[1:] in NAMES):
        return "d" + letters(name[1:] + "′" * len(primes))
    if len(name) == 1 and name.isascii() and name.isalnum():
        return name + primes
    if name.isascii() and name.isalnum():
        return rf"\mathit{{{name}}}{primes}"
    return rf"\text{{{escaped(name)}}}{primes}"


def _marked(c: str, mark: str) -> str:
    """A letter, with what stands above it."""
    if mark:
        return rf"$\{MARKS[mark]}{{{_letter(c).strip('$')}}}$"
    apart = unicodedata.normalize("NFD", c)
    if len(apart) == 2 and apart[1] in MARKS and c > "\u017f":
        return _marked(*apart)
    return _letter(c)


def _letter(c: str) -> str:
    if c in SPECIAL or c.isascii():
        return SPECIAL.get(c, c) if c.isprintable() or c in SPECIAL else "?"
    if c in GREEK:
        return f"$\\{GREEK[c]}$"
    if c in SIGNS:
        return f"${SIGNS[c]}$"
    if c in WORDS:
        return WORDS[c]
    kind, _, parts = unicodedata.decomposition(c).rpartition("> ")
    plain = "".join(chr(int(part, 16)) for part in parts.split())
    if kind in ("<super", "<sub"):
        inner = "".join(_letter(p) for p in plain).strip("$")
        return f"${'^' if kind == '<super' else '_'}{{{inner}}}$"
    if "\u00c0" <= c <= "\u017f" and plain and not kind:
        return c
    return f"(U+{ord(c):04X})"
