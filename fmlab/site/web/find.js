// The search: over the words under every heading of the course. The index is a script, since a page from disk may not fetch.
(() => {
  const MOST = 12;
  const form = document.querySelector("form.search");
  const [input, found] = [form.querySelector("input"), form.querySelector(".found")];
  const [count, list] = [found.querySelector(".count"), found.querySelector("ol")];
  let loading = null;

  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

  function load() {
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: "search.js", onload: () => done(prepare(window.fmlabIndex)), onerror: failed });
      document.head.append(script);
    });
    return loading;
  }

  const prepare = ({ pages, sections }) =>
    sections.map(([page, anchor, heading, text]) => {
      const [file, lesson] = pages[page];
      return { file, lesson, anchor, heading, text, said: plain(text), headed: plain(heading), titled: plain(lesson) };
    });

  const times = (text, word) => text.split(word).length - 1;

  /** How well a section answers: every word must be there; words of a heading count most. 0 for not at all. */
  function score({ said, headed, titled }, words) {
    let sum = 0;
    for (const word of words) {
      const points = 12 * times(headed, word) + 4 * times(titled, word) + Math.min(times(said, word), 6);
      if (!points) return 0;
      sum += points;
    }
    return sum + 10 * times(said, words.join(" "));
  }

  /** Text with the words marked. */
  function marked(node, text, words) {
    const lower = plain(text);
    if (lower.length !== text.length) return node.append(text), node; // letters that fell apart: no places to mark
    for (let at = 0; at < text.length; ) {
      const hits = words.map((word) => [lower.indexOf(word, at), word.length]).filter(([place]) => place >= 0);
      const [place, length] = hits.sort((a, b) => a[0] - b[0] || b[1] - a[1])[0] ?? [text.length, 0];
      node.append(text.slice(at, place));
      if (length) node.append(Object.assign(document.createElement("mark"), { textContent: text.slice(place, place + length) }));
      at = place + length;
    }
    return node;
  }

  function excerpt({ text, said }, words) {
    const hit = Math.max(0, Math.min(...words.map((word) => said.indexOf(word)).filter((place) => place >= 0), text.length));
    const start = hit > 50 ? text.indexOf(" ", hit - 50) + 1 : 0;
    return (start ? "… " : "") + text.slice(start, start + 130) + (text.length > start + 130 ? " …" : "");
  }

  function row(section, words) {
    const link = Object.assign(document.createElement("a"), { href: section.file + (section.anchor && "#" + section.anchor) });
    const place = section.heading ? `${section.lesson} · ${section.heading}` : section.lesson;
    const [where, said] = [document.createElement("strong"), document.createElement("span")];
    link.append(marked(where, place, words), marked(said, excerpt(section, words), words));
    const item = document.createElement("li");
    item.append(link);
    return item;
  }

  async function search() {
    const words = plain(input.value).split(/\s+/).filter(Boolean);
    if (!words.length || words.join("").length < 2) return close();
    let sections;
    try {
      sections = await load();
    } catch {
      loading = null;
      return show("The index search.js is missing beside this page.", []);
    }
    const hits = sections.map((section) => [score(section, words), section]).filter(([points]) => points);
    hits.sort(([a], [b]) => b - a);
    const number = hits.length > MOST ? `The best ${MOST} of ${hits.length} places` : `${hits.length} place${hits.length === 1 ? "" : "s"}`;
    show(hits.length ? number : "Nothing found", hits.slice(0, MOST).map(([, section]) => row(section, words)));
  }

  function show(words, rows) {
    count.textContent = words;
    list.replaceChildren(...rows);
    found.hidden = false;
  }

  function close() {
    found.hidden = true;
    list.replaceChildren();
  }

  input.addEventListener("focus", () => load().catch(() => (loading = null)));
  input.addEventListener("input", search);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.click();
  });
  form.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      input.focus();
      close();
    } else if (step && links.length) {
      event.preventDefault();
      const next = links.indexOf(document.activeElement) + step;
      (next < 0 ? input : links[Math.min(next, links.length - 1)]).focus();
    }
  });
  list.addEventListener("click", (event) => event.target.closest("a") && close()); // a link into this page stays on it
  document.addEventListener("pointerdown", (event) => form.contains(event.target) || close());
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest("input, textarea, select, [role=application]");
    if (event.key !== "/" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
})();
