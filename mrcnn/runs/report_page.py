"""The frame of `report.html`: its style and its script. `mrcnn.runs.report` fills it."""

from __future__ import annotations

# A `string.Template`: $title, $body, $plotly (its library) and $figures (JSON by name).
PAGE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1400px; padding: 1rem; }
h1 { font-size: 1.5rem; } h3 { font-size: 1rem; margin: .6rem 0 0; }
h2 { border-bottom: 1px solid #ddd; font-size: 1.2rem; }
table { border-collapse: collapse; display: block; margin: .6rem 0; overflow-x: auto; }
th, td { border-bottom: 1px solid #eee; padding: .15rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
table.sortable th { cursor: pointer; user-select: none; }
.grid { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); }
.figure { height: 420px; min-width: 0; }
.filters { display: flex; flex-wrap: wrap; gap: 1rem; margin: .5rem 0; }
#images {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr));
}
figure.image { margin: 0; } figure.image img { width: 49.5%; vertical-align: top; }
figure.image[hidden] { display: none; }
</style>
</head>
<body>
<h1>$title</h1>
$body
<script>$plotly</script>
<script id="figures" type="application/json">$figures</script>
<script>
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
for (const [name, figure] of Object.entries(figures)) {
  Plotly.newPlot("figure-" + name, figure.data, figure.layout,
    {responsive: true, displaylogo: false});
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const body = table.tBodies[0], value = row => row.cells[column].textContent;
    const down = head.dataset.down !== "true";
    head.dataset.down = down;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)], [m, n] = [parseFloat(x), parseFloat(y)];
      return (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n) * (down ? -1 : 1);
    };
    body.append(...[...body.rows].sort(compare));
  }));
}

const gallery = document.getElementById("images");
if (gallery) {
  const [byClass, byError, byOrder] = ["by-class", "by-error", "by-order"].map(
    name => document.getElementById(name));
  const update = () => {
    let shown = 0;
    for (const image of gallery.children) {
      const has = (choice, values) => !choice.value || JSON.parse(values).includes(choice.value);
      image.hidden = !(has(byClass, image.dataset.classes) && has(byError, image.dataset.errors));
      shown += image.hidden ? 0 : 1;
    }
    const sign = byOrder.selectedIndex ? 1 : -1;
    gallery.append(...[...gallery.children].sort(
      (a, b) => sign * (a.dataset.wrong - b.dataset.wrong)));
    document.getElementById("image-count").textContent = shown + " of " +
      gallery.children.length + " images";
  };
  [byClass, byError, byOrder].forEach(choice => choice.addEventListener("change", update));
  update();
}
</script>
</body>
</html>
"""
