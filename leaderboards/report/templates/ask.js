// What a local page (emt_core/local_page.py) asks its server: the token comes behind the address's #, leaves the
// address, and is kept for this origin alone, so that an address without it opens the same page again.
const token = (() => {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  let kept = null;
  try {
    if (given) localStorage.setItem("emt-token", given);
    kept = localStorage.getItem("emt-token");
  } catch { /* a browser that keeps nothing asks for the printed address each time */ }
  if (given) history.replaceState(null, "", location.pathname + location.search);
  return given || kept || "";
})();

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { "x-emt-token": token } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the command that serves this page has ended, or does not answer");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
