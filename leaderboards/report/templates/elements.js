// Builds an element. Other people's text only ever goes in as text, never as markup.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function thousands(value) { return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f"); }

function decimal(value, digits = 1) {
  return value === null ? "–" : value.toFixed(digits).replace(/^-(?=[0.]+$)/, "").replace("-", "−");
}

// A text that somebody else wrote, in its own direction; [text, length] if it was cut.
function foreign(part) {
  const [text, length] = Array.isArray(part) ? part : [part, null];
  const box = make("bdi", { class: "foreign", dir: "auto", tabindex: text.length > 400 ? 0 : null });
  box.textContent = text === "" ? "(empty)" : text;
  if (length === null) return [box];
  return [box, make("p", { class: "reason" }, `${thousands(length)} characters, the first ${thousands(text.length)} shown`)];
}

function fill(select, options) {
  const kept = select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (options.some(([value]) => value === kept)) select.value = kept;
}

function answer(role, { text, category, reason, judge }) {
  const known = ["correct", "incorrect", "intrinsic", "extrinsic", "leakage"].includes(category) ? category : "other";
  const chip = make("span", { class: `chip is-${known}` }, make("i", { class: "swatch" }), category);
  const box = make("div", {}, make("dt", {}, `${role}: `, chip), make("dd", {}, ...foreign(text)));
  if (reason) box.append(make("dd", { class: "reason" }, make("bdi", {}, reason), judge ? ` (judge: ${judge})` : ""));
  return box;
}
