const FILTERS = ["task", "change", "base", "candidate", "cause", "class", "text"];
const WAIT = 50; // milliseconds after a key until the text is searched for
const $ = (id) => document.getElementById(id);
const form = document.querySelector("#samples form");
const list = document.querySelector("#samples .flips");
const OUTCOMES = { "not inferior": ["passed", "passes"], forgetting: ["forgetting", "forgetting"], undecided: ["undecided", "undecided"] };

// All that the page shows is in its address: check, the filters, doc (one sample alone) and page.
let state = Object.fromEntries(new URLSearchParams(location.search));
let checks = [];
let tasks = null; // of the chosen check
let found = null; // the samples shown
let at = -1; // the one with the focus
let pictures = [];
let request = null;
let later = 0;
let again = 0;

function address(changed = {}) {
  const entries = Object.entries({ ...state, ...changed }).filter(([name, value]) => value && value !== "0" && name !== "token");
  return `?${new URLSearchParams(entries)}`;
}

function go(changed, { keep = false } = {}) {
  state = { ...state, ...changed };
  history[keep ? "replaceState" : "pushState"](null, "", address());
}

function fail(error) {
  if (error.name === "AbortError") return;
  $("failed").textContent = error.message;
  $("failed").hidden = false;
}

async function get(path, values = {}, options = {}) {
  const answer = await ask(`${path}?${new URLSearchParams(values)}`, options);
  $("failed").hidden = true;
  return answer;
}

// Checks and progress, again and again while something runs.
async function look() {
  clearTimeout(again);
  try {
    const answer = await (await get("/checks")).json();
    checks = answer.checks;
    document.title = `${answer.title} · emt view`;
    $("title").textContent = checks.length > 1 ? `Checks in ${answer.title}` : answer.title;
    const known = checks.some((check) => check.name === state.check);
    if (!known && state.check) fail(new Error(`no check ${state.check} in this folder`));
    if (!known) state.check = checks[0].name;
    showChecks();
    await showTasks();
  } catch (error) { fail(error); }
  const busy = checks.some((check) => check.state === "running") || (tasks && tasks.waiting.length);
  again = setTimeout(look, document.hidden ? 15000 : tasks && tasks.waiting.length ? 700 : busy ? 2000 : 10000);
}

const chosenCheck = () => checks.find((check) => check.name === state.check);

function outcome(check) {
  if (check.verdict && check.verdict.verdict) {
    const [style, word] = OUTCOMES[check.verdict.verdict] || ["undecided", check.verdict.verdict];
    return [style, word];
  }
  return check.state === "running" ? ["undecided", "running"] : check.state === "stopped" ? ["undecided", "stopped"] : ["", "no verdict"];
}

function showChecks() {
  $("checks").hidden = checks.length < 2;
  document.querySelector("#checks tbody").replaceChildren(...checks.map((check) => {
    const [style, word] = outcome(check);
    const link = make("button", { class: "link", type: "button" }, check.name);
    link.addEventListener("click", () => choose({ check: check.name }));
    return make("tr", { class: `${style}${check.name === state.check ? " chosen" : ""}`, role: "row" },
      make("td", { class: "left", role: "cell" }, link),
      make("td", { class: "left", role: "cell" }, make("span", { class: "outcome" }, word)),
      make("td", { class: "left", role: "cell", "data-head": "base and candidate" }, make("bdi", {}, check.models.map((model) => model.name).join(" → "))));
  }));
  const check = chosenCheck();
  const [style, word] = outcome(check);
  $("verdict").hidden = !check.verdict && check.state === "finished";
  $("verdict").className = `card verdict ${style}`;
  const words = { running: "Running", stopped: "Stopped", passes: "Passed", forgetting: "Forgetting", undecided: "Undecided" };
  $("verdict").querySelector(".word").textContent = words[word] || word;
  $("verdict").querySelector(".sentence").textContent = check.verdict ? check.verdict.sentence
    : check.state === "running" ? "The verdict is here once both models have answered." : "The check ended before its verdict: repeat the command, and it resumes.";
  $("verdict").querySelector(".hint").textContent = check.report ? `Report: ${check.report}` : "";
  $("progress").hidden = check.models.every((model) => model.state === "finished");
  document.querySelector("#progress .models").replaceChildren(...check.models.map(bars));
}

function bars(model) {
  const left = model.seconds === null ? "" : ` · about ${duration(model.seconds)} left`;
  const head = make("h3", {}, `${model.role}: `, make("bdi", {}, model.name), make("span", { class: "hint" }, ` ${model.state}${left}`));
  const rows = model.tasks.flatMap(([task, done, of]) => [
    make("span", {}, task),
    make("progress", of ? { max: of, value: Math.min(done, of), "aria-label": task } : { max: 1, value: 0, "aria-label": task }),
    make("span", { class: "num" }, of ? `${thousands(done)} of ${thousands(of)}` : `${thousands(done)} answered`)]);
  return make("div", {}, head, make("div", { class: "bars" }, ...rows));
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

async function showTasks() {
  const check = chosenCheck();
  const before = tasks && tasks.check === check.name ? tasks.tasks.length : -1;
  if (!check.models.some((model) => model.state === "finished")) {
    tasks = { check: check.name, tasks: [], images: {}, waiting: [], failed: {}, paired: false };
  } else {
    tasks = { check: check.name, ...await (await get("/tasks", { check: check.name })).json() };
  }
  const units = Object.fromEntries(check.units.map((unit) => [unit.name, unit]));
  $("tasks").hidden = !tasks.tasks.length && !tasks.waiting.length && !Object.keys(tasks.failed).length;
  document.querySelector("#tasks tbody").replaceChildren(...tasks.tasks.map((one) => taskRow(one, units[one.task])));
  document.querySelector("#tasks .open").replaceChildren(
    ...tasks.waiting.map((task) => make("li", {}, `${task} is being read…`)),
    ...Object.entries(tasks.failed).map(([task, why]) => make("li", {}, make("bdi", {}, task && !why.includes(task) ? `${task}: ${why}` : why))));
  if (tasks.tasks.length !== before) {
    fillFilters();
    await showSamples();
  }
}

function taskRow(one, unit) {
  const counted = (value, change) => {
    const link = make("button", { class: "link", type: "button" }, thousands(value));
    link.addEventListener("click", () => choose({ task: one.task, change }));
    return make("td", {}, value && tasks.paired ? link : thousands(value));
  };
  const [drop, lower, upper] = one.drop;
  const number = (value) => make("td", {}, decimal(value));
  const cell = make("td", {}, decimal(drop), lower === null ? "" : make("small", {}, `${decimal(lower)} to ${decimal(upper)}`));
  const [style, word] = unit ? OUTCOMES[unit.outcome] || ["undecided", unit.outcome] : ["", "–"];
  return make("tr", { class: style }, make("td", { class: "left" }, one.task), make("td", {}, thousands(one.documents)),
    number(one.base), number(one.candidate), cell, counted(one.changes.lost || 0, "lost"), counted(one.changes.gained || 0, "gained"),
    make("td", {}, make("span", { class: "outcome" }, word)));
}

// Filters
function fillFilters() {
  const some = tasks.tasks.filter((one) => !state.task || one.task === state.task);
  const sum = (pick) => {
    const total = {};
    some.forEach((one) => Object.entries(pick(one)).forEach(([name, count]) => { total[name] = (total[name] || 0) + count; }));
    return total;
  };
  const options = (counts) => [["", "any"], ...Object.entries(counts).map(([name, count]) => [name, `${name} (${thousands(count)})`])];
  const documents = tasks.tasks.map((one) => [one.task, `${one.task} (${thousands(one.documents)})`]);
  const changes = sum((one) => one.changes);
  const either = (changes.lost || 0) + (changes.gained || 0);
  fill(form.elements.task, [["", "all"], ...documents]);
  fill(form.elements.change, [["", "any"], ["changed", `lost or gained (${thousands(either)})`], ...options(changes).slice(1)]);
  fill(form.elements.base, options(sum((one) => one.categories.base)));
  fill(form.elements.candidate, options(sum((one) => one.categories.candidate)));
  const causes = sum((one) => one.causes);
  fill(form.elements.cause, options(causes));
  form.querySelector(".cause").hidden = !Object.keys(causes).length;
  form.querySelectorAll(".pair").forEach((each) => { each.hidden = !tasks.paired; });
  form.querySelector(".side").textContent = tasks.paired ? "Base's answer" : "Answer";
  form.elements.class.parentElement.hidden = !some.some((one) => Object.keys(one.classes).length);
  FILTERS.forEach((name) => { if (document.activeElement !== form.elements[name]) form.elements[name].value = state[name] || ""; });
}

// Hundreds of classes are listed when somebody is about to choose one.
form.elements.class.addEventListener("focus", () => {
  const some = tasks.tasks.filter((one) => !state.task || one.task === state.task);
  const names = new Set(some.flatMap((one) => Object.keys(one.classes)));
  $("classes").replaceChildren(...[...names].slice(0, 2000).map((name) => make("option", { value: name })));
});

function choose(changed) {
  const other = changed.check && changed.check !== state.check;
  go(other ? { ...Object.fromEntries([...FILTERS, "doc", "page"].map((name) => [name, ""])), ...changed } : { doc: "", page: "", ...changed });
  if (other) { tasks = null; look(); return; }
  fillFilters();
  showSamples().catch(fail);
  $("samples").scrollIntoView({ block: "start" });
}

function filterChanged(typed) {
  const values = Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value]));
  if (values.task !== (state.task || "")) setTimeout(fillFilters);
  go({ ...values, doc: "", page: "" }, { keep: typed });
  clearTimeout(later);
  later = setTimeout(() => showSamples().catch(fail), typed ? WAIT : 0);
}

// Samples
async function showSamples(focus = null) {
  $("samples").hidden = !tasks.tasks.length;
  if (!tasks.tasks.length) return;
  if (request) request.abort();
  request = new AbortController();
  list.setAttribute("aria-busy", "true");
  const wanted = Object.fromEntries(["check", ...FILTERS, "doc", "page"].filter((name) => state[name]).map((name) => [name, state[name]]));
  found = await (await get("/samples", wanted, { signal: request.signal })).json();
  pictures.forEach((picture) => URL.revokeObjectURL(picture));
  pictures = [];
  at = -1;
  near.disconnect();
  list.replaceChildren(...found.rows.map(card));
  list.removeAttribute("aria-busy");
  list.dataset.drawn = String(Number(list.dataset.drawn || 0) + 1);
  const first = found.page * found.size;
  const last = Math.max(0, Math.ceil(found.total / found.size) - 1);
  $("count").textContent = found.total ? `${thousands(found.total)} of ${thousands(found.of)} samples` : "No such sample";
  $("place").textContent = found.total ? `${thousands(first + 1)}–${thousands(first + found.rows.length)} of ${thousands(found.total)}` : "";
  $("back").disabled = found.page === 0;
  $("on").disabled = found.page >= last;
  $("here").href = address();
  if (focus !== null) select(focus < 0 ? found.rows.length - 1 : focus);
}

// An image is asked for when its sample comes near the screen.
const near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
  near.unobserve(target);
  target.showPicture();
}), { rootMargin: "400px" });

function card(row) {
  const button = make("button", { class: "picture", type: "button", "aria-label": "Enlarge the image" });
  const place = make("div", {}, make("div", { class: "noimage" }, "…"));
  const facts = make("dl", {},
    make("div", {}, make("dt", {}, "Question"), make("dd", {}, ...foreign(row.question))),
    make("div", {}, make("dt", {}, "Right answer"), make("dd", {}, ...foreign(row.target))),
    make("div", { class: "answers" }, ...["base", "candidate"].filter((side) => row[side])
      .map((side) => answer(tasks.paired ? { base: "Base", candidate: "Candidate" }[side] : "Answer", row[side]))));
  const link = make("a", { href: address({ task: row.task, doc: String(row.doc), page: "" }) }, `doc_id ${row.doc}`);
  const change = tasks.paired ? ` · ${row.change}${row.cause ? `: ${row.cause}` : ""}` : "";
  const id = make("p", { class: "id" }, link, ` · ${row.task}${row.class ? ` · ${row.class}` : ""}${change}`);
  const whole = make("article", { class: "flip", tabindex: -1 }, place, make("div", {}, id, facts));
  button.addEventListener("click", () => whole.classList.toggle("wide"));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ task: row.task, doc: String(row.doc), page: "" });
    fillFilters();
    showSamples(0).catch(fail);
  });
  whole.addEventListener("focus", () => { at = [...list.children].indexOf(whole); });
  whole.showPicture = () => showPicture(row, place, button);
  near.observe(whole);
  return whole;
}

async function showPicture(row, place, button) {
  const why = tasks.images[row.task] || (row.row === null ? "the run does not say which row of the data set this is" : "");
  if (why) {
    place.replaceChildren(make("div", { class: "noimage" }, `No image: ${why}`));
    return;
  }
  try {
    const { signal } = request;
    const picture = URL.createObjectURL(await (await ask(`/image?${new URLSearchParams({ check: state.check, task: row.task, row: row.row })}`, { signal })).blob());
    pictures.push(picture);
    const image = make("img", { src: picture, alt: "The sample's image" });
    image.addEventListener("error", () => place.replaceChildren(make("div", { class: "noimage" }, "No image: the image cannot be read")));
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 80));
    button.replaceChildren(image);
    place.replaceChildren(button);
  } catch (error) {
    if (error.name !== "AbortError") place.replaceChildren(make("div", { class: "noimage" }, `No image: ${error.message}`));
  }
}

function select(index) {
  at = index;
  const one = list.children[index];
  if (!one) return;
  one.focus({ preventScroll: true });
  one.scrollIntoView({ block: "nearest" });
}

function turn(by, focus = null) {
  const last = Math.ceil(found.total / found.size) - 1;
  const page = found.page + by;
  if (page < 0 || page > last) return;
  go({ page: String(page) });
  showSamples(focus).then(() => { if (focus === null) $("samples").scrollIntoView({ block: "start" }); }).catch(fail);
}

function press(key) {
  if (!found) return false;
  if (key === "j") at + 1 < found.rows.length ? select(at + 1) : turn(1, 0);
  else if (key === "k") at > 0 ? select(at - 1) : at === 0 ? turn(-1, -1) : null;
  else if (key === "]") turn(1);
  else if (key === "[") turn(-1);
  else if (key === "/") { form.elements.text.focus(); form.elements.text.select(); } else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (press(event.key)) event.preventDefault();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => filterChanged(event.target.tagName === "INPUT"));
$("back").addEventListener("click", () => turn(-1));
$("on").addEventListener("click", () => turn(1));
document.querySelectorAll("button[data-format]").forEach((button) => button.addEventListener("click", async () => {
  const wanted = Object.fromEntries(["check", ...FILTERS, "doc"].filter((name) => state[name]).map((name) => [name, state[name]]));
  try {
    const body = `/download?${new URLSearchParams({ ...wanted, format: button.dataset.format })}`;
    const path = await (await ask("/once", { method: "POST", body })).json();
    const link = make("a", { href: path, download: "" });
    document.body.append(link);
    link.click();
    link.remove();
  } catch (error) { fail(error); }
}));
window.addEventListener("popstate", () => {
  const before = state.check;
  state = Object.fromEntries(new URLSearchParams(location.search));
  state.check ||= checks[0]?.name;
  if (state.check !== before) { tasks = null; look(); return; }
  fillFilters();
  showSamples().catch(fail);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
setUpTheme();
look();
