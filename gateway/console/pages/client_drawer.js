// @ts-check
// One client: what it may do, its secrets, and what an admin may do about it.

import { del, post, put } from "../core/api.js";
import { say } from "../core/app_state.js";
import { useThing } from "../core/list.js";
import { go, href, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { Ago, CopyId, Exact, Failure, Lines } from "../parts/ui.js";
import { ClientState, kindOf } from "./clients.js";

/** @type {import("../parts/form.js").Field[]} */
const OVERLAP = [{ name: "overlap_seconds", label: "The previous secret is valid for", options: [["86400", "One more day"], ["604800", "Seven more days"], ["3600", "One more hour"], ["0", "No longer, because it leaked"]] }];

/** @param {{id: string, list: import("../core/list.js").List, onSecret: (secret: any) => void}} props */
export function ClientDrawer({ id, list, onSecret }) {
  const thing = useThing(`/clients/${id}`);
  const [asked, setAsked] = useState("");
  const client = thing.data.value ?? list.rows.value?.find((row) => row.id === id);
  const close = () => setAsked("");
  /** @param {any} data */
  const show = (data) => {
    list.put(data);
    thing.load();
  };
  /** @param {Record<string, string>} values @param {string} key */
  const renew = async (values, key) => {
    const { data } = await post(`/clients/${id}/regenerate-secret`, { overlap_seconds: Number(values.overlap_seconds) }, { key });
    close();
    show({ id, previous_secret_expires: data.previous_secret_expires });
    onSecret({ name: client.name, id, text: data.client_secret, isProgram: client.grant_types.includes("client_credentials"), expires: data.previous_secret_expires });
  };
  return html`<${Drawer} title=${client?.name ?? "Client"} noun="client" id=${id} rows=${list.rows.value} footer=${client && html`<${Buttons} client=${client} onAsk=${setAsked} />`}>
      ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
      ${client ? html`<${Content} client=${client} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${asked === "renew" && html`<${Dialog} label="Make a new secret" onClose=${close}><div class="in head"><h2>Make a new secret?</h2><p>${client.name} gets a second secret. Both work until the time you choose, so that it can change over without a pause.</p></div>
      <${Form} name=${`client-secret-${id}`} fields=${OVERLAP} initial=${{ overlap_seconds: "86400" }} submit="Make new secret" busy="Making it" away="Keep the secret" send=${renew} onAway=${close} /><//>`}
    ${(asked === "disable" || asked === "delete") && html`<${Decision} kind=${asked} client=${client} onAway=${close} onDone=${(/** @type {any} */ data) => {
      close();
      if (data) return show(data);
      list.remove(id);
      return go(hrefWith({ open: "" }), { replace: true });
    }} />`}
    ${asked === "enable" && html`<${Decision} kind="enable" client=${client} onAway=${close} onDone=${(/** @type {any} */ data) => { close(); show(data); }} />`}`;
}

const DECISIONS = /** @type {Record<string, {title: (name: string) => string, text: string, yes: string, no: string, isDanger?: boolean, done: string}>} */ ({
  disable: { title: (name) => `Disable ${name}?`, text: "Its tokens end within a second, and it gets no new ones until you enable it again.", yes: "Disable client", no: "Keep it active", isDanger: true, done: "disabled" },
  enable: { title: (name) => `Enable ${name}?`, text: "It can get tokens again with the secrets that it has.", yes: "Enable client", no: "Keep it disabled", done: "active" },
  delete: { title: (name) => `Delete ${name}?`, text: "Its tokens end within a second, and everybody who allowed it access has to do so again with a new client. This cannot be undone.", yes: "Delete client", no: "Keep it", isDanger: true, done: "deleted" },
});

/** @param {{kind: string, client: any, onAway: () => void, onDone: (data: any) => void}} props */
function Decision({ kind, client, onAway, onDone }) {
  const [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  const words = DECISIONS[kind];
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      const done = kind === "delete" ? await del(`/clients/${client.id}`) : await put(`/clients/${client.id}/status`, { is_active: kind === "enable" });
      say(`${client.name} is ${words.done}.`);
      onDone(kind === "delete" ? null : done.data);
    } catch (refused) {
      setError(refused);
      setBusy(false);
    }
  };
  const text = html`<p>${words.text}</p>${error && html`<${Failure} error=${error} unharmed="Nothing was changed." />`}`;
  return html`<${Confirm} title=${words.title(client.name)} text=${text} yes=${words.yes} no=${words.no} isDanger=${words.isDanger} isBusy=${isBusy} onYes=${run} onNo=${onAway} />`;
}

/** @param {{client: any, onAsk: (action: string) => void}} props */
const Buttons = ({ client, onAsk }) => html`
  ${!client.is_active && html`<button class="btn primary" type="button" onClick=${() => onAsk("enable")}>Enable client</button>`}
  ${!client.is_public && html`<button class="btn" type="button" onClick=${() => onAsk("renew")}>Make a new secret</button>`}
  <span class="grow"></span>
  ${client.is_active && html`<button class="btn danger" type="button" onClick=${() => onAsk("disable")}>Disable</button>`}
  <button class="btn danger" type="button" onClick=${() => onAsk("delete")}>Delete</button>`;

/** @param {{client: any}} props */
const Content = ({ client }) => html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
    ["State", html`<${ClientState} client=${client} />`],
    ["Kind", kindOf(client)],
    ["About", client.description],
    ["Client id", html`<${CopyId} id=${client.client_id} what="the client id" />`],
    ["Consent", !client.grant_types.includes("client_credentials") && (client.is_first_party ? "Not asked for, because this client is ours" : "People are asked")],
    ["Registered", html`<${Exact} at=${client.created} />`],
    ["Changed", client.updated !== client.created && html`<${Ago} at=${client.updated} ago />`],
  ]} /></section>
  <section><h3>Secrets</h3>${client.is_public ? html`<p class="muted">It has none: an app in a browser or on a phone cannot keep one.</p>`
    : client.previous_secret_expires ? html`<p>Two secrets work. The previous one is valid until <${Exact} at=${client.previous_secret_expires} />.</p>` : html`<p class="muted">One secret works. It was shown once, when it was made.</p>`}</section>
  <section><h3>What it may do</h3>${client.scopes.length ? html`<p class="btns">${client.scopes.map((/** @type {string} */ one) => html`<span class="badge line">${one}</span>`)}</p>` : html`<p class="muted">It has no scopes.</p>`}</section>
  ${client.redirect_uris.length > 0 && html`<section><h3>Redirect URIs</h3>${client.redirect_uris.map((/** @type {string} */ one) => html`<p class="mono">${one}</p>`)}</section>`}
  <section><h3>What happened</h3><div class="btns"><a class="btn sm" href=${href("audit", { resource: client.id })}>Audit records</a></div></section>`;
