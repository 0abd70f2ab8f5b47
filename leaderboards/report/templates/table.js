// Sort the rows of a table by a column's data-value, or its text; rows without a value come last either way.
// Rows stay in their part of the table, below its heading; the parts follow their best rows, data-pinned ones first.
function setUpSorting(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = head.dataset.first || "descending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const before = (a, b) => compareValues(a.value, b.value, order) || a.index - b.index;
      const parts = [...table.tBodies].map((body, index) => {
        const rows = [...body.rows].filter((row) => !("heading" in row.dataset))
          .map((row, at) => ({ row, index: at, value: cellValue(row.cells[column]) })).sort(before);
        body.append(...rows.map((entry) => entry.row));
        return { body, index, value: rows.length ? rows[0].value : null };
      });
      table.append(...parts.filter(({ body }) => !("pinned" in body.dataset)).sort(before).map(({ body }) => body));
    });
  });
}

function cellValue(cell) {
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent.trim();
  return value === "" ? null : Number(value);
}

function compareValues(a, b, order) {
  if (a === null || b === null) return (a === null) - (b === null);
  const sign = order === "ascending" ? 1 : -1;
  return sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
}
