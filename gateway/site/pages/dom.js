// Creates elements. Text only ever becomes text nodes: nothing received is parsed as HTML.

export const $ = (id) => document.getElementById(id);

/** An element; `properties` are attributes, or listeners when they begin with "on". */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

/** A sentence in which `words in backticks` are code. */
export function prose(text = "") {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** Indented JSON with every number as received; JSON.stringify would turn 1.10 into 1.1. */
export function indented(text) {
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  try { JSON.parse(text); } catch { return text; }
  return text.replace(/("(?:[^"\\]|\\.)*"|[{[]\s*[}\]])|([{[])|([}\]])|(,)|(:)|\s+/g, (_, whole, opens, closes, comma, colon) => {
    if (opens) depth += 1;
    if (closes) depth = Math.max(0, depth - 1);
    return whole ?? (opens ? opens + line() : closes ? line() + closes : comma ? comma + line() : colon ? ": " : "");
  });
}
