// @ts-check
// "Check this record": the proof of one record, step by step, computed in the browser.

import { get, Refused, withQuery } from "../core/api.js";
import { count } from "../core/format.js";
import { html, useState } from "../core/view.js";
import { Failure, Icon } from "../parts/ui.js";
import { canonical, canProve, canVerify, checkpointBy, continues, hex, isKept, leafOf, rootOf, verdictOf } from "./audit_proof.js";

const KEPT = "gatehouse.audit";
// What the list shows of a record and the tree covers.
const SHOWN = ["id", "seq", "user_id", "actor", "action", "resource", "outcome", "status", "service", "request_id", "trace_id"];

const VERDICTS = /** @type {Record<string, string[]>} */ ({
  bad: ["bad", "error", "This record does not match the signed log.", ""],
  open: ["warn", "warn", "Not all of this record is proven.", "What is left of it is in the signed log. Whether an erasure removed the rest, the verifier checks."],
  good: ["good", "check", "This record is in the signed log, unchanged.", ""],
});

/** @typedef {{text: string, isGood: boolean | null, detail?: string, isKept?: boolean, next?: any}} Step */

/** @param {{record: any}} props */
export function ProofCheck({ record }) {
  const [steps, setSteps] = useState(/** @type {Step[] | null} */ (null)), [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  const [isAble, setAble] = useState(canProve);
  const check = async () => {
    setBusy(true);
    setError(null);
    try {
      if (!(await canVerify())) {
        setAble(false); // not able is not the same as wrong
        return;
      }
      setSteps(await stepsFor(record));
    } catch (refused) {
      setSteps(null);
      setError(refused);
    } finally {
      setBusy(false);
    }
  };
  if (!isAble) return html`<p class="muted">This browser cannot check signatures here: that needs HTTPS or this machine, and a browser that knows Ed25519. Download the verifier instead.</p>`;
  const verdict = steps && verdictOf(steps), [kind, icon, said, more] = VERDICTS[verdict ?? "bad"];
  const newer = steps?.find((/** @type {Step} */ one) => one.next)?.next;
  return html`<div class="stack tight">
    ${error && html`<${Failure} error=${error} retry=${check} />`}
    ${steps && html`<div class=${`banner ${kind}`} role="status"><${Icon} name=${icon} class=${kind} />
      <div class="t"><b>${said}</b> ${more}</div></div>
      <ol class="checks" aria-label="Steps of the proof">${steps.map((/** @type {Step} */ one) => html`<li key=${one.text} class=${one.isGood === false ? "bad" : ""}><${Icon} name=${one.isGood === false ? "x" : one.isGood ? "check" : "info"} class=${one.isGood === false ? "bad" : one.isGood ? "good" : "muted"} />
        <span><span class="vh">${one.isGood === false ? "Wrong: " : one.isGood ? "Right: " : "Open: "}</span>${one.text}${one.detail && html`<br /><small class="mono">${one.detail}</small>`}</span></li>`)}</ol>`}
    <div class="btns"><button class="btn sm" type="button" aria-busy=${String(isBusy)} onClick=${() => isBusy || check()}><${Icon} name="audit" />${isBusy ? "Checking" : steps ? "Check again" : "Check this record"}</button>
      ${verdict === "bad" && steps?.some((/** @type {Step} */ one) => one.isKept && one.isGood === false) && html`<button class="btn sm quiet" type="button" onClick=${() => { forget(); check(); }}>Forget what this browser has kept</button>`}
      ${verdict !== "bad" && newer && html`<button class="btn sm quiet" type="button" onClick=${() => { keep(newer); check(); }}>Take the newer key</button>`}</div>
    ${!steps && html`<p class="muted">The browser fetches the record with its proof, and computes the hashes and signatures itself.</p>`}</div>`;
}

/** @param {any} record @returns {Promise<Step[]>} */
async function stepsFor(record) {
  // Read before the log is asked: what another tab keeps meanwhile may be newer than this response.
  const kept = read();
  const [{ note, line }, { data: { keys } }] = await Promise.all([exported(record), get("/audit/key")]);
  const { signed, other, next } = await checkpointBy(note, keys, kept?.key);
  /** @type {Step[]} */
  const steps = [];
  if (!signed) steps.push({ text: other ? "The checkpoint is signed by a key other than the one that this browser has kept" : "No key of the log signed the checkpoint", isGood: false, detail: other, isKept: Boolean(other) });
  else {
    steps.push(keyStep(kept, signed.key));
    if (next) steps.push({ text: "A newer key signed as well; until you accept it, this browser keeps the older one", isGood: true, detail: next, next: { ...signed, key: next } });
    steps.push({ text: `The key signed a checkpoint over ${count(signed.size)} records`, isGood: true, detail: signed.root });
    steps.push(...(await continuity(kept, signed)));
  }
  if (!line) return [...steps, { text: "The log has no such record", isGood: false }];
  const same = isSame(record, line);
  steps.push({ text: `The record in the list is ${same ? "the one" : "not the one"} in the log`, isGood: same });
  steps.push(await hidden("Address and program", line, "origin"));
  steps.push(await hidden("Details", line, "details"));
  const leaf = await leafOf(line), root = signed && (await rootOf(leaf, line.seq, signed.size, line.proof ?? []));
  const isLeaf = hex(leaf) === line.leaf;
  steps.push({ text: `The hash of record ${count(line.seq)}, computed from its fields, is ${isLeaf ? "the one" : "not the one"} in the tree`, isGood: isLeaf, detail: hex(leaf) });
  if (!signed) return steps;
  const isLed = root !== null && hex(root) === signed.root;
  steps.push({ text: `${line.proof?.length ?? 0} hashes lead from it ${isLed ? "to the root that is signed" : "to another root than the signed one"}`, isGood: isLed, detail: root ? hex(root) : undefined });
  if (verdictOf(steps) !== "bad" && !isNewer(read(), kept, signed)) keep(signed);
  return steps;
}

/** The record with everything that proves it: the part of the log from one millisecond. @param {any} record */
async function exported(record) {
  const until = new Date(Date.parse(record.timestamp) + 1).toISOString();
  const path = withQuery("/audit/export", { from: record.timestamp, to: until, action: record.action });
  const response = await fetch(path).catch(() => { throw new Refused(path, 0, { code: "no_response" }); });
  if (!response.ok) throw new Refused(path, response.status, await response.json().catch(() => ({})));
  const lines = (await response.text()).split("\n").filter(Boolean).map((one) => JSON.parse(one));
  return { note: lines[0]?.checkpoint ?? "", line: lines.find((one) => one.type === "record" && one.id === record.id && one.seq === record.seq) };
}

/** @param {any} record @param {any} line */
function isSame(record, line) {
  return SHOWN.every((name) => (record[name] ?? null) === (line[name] ?? null)) && Date.parse(record.timestamp) === Date.parse(line.timestamp)
    && (record.ip ?? null) === (line.ip ?? null) && (record.user_agent ?? null) === (line.user_agent ?? null) && canonical(record.metadata ?? null) === canonical(line.metadata ?? null);
}

/** @param {string} what @param {any} line @param {"origin" | "details"} part @returns {Promise<Step>} */
async function hidden(what, line, part) {
  const isGood = await isKept(line, part);
  if (isGood) return { text: `${what} match their digest`, isGood };
  if (isGood === null) return { text: `${what} are missing: the log says that record ${count(line[`${part}_erased_by`])} erased them, which this browser does not check`, isGood };
  return { text: line[`${part}_salt`] === null ? `${what} lack the salt of their digest, and no erasure can explain that` : `${what} are not what the log recorded`, isGood };
}

/** @param {any} kept @param {string} key @returns {Step} */
const keyStep = (kept, key) => ({ text: kept ? "The key is the one that this browser has kept" : "This browser sees the key of the log for the first time, and keeps it", isGood: true, detail: key });

/** @param {any} kept @param {import("./audit_proof.js").Checkpoint} signed @returns {Promise<Step[]>} */
async function continuity(kept, signed) {
  if (!kept) return [];
  const proof = kept.size < signed.size ? (await get(withQuery("/audit/proof/consistency", { from: kept.size, to: signed.size }))).data.proof : [];
  const isGood = await continues(kept, signed, proof);
  return [{ text: `The log ${isGood ? "continues" : "does not continue"} the one that this browser saw before, with ${count(kept.size)} records`, isGood, isKept: true }];
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "null");
  } catch {
    return null; // storage is switched off
  }
}

/** Whether another tab has meanwhile kept a later checkpoint, or taken another key. @param {any} now @param {any} before @param {import("./audit_proof.js").Checkpoint & {key: string}} signed */
const isNewer = (now, before, signed) => Boolean(now) && (now.key === signed.key ? now.size > signed.size : now.key !== before?.key);

/** A new suite at the same address has another log. */
function forget() {
  try {
    localStorage.removeItem(KEPT);
  } catch { /* storage is switched off */ }
}

/** @param {any} checkpoint */
function keep(checkpoint) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(checkpoint));
  } catch { /* storage is switched off */ }
}
