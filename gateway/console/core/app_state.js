// @ts-check
// What the whole console knows: who is signed in, what to tell them, what is new, how it looks.

import { get, whenSignedOut } from "./api.js";
import { here } from "./router.js";
import { batch, computed, signal } from "./view.js";

const TOAST_MS = 6_000;

/** @typedef {{id: string, email: string, username: string | null, role: string, first_name: string | null, last_name: string | null}} Me */
/** @typedef {{id: number, text: string, undo?: () => void, isFault?: boolean}} Toast */

/** @type {import("./view.js").Signal<Me | null>} */
export const me = signal(null);
/** Why the console cannot start. @type {import("./view.js").Signal<Error | null>} */
export const fault = signal(null);
/** Whether the session ended while the console was open. */
export const isExpired = signal(false);
export const isAdmin = computed(() => me.value?.role === "admin");
/** @type {import("./view.js").Signal<Toast[]>} */
export const toasts = signal([]);
/** The dock of uploads, once there are some. @type {import("./view.js").Signal<any>} */
export const dock = signal(null);
/** The number of unread notifications; null while it is unknown. @type {import("./view.js").Signal<number | null>} */
export const unread = signal(null);
/** The time since which refreshing the list in view fails; 0 while the list is current, null if no list refreshes. @type {import("./view.js").Signal<number | null>} */
export const staleSince = signal(null);
/** Ticks every half minute, so that ages stay true. */
export const now = signal(Date.now());

export const signInAddress = () => `/auth/signin?${new URLSearchParams({ next: here() })}`;
export const stepUpAddress = () => `/auth/step-up?${new URLSearchParams({ next: here() })}`;

/** Find out who is signed in; send the browser to the sign-in page if nobody is. */
export async function start() {
  whenSignedOut(() => {
    if (me.value) isExpired.value = true;
    else location.replace(signInAddress());
  });
  setInterval(() => { now.value = Date.now(); }, 30_000);
  await loadMe();
}

export async function loadMe() {
  fault.value = null;
  try {
    me.value = (await get("/auth/me")).data;
    forgetDraftsOfOthers();
  } catch (error) {
    if (/** @type {any} */ (error).status !== 401) fault.value = /** @type {Error} */ (error);
  }
}

let lastToast = 0;

/** Say something at the bottom left; faults stay until they are closed. @param {string} text @param {{undo?: () => void, isFault?: boolean}} [how] */
export function say(text, { undo, isFault } = {}) {
  const id = ++lastToast;
  toasts.value = [...toasts.value.slice(-2), { id, text, undo, isFault }];
  if (!isFault) setTimeout(() => close(id), TOAST_MS);
}

/** @param {number} id */
export function close(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export const theme = signal(document.documentElement.dataset.theme ?? "system");

/** @param {string} name */
export function setTheme(name) {
  batch(() => { theme.value = name; });
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("theme", name);
  } catch { /* storage is switched off: the theme lasts until the page is reloaded */ }
}

const DRAFTS = "gatehouse.draft.";

/** Remove what somebody else typed in this tab before they signed out. */
function forgetDraftsOfOthers() {
  try {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(DRAFTS) && !key.startsWith(`${DRAFTS}${me.value?.id}.`)) sessionStorage.removeItem(key);
    }
  } catch { /* storage is switched off */ }
}

/** What is typed into a form, until it is sent: it survives a reload and signing in again. @param {string} name */
export function draft(name) {
  const key = `${DRAFTS}${me.value?.id}.${name}`;
  return {
    /** @returns {Record<string, string>} */
    read() {
      try {
        return JSON.parse(sessionStorage.getItem(key) ?? "{}");
      } catch {
        return {};
      }
    },
    /** @param {Record<string, string>} values */
    write(values) {
      try {
        sessionStorage.setItem(key, JSON.stringify(values));
      } catch { /* storage is full or switched off */ }
    },
    forget() {
      try {
        sessionStorage.removeItem(key);
      } catch { /* storage is switched off */ }
    },
  };
}

// One stream of notifications. Only a visible tab holds it: browsers allow six connections to a host at once.

/** Whether the stream is open, so that notifications arrive at once. */
export const isLive = signal(false);

/** @type {EventSource | null} */
let stream = null;
const followers = /** @type {Set<() => void>} */ (new Set());

/** Call `callback` whenever a notification arrives; returns the function that stops the calls. @param {() => void} callback */
export function onNews(callback) {
  followers.add(callback);
  return () => { followers.delete(callback); };
}

function open() {
  stream = new EventSource("/notifications/stream");
  stream.addEventListener("open", () => { isLive.value = true; });
  stream.addEventListener("error", () => { isLive.value = false; });
  stream.addEventListener("unread", (event) => { unread.value = JSON.parse(event.data).count; });
  stream.addEventListener("notification", () => followers.forEach((callback) => callback()));
}

/** Follow the notifications while the tab is visible; returns the function that stops following. */
export function follow() {
  const sync = () => {
    if (!document.hidden) {
      if (!stream || stream.readyState === EventSource.CLOSED) open();
      return;
    }
    stream?.close();
    stream = null;
    isLive.value = false;
  };
  sync();
  document.addEventListener("visibilitychange", sync);
  return () => {
    document.removeEventListener("visibilitychange", sync);
    stream?.close();
    stream = null;
  };
}
