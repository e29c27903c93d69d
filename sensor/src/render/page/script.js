"use strict";
const [words, number] = ["input", "output"].map((name) => document.querySelector(name));
const [grade, order, group] = ["grade", "order", "group"].map((name) => document.querySelector(`select[name=${name}]`));
const lists = Array.from(document.querySelectorAll("ol.list"));
// Each row, the list it stands in, and what it is found by: all its text, the document included.
const rows = Array.from(document.querySelectorAll("ol.list > li"), (row) => ({ row, home: row.parentElement, text: null }));
const alerts = rows.filter((entry) => entry.row.dataset.grade);
// Headings that stand above rows, and the rows.
let groups = [];
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
  const fits = (entry) =>
    (!grade.value || entry.row.dataset.grade === grade.value) && wanted.every((word) => textOf(entry).includes(word));
  for (const entry of rows) entry.row.hidden = !fits(entry);
  const shown = (entries) => entries.filter((entry) => !entry.row.hidden).length;
  for (const { heading, name, entries } of groups) {
    heading.hidden = shown(entries) === 0;
    heading.firstChild.textContent = `${name} (${shown(entries)})`;
  }
  for (const list of lists) list.parentElement.hidden = !list.querySelector(":scope > li:not([hidden])");
  number.value = `${shown(rows)} of ${rows.length} shown`;
}
const timeOf = (entry) => entry.row.querySelector("time").textContent;
const grades = Array.from(grade.options, (option) => option.value);
const gradeOf = (entry) => grades.indexOf(entry.row.dataset.grade);
const orders = {
  oldest: (one, other) => (timeOf(one) < timeOf(other) ? -1 : timeOf(one) > timeOf(other) ? 1 : 0),
  newest: (one, other) => orders.oldest(other, one),
  grade: (one, other) => gradeOf(other) - gradeOf(one),
};
// Puts the alerts into the first of their lists, in their order and below the headings of their groups; or each where it stood.
function arrange() {
  for (const { heading } of groups) heading.remove();
  groups = [];
  const sorted = order.value ? alerts.toSorted(orders[order.value]) : alerts;
  if (!order.value && !group.value) {
    for (const { row, home } of rows) home.append(row);
  } else if (!group.value) {
    alerts[0]?.home.append(...sorted.map((entry) => entry.row));
  } else {
    for (const [name, entries] of Map.groupBy(sorted, (entry) => entry.row.dataset[group.value] || "unknown")) {
      const heading = document.createElement("li");
      heading.className = "group";
      heading.append(document.createElement("h3"));
      groups.push({ heading, name, entries });
      alerts[0].home.append(heading, ...entries.map((entry) => entry.row));
    }
  }
  filter();
}
words.addEventListener("input", filter);
grade.addEventListener("input", filter);
order.addEventListener("input", arrange);
group.addEventListener("input", arrange);
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
    const all = Array.from(document.querySelectorAll("ol.list > li:not([hidden]) > details > summary"));
    const place = all.indexOf(document.activeElement);
    const next = all[event.key === "ArrowDown" ? place + 1 : Math.max(place - 1, 0)];
    if (next && (place >= 0 || event.key === "ArrowDown")) {
      event.preventDefault();
      next.focus();
    }
  }
});
// What a browser kept of an earlier visit applies.
arrange();
prepare(0);
