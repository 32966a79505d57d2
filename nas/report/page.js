"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const marks = new Map();
for (const mark of document.querySelectorAll("[data-k]")) {
  const key = mark.dataset.k;
  if (!marks.has(key)) marks.set(key, []);
  marks.get(key).push(mark);
}
let shown = null;

function hide() {
  if (shown !== null) for (const mark of marks.get(shown) ?? []) mark.classList.remove("hot");
  shown = null;
  tip.hidden = true;
}

function show(key, x, y) {
  const row = data.rows[key];
  if (!row) return;
  if (shown !== key) {
    hide();
    shown = key;
    for (const mark of marks.get(key)) mark.classList.add("hot");
    const head = document.createElement("b");
    head.textContent = row[0];
    const list = document.createElement("dl");
    row.slice(1).forEach((value, i) => {
      if (value === "") return;
      const name = document.createElement("dt");
      name.textContent = data.columns[i];
      const cell = document.createElement("dd");
      cell.textContent = value;
      list.append(name, cell);
    });
    tip.replaceChildren(head, list);
  }
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, Math.min(y - box.height / 2, innerHeight - box.height - 4)) + "px";
}

function center(mark) {
  const box = mark.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

// Points are small: the nearest one within reach counts, and the front before the cloud.
for (const plot of document.querySelectorAll("svg.plot")) {
  const points = [...plot.querySelectorAll("[data-k]")];
  if (!points.length) continue;
  const own = points.map((mark) => {
    const box = mark.getBBox();
    return [mark, box.x + box.width / 2, box.y + box.height / 2, mark.hasAttribute("tabindex") ? 6 : 0];
  });
  const near = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    let best = null, least = 18;
    for (const [mark, x, y, credit] of own) {
      const distance = Math.hypot(x - at.x, y - at.y) - credit;
      if (distance < least) [best, least] = [mark, distance];
    }
    if (best) show(best.dataset.k, ...center(best));
    else hide();
  };
  plot.addEventListener("pointermove", near);
  plot.addEventListener("pointerdown", near);
  plot.addEventListener("pointerleave", hide);
}

addEventListener("focusin", (event) => {
  if (event.target.dataset?.k) show(event.target.dataset.k, ...center(event.target));
});
addEventListener("focusout", hide);
addEventListener("scroll", hide, { passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
for (const row of document.querySelectorAll("tr[data-k]")) {
  row.addEventListener("pointerenter", () => {
    hide();
    shown = row.dataset.k;
    for (const mark of marks.get(shown)) mark.classList.add("hot");
  });
  row.addEventListener("pointerleave", hide);
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[head.cellIndex].dataset.v ?? "";
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x < y ? -1 : x > y ? 1 : 0;
      return down ? -both : both;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  });
}
