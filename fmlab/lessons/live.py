"""What is live where there is a kernel, and text and HTML where there is none."""

from __future__ import annotations


class Live:
    """Has ``widget()``, ``_repr_html_`` and a repr; shows the first with the other two as its fallbacks."""

    def widget(self) -> object:
        """The live form, an ipywidgets widget."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """The widget with its fallbacks: a saved notebook without a kernel then shows the text, not "model not found"."""
        bundle: dict[str, object] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        try:
            live = self.widget()._repr_mimebundle_()
        except Exception:  # no kernel to talk to, or no ipywidgets: the fallbacks do
            return bundle
        return {**(live[0] if isinstance(live, tuple) else live), **bundle}
