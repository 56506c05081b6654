// @ts-check
// The elements of a proof, computed in the browser: canonical JSON, hashes of records, the tree, keys and signed notes.
// They follow services/audit/proofs.py, which docs/audit.md explains.

const ENCODER = new TextEncoder();
const FIELDS = ["action", "actor", "details", "id", "origin", "outcome", "received", "request_id", "resource", "seq", "service", "status", "timestamp", "trace_id", "user_id"];
const SALT = /^[0-9a-f]{32}$/; // of another length it could absorb the beginning of the text

/** Whether this page may use the cryptography of the browser: on HTTPS, and on this machine. */
export const canProve = () => Boolean(globalThis.crypto?.subtle);

/** Whether this browser knows the kind of the log's signatures; older ones do not. */
export async function canVerify() {
  try {
    await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    return true;
  } catch {
    return false;
  }
}

/** @param {Uint8Array[]} parts @returns {Promise<Uint8Array>} */
async function sha256(...parts) {
  const whole = new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (parts)).arrayBuffer());
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
}

/** @param {Uint8Array} bytes */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
/** @param {string} text */
export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
/** @param {string} text */
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** The canonical form of a JSON value (RFC 8785). @param {any} value @returns {string} */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

/** A salted commitment to the content of a field. @param {string} salt @param {any} content */
export const commitment = async (salt, content) => hex(await sha256(ENCODER.encode(salt + canonical(content))));

/**
 * Whether a part of a record is what the log committed to. Null if it was erased: whether an erasure did that, only its
 * statement proves, and that is not checked here.
 * @param {any} record @param {"origin" | "details"} part
 */
export async function isKept(record, part) {
  const salt = record[`${part}_salt`], by = record[`${part}_erased_by`];
  const content = part === "origin" ? { ip: record.ip, user_agent: record.user_agent } : record.metadata;
  if (salt !== null) return by === null && SALT.test(salt) && (await commitment(salt, content)) === record[part];
  const isEmpty = (part === "origin" ? Object.values(content) : [content]).every((one) => one === null);
  const isOfLog = record.actor === "log" && record.service === "audit"; // an erasure leaves these as they are
  return isEmpty && Number.isInteger(by) && by > record.seq && !isOfLog ? null : false;
}

/** The result of all steps of a proof. @param {{isGood: boolean | null}[]} steps @returns {"bad" | "open" | "good"} */
export function verdictOf(steps) {
  if (!steps.length || steps.some((one) => one.isGood === false)) return "bad";
  return steps.some((one) => one.isGood === null) ? "open" : "good";
}

/** The hash of a record as a leaf of the tree. @param {any} record */
export function leafOf(record) {
  const signed = { ...Object.fromEntries(FIELDS.map((name) => [name, record[name]])), v: 1 };
  return sha256(Uint8Array.of(0), ENCODER.encode(canonical(signed)));
}

/** @param {Uint8Array} left @param {Uint8Array} right */
const node = (left, right) => sha256(Uint8Array.of(1), left, right);

/**
 * The root to which the siblings of a leaf lead (RFC 9162, 2.1.3.2), or null if their number is wrong.
 * @param {Uint8Array} leaf @param {number} seq @param {number} size @param {string[]} proof
 */
export async function rootOf(leaf, seq, size, proof) {
  let index = seq, last = size - 1;
  /** @type {Uint8Array} */
  let root = leaf;
  if (index > last) return null;
  for (const sibling of proof.map(fromHex)) {
    if (!last) return null;
    if (index % 2 || index === last) {
      root = await node(sibling, root);
      while (index && index % 2 === 0) [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
    } else root = await node(root, sibling);
    [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
  }
  return last ? null : root;
}

/**
 * Whether a later tree begins with an earlier one (RFC 9162, 2.1.4.2).
 * @typedef {{size: number, root: string}} Checkpoint
 * @param {Checkpoint} before @param {Checkpoint} after @param {string[]} proof
 */
export async function continues(before, after, proof) {
  if (before.size >= after.size) return before.size === after.size && before.root === after.root;
  let index = before.size - 1, last = after.size - 1;
  while (index % 2) [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
  const [first, ...path] = index ? proof : [before.root, ...proof];
  if (!first) return false;
  /** @type {Uint8Array} */
  let old = fromHex(first), grown = old;
  for (const sibling of path.map(fromHex)) {
    if (!last) return false;
    if (index % 2 || index === last) {
      [old, grown] = [await node(sibling, old), await node(sibling, grown)];
      while (index && index % 2 === 0) [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
    } else grown = await node(grown, sibling);
    [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
  }
  return !last && hex(old) === before.root && hex(grown) === after.root;
}

/** The text of a signed note, if this key signed it; else null. @param {string} note @param {string} key */
async function signedText(note, key) {
  const at = note.lastIndexOf("\n\n"), text = note.slice(0, at + 1);
  const [, name, id, encoded] = /^(.+?)\+([0-9a-f]{8})\+(.+)$/.exec(key) ?? ["", "", "", ""];
  const raw = fromBase64(encoded), imported = await crypto.subtle.importKey("raw", raw.slice(1), "Ed25519", false, ["verify"]);
  for (const line of at < 0 ? [] : note.slice(at + 2).split("\n").filter(Boolean)) {
    const [dash, signer, signature] = line.split(" "), bytes = fromBase64(signature ?? "");
    if (dash !== "—" || signer !== name || hex(bytes.slice(0, 4)) !== id) continue;
    if (await crypto.subtle.verify("Ed25519", imported, bytes.slice(4), ENCODER.encode(text))) return { name, text };
  }
  return null;
}

/** The checkpoint of a note, and which of the keys signed it. @param {string} note @param {string[]} keys @returns {Promise<Checkpoint & {key: string} | null>} */
async function checkpointOf(note, keys) {
  for (const key of keys) {
    const signed = await signedText(note, key).catch(() => null);
    const [name, size, root] = signed?.text.split("\n") ?? [];
    if (signed && name === signed.name) return { size: Number(size), root: hex(fromBase64(root)), key };
  }
  return null;
}

/**
 * The checkpoint of a note by the key that this browser has kept; only before it has kept one, any key of the log will do.
 * `other` is a key that signed although it is not the kept one. `next` is a newer key that signed beside the kept one.
 * Whoever passes the note on can add a signature, so `next` proves nothing by itself.
 * @param {string} note @param {string[]} keys the newest first @param {string | undefined} kept
 */
export async function checkpointBy(note, keys, kept) {
  const signed = await checkpointOf(note, kept === undefined ? keys : [kept]);
  if (!signed) return { signed, other: (await checkpointOf(note, keys))?.key };
  const newer = kept === undefined ? [] : keys.slice(0, Math.max(0, keys.indexOf(kept)));
  return { signed, next: (await checkpointOf(note, newer))?.key };
}
