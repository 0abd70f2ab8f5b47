function setUpFilter() {
  const search = document.getElementById("search");
  const published = document.getElementById("published");
  const said = document.getElementById("shown");
  const tabs = [...document.querySelectorAll("input[name=family]")];
  const families = [...document.querySelectorAll(".family")];
  const draw = () => {
    const words = search.value.trim().toLowerCase();
    families.forEach((family, index) => {
      const rows = [...family.querySelectorAll("tbody tr:not([data-heading])")];
      for (const row of rows) {
        row.hidden = ("published" in row.dataset && published && !published.checked)
          || !row.cells[0].textContent.toLowerCase().includes(words);
      }
      for (const body of family.querySelectorAll("tbody")) {
        body.hidden = !body.querySelector("tr:not([data-heading]):not([hidden])");
      }
      if (!tabs.length || tabs[index].checked) {
        said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} models`;
      }
    });
  };
  search.closest(".controls").hidden = false;
  search.addEventListener("input", draw);
  published?.addEventListener("change", draw);
  tabs.forEach((tab) => tab.addEventListener("change", draw));
  draw();
}

setUpTheme();
document.querySelectorAll("table.sortable").forEach(setUpSorting);
setUpFilter();
