"""What a person sees of a page, measured in the browser: nothing cut off, no column out of reach."""

from __future__ import annotations

from typing import Any

WIDTHS = (390, 768, 1440)
"""A phone, a tablet, a laptop."""


def faults(page: Any) -> list[str]:
    """What is wider than the screen, or cannot be reached, on the page as it is shown now."""
    found: list[str] = page.evaluate(_FAULTS)
    return found


def overlapping(page: Any) -> list[list[str]]:
    """Pairs of texts of a chart or a row that lie on one another, by a pixel or more."""
    found: list[list[str]] = page.evaluate(_OVERLAPS)
    return found


def faint(page: Any) -> list[list[Any]]:
    """Texts whose contrast with what is behind them is below 4.5, the least that WCAG 2.2 (1.4.3) asks for."""
    found: list[list[Any]] = page.evaluate(_FAINT)
    return found


_FAULTS = """() => {
  const found = [];
  const wide = document.documentElement.clientWidth;
  const said = (element) => `${element.tagName} ${element.className?.baseVal ?? element.className} ` +
    element.textContent.trim().slice(0, 40);
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  if (document.documentElement.scrollWidth > wide) found.push(`the page is ${document.documentElement.scrollWidth}`);
  const shown = [...document.body.querySelectorAll("*")].filter((each) => each.getClientRects().length);
  for (const element of shown) {
    let outer = element.parentElement;
    while (outer && !scrolls(outer)) outer = outer.parentElement;
    const box = element.getBoundingClientRect();
    if (!outer && (box.right > wide + 1 || box.left < -1)) found.push(`beyond the screen: ${said(element)}`);
    const hides = getComputedStyle(element).overflowX === "hidden" && !element.classList.contains("visually-hidden");
    if (hides && element.scrollWidth > element.clientWidth + 1) found.push(`cut off: ${said(element)}`);
    if (scrolls(element) && element.scrollWidth > element.clientWidth) {
      const style = getComputedStyle(element);
      if (element.tabIndex !== 0) found.push(`not for the keyboard: ${said(element)}`);
      if (element.getAttribute("role") !== "region" || !element.getAttribute("aria-label")) {
        found.push(`has no name: ${said(element)}`);
      }
      const shadows = style.backgroundAttachment.split(", ");
      if (!shadows.includes("local") || !shadows.includes("scroll")) found.push(`no shadow: ${said(element)}`);
    }
  }
  for (const table of shown.filter((each) => each.tagName === "TABLE")) {
    const scroller = table.closest(".scroll");
    for (const row of table.rows) {
      const last = row.cells[row.cells.length - 1];
      if (!last || !last.getClientRects().length) continue;
      if (scroller) scroller.scrollLeft = scroller.scrollWidth;
      const edge = scroller ? scroller.getBoundingClientRect().right : wide;
      if (last.getBoundingClientRect().right > edge + 1) found.push(`a column out of reach: ${said(row)}`);
      if (scroller) scroller.scrollLeft = 0;
    }
  }
  return found;
}"""

_OVERLAPS = """() => {
  const shown = "svg text, .row .name, .row .said, .legend li, .matrix p, .controls label";
  const texts = [...document.querySelectorAll(shown)]
    .filter((each) => each.getClientRects().length)
    .map((each) => ({ each, box: each.getBoundingClientRect() }));
  const found = [];
  texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => {
    if (a.each.contains(b.each) || b.each.contains(a.each)) return;
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 1 && high > 1) found.push([a.each.textContent, b.each.textContent]);
  }));
  return found;
}"""

_FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("p, td, th, li, dt, dd, small, text, .chip, h1, h2, label, output, .outcome, a")]
    .filter((each) => each.textContent.trim() && each.getClientRects().length)
    .map((each) => {
      const style = getComputedStyle(each);
      const pair = [light(rgb(each.tagName === "text" ? style.fill : style.color)), light(behind(each))];
      return [each.textContent.trim().slice(0, 40), (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
    })
    .filter(([, contrast]) => contrast < 4.5);
}"""
