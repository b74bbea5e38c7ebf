"use strict";
document.documentElement.classList.add("live");
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.value ?? "";
      const numbers = [...table.tBodies[0].rows].every(row => key(row) === "" || !isNaN(key(row)));
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        return (rising ? 1 : -1) * (numbers ? a - b : a.localeCompare(b, document.documentElement.lang, {numeric: true}));
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
}
