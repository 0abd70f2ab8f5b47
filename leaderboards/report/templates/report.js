const data = JSON.parse(document.getElementById("data").textContent);
const CLASSES_A_PAGE = 25;
const FLIPS_A_PAGE = 10;
let chosen = 0;

function setUpPager(box, show) {
  const [back, on] = box.querySelectorAll("button");
  const said = box.querySelector("output");
  const state = { page: 0 };
  const draw = () => {
    const { total, size, text } = show(state.page);
    const last = Math.max(0, Math.ceil(total / size) - 1);
    if (state.page > last) { state.page = last; draw(); return; }
    back.disabled = state.page === 0;
    on.disabled = state.page === last;
    said.textContent = total ? `${thousands(state.page * size + 1)}–${thousands(Math.min(total, (state.page + 1) * size))} of ${text}` : text;
  };
  back.addEventListener("click", () => { state.page -= 1; draw(); });
  on.addEventListener("click", () => { state.page += 1; draw(); });
  return () => { state.page = 0; draw(); };
}

function setUpClasses() {
  const box = document.getElementById("classes");
  if (!box) return () => {};
  const task = box.querySelector("select");
  const heads = [...box.querySelectorAll("th")];
  const body = box.querySelector("tbody");
  let column = 4;
  let order = "descending";
  const restart = setUpPager(box.querySelector(".pager"), (page) => {
    const found = data.classes[chosen].find((entry) => entry.task === task.value);
    const rows = [...(found?.rows || [])];
    rows.sort((a, b) => compareValues(a[column], b[column], order));
    heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", order); else head.removeAttribute("aria-sort");
    });
    const shown = rows.slice(page * CLASSES_A_PAGE, (page + 1) * CLASSES_A_PAGE);
    body.replaceChildren(...shown.map((row) => classRow(row, found?.digits)));
    return { total: rows.length, size: CLASSES_A_PAGE, text: `${thousands(rows.length)} classes` };
  });
  heads.forEach((head, index) => head.querySelector("button")?.addEventListener("click", () => {
    const first = index === 0 ? "ascending" : "descending";
    order = index === column ? (order === "ascending" ? "descending" : "ascending") : first;
    column = index;
    restart();
  }));
  task.addEventListener("change", restart);
  return () => { fill(task, data.classes[chosen].map((entry) => [entry.task, entry.task])); restart(); };
}

function classRow([name, n, base, candidate, drop, lower, upper], digits) {
  const bounds = lower === null || upper === null ? "–" : `${decimal(lower, digits)} to ${decimal(upper, digits)}`;
  const cells = [thousands(n), ...[base, candidate, drop].map((value) => decimal(value, digits)), bounds];
  const label = make("td", { class: "left" }, make("bdi", {}, name));
  return make("tr", {}, label, ...cells.map((text) => make("td", { class: "num" }, text)));
}

function setUpFlips() {
  const box = document.getElementById("flips");
  if (!box) return () => {};
  const [task, change, was, became, cause] = box.querySelectorAll("select");
  const search = box.querySelector("input");
  const list = box.querySelector(".flips");
  const entry = () => data.flips[chosen].find((each) => each.task === task.value);
  const restart = setUpPager(box.querySelector(".pager"), (page) => {
    const all = entry();
    const words = search.value.trim().toLowerCase();
    const rows = all.rows.filter((row) => (!change.value || (change.value === "lost") === row.lost)
      && (!was.value || row.base.category === was.value)
      && (!became.value || row.candidate.category === became.value)
      && (!cause?.value || row.cause === cause.value)
      && (!words || matches(row, words)));
    list.replaceChildren(...rows.slice(page * FLIPS_A_PAGE, (page + 1) * FLIPS_A_PAGE).map(flipCard));
    const flipped = all.lost + all.gained;
    const part = all.rows.length < flipped ? ` (this report shows ${thousands(all.rows.length)} of ${thousands(flipped)} flipped samples)` : "";
    return { total: rows.length, size: FLIPS_A_PAGE, text: rows.length ? `${thousands(rows.length)}${part}` : `No such sample${part}` };
  });
  const refill = () => {
    const kinds = (side) => [...new Set(entry().rows.map((row) => row[side].category))].sort().map((kind) => [kind, kind]);
    fill(was, [["", "any"], ...kinds("base")]);
    fill(became, [["", "any"], ...kinds("candidate")]);
    if (cause) fill(cause, [["", "any"], ...[...new Set(entry().rows.map((row) => row.cause))].filter(Boolean).sort().map((kind) => [kind, kind])]);
    restart();
  };
  task.addEventListener("change", refill);
  [change, was, became, cause].forEach((select) => select?.addEventListener("change", restart));
  search.addEventListener("input", restart);
  return () => {
    fill(task, data.flips[chosen].map((each) => [each.task, `${each.task} (${thousands(each.lost + each.gained)})`]));
    refill();
  };
}

function matches(row, words) {
  const texts = [row.question, row.target, row.base.text, row.candidate.text];
  return texts.some((part) => (Array.isArray(part) ? part[0] : part).toLowerCase().includes(words));
}

function flipCard(row) {
  const image = typeof row.image === "number"
    ? make("img", { src: data.images[row.image], alt: "The sample's image", width: 160, height: 160 })
    : make("div", { class: "noimage" }, `No image: ${row.image}`);
  if (image.tagName === "IMG") {
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 80));
  }
  const facts = make("dl", {},
    make("div", {}, make("dt", {}, "Question"), make("dd", {}, ...foreign(row.question))),
    make("div", {}, make("dt", {}, "Right answer"), make("dd", {}, ...foreign(row.target))),
    make("div", { class: "answers" }, answer("Base", row.base), answer("Candidate", row.candidate)));
  const id = make("p", { class: "id" }, `${row.name ?? `doc_id ${row.doc}`} · ${row.lost ? "lost" : "gained"}${row.cause ? `: ${row.cause}` : ""}`);
  return make("article", { class: "flip" }, make("div", {}, image), make("div", {}, id, facts));
}

function setUpCandidates(redraw) {
  const select = document.getElementById("candidate");
  const sections = [...document.querySelectorAll("[data-candidate]")];
  const choose = (index) => {
    chosen = index;
    if (select) select.value = String(index);
    sections.forEach((section) => { section.hidden = Number(section.dataset.candidate) !== index; });
    redraw();
  };
  select?.addEventListener("change", () => choose(Number(select.value)));
  document.querySelectorAll("button[data-choose]").forEach((button) => button.addEventListener("click", () => {
    choose(Number(button.dataset.choose));
    document.getElementById("picker").scrollIntoView({ block: "start" });
  }));
  choose(0);
}

setUpTheme();
document.querySelectorAll("table.sortable").forEach(setUpSorting);
const redraws = [setUpClasses(), setUpFlips()];
setUpCandidates(() => redraws.forEach((redraw) => redraw()));
