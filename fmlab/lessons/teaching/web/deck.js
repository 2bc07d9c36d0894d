// One slide at a time. Keys: arrows, Page Up and Down, Space, Home, End; N notes, W notes in a window, D dark or light, F full screen.
"use strict";
const slides = [...document.querySelectorAll(".slide")];
const notes = document.getElementById("notes");
const bar = document.getElementById("bar");
let at = 0;
let other = null; // the window with the notes

// Type gets smaller where a slide holds more than fits, and larger where it holds little.
function fit(slide) {
  const body = slide.querySelector(".body");
  const size = parseFloat(getComputedStyle(body).fontSize);
  body.querySelectorAll("pre, .math").forEach(narrow);
  for (const part of [1.2, 1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]) {
    body.style.fontSize = `${size * part}px`;
    if (!over(body) && (part <= 1 || filled(body) < 0.7)) return;
  }
}

// A long equation gets smaller type by itself, and so do long printed lines down to 75 %; beyond that they are broken.
function narrow(box) {
  const printed = box.tagName === "PRE";
  const part = Math.min(1, box.clientWidth / (box.scrollWidth + 20) / (printed ? 1.2 : 1)); // a slide may grow by 1.2
  if (box.scrollWidth <= box.clientWidth && !printed) return;
  if (printed) box.style.whiteSpace = part < 0.75 ? "pre-wrap" : "pre";
  if (!printed || part >= 0.75) box.style.fontSize = `${(printed ? 0.66 : 1) * part}em`;
}

function filled(body) {
  return (body.lastElementChild.getBoundingClientRect().bottom - body.getBoundingClientRect().top) / body.getBoundingClientRect().height;
}

function over(body) {
  const figure = body.querySelector("figure");
  const room = body.clientWidth + 1; // elements are scaled on the screen, client and scroll widths are not
  const wide = [...body.querySelectorAll("table, pre, div, p")].some((e) => e.offsetWidth > room || e.scrollWidth > e.clientWidth + 1);
  return wide || body.scrollHeight > body.clientHeight + 1 || (figure && figure.clientHeight < 0.45 * body.clientHeight);
}

function scale() {
  const free = window.innerHeight - 42 - (notes.hidden ? 0 : notes.offsetHeight);
  document.documentElement.style.setProperty("--scale", Math.min(window.innerWidth / 1280, free / 720));
  document.getElementById("deck").style.bottom = `${window.innerHeight - free}px`;
}

function show(number) {
  at = Math.max(0, Math.min(slides.length - 1, number));
  slides.forEach((slide, place) => {
    slide.classList.toggle("now", place === at);
    slide.setAttribute("aria-hidden", place !== at);
  });
  document.getElementById("at").textContent = `${at + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${at + 1}`);
  const told = slides[at].querySelector("aside").innerHTML;
  notes.innerHTML = told;
  notes.scrollTop = 0;
  if (other && !other.closed) {
    const next = slides[at + 1]?.querySelector("h1, h2").textContent ?? "the end";
    other.document.body.innerHTML = `<p>${at + 1} / ${slides.length}</p>${told}<p></p>`;
    other.document.body.lastChild.textContent = `Next: ${next}`;
  }
}

const actions = {
  on: () => show(at + 1),
  back: () => show(at - 1),
  first: () => show(0),
  last: () => show(slides.length - 1),
  print: () => window.print(),
  full: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
  notes: () => {
    notes.hidden = !notes.hidden;
    bar.querySelector("[data-do=notes]").setAttribute("aria-pressed", !notes.hidden);
    scale();
  },
  theme: () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    if (other && !other.closed) other.document.documentElement.dataset.theme = root.dataset.theme;
  },
  window: () => {
    other = window.open("", "notes", "width=760,height=640");
    if (!other) return;
    other.document.title = "Notes";
    other.document.head.replaceChildren(document.querySelector("style").cloneNode(true));
    other.document.documentElement.dataset.theme = document.documentElement.dataset.theme;
    other.document.body.className = "window";
    other.onkeydown = press;
    show(at);
  },
};
const keys = { ArrowRight: "on", ArrowDown: "on", PageDown: "on", " ": "on", ArrowLeft: "back", ArrowUp: "back", PageUp: "back", Home: "first",
  End: "last", n: "notes", w: "window", d: "theme", f: "full" };

function press(event) {
  const wanted = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!wanted || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (event.key === " " && target.closest?.("button")) return; // Space presses a button that has the focus
  if (target.id === "notes" && ["ArrowUp", "ArrowDown", "PageUp", "PageDown", " "].includes(event.key)) return; // they scroll the notes
  event.preventDefault();
  actions[wanted]();
}

document.documentElement.dataset.theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
document.body.classList.add("live");
bar.hidden = false;
slides.forEach(fit);
document.addEventListener("keydown", press);
bar.addEventListener("click", (event) => actions[event.target.closest("button")?.dataset.do]?.());
window.addEventListener("resize", scale);
window.addEventListener("hashchange", () => show((parseInt(location.hash.slice(1), 10) || 1) - 1));
scale();
show((parseInt(location.hash.slice(1), 10) || 1) - 1);
