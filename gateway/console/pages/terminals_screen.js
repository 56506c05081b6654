// @ts-check
// One shell on the screen: xterm.js, connected by the client that the terminal service publishes.

import { post } from "../core/api.js";
import { say, theme } from "../core/app_state.js";
import { effect, html, useEffect, useRef } from "../core/view.js";

const CLIENT = "/terminal/assets/term.js"; // from the service, so that it speaks the protocol of its version
const SHEET = "terminal-sheet", TITLE_MAX = 64;
const DARK = matchMedia("(prefers-color-scheme: dark)");
const FONT = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const COLOURS = {
  dark: {
    background: "#0d0e11", foreground: "#d9dade", cursor: "#d9dade", selectionBackground: "#30467f",
    black: "#2a2c33", red: "#ff8f85", green: "#6fd39b", yellow: "#f0b95c", blue: "#8fb0ff", magenta: "#d69be0", cyan: "#6fd0c3", white: "#d9dade",
    brightBlack: "#9297a1", brightRed: "#ffb3ac", brightGreen: "#9fe5bf", brightYellow: "#f7d596", brightBlue: "#b9ceff", brightMagenta: "#e6c1ec", brightCyan: "#a3e4db", brightWhite: "#ffffff",
  },
  light: {
    background: "#fdfdfc", foreground: "#26282d", cursor: "#26282d", selectionBackground: "#cfdcf8",
    black: "#26282d", red: "#b3261e", green: "#1a7044", yellow: "#8a5300", blue: "#2c5cc5", magenta: "#8b3f92", cyan: "#0e7a70", white: "#83868c",
    brightBlack: "#565a62", brightRed: "#c0392f", brightGreen: "#1f7a4b", brightYellow: "#8a5300", brightBlue: "#234da8", brightMagenta: "#7c3482", brightCyan: "#0b635b", brightWhite: "#1b1d21",
  },
};

/**
 * What the buttons of the page use of a shell.
 * @typedef {{type: (text: string) => void, copy: () => void, paste: () => void, focus: () => void, read: (isOn: boolean) => void, close: () => void}} Shell
 * @typedef {{session: string, label: string, isShown: boolean, isRead: boolean, ctrl: {isOn: boolean, release: () => void},
 *   onShell: (shell: Shell | null) => void, onState: (state: string, details: any) => void, onNotice: (text: string) => void,
 *   onTitle: (title: string) => void, onLeave: () => void}} Props
 */

/** @type {Promise<any> | null} */
let modules = null;

function load() {
  if (!customElements.get(SHEET)) customElements.define(SHEET, TerminalSheet);
  modules ??= Promise.all([import("../vendor/xterm.js"), import(CLIENT)]).then(([vendored, client]) => {
    const { xterm, addonFit } = /** @type {Record<string, any>} */ (vendored);
    return { Terminal: xterm.Terminal, FitAddon: addonFit.FitAddon, connect: client.connect };
  });
  return modules;
}

/** @param {Props} props */
export function Screen(props) {
  const place = useRef(/** @type {HTMLElement | null} */ (null)), shell = useRef(/** @type {Shell | null} */ (null));
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    let isOver = false;
    /** @param {any} loaded */
    const show = (loaded) => {
      if (isOver || !place.current) return;
      shell.current?.close();
      shell.current = open(place.current, loaded, latest);
      latest.current.onShell(shell.current);
    };
    // A browser may keep the page and show it again after Back: its connection ended when it was left.
    /** @param {PageTransitionEvent} event */
    const again = (event) => { if (event.persisted && shell.current) load().then(show); };
    addEventListener("pageshow", again);
    load().then(show, () => {
      modules = null;
      props.onState("failed", { reason: "The terminal could not be loaded. Reload the console." });
    });
    return () => {
      isOver = true;
      removeEventListener("pageshow", again);
      shell.current?.close();
      props.onShell(null);
    };
  }, []);
  useEffect(() => { if (props.isShown) shell.current?.focus(); }, [props.isShown]);
  useEffect(() => shell.current?.read(props.isRead), [props.isRead]);
  return html`<section class="term" aria-label=${props.label} hidden=${!props.isShown}><div class="fit" ref=${place}></div></section>`;
}

/** Open a terminal in an element, and connect it. @param {HTMLElement} place @param {any} loaded @param {{current: Props}} props @returns {Shell} */
function open(place, { Terminal, FitAddon, connect }, props) {
  const { session, isRead } = props.current;
  const term = new Terminal({ fontFamily: FONT, fontSize: 14, lineHeight: 1.15, scrollback: 10_000, minimumContrastRatio: 4.5, screenReaderMode: isRead, theme: colours() });
  const fit = new FitAddon();
  term.loadAddon(fit);
  term.open(place);
  const size = sizeOf(fit);
  if (size) term.resize(size.cols, size.rows);
  term.onTitleChange((/** @type {string} */ title) => props.current.onTitle(cleaned(title)));
  const connection = connect(withCtrl(term, props), {
    open: () => socketOf(session),
    onState: (/** @type {string} */ state, /** @type {any} */ details) => props.current.onState(state, details),
    onNotice: (/** @type {{message: string}} */ notice) => props.current.onNotice(notice.message),
  });
  const copy = () => copied(term.getSelection()), end = follow(term, fit, place, connection);
  term.attachCustomKeyEventHandler((/** @type {KeyboardEvent} */ event) => onKey(event, copy, () => props.current.onLeave()));
  term.focus();
  return {
    type: (text) => connection.type(text),
    copy,
    paste: () => pasted(term),
    focus: () => term.focus(),
    read: (isOn) => { term.options.screenReaderMode = isOn; },
    close() {
      end();
      connection.close();
      term.dispose();
    },
  };
}

/** The size of the window and the theme of the console. @param {any} term @param {any} fit @param {HTMLElement} place @param {any} connection */
function follow(term, fit, place, connection) {
  const observer = new ResizeObserver(() => {
    const size = sizeOf(fit);
    if (size) connection.resize(size.rows, size.cols);
  });
  observer.observe(place);
  const paint = () => { term.options.theme = colours(); };
  const ends = effect(paint);
  DARK.addEventListener("change", paint);
  const leave = () => connection.close();
  addEventListener("pagehide", leave);
  return () => {
    observer.disconnect();
    ends();
    DARK.removeEventListener("change", paint);
    removeEventListener("pagehide", leave);
  };
}

/** The rows and columns that fit into the element; null while it is hidden. @param {any} fit */
function sizeOf(fit) {
  const found = fit.proposeDimensions();
  return found?.rows && found.cols ? { rows: Math.min(found.rows, 500), cols: Math.min(Math.max(2, found.cols), 1000) } : null;
}

const colours = () => COLOURS[theme.value === "dark" || (theme.value !== "light" && DARK.matches) ? "dark" : "light"];

/** Programs choose the title, so it is short and has no control characters. @param {string} title */
const cleaned = (title) => title.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "").trim().slice(0, TITLE_MAX);

/** The Ctrl button applies to the next character, whatever keyboard it comes from. @param {any} term @param {{current: Props}} props */
function withCtrl(term, props) {
  /** @param {string} text */
  const changed = (text) => {
    if (!props.current.ctrl.isOn || text.length !== 1) return text;
    props.current.ctrl.release();
    return String.fromCharCode(text.toUpperCase().charCodeAt(0) & 31);
  };
  const onData = (/** @type {(text: string) => void} */ send) => term.onData((/** @type {string} */ text) => send(changed(text)));
  return Object.create(term, { onData: { value: onData } });
}

/** Keys that do not go to the shell; false keeps them from it. @param {KeyboardEvent} event @param {() => void} copy @param {() => void} leave */
function onKey(event, copy, leave) {
  if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
  const key = event.key.toLowerCase(), isDown = event.type === "keydown";
  if (key === "v") return false; // the browser pastes
  if (key !== "enter" && key !== "c") return true;
  event.preventDefault();
  event.stopPropagation();
  if (isDown && key === "enter") leave();
  if (isDown && key === "c") copy();
  return false;
}

/** @param {string} text */
async function copied(text) {
  if (!text) {
    say("Nothing is selected in the terminal.");
    return;
  }
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("The browser does not allow copying here.", { isFault: true });
  }
}

/** @param {any} term */
async function pasted(term) {
  try {
    term.paste(await navigator.clipboard.readText());
  } catch {
    say("The browser does not allow reading the clipboard. Paste with the keyboard or the menu of the browser.", { isFault: true });
  }
  term.focus();
}

/** A socket with a ticket of its own; without the right to type, the terminal only shows output. @param {string} session */
async function socketOf(session) {
  try {
    const { data } = await ticket(session, "rw").catch((refused) => (refused.status === 403 ? ticket(session, "ro") : Promise.reject(refused)));
    const address = new URL(`/terminal/ws?${new URLSearchParams({ session, ticket: data.ticket })}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    return new WebSocket(address, ["term.v1"]);
  } catch (error) {
    const { status } = /** @type {any} */ (error);
    throw Object.assign(/** @type {any} */ (error), { final: status >= 400 && status < 500 && status !== 429 });
  }
}

/** @param {string} session @param {string} mode */
const ticket = (session, mode) => post("/terminal/tickets", { session, mode });

/**
 * Where xterm.js puts its styles. The policy of the page allows no <style> element, so this one keeps a constructed style
 * sheet. The policy does not restrict that, because the rules come from a script that it has allowed.
 */
class TerminalSheet extends HTMLElement {
  #sheet = new CSSStyleSheet();

  get textContent() {
    return "";
  }

  set textContent(text) {
    this.#sheet.replaceSync(text ?? "");
  }

  connectedCallback() {
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, this.#sheet];
  }

  disconnectedCallback() {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== this.#sheet);
  }
}
