// @ts-check
// Terminals: the tabs of an account, the shell of each, and the files beside them.

import { del, get, post, put } from "../core/api.js";
import { say } from "../core/app_state.js";
import { useThing } from "../core/list.js";
import { go, href, hrefWith, place } from "../core/router.js";
import { html, useEffect, useRef, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Failure, Icon, later, Lines } from "../parts/ui.js";
import { Screen } from "./terminals_screen.js";
import { KeyRow, NoShell, stateText, StatusLine } from "./terminals_state.js";
import { RenameTab, TabBar, titleOf } from "./terminals_tabs.js";

const Tree = later(() => import("./terminals_tree.js"), "Tree"), Editor = later(() => import("./terminals_editor.js"), "Editor");
const TABS_MAX = 32;

/** What is known of a tab: the shell on its screen, and what that says. @typedef {{session?: string, state?: string, details?: any, title?: string, notice?: string}} View */

export default function Terminals() {
  const tabs = useThing("/terminal/tabs"), box = useThing("/terminal");
  useEffect(() => { document.title = "Terminals · Gatehouse"; }, []);
  if (tabs.data.value) return html`<${Work} tabs=${tabs} box=${box} />`;
  return html`<main id="main" tabindex="-1"><div class="page"><h1 class="vh">Terminals</h1>
    ${tabs.error.value ? html`<${Failure} error=${tabs.error.value} retry=${tabs.load} />` : html`<${Lines} />`}</div></main>`;
}

/** @param {{tabs: any, box: any}} props */
function Work({ tabs, box }) {
  const { query } = place.value, saved = tabs.data.value;
  // Shells that were opened elsewhere have a tab as well.
  const names = /** @type {string[]} */ ([...new Set([...saved.tabs, ...Object.keys(saved.sessions)])]);
  const active = names.includes(query.tab) ? query.tab : saved.active;
  const [views, setViews] = useState(/** @type {Record<string, View>} */ ({}));
  const [asking, setAsking] = useState(""), [isRead, setRead] = useState(false), [isCtrl, setCtrl] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  const shells = useRef(/** @type {Record<string, import("./terminals_screen.js").Shell | null>} */ ({}));
  /** @param {string} tab @param {View} change */
  const note = (tab, change) => setViews((/** @type {Record<string, View>} */ old) => ({ ...old, [tab]: { ...old[tab], ...change } }));
  const session = saved.sessions[active], view = views[active] ?? {};
  useEffect(() => { if (session && view.session !== session) note(active, { session, state: "connecting", title: "", notice: "" }); }, [active, session]);

  /** Do something with the tabs, and show the error if it fails. @param {() => Promise<any>} work */
  const attempt = async (work) => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (refused) {
      setError(refused);
    }
    setBusy(false);
    setAsking("");
  };
  const start = (/** @type {string} */ tab) => attempt(async () => {
    try {
      await post("/terminal/sessions", { tab });
    } catch (refused) {
      if (/** @type {any} */ (refused).code !== "tab_taken") throw refused; // another window was faster
    }
    await tabs.load();
    box.load();
  });
  const add = () => attempt(async () => {
    const tab = unused(names);
    await save(tabs, (one) => ({ ...one, tabs: [...one.tabs, tab], active: tab }));
    go(href("terminals", { tab, files: query.files }));
    await start(tab);
  });
  const close = (/** @type {string} */ tab) => attempt(async () => {
    const ended = saved.sessions[tab];
    if (ended) await del(`/terminal/sessions/${ended}`);
    await save(tabs, (one) => without(one, tab));
    setViews(({ [tab]: _, ...others }) => others);
    go(href("terminals", { files: query.files }), { replace: true });
  });
  const onClose = (/** @type {string} */ tab) => (saved.sessions[tab] ? setAsking(tab) : close(tab));
  const leave = () => /** @type {HTMLElement | null} */ (document.querySelector(".termtab [aria-current]"))?.focus();
  const shell = () => shells.current[active];
  const hasScreen = Boolean(view.session), isFiles = query.files === "yes";
  return html`<main id="main" tabindex="-1" class="terminals"><h1 class="vh">Terminals</h1><div class=${`work ${isFiles ? "with-files" : ""}`}>
      <${TabBar} tabs=${names} names=${saved.names} active=${active} views=${views} isFiles=${isFiles} isRead=${isRead} isFull=${names.length >= TABS_MAX}
        onAdd=${add} onClose=${onClose} onCopy=${() => shell()?.copy()} onPaste=${() => shell()?.paste()} onRead=${() => setRead(!isRead)} />
      ${isFiles && html`<${Tree} />`}
      <div class="termwrap">
        ${error && html`<${Failure} error=${error} />`}
        <${Trouble} view=${view} onStart=${() => start(active)} isBusy=${isBusy} />
        ${query.file !== undefined && html`<${Editor} key=${query.file} path=${query.file} />`}
        ${names.filter((tab) => views[tab]?.session).map((tab) => html`<${Screen} key=${views[tab].session} session=${views[tab].session} label=${titleOf(tab, saved.names, views)}
          isShown=${tab === active && query.file === undefined} isRead=${isRead} ctrl=${{ isOn: isCtrl, release: () => setCtrl(false) }}
          onShell=${(/** @type {any} */ one) => { shells.current[tab] = one; }} onTitle=${(/** @type {string} */ title) => note(tab, { title })}
          onState=${(/** @type {string} */ state, /** @type {any} */ details) => { note(tab, { state, details }); if (state === "ended") tabs.load(); }}
          onNotice=${(/** @type {string} */ notice) => note(tab, { notice })} onLeave=${leave} />`)}
        ${!hasScreen && query.file === undefined && html`<${NoShell} box=${box} isBusy=${isBusy} onStart=${() => start(active)} />`}
      </div>
      ${hasScreen && query.file === undefined && html`<${KeyRow} isCtrl=${isCtrl} onCtrl=${() => { setCtrl(!isCtrl); shell()?.focus(); }} onKey=${(/** @type {string} */ text) => { shell()?.type(text); shell()?.focus(); }} />`}
      <${StatusLine} text=${hasScreen ? stateText(view) : "No shell"} box=${box.data.value} hasScreen=${hasScreen && query.file === undefined} />
    </div></main>
    ${query.do === "rename" && html`<${RenameTab} tab=${active} name=${saved.names[active] ?? ""} send=${async (/** @type {string} */ name) => {
      await save(tabs, (one) => ({ ...one, tabs: [...new Set([...one.tabs, active])], names: named(one.names, active, name) }));
      say(name ? `This tab is now called ${name}.` : "This tab has the title of its program.");
    }} />`}
    ${asking && html`<${Confirm} title="End this shell?" isDanger isBusy=${isBusy} yes="End shell" no="Keep shell" onYes=${() => close(asking)} onNo=${() => setAsking("")}
      text=${html`<p>This ends the programs in <b>${titleOf(asking, saved.names, views)}</b>. Files are kept.</p>`} />`}`;
}

/** What is wrong with the shell in view, and what to do about it. @param {{view: View, isBusy: boolean, onStart: () => void}} props */
function Trouble({ view, isBusy, onStart }) {
  if (view.state === "waiting") {
    return html`<div class="banner info" role="status"><${Icon} name="refresh" class="accent" /><div class="t"><b>The connection is lost.</b> The shell keeps running, and its output is kept. This page reconnects automatically.</div></div>`;
  }
  if (view.state !== "ended" && view.state !== "failed") return view.notice ? html`<div class="banner warn" role="status"><${Icon} name="warn" class="warn" /><div class="t">${view.notice}</div></div>` : null;
  return html`<div class="banner" role="status"><${Icon} name="info" /><div class="t"><b>${stateText(view)}.</b> Files are kept.</div>
    <div class="btns"><button class="btn sm primary" type="button" aria-busy=${String(isBusy)} onClick=${() => isBusy || onStart()}>New shell</button></div></div>`;
}

/** The lowest number that no tab has. @param {string[]} names */
function unused(names) {
  let number = 1;
  while (names.includes(String(number))) number += 1;
  return String(number);
}

/** @param {any} saved @param {string} tab */
function without(saved, tab) {
  const tabs = saved.tabs.filter((/** @type {string} */ one) => one !== tab);
  if (!tabs.length) tabs.push("1");
  const { [tab]: _, ...names } = saved.names;
  return { ...saved, tabs, names, active: tabs.includes(saved.active) ? saved.active : tabs[tabs.length - 1] };
}

/** @param {Record<string, string>} names @param {string} tab @param {string} name */
function named(names, tab, name) {
  const { [tab]: _, ...others } = names;
  return name ? { ...others, [tab]: name } : others;
}

/** Change the list of tabs. If another window was faster, change what it has saved. @param {any} thing @param {(saved: any) => any} change */
async function save(thing, change) {
  const send = (/** @type {any} */ saved) => {
    const { tabs, names, active } = change(saved);
    return put("/terminal/tabs", { tabs, names, active }, { version: saved.version });
  };
  try {
    thing.data.value = (await send(thing.data.value)).data;
  } catch (refused) {
    if (/** @type {any} */ (refused).status !== 412) throw refused;
    thing.data.value = (await send((await get("/terminal/tabs")).data)).data;
  }
}
