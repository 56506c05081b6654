// @ts-check
// The smallest parts: icons, states, times, ids, and what is shown in an empty place or after a fault.

import { Refused } from "../core/api.js";
import { isExpired, now, say, signInAddress, stepUpAddress } from "../core/app_state.js";
import { age, exact, shortened, words } from "../core/format.js";
import { html, signal, useEffect, useState } from "../core/view.js";

const ICONS = new URL("../icons.svg", import.meta.url).pathname;
const SKELETON_AFTER_MS = 150;
const phone = matchMedia("(max-width: 43.74rem)");

/** Whether the page has the layout of a phone. */
export const isNarrow = signal(phone.matches);
phone.addEventListener("change", () => { isNarrow.value = phone.matches; });

/** @param {{name: string, class?: string}} props */
export const Icon = ({ name, class: kind = "" }) =>
  html`<svg class=${`i ${kind}`} aria-hidden="true"><use href=${`${ICONS}#${name}`} /></svg>`;

const GLYPHS = /** @type {Record<string, [string, string]>} */ ({
  pending: ["pending", "s-pending"], confirmed: ["confirmed", "s-confirmed"], shipped: ["shipped", "s-shipped"],
  delivered: ["delivered", "s-delivered"], returned: ["returned", "s-returned"], cancelled: ["cancelled", "s-cancelled"],
  active: ["ok", "s-ok"], suspended: ["slow", "warn"], disabled: ["down", "s-cancelled"], deleted: ["cancelled", "s-cancelled"],
  success: ["ok", "s-ok"], refused: ["down", "error"], healthy: ["ok", "s-ok"], unreachable: ["down", "error"],
  open: ["pending", "s-pending"], in_progress: ["confirmed", "s-confirmed"], waiting: ["slow", "clock"],
  resolved: ["delivered", "s-delivered"], closed: ["cancelled", "s-cancelled"],
  approved: ["ok", "s-ok"], rejected: ["cancelled", "s-cancelled"], hidden: ["slow", "eye"], draft: ["off", "s-pending"], archived: ["cancelled", "s-cancelled"],
});

/** The class and the glyph of a state. @param {string} of */
export const lookOf = (of) => GLYPHS[of] ?? ["off", "s-pending"];

/** A state as a glyph and a word. @param {{of: string, word?: string}} props */
export function State({ of, word }) {
  const [kind, glyph] = lookOf(of);
  return html`<span class=${`state ${kind}`}><${Icon} name=${glyph} />${word ?? words(of)}</span>`;
}

/** How long ago; the exact time in its title. @param {{at: string, ago?: boolean}} props */
export const Ago = ({ at, ago = false }) =>
  html`<time datetime=${at} title=${exact(at)}>${age(at, Math.max(now.value, Date.parse(at)))}${ago ? " ago" : ""}</time>`;

/** @param {{at: string}} props */
export const Exact = ({ at }) => html`<time datetime=${at}>${exact(at)}</time>`;

/** Copy a text, and say so, or how to copy it by hand. @param {string} text @param {string} done @param {string} byHand */
export async function copyText(text, done, byHand) {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    say(`The browser does not allow copying. ${byHand}`, { isFault: true });
  }
}

/** An id that is copied by clicking. @param {{id: string, what: string}} props */
export function CopyId({ id, what }) {
  const copy = () => copyText(id, "Copied.", `Copy this by hand: ${id}`);
  return html`<button class="copy" type="button" title=${id} onClick=${copy}>
    <span class="vh">Copy ${what} </span>${shortened(id)}<${Icon} name="copy" />
  </button>`;
}

/** What failed, whose fault it is, what is unharmed, and two ways to go on. @param {{error: any, retry?: () => void, unharmed?: string}} props */
export function Failure({ error, retry, unharmed = "" }) {
  if (isExpired.value && error?.status === 401 && !error.needsStepUp) return html`<${SignInAgain} unharmed=${unharmed} />`;
  return html`<div class="banner bad" role="alert">
    <${Icon} name="error" class="bad" />
    <div class="t"><b>${faultIn(error)}</b> ${unharmed}
      ${error?.requestId && html`<br /><small>Request <${CopyId} id=${error.requestId} what="the request id" /></small>`}
    </div>
    <div class="btns">
      ${error?.needsStepUp && html`<a class="btn sm" href=${stepUpAddress()}>Confirm who you are</a>`}
      ${retry && !error?.needsStepUp && html`<button class="btn sm" type="button" onClick=${retry}>Try again</button>`}
    </div>
  </div>`;
}

/** Shown inside a dialog as well: while one is open, nothing outside it can be clicked. @param {{unharmed: string}} props */
const SignInAgain = ({ unharmed }) => html`<div class="banner warn" role="alert"><${Icon} name="lock" class="warn" />
  <div class="t"><b>Your session has ended.</b> ${unharmed}</div><div class="btns"><a class="btn sm" href=${signInAddress()}>Sign in again</a></div></div>`;

/** One sentence about a fault, with the service that caused it. @param {any} error */
export function faultIn(error) {
  if (!(error instanceof Refused)) return "The console has a fault.";
  if (error.needsStepUp) return "This needs a recent sign-in.";
  if (error.status === 0) return navigator.onLine ? `${error.service} does not respond.` : "This device is offline.";
  if (error.status >= 500) return `${error.service} cannot respond now.`;
  return error.errors[0] ? `${words(error.errors[0].field)} ${error.errors[0].message}.` : error.message || `${error.service} refused this.`;
}

/** Children after a moment, so that a fast response shows no skeleton. @param {{children: any}} props */
export function Later({ children }) {
  const [isDue, setDue] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setDue(true), SKELETON_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return isDue ? children : null;
}

/** What this is, and what to do next. @param {{icon: string, title: string, children?: any}} props */
export const Empty = ({ icon, title, children }) =>
  html`<div class="empty"><${Icon} name=${icon} /><h2>${title}</h2>${children}</div>`;

/** @param {{rows?: number}} props */
export const Lines = ({ rows = 4 }) => html`<${Later}><div class="stack mid" aria-busy="true">
  ${Array.from({ length: rows }, (_, n) => html`<span class=${`skel ${["w7", "w9", "w5", "w3"][n % 4]}`} />`)}
</div><//>`;

/** The frame of every page. @param {{title: string, name?: string, lead?: any, actions?: any, children: any}} props */
export function Page({ title, lead, actions, children }) {
  useEffect(() => { document.title = `${title} · Gatehouse`; }, [title]);
  return html`<main id="main" tabindex="-1"><div class="page">
    <div class="head"><div class="what"><h1>${title}</h1>${lead && html`<p>${lead}</p>`}</div>
      ${actions && html`<div class="btns">${actions}</div>`}</div>
    ${children}
  </div></main>`;
}

/** A part that is loaded when it is first shown, so that the first page stays small. @param {() => Promise<any>} load @param {string} name */
export function later(load, name) {
  /** @type {any} */
  let component = null;
  /** @param {any} props */
  return function Loaded(props) {
    const [, setLoaded] = useState(component !== null), [isLost, setLost] = useState(false);
    const fetch = () => {
      setLost(false);
      load().then((module) => { component = module[name]; setLoaded(true); }).catch(() => setLost(true));
    };
    useEffect(() => { if (!component) fetch(); }, []);
    if (isLost) return html`<${Failure} error=${null} unharmed="A part of this page could not be loaded." retry=${() => location.reload()} />`;
    return component && html`<${component} ...${props} />`;
  };
}
