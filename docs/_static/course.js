// What the theme leaves to us: a search through the messages, and wide boxes that the keyboard can
// scroll. Every page can be read without it.

"use strict";

const MIN_SHARE = 0.6; // of a message's words that a pasted text must hold

/** Words of at least three letters; numbers differ from case to case and do not count. */
function wordsOf(text) {
  return new Set(text.toLowerCase().match(/[a-z][a-z_]{2,}/g) || []);
}

/** Whether an entry fits what was typed: a few words of it, or a whole message with its numbers. */
function fits(entry, typed) {
  const wanted = [...wordsOf(typed)];
  if (wanted.every((word) => entry.text.includes(word))) return true;
  const said = [...entry.message];
  const found = said.filter((word) => wanted.includes(word)).length;
  return said.length > 0 && wanted.length > 4 && found / said.length >= MIN_SHARE;
}

function readEntries() {
  return [...document.querySelectorAll(".error-entry")].map((section) => ({
    section,
    text: section.textContent.toLowerCase(),
    message: wordsOf(section.querySelector(".highlight-text")?.textContent || ""),
  }));
}

function show(entries, typed, status) {
  let count = 0;
  for (const entry of entries) {
    entry.section.hidden = !fits(entry, typed);
    count += !entry.section.hidden;
  }
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
