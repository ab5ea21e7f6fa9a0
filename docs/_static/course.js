// What the theme leaves to us: a search through the messages, and wide boxes that the keyboard can
// scroll. Every page can be read without it.

"use strict";

const MIN_SHARE = 0.6; // of a message's words that a pasted text must hold

/** Words of at least three letters; numbers differ from case to case and do not count. */
function wordsOf(text) {
  return new Set(text.toLowerCase().match(/[a-z][a-z_]{2,}/g) || []);
}

/** How well an entry fits: 1 if it has every typed word, else the share of its message typed. */
function fit(entry, typed) {
  const wanted = [...wordsOf(typed)];
  if (wanted.every((word) => entry.text.includes(word))) return 1;
  const said = [...entry.message];
  const share = said.filter((word) => wanted.includes(word)).length / said.length;
  return wanted.length > 4 && share >= MIN_SHARE ? share : 0;
}

/** The message of an entry, without its type and its brackets: not every reader pastes the same. */
function messageOf(section) {
  const message = section.querySelector(".highlight-text")?.textContent || "";
  return message.replace(/^\w+:|\([^()]*\)/g, "");
}

function readEntries() {
  return [...document.querySelectorAll(".error-entry")].map((section) => ({
    section,
    text: section.textContent.toLowerCase(),
    message: wordsOf(messageOf(section)),
  }));
}

function show(entries, typed, status) {
  // Messages share many words: of those that fit, only the best are the reader's.
  const fits = entries.map((entry) => fit(entry, typed));
  const best = Math.max(...fits);
  let count = 0;
  entries.forEach((entry, k) => {
    entry.section.hidden = fits[k] === 0 || fits[k] < best;
    count += !entry.section.hidden;
  });
  for (const group of document.querySelectorAll(".error-group")) {
    group.hidden = !group.querySelector(".error-entry:not([hidden])");
  }
  if (!typed.trim()) status.textContent = "";
  else if (count) status.textContent = `${count} of ${entries.length} entries`;
  else status.textContent = "Nothing fits. Try fewer words of the message.";
}

function addErrorSearch() {
  const entries = readEntries();
  if (!entries.length) return;
  const groups = new Set(entries.map((entry) => entry.section.parentElement));
  groups.forEach((group) => group.classList.add("error-group"));
  const box = document.createElement("form");
  box.className = "error-search";
  box.setAttribute("role", "search");
  box.setAttribute("aria-label", "Error messages");
  box.innerHTML =
    '<label for="error-words">Paste your message, or type a few words of it</label>' +
    '<input id="error-words" type="text" autocomplete="off" spellcheck="false">' +
    '<p role="status"></p>';
  box.addEventListener("submit", (event) => event.preventDefault());
  const input = box.querySelector("input");
  input.addEventListener("input", () => show(entries, input.value, box.querySelector("p")));
  document.querySelector("article p").after(box);
}

/** Whoever has no mouse scrolls a box by its focus. */
function letTheKeyboardScroll() {
  const boxes = "pre, div.math, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}

document.addEventListener("DOMContentLoaded", addErrorSearch);
window.addEventListener("load", () => {
  const formulas = window.MathJax?.startup?.promise || Promise.resolve();
  formulas.then(letTheKeyboardScroll);
});
window.addEventListener("resize", letTheKeyboardScroll);
