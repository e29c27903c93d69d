"use strict";
const form = document.querySelector("form");
const words = form.elements.words;
const grade = form.elements.grade;
const number = document.querySelector("output");
// What a row is found by: all its text, the document included.
const rows = Array.from(document.querySelectorAll("ol.list > li"), (row) => ({ row, text: null }));
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const entry of rows) {
    entry.text ??= entry.row.textContent.toLowerCase();
    const fits = (!grade.value || entry.row.dataset.grade === grade.value) && wanted.every((word) => entry.text.includes(word));
    entry.row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  number.value = `${shown} of ${rows.length} shown`;
}
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target instanceof Element && event.target.matches("input, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    words.focus();
  } else if (event.key === "Escape" && typing) {
    words.value = "";
    grade.value = "";
    filter();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !typing) {
    const all = rows.filter((entry) => !entry.row.hidden).map((entry) => entry.row.querySelector("summary"));
    const place = all.indexOf(document.activeElement);
    const next = all[event.key === "ArrowDown" ? place + 1 : Math.max(place - 1, 0)];
    if (next && (place >= 0 || event.key === "ArrowDown")) {
      event.preventDefault();
      next.focus();
    }
  }
});
filter();
