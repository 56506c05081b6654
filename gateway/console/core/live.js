// @ts-check
// One stream of notifications. Only a visible tab holds it: browsers allow six connections to a host at once.

import { unread } from "./app_state.js";
import { signal } from "./view.js";

/** Whether the stream is open, so that news arrive at once. */
export const isLive = signal(false);

/** @type {EventSource | null} */
let stream = null;
const followers = /** @type {Set<() => void>} */ (new Set());

/** Call this whenever a notification arrives; returns the function that ends it. @param {() => void} callback */
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

/** Follow the notifications while the tab is visible; returns the function that ends it. */
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
