// Light or dark, before anything is painted: what was chosen on this computer, else what the system says.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("fmlab-theme");
  } catch {} // a browser may forbid storage to pages from disk
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
