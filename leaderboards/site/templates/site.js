function setUpFilter() {
  const search = document.getElementById("search");
  const published = document.getElementById("published");
  const rows = [...document.querySelectorAll("#board tbody tr")];
  const said = document.getElementById("shown");
  const draw = () => {
    const words = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = ("published" in row.dataset && published && !published.checked)
        || !row.cells[0].textContent.toLowerCase().includes(words);
      shown += row.hidden ? 0 : 1;
    }
    said.textContent = `${shown} of ${rows.length} models`;
  };
  search.addEventListener("input", draw);
  published?.addEventListener("change", draw);
  draw();
}

setUpTheme();
document.querySelectorAll("table.sortable").forEach(setUpSorting);
setUpFilter();
