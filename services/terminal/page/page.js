// The page at /terminal/: one shell for the signed-in user.

import { connect } from "./term.js";
import { showPorts } from "./ports.js";
import { ask, claims, mayType, signIn, signOut } from "./session.js";
import { FitAddon } from "./addon-fit.mjs";
import { Terminal } from "./xterm.mjs";

const $ = (id) => document.getElementById(id);
const TAB = "1";
const dark = matchMedia("(prefers-color-scheme: dark)");
const DARK = {
  background: "#0d0e11", foreground: "#d9dade", cursor: "#d9dade", selectionBackground: "#30467f",
  black: "#2a2c33", red: "#ff8f85", green: "#6fd39b", yellow: "#f0b95c", blue: "#8fb0ff", magenta: "#d69be0", cyan: "#6fd0c3", white: "#d9dade",
  brightBlack: "#9297a1", brightRed: "#ffb3ac", brightGreen: "#9fe5bf", brightYellow: "#f7d596", brightBlue: "#b9ceff", brightMagenta: "#e6c1ec", brightCyan: "#a3e4db", brightWhite: "#ffffff",
};
const LIGHT = {
  background: "#fdfdfc", foreground: "#26282d", cursor: "#26282d", selectionBackground: "#cfdcf8",
  black: "#26282d", red: "#b3261e", green: "#1a7044", yellow: "#8a5300", blue: "#2c5cc5", magenta: "#8b3f92", cyan: "#0e7a70", white: "#83868c",
  brightBlack: "#565a62", brightRed: "#c0392f", brightGreen: "#1f7a4b", brightYellow: "#8a5300", brightBlue: "#234da8", brightMagenta: "#7c3482", brightCyan: "#0b635b", brightWhite: "#1b1d21",
};

const term = new Terminal({
  fontFamily: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSize: 14,
  lineHeight: 1.15,
  scrollback: 10_000,
  minimumContrastRatio: 4.5,
  theme: dark.matches ? DARK : LIGHT,
});
const fit = new FitAddon();
term.loadAddon(fit);
term.open($("screen"));
dark.addEventListener("change", () => { term.options.theme = dark.matches ? DARK : LIGHT; });

const invitation = new URLSearchParams(location.hash.slice(1)); // the link of a share

let connection = null;

function show(state, text) {
  document.body.dataset.state = state;
  $("state-text").textContent = text;
  $("restart").hidden = state !== "ended" && state !== "failed";
  $("sign-out").hidden = $("show-ports").hidden = !claims();
}

const TEXTS = {
  connecting: () => "Connecting…",
  open: ({ mode }) => `${claims()?.username ?? "Connected"}${mode === "ro" ? " (watching)" : ""}`,
  waiting: ({ seconds }) => `Connection lost. Trying again in ${Math.max(1, Math.round(seconds))} s`,
  ended: ({ exit }) => exit.reason === "killed" ? "Your box has ended; files are kept" : exit.lost ? "The shell was lost" : exit.signal ? `Ended by signal ${exit.signal}` : `Ended with code ${exit.code}`,
  failed: ({ reason }) => reason || "Refused",
};

function start() {
  const { rows, cols } = fit.proposeDimensions() ?? { rows: 24, cols: 80 };
  term.resize(cols, rows);
  connection = connect(term, {
    open: () => openSocket(rows, cols),
    onState: (state, details) => {
      show(state, TEXTS[state](details));
      if (state === "failed" && [401, 4401].includes(details.code)) askToSignIn();
    },
    onNotice: ({ message }) => show("open", message),
  });
  connection.resize(rows, cols);
  term.focus();
}

async function openSocket(rows, cols) {
  try {
    const session = invitation.get("session") ?? await findSession(rows, cols);
    const share = invitation.get("share") ?? undefined;
    const { ticket } = await ask("POST", "/terminal/tickets", { session, share, mode: mayType() ? "rw" : "ro" });
    const url = new URL(`/terminal/ws?session=${session}&ticket=${ticket}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    return new WebSocket(url, ["term.v1"]);
  } catch (error) {
    const isFinal = error.status >= 400 && error.status < 500 && error.status !== 429 && error.body?.code !== "ended";
    throw Object.assign(error, { final: isFinal, code: error.status });
  }
}

/** Returns the id of this tab's shell, opening one if there is none. */
async function findSession(rows, cols) {
  const { isolation } = await ask("GET", "/terminal");
  $("isolation").hidden = isolation !== "none";
  const open = (await ask("GET", "/terminal/sessions")).find(({ tab, state }) => tab === TAB && ["starting", "open"].includes(state));
  if (open) return open.id;
  try {
    return (await ask("POST", "/terminal/sessions", { tab: TAB, rows, cols })).id;
  } catch (error) {
    if (error.body?.session) return error.body.session; // another window has just opened it
    throw error;
  }
}

function askToSignIn() {
  $("fault").textContent = "";
  if (!$("sign-in").open) $("sign-in").showModal();
  $("name").focus();
}

$("sign-in").addEventListener("cancel", (event) => event.preventDefault());
$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await signIn($("name").value.trim(), $("password").value);
    $("password").value = "";
    $("sign-in").close();
    start();
  } catch (error) {
    $("fault").textContent = error instanceof TypeError ? "The server does not respond. Try again later." : error.message;
  }
});
$("sign-out").addEventListener("click", async () => {
  connection?.close();
  await signOut();
  location.reload();
});
$("show-ports").addEventListener("click", () => showPorts(mayType()));
$("restart").addEventListener("click", () => {
  term.reset();
  start();
});
$("ctrl").addEventListener("click", () => pressCtrl($("ctrl").getAttribute("aria-pressed") !== "true"));
$("keys").addEventListener("click", ({ target }) => {
  if (target.dataset.key) connection?.type(target.dataset.key);
  term.focus();
});
const pressCtrl = (isPressed) => $("ctrl").setAttribute("aria-pressed", isPressed);
term.attachCustomKeyEventHandler((event) => {
  if ($("ctrl").getAttribute("aria-pressed") !== "true" || event.type !== "keydown" || event.key.length !== 1) return true;
  pressCtrl(false);
  connection?.type(String.fromCharCode(event.key.toUpperCase().charCodeAt(0) & 31));
  event.preventDefault();
  return false;
});

new ResizeObserver(() => {
  const proposed = fit.proposeDimensions();
  if (proposed?.rows && proposed.cols) connection?.resize(proposed.rows, Math.max(2, proposed.cols));
}).observe($("screen"));
addEventListener("pagehide", () => connection?.close());

if (claims()) start();
else {
  show("failed", "Not signed in");
  $("restart").hidden = true;
  askToSignIn();
}
