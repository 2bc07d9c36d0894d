"""Formulas without MathJax: TeX becomes MathML, which browsers draw by themselves; and nbconvert without its CDNs."""

from __future__ import annotations

import html

from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# nbconvert's own page would load require.js, MathJax and mermaid; the policy makes a forgotten address fail instead of travel.
_TEMPLATE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:;
 script-src 'unsafe-inline'; frame-src 'self'">
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def to_mathml(tex: str, display: bool = False) -> str:
    """One formula as a <math> element; a formula that cannot be read stays visible as its TeX source."""
    try:
        return convert(tex.strip(), display="block" if display else "inline")
    except Exception:  # the converter raises many kinds, and a page with one odd formula is better than none
        return f"<code>{html.escape(tex)}</code>"


def latex_output(text: str) -> str:
    """A cell's LaTeX output ($...$ or $$...$$ around it or not) as MathML."""
    body = text.strip()
    display = not (body.startswith("$") and not body.startswith("$$"))
    return to_mathml(body.strip("$").removeprefix(r"\displaystyle"), display)


class _Renderer(IPythonRenderer):
    def inline_math(self, text: str) -> str:
        return to_mathml(text)

    def block_math(self, text: str) -> str:
        return to_mathml(text, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return to_mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        cell = context.get("cell", {})
        folder = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = _Renderer(escape=False, attachments=cell.get("attachments", {}), embed_images=self.embed_images, path=folder,
                             anchor_link_text=self.anchor_link_text, exclude_anchor_links=self.exclude_anchor_links)
        return MarkdownWithMath(renderer=renderer).render(source)


def notebook_exporter() -> HTMLExporter:
    """nbconvert's HTML exporter, with MathML for formulas and without any address outside the page."""
    exporter = _Exporter(template_name="lab", embed_images=True, exclude_anchor_links=True)
    exporter.raw_template = _TEMPLATE
    return exporter
