// @ts-check
// One address for every state: /console/<page>?<filters>&open=<id>. Links are real links.

import { signal } from "./view.js";

const ROOT = "/console";
export const HOME = "dashboard";

/** @typedef {Record<string, string>} Query */
/** @typedef {{page: string, query: Query}} Place */

/** @returns {Place} */
function read() {
  const page = location.pathname.slice(ROOT.length).split("/")[1] || HOME;
  return { page, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** Where the browser is. */
export const place = signal(read());

/** The address of a page. @param {string} page @param {Record<string, any>} [query] */
export function href(page, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  return (page === HOME ? ROOT : `${ROOT}/${page}`) + search;
}

/** The address of this page with some parameters changed; an empty value removes one. @param {Record<string, any>} changes */
export const hrefWith = (changes) => href(place.value.page, { ...place.value.query, ...changes });

/** Go to an address of the console. @param {string} address @param {{replace?: boolean}} [how] */
export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  place.value = read();
}

/** Where to return to after signing in. */
export const here = () => location.pathname + location.search;

/** Follow links without reloading the page, unless the person wants a new tab. */
export function followLinks() {
  addEventListener("popstate", () => { place.value = read(); });
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (event.altKey || link.target || link.origin !== location.origin || link.hasAttribute("download")) return;
    if (link.pathname !== ROOT && !link.pathname.startsWith(`${ROOT}/`)) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    go(link.pathname + link.search, { replace: link.dataset.history === "replace" });
  });
}
