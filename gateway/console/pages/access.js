// @ts-check
// What may act for the person: personal access tokens, and the apps that they have allowed.

import { del } from "../core/api.js";
import { now, say } from "../core/app_state.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, Exact, Failure, Icon, later, Page, State } from "../parts/ui.js";

const AccessForm = later(() => import("./access_form.js"), "AccessForm"), AccessToken = later(() => import("./access_token.js"), "AccessToken");

export default function Access() {
  const { query } = place.value;
  const tokens = useList("/auth/me/tokens", { refreshes: false });
  const apps = useList("/auth/me/apps", { refreshes: false, shape: (row) => ({ ...row, id: row.client_id }) });
  // A token is in no address and no storage: it is gone when this dialog is closed.
  const [made, setMade] = useState(/** @type {any} */ (null)), [asked, setAsked] = useState(/** @type {Asked | null} */ (null));
  useEffect(() => addCommands([{ id: "token-new", label: "Create a token", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new" })) }]), []);
  const create = html`<a class="btn primary" href=${hrefWith({ do: "new" })}><${Icon} name="plus" />Create a token</a>`;
  return html`<${Page} title="Tokens and apps" lead=${html`What may act for you. Your password and second factors are on the <a href="/auth/account">account page</a>.`} actions=${create}>
      <section class="stack mid" aria-label="Personal access tokens"><h2>Personal access tokens</h2>
        <${Table} caption="Your personal access tokens, newest first" columns=${tokenColumns(setAsked)} list=${tokens} noun="token" empty=${NO_TOKENS} /></section>
      <section class="stack mid" aria-label="Connected apps"><h2>Connected apps</h2>
        <${Table} caption="Apps that may act for you" columns=${appColumns(setAsked)} list=${apps} noun="app" empty=${NO_APPS} /></section>
    <//>
    ${query.do === "new" && html`<${AccessForm} onMade=${(/** @type {any} */ data) => { setMade(data); tokens.load(); }} onUnsure=${() => tokens.load()} />`}
    ${made && html`<${AccessToken} made=${made} onClose=${() => setMade(null)} />`}
    ${asked && html`<${Revocation} asked=${asked} onAway=${() => setAsked(null)} onDone=${() => { (asked.kind === "token" ? tokens : apps).remove(asked.id); setAsked(null); }} />`}`;
}

/** @typedef {{kind: "token" | "app", id: string, name: string}} Asked */

const NO_TOKENS = html`<${Empty} icon="lock" title="No tokens"><p>A program that acts for you sends a token instead of your password.</p><//>`;
const NO_APPS = html`<${Empty} icon="link" title="No connected apps"><p>An app that wants to use your account asks you first. The apps that you allow are listed here.</p><//>`;

/** @param {(asked: Asked) => void} ask @returns {import("../parts/table.js").Column[]} */
const tokenColumns = (ask) => [
  { head: "Name", class: "c1 cut", cell: (row) => row.name },
  { head: "Scopes", class: "c3 cut muted", title: (row) => row.scopes.join(" "), cell: (row) => row.scopes.join(" ") },
  { head: "Last used", class: "muted nowrap opt2", cell: (row) => (row.used ? html`<${Ago} at=${row.used} ago />` : "Never") },
  { head: "Expires", class: "nowrap c4", cell: (row) => (!row.expires ? "Never" : Date.parse(row.expires) <= now.value ? html`<${State} of="cancelled" word="Expired" />` : html`<${Exact} at=${row.expires} />`) },
  { head: /** @type {any} */ (html`<span class="vh">Action</span>`), class: "num c2", cell: (row) => html`<button class="btn sm danger" type="button" onClick=${() => ask({ kind: "token", id: row.id, name: row.name })}>Revoke<span class="vh"> ${row.name}</span></button>` },
];

/** @param {(asked: Asked) => void} ask @returns {import("../parts/table.js").Column[]} */
const appColumns = (ask) => [
  { head: "App", class: "c1 cut", cell: (row) => row.name },
  { head: "It may", class: "c3 cut muted", title: (row) => row.scopes.join(" "), cell: (row) => row.scopes.join(" ") },
  { head: "Allowed", class: "muted nowrap c4", cell: (row) => html`<${Ago} at=${row.created} ago />` },
  { head: /** @type {any} */ (html`<span class="vh">Action</span>`), class: "num c2", cell: (row) => html`<button class="btn sm danger" type="button" onClick=${() => ask({ kind: "app", id: row.id, name: row.name })}>Disconnect<span class="vh"> ${row.name}</span></button>` },
];

/** @param {{asked: Asked, onDone: () => void, onAway: () => void}} props */
function Revocation({ asked, onDone, onAway }) {
  const [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false), isToken = asked.kind === "token";
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      await del(isToken ? `/auth/me/tokens/${asked.id}` : `/auth/me/apps/${asked.id}`);
      say(isToken ? `${asked.name} is revoked.` : `${asked.name} is disconnected.`);
      onDone();
    } catch (refused) {
      setError(refused);
      setBusy(false);
    }
  };
  const text = html`<p>${isToken ? "Programs that send it are refused within a second." : "Its access ends within a second. It has to ask you again."}</p>${error && html`<${Failure} error=${error} unharmed="Nothing was changed." />`}`;
  return html`<${Confirm} title=${isToken ? `Revoke ${asked.name}?` : `Disconnect ${asked.name}?`} text=${text} yes=${isToken ? "Revoke token" : "Disconnect app"} no="Keep it" isDanger isBusy=${isBusy} onYes=${run} onNo=${onAway} />`;
}
