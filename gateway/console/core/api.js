// @ts-check
// Requests to the public API. The browser sends the session cookie by itself; no token exists here.

const PATIENCE_MS = 20_000;
// The first part of a path names the service that responds, for messages about it.
const SERVICES = /** @type {Record<string, string>} */ ({
  auth: "auth", users: "users", settings: "users", dashboard: "users", team: "users", orders: "orders",
  products: "orders", invoices: "orders", files: "files", audit: "audit", notifications: "notifications",
  tickets: "support", reviews: "support", terminal: "terminal", clients: "auth", oauth: "auth",
  workspaces: "inventory", usage: "inventory", billing: "inventory", advice: "inventory", sync: "inventory", ai: "inventory", cloudtrail: "inventory",
});
const SIGN_IN_CODES = ["unauthenticated", "session_over", "invalid_token"];

/** @typedef {{field: string, code: string, message: string}} FieldFault */
/** @typedef {{body?: unknown, version?: number, key?: string, known?: string | null, signal?: AbortSignal}} Options */
/** @typedef {{data: any, next: string | null, etag: string | null, status: number}} Reply */

/** A response that is not 2xx, or none at all (`status` 0). */
export class Refused extends Error {
  /** @param {string} path @param {number} status @param {any} problem */
  constructor(path, status, problem) {
    super(problem.detail ?? "");
    this.path = path;
    this.status = status;
    /** @type {string} */
    this.code = problem.code ?? "";
    /** @type {string | null} */
    this.requestId = problem.request_id ?? null;
    /** @type {FieldFault[]} */
    this.errors = problem.errors ?? [];
    const [, first, second] = path.split(/[/?]/);
    this.service = first === "events" ? second : SERVICES[first] ?? "The gateway";
  }

  /** Whether the service, and not the request, is at fault. */
  get isDown() {
    return this.status === 0 || this.status >= 500;
  }

  get needsStepUp() {
    return this.code === "insufficient_user_authentication";
  }
}

/** @type {(refused: Refused) => void} */
let onSignedOut = () => {};

/** Call `callback` when a response says that the session is over. @param {(refused: Refused) => void} callback */
export function whenSignedOut(callback) {
  onSignedOut = callback;
}

/** @param {string} path @param {Options} [options] */
export const get = (path, options) => call("GET", path, options);
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const post = (path, body, options) => call("POST", path, { key: newKey(), ...options, body });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const put = (path, body, options) => call("PUT", path, { ...options, body });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const patch = (path, body, options) => call("PATCH", path, { ...options, body });
/** @param {string} path @param {Options} [options] */
export const del = (path, options) => call("DELETE", path, options);

/**
 * Send a request. `version` becomes If-Match; `key` makes a repeated POST harmless. If the list is still the one with
 * the tag `known`, the status is 304.
 * @param {string} method @param {string} path @param {Options} [options] @returns {Promise<Reply>}
 */
async function call(method, path, { body, version, key, known, signal } = {}) {
  const headers = new Headers({ Accept: "application/json" }), isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers.set("Content-Type", "application/json");
  if (version !== undefined) headers.set("If-Match", `"${version}"`);
  if (key !== undefined) headers.set("Idempotency-Key", key);
  if (known) headers.set("If-None-Match", known);
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined || isForm ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(path, 0, { code: "no_response" });
  }
  const text = await response.text();
  if (response.ok || response.status === 304) {
    const data = text ? JSON.parse(text) : null, etag = response.headers.get("etag");
    return { data, next: nextOf(response, path), etag, status: response.status };
  }
  const refused = new Refused(path, response.status, problemOf(text, response));
  if (response.status === 401 && SIGN_IN_CODES.includes(refused.code)) onSignedOut(refused);
  throw refused;
}

/** @param {string} text @param {Response} response */
function problemOf(text, response) {
  const requestId = response.headers.get("x-request-id");
  try {
    return { request_id: requestId, ...JSON.parse(text) };
  } catch {
    return { request_id: requestId }; // a proxy in between has responded
  }
}

/** The address of the next page, from the Link header. @param {Response} response @param {string} path */
function nextOf(response, path) {
  const found = /<([^>]*)>;\s*rel="next"/.exec(response.headers.get("link") ?? "");
  if (!found) return null;
  const next = new URL(found[1], new URL(path, location.origin));
  return next.pathname + next.search;
}

/** A key that no other request has; `crypto.randomUUID` exists only on secure origins. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A path with the parameters that have a value. @param {string} path @param {Record<string, any>} query */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}
