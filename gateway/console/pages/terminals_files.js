// @ts-check
// The content of files of a workspace, as text and with its version.

import { Refused } from "../core/api.js";
import { signal } from "../core/view.js";

const TEXT_MAX = 512 * 1024;
const BASE = "/terminal/files/content";

/** Counts changes made here, so that the folders in view are read again. */
export const changed = signal(0);

/** @param {string} path */
export const addressOf = (path) => `${BASE}?${new URLSearchParams({ path })}`;

/** @param {string} method @param {string} path @param {{body?: BodyInit, headers?: Record<string, string>}} [options] */
export async function content(method, path, { body, headers } = {}) {
  let response;
  try {
    response = await fetch(addressOf(path), { method, body, headers });
  } catch {
    throw new Refused(BASE, 0, { code: "no_response" });
  }
  if (response.ok) return response;
  throw new Refused(BASE, response.status, await response.json().catch(() => ({})));
}

/**
 * A file that an editor can show without changing what it does not show: UTF-8 with one kind of line end.
 * @typedef {{text: string, etag: string, isDos: boolean}} TextFile
 */

/** The text of a file, or why it cannot be edited here. @param {string} path @returns {Promise<TextFile | string>} */
export async function textOf(path) {
  const response = await content("GET", path);
  if (Number(response.headers.get("content-length")) > TEXT_MAX) {
    await response.body?.cancel();
    return "It is larger than 512 KiB.";
  }
  const bytes = await response.arrayBuffer();
  try {
    const raw = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (raw.includes("\0")) return "It is not a text.";
    const text = raw.replaceAll("\r\n", "\n"), isDos = text.length !== raw.length;
    if (text.includes("\r") || (isDos && text.replaceAll("\n", "\r\n") !== raw)) return "Its line ends are of several kinds, and saving would change them.";
    return { text, isDos, etag: response.headers.get("etag") ?? "" };
  } catch {
    return "It is not a text in UTF-8.";
  }
}

/** Replace this version of a file; returns the new version. @param {string} path @param {TextFile} file @param {string} text */
export async function save(path, file, text) {
  const body = file.isDos ? text.replaceAll("\n", "\r\n") : text;
  const response = await content("PUT", path, { body, headers: { "If-Match": file.etag } });
  return { ...file, text, etag: (await response.json()).etag };
}

/** The version of a file as it is now. @param {string} path */
export const versionOf = async (path) => (await content("HEAD", path)).headers.get("etag") ?? "";
