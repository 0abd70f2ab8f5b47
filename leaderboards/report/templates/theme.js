// Light, dark, or as the system says; the choice is kept if the browser allows it.
function setUpTheme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    button.textContent = dark ? "☀ Light" : "☾ Dark";
    return dark;
  };
  try {
    const kept = localStorage.getItem("emt-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch { /* a page opened from disk may have no storage */ }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = show() ? "light" : "dark";
    try { localStorage.setItem("emt-theme", root.dataset.theme); } catch { /* as above */ }
    show();
  });
  system.addEventListener("change", show);
  show();
}
