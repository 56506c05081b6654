// @ts-check
// What stands around every page: sidebar, top bar, menus, the bar of a phone, toasts.

import { close, fault, isExpired, isLive, loadMe, me, now, setTheme, signInAddress, staleSince, theme, toasts, unread } from "../core/app_state.js";
import { age, initials, nameOf } from "../core/format.js";
import { commands } from "../core/keys.js";
import { href, place } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Failure, Icon, isNarrow } from "./ui.js";

const THEMES = [["system", "system", "Like the system"], ["light", "sun", "Light"], ["dark", "moon", "Dark"]];

/**
 * `finds` is for the palette: the path of a thing by its id, and the field with its name.
 * @typedef {{name: string, label: string, icon: string, group: string, chord: string, isForAdmins?: boolean, onPhone?: boolean, isHidden?: boolean, finds?: [string, string]}} PageEntry
 */

/** @param {{pages: PageEntry[]}} props */
export function Sidebar({ pages }) {
  const groups = [...new Set(pages.filter((one) => !one.isHidden).map((one) => one.group))];
  return html`<nav class="sidebar" aria-label="Main">
    <a class="brand" href=${href("dashboard")}><img src=${new URL("../icon.svg", import.meta.url).pathname} alt="" width="24" height="24" /><span>Gatehouse</span></a>
    <div class="groups">${groups.map((group) => html`<div key=${group}><h2>${group}</h2>
      ${pages.filter((one) => one.group === group && !one.isHidden).map((one) => html`<a class="nav" key=${one.name} href=${href(one.name)} title=${one.label}
        aria-current=${place.value.page === one.name ? "page" : undefined}><${Icon} name=${one.icon} />${one.label}</a>`)}</div>`)}
    </div>
    <div class="foot"><${ThemeSwitch} /></div>
  </nav>`;
}

const ThemeSwitch = () => html`<div class="seg sm" role="group" aria-label="Theme">${THEMES.map(([name, icon, label]) => html`<button type="button" key=${name}
  aria-pressed=${String(theme.value === name)} aria-label=${label} title=${label} onClick=${() => setTheme(name)}><${Icon} name=${icon} /></button>`)}</div>`;

/** @param {{title: string}} props */
export const Topbar = ({ title }) => html`<header class="topbar">
  ${isNarrow.value && html`<nav class="crumbs" aria-label="Where you are"><ol><li aria-current="page">${title}</li></ol></nav>`}
  <button class="finder" type="button" onClick=${() => run("palette")}><${Icon} name="search" /><span class="txt">Search or run a command</span>
    <kbd aria-hidden="true">${/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl"} K</kbd></button>
  <div class="end"><${Live} /><${Bell} /><${Account} /></div>
</header>`;

/** @param {string} id */
const run = (id) => commands.value.find((one) => one.id === id)?.run();

/** Whether what is in view is current. */
function Live() {
  const since = staleSince.value;
  if (since === null) return null;
  if (!since) return html`<span class=${`live ${isLive.value ? "" : "polling"}`} title="New rows are announced; nothing moves until you ask for it">${isLive.value ? "Live" : "Every 30 s"}</span>`;
  return html`<span class="live stale" role="status">Not refreshed for ${age(new Date(since).toISOString(), Math.max(now.value, since))}</span>`;
}

const Bell = () => html`<a class=${`btn quiet icon ${unread.value ? "bellnum" : ""}`} href=${href("notifications")}
  aria-label=${unread.value ? `Notifications, ${unread.value} unread` : "Notifications"}><${Icon} name="bell" /></a>`;

function Account() {
  const [isOpen, setOpen] = useState(false);
  const name = nameOf(me.value ?? {});
  return html`<button class="btn quiet icon" type="button" popovertarget="me"><span class="avatar" aria-hidden="true">${initials(name)}</span><span class="vh">${name}, account menu</span></button>
    <div class="menu" id="me" popover="auto" onBeforeToggle=${(/** @type {any} */ event) => setOpen(event.newState === "open")}>${isOpen && html`<${AccountMenu} name=${name} />`}</div>`;
}

/** @param {{name: string}} props */
const AccountMenu = ({ name }) => html`<p>${name}<br /><small>${me.value?.email ?? ""} · ${me.value?.role ?? ""}</small></p><hr />
  <a href="/auth/account"><${Icon} name="user" />Account</a>
  <a href="/auth/account/sessions"><${Icon} name="sessions" />Sessions</a>
  <a href="/docs"><${Icon} name="link" />API documentation</a>
  <button type="button" onClick=${() => { document.getElementById("me")?.hidePopover(); run("help"); }}><${Icon} name="keyboard" />Keyboard<kbd>?</kbd></button><hr />
  <div class="pad"><${ThemeSwitch} /></div><hr />
  <form method="post" action="/auth/signout"><button><${Icon} name="logout" />Sign out</button></form>`;

/** @param {{pages: PageEntry[]}} props */
export const BottomBar = ({ pages }) => html`<nav class="bottombar" aria-label="Main, phone">
  ${pages.filter((one) => one.onPhone).slice(0, 4).map((one) => html`<a key=${one.name} href=${href(one.name)} aria-current=${place.value.page === one.name ? "page" : undefined}><${Icon} name=${one.icon} />${one.label}</a>`)}
  <button type="button" onClick=${() => run("palette")}><${Icon} name="menu" />More</button>
</nav>`;

export const Toasts = () => html`<div class="toasts" role="status">${toasts.value.map((toast) => html`<div class="toast" key=${toast.id}>
  ${toast.isFault && html`<${Icon} name="error" class="bad" />`}<span class="t">${toast.text}</span>
  ${toast.undo && html`<button class="btn sm quiet" type="button" onClick=${() => { close(toast.id); toast.undo?.(); }}>Undo</button>`}
  <button class="btn quiet icon sm" type="button" aria-label="Close message" onClick=${() => close(toast.id)}><${Icon} name="x" /></button></div>`)}</div>`;

/** The session ended while the console was open: nothing typed is lost. */
export const Expired = () => isExpired.value && html`<div class="banner warn over" role="alert"><${Icon} name="lock" class="warn" />
  <div class="t"><b>Your session has ended.</b> Sign in again to go on here. What you typed is kept in this tab.</div>
  <div class="btns"><a class="btn sm primary" href=${signInAddress()}>Sign in again</a></div></div>`;

/** The console could not find out who is signed in. */
export const CannotStart = () => html`<main id="main" class="gate"><div class="alone"><h1>The console cannot start</h1>
  <${Failure} error=${fault.value} retry=${loadMe} /></div></main>`;
