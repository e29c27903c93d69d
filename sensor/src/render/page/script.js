"use strict";
const words = document.querySelector("input");
const grade = document.querySelector("select");
const number = document.querySelector("output");
// What a row is found by: all its text, the document included.
const rows = Array.from(document.querySelectorAll("ol.list > li"), (row) => ({ row, text: null }));
function textOf(entry) {
  entry.text ??= entry.row.textContent.toLowerCase();
  return entry.text;
}
// It is made beforehand, a few rows at a time, so that the first letter typed finds it ready.
function prepare(place) {
  for (const entry of rows.slice(place, place + 20)) textOf(entry);
  if (place + 20 < rows.length) setTimeout(prepare, 0, place + 20);
}
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const entry of rows) {
    const fits = (!grade.value || entry.row.dataset.grade === grade.value) && wanted.every((word) => textOf(entry).includes(word));
    entry.row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  number.value = `${shown} of ${rows.length} shown`;
}
words.addEventListener("input", filter);
grade.addEventListener("input", filter);
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
prepare(0);
