// @ts-check
// The start: who is signed in, which page the address names, and the shell around it.

import { dock, fault, follow, isAdmin, me, setTheme, start } from "./core/app_state.js";
import { addCommands, listen } from "./core/keys.js";
import { followLinks, go, here, href, place } from "./core/router.js";
import { html, render, signal, useEffect, useLayoutEffect } from "./core/view.js";
import { BottomBar, CannotStart, Expired, Sidebar, Toasts, Topbar } from "./parts/shell.js";
import { Failure, isNarrow, Page } from "./parts/ui.js";

/** @typedef {import("./parts/shell.js").PageEntry & {load: () => Promise<any>}} Entry */
// One line per screen, in the order of the sidebar. `sheet` loads the styles of the screen, `pages/<name>.css`, with its module.
/** @type {Entry[]} */
const PAGES = [
  { name: "dashboard", label: "Dashboard", icon: "dashboard", group: "Work", chord: "d", onPhone: true, load: () => import("./pages/dashboard.js") },
  { name: "orders", label: "Orders", icon: "orders", group: "Work", chord: "o", onPhone: true, finds: ["/orders/", "product_name"], load: () => import("./pages/orders.js") },
  { name: "products", label: "Products", icon: "products", group: "Work", chord: "p", finds: ["/products/", "name"], load: () => import("./pages/products.js") },
  { name: "invoices", label: "Invoices", icon: "invoices", group: "Work", chord: "i", load: () => import("./pages/invoices.js") },
  { name: "files", label: "Files", icon: "files", group: "Work", chord: "f", onPhone: true, load: () => withSheet("files", import("./pages/files.js")) },
  { name: "tickets", label: "Tickets", icon: "tickets", group: "Work", chord: "t", onPhone: true, finds: ["/tickets/", "subject"], load: () => withSheet("tickets", import("./pages/tickets.js")) },
  { name: "reviews", label: "Reviews", icon: "star", group: "Work", chord: "r", isForAdmins: true, finds: ["/reviews/", "title"], load: () => import("./pages/reviews.js") },
  { name: "notifications", label: "Notifications", icon: "bell", group: "Work", chord: "b", load: () => import("./pages/notifications.js") },
  { name: "team", label: "Team", icon: "team", group: "Work", chord: "m", load: () => import("./pages/team.js") },
  { name: "workspaces", label: "WorkSpaces", icon: "system", group: "Machines", chord: "w", load: () => import("./pages/workspaces.js") },
  { name: "terminals", label: "Terminals", icon: "terminal", group: "Machines", chord: "x", load: () => withSheet("terminals", import("./pages/terminals.js")) },
  { name: "audit", label: "Audit", icon: "audit", group: "Trust", chord: "a", load: () => withSheet("audit", import("./pages/audit.js")) },
  { name: "access", label: "Tokens and apps", icon: "sessions", group: "Trust", chord: "k", load: () => withSheet("access", import("./pages/access.js")) },
  { name: "gateway", label: "Gateway", icon: "gateway", group: "Run", chord: "g", isForAdmins: true, load: () => import("./pages/gateway.js") },
  { name: "events", label: "Events", icon: "events", group: "Run", chord: "e", isForAdmins: true, load: () => import("./pages/events.js") },
  { name: "users", label: "Users", icon: "users", group: "Run", chord: "u", isForAdmins: true, load: () => import("./pages/users.js") },
  { name: "clients", label: "Clients", icon: "lock", group: "Run", chord: "c", isForAdmins: true, load: () => import("./pages/clients.js") },
  { name: "start", label: "First steps", icon: "info", group: "Go", chord: "1", isForAdmins: true, isHidden: true, load: () => import("./pages/start.js") },
  { name: "settings", label: "Settings", icon: "settings", group: "Run", chord: "s", load: () => import("./pages/settings.js") },
];

/** The component of the page that is shown. @type {import("./core/view.js").Signal<any>} */
const shown = signal(null);
/** @type {import("./core/view.js").Signal<any>} */
const overlay = signal(null);

const allowed = () => PAGES.filter((one) => !one.isForAdmins || isAdmin.value);

/** Resolves to the module of a screen once its styles are loaded as well. @param {string} name @param {Promise<any>} module */
async function withSheet(name, module) {
  const address = new URL(`./pages/${name}.css`, import.meta.url).href;
  if (!document.querySelector(`link[href="${address}"]`)) {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: address });
    await new Promise((resolve, reject) => {
      link.onload = resolve;
      link.onerror = () => { link.remove(); reject(new Error("no styles")); };
      document.head.append(link);
    });
  }
  return module;
}

/** The components of the pages that were loaded. @type {Map<string, any>} */
const loaded = new Map();

/** @param {Entry} entry */
async function load(entry) {
  const { default: component } = await entry.load();
  loaded.set(entry.name, component);
  return component;
}

/** Show the page that the address names: at once if its module is here, so that the frame is not painted without it. */
async function show() {
  const entry = allowed().find((one) => one.name === place.value.page);
  if (!entry) {
    shown.value = { at: place.value.page, component: NothingHere, title: "Nothing here" };
    return;
  }
  if (shown.value?.at === entry.name && shown.value.component !== NotLoaded) return;
  try {
    const component = loaded.get(entry.name) ?? (await load(entry));
    if (place.value.page === entry.name) shown.value = { at: entry.name, component, title: entry.label };
  } catch {
    shown.value = { at: entry.name, component: NotLoaded, title: entry.label };
  }
}

const NothingHere = () => html`<${Page} title="Nothing here"><div class="card"><div class="empty"><h2>There is no page at this address</h2>
  <p>The link may be old, or it leads to a page that your role does not have.</p><div class="btns"><a class="btn" href=${href("dashboard")}>Go to the start</a></div></div></div><//>`;

const NotLoaded = () => html`<${Page} title="Not loaded"><${Failure} error=${null} unharmed="This page could not be loaded. Reload the console." retry=${() => location.reload()} /><//>`;

/** @param {string} name @param {() => Promise<any>} load */
const open = (name, load) => load().then((module) => { overlay.value = module[name]; });

function registerCommands() {
  return addCommands([
    ...allowed().map((one) => ({ id: `go-${one.name}`, label: `Go to ${one.label}`, keys: one.chord && `g ${one.chord}`, group: "Go", icon: one.icon, run: () => go(href(one.name)) })),
    { id: "palette", label: "Search or run a command", keys: "/", group: "Everywhere", icon: "search", run: () => open("Palette", () => import("./parts/palette.js")) },
    { id: "help", label: "Show all keys", keys: "?", group: "Everywhere", icon: "keyboard", run: () => open("Help", () => import("./parts/help.js")) },
    ...[["dark", "moon"], ["light", "sun"], ["system", "system"]].map(([name, icon]) => ({ id: `theme-${name}`, label: name === "system" ? "Use the theme of the system" : `Use the ${name} theme`, group: "Look", icon, run: () => setTheme(name) })),
    { id: "account", label: "Open your account", group: "You", icon: "user", run: () => location.assign("/auth/account") },
    { id: "docs", label: "Open the API documentation", group: "You", icon: "link", run: () => location.assign("/docs") },
  ]);
}

/** Whether uploads were unfinished when the page was left. */
function hasUploads() {
  try {
    return localStorage.getItem("gatehouse.uploads") !== null;
  } catch {
    return false; // storage is switched off
  }
}

function App() {
  const isSignedIn = Boolean(me.value);
  useEffect(() => {
    if (!isSignedIn) return undefined;
    const remove = registerCommands(), end = follow();
    if (hasUploads()) withSheet("files", import("./parts/dock.js")).then((module) => module.openDock(), () => {});
    return () => {
      remove();
      end();
    };
  }, [isSignedIn]);
  const { page } = place.value;
  useLayoutEffect(() => { if (isSignedIn) show(); }, [isSignedIn, page]); // so that the frame is painted with its page
  if (fault.value) return html`<${CannotStart} />`;
  if (!isSignedIn) return null;
  // The previous page must not read the address of the next one while the next one is loading.
  const Overlay = overlay.value, { component: Shown = null, title = "" } = shown.value?.at === page ? shown.value : {};
  return html`<a class="skip" href="#main">Skip to content</a>
    ${!isNarrow.value && html`<${Sidebar} pages=${allowed()} />`}
    <${Topbar} title=${title} />
    <${Expired} />
    ${Shown ? html`<${Shown} key=${page} />` : html`<main id="main" tabindex="-1"></main>`}
    ${isNarrow.value && html`<${BottomBar} pages=${allowed()} />`}
    <${Toasts} />
    ${dock.value && html`<${dock.value} />`}
    ${Overlay && html`<${Overlay} pages=${allowed()} onClose=${() => { overlay.value = null; }} />`}`;
}

followLinks();
listen();
const root = /** @type {HTMLElement} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${App} />`, root);
for (const link of document.querySelectorAll("link[rel=modulepreload]")) link.remove(); // they have done their work
// Load the page that the address names while asking who is signed in.
const entry = PAGES.find((one) => one.name === place.value.page);
if (entry) load(entry).catch(() => {});
start().finally(() => performance.mark("console-started"));
