// The requests of the inventory's first web interface: the same methods, paths, headers and bodies.
"use strict";

const ORIGIN = new URLSearchParams(location.search).get("gateway") ?? "";
const BASE = `${ORIGIN}/api/v1`;
const PAGE_ROWS = 25;

function authorization() {
  const token = localStorage.getItem("authToken");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Send a request with a JSON body, or the header of one, and return the response. */
function send(path, method = "GET", body = undefined) {
  const headers = { "Content-Type": "application/json", ...authorization() };
  return fetch(`${BASE}${path}`, { method, headers, body: body && JSON.stringify(body) });
}

/** Return the JSON of a response; its `error` is thrown if it is a refusal. */
async function read(path, method = "GET", body = undefined) {
  const response = await send(path, method, body);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

async function signIn(username, password) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${ORIGIN}/auth/login`, { method: "POST", headers, body: JSON.stringify({ username, password }) });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  localStorage.setItem("authToken", found.token);
  localStorage.setItem("user", JSON.stringify(found.user));
  return found.user;
}

/** Lists leave empty filters out. */
function list(name, filters, paging = {}) {
  const given = Object.entries({ ...filters, ...paging }).filter(([, value]) => value !== "");
  return read(`/${name}?${new URLSearchParams(given)}`);
}

/** Exports send empty filters, and save the file with a link. */
async function download(name, format, filters) {
  const response = await fetch(`${BASE}/${name}/export?${new URLSearchParams({ ...filters, format })}`, { headers: authorization() });
  if (!response.ok) throw new Error(`The export failed with ${response.status}.`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `${name}_export.${format}`;
  link.click();
  URL.revokeObjectURL(link.href);
}
