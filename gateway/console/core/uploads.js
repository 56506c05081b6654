// @ts-check
// Resumable uploads by tus 1.0: one after the other, in pieces. An interrupted upload continues where it stopped, even after a reload.

import { newKey } from "./api.js";
import { isExpired, me } from "./app_state.js";
import { signal } from "./view.js";

const PIECE = 4 * 1024 * 1024, TRIES_MAX = 6, WAIT_MS = 1_000, KEY = "gatehouse.uploads";
const OVER = [404, 410]; // expired, or ended elsewhere: it starts anew

/**
 * `offset` is how much the service has confirmed; `sent`, for display only, is how much the browser has handed over. `isUnsure` is set after a fault: the service is asked first.
 * `state` is `waiting` for its turn, `sending`, `paused` by the person, `lost` until the person chooses the file again, `failed` or `done`.
 * @typedef {{key: string, name: string, size: number, modified: number, file: File | null, address: string, offset: number, sent: number, isUnsure: boolean, rate: number,
 *   state: "waiting" | "sending" | "paused" | "lost" | "failed" | "done", why: string}} Upload
 */

/** @type {import("./view.js").Signal<Upload[]>} */
export const uploads = signal([]);

const followers = /** @type {Set<() => void>} */ (new Set());
/** @type {XMLHttpRequest | null} */
let request = null;
let current = "";

/** Call `callback` when a file is complete; returns the function that stops the calls. @param {() => void} callback */
export function onUploaded(callback) {
  followers.add(callback);
  return () => { followers.delete(callback); };
}

/** @param {string} key */
const find = (key) => uploads.value.find((one) => one.key === key);

/** @param {string} key @param {Partial<Upload>} changes */
function change(key, changes) {
  uploads.value = uploads.value.map((one) => (one.key === key ? { ...one, ...changes } : one));
  if ("address" in changes || "state" in changes) keep();
}

/** Remember what is unfinished; the file itself has to be chosen again. */
function keep() {
  const open = uploads.value.filter((one) => one.address && one.state !== "done").map(({ key, name, size, modified, address, offset }) => ({ key, name, size, modified, address, offset }));
  try {
    if (open.length) localStorage.setItem(KEY, JSON.stringify({ of: me.value?.id, open }));
    else localStorage.removeItem(KEY);
  } catch { /* storage is full or switched off */ }
}

/** What was unfinished when the page was left. */
export function remember() {
  try {
    const { of, open } = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    if (of !== me.value?.id || !Array.isArray(open)) return;
    uploads.value = [...uploads.value, ...open.filter((one) => !find(one.key)).map((one) => ({ ...one, file: null, sent: one.offset, isUnsure: true, rate: 0, state: "lost", why: "" }))];
    for (const { key } of open) whereIsIt(key).catch(() => {}); // how much arrived before the page was left
  } catch { /* the stored text is not what this function expects */ }
}

/** Upload files; a lost upload of the same file continues. @param {Iterable<File>} files */
export function add(files) {
  for (const file of files) {
    const lost = uploads.value.find((one) => one.state === "lost" && one.name === file.name && one.size === file.size && one.modified === file.lastModified);
    if (lost) change(lost.key, { file, state: "waiting" });
    else uploads.value = [...uploads.value, { key: newKey(), name: file.name, size: file.size, modified: file.lastModified, file, address: "", offset: 0, sent: 0, isUnsure: false, rate: 0, state: "waiting", why: "" }];
  }
  work();
}

/** @param {string} key */
export function pause(key) {
  change(key, { state: "paused", rate: 0 });
  if (current === key) request?.abort();
}

/** @param {string} key */
export function resume(key) {
  change(key, { state: find(key)?.file ? "waiting" : "lost", why: "" });
  work();
}

/** Remove an upload from the list; what the service has received of it is deleted. @param {string} key */
export function cancel(key) {
  const upload = find(key);
  uploads.value = uploads.value.filter((one) => one.key !== key);
  keep();
  if (current === key) request?.abort();
  if (upload?.address && upload.state !== "done") send("DELETE", upload.address, {}).catch(() => {}); // else it expires within a day
}

export function forgetDone() {
  uploads.value = uploads.value.filter((one) => one.state !== "done");
}

/** Send what waits, one after the other. */
async function work() {
  if (current) return;
  const next = uploads.value.find((one) => one.state === "waiting");
  if (!next) return;
  current = next.key;
  change(current, { state: "sending", why: "" });
  try {
    await upload(current);
  } finally {
    current = "";
    request = null;
    work();
  }
}

/** Send one upload to its end. A lost connection is tried again for about a minute. @param {string} key */
async function upload(key) {
  for (let tries = 0; find(key)?.state === "sending";) {
    try {
      const before = find(key)?.offset;
      if (await step(key)) return;
      if (find(key)?.offset !== before) tries = 0;
    } catch (error) {
      const { status = 0, message } = /** @type {any} */ (error);
      change(key, { sent: find(key)?.offset, isUnsure: true, rate: 0 });
      if (find(key)?.state !== "sending") return;
      if (OVER.includes(status)) change(key, { address: "", offset: 0, sent: 0 });
      else if (status === 401) isExpired.value = true;
      if (status === 401 || (status >= 400 && status < 500 && !OVER.includes(status) && ![409, 423, 429].includes(status)) || ++tries > TRIES_MAX) {
        change(key, { state: "failed", why: message });
        return;
      }
      await new Promise((done) => setTimeout(done, WAIT_MS * 2 ** Math.min(tries, 5) * (0.5 + Math.random() / 2)));
    }
  }
}

/** Start the upload, or send one piece. Returns whether it is complete. @param {string} key */
async function step(key) {
  const one = /** @type {Upload} */ (find(key)), file = /** @type {File} */ (one.file);
  if (!one.address) {
    const reply = await send("POST", "/files/uploads", { "Upload-Length": String(file.size), "Upload-Metadata": `filename ${base64(file.name)}${file.type ? `,filetype ${base64(file.type)}` : ""}` });
    change(key, { address: new URL(reply.getResponseHeader("Location") ?? "", location.origin).pathname, offset: 0, sent: 0, isUnsure: false });
  } else if (one.isUnsure) {
    await whereIsIt(key);
  }
  const { address, offset } = /** @type {Upload} */ (find(key));
  if (offset < file.size) {
    const piece = file.slice(offset, offset + PIECE), from = performance.now();
    const reply = await send("PATCH", address, { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" }, piece, (sent) => change(key, { sent: offset + sent, rate: (sent * 1000) / Math.max(1, performance.now() - from) }));
    change(key, stored(reply));
  }
  if (/** @type {Upload} */ (find(key)).offset < file.size) return false;
  change(key, { state: "done", rate: 0, file: null });
  followers.forEach((callback) => callback());
  return true;
}

/** Ask the service how much it has. @param {string} key */
async function whereIsIt(key) {
  const one = find(key);
  if (!one?.address) return;
  const reply = await send("HEAD", one.address, {});
  change(key, stored(reply));
}

/** How much the service has, as it says itself; no other source counts. @param {XMLHttpRequest} reply */
function stored(reply) {
  const said = reply.getResponseHeader("Upload-Offset"), offset = Number(said);
  if (!said || !Number.isSafeInteger(offset)) throw Object.assign(new Error("files did not say how much it has."), { status: 0 });
  return { offset, sent: offset, isUnsure: false };
}

/** @param {string} text */
const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));

/**
 * A request that reports how much was sent, which fetch cannot do.
 * @param {string} method @param {string} path @param {Record<string, string>} headers @param {Blob} [body] @param {(sent: number) => void} [onSent] @returns {Promise<XMLHttpRequest>}
 */
function send(method, path, headers, body, onSent) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    if (method !== "DELETE") request = sent;
    sent.open(method, path);
    for (const [name, value] of Object.entries({ "Tus-Resumable": "1.0.0", ...headers })) sent.setRequestHeader(name, value);
    if (onSent) sent.upload.onprogress = (event) => onSent(event.loaded);
    sent.onload = () => (sent.status < 300 ? resolve(sent) : reject(Object.assign(new Error(reasonIn(sent)), { status: sent.status })));
    sent.onerror = () => reject(Object.assign(new Error("files does not respond."), { status: 0 }));
    sent.onabort = () => reject(Object.assign(new Error("stopped"), { status: 0 }));
    sent.send(body ?? null);
  });
}

/** @param {XMLHttpRequest} response */
function reasonIn(response) {
  try {
    return JSON.parse(response.responseText).detail;
  } catch {
    return "files refused this.";
  }
}
