// @ts-check
// OAuth clients, for admins: apps and programs that use the API.

import { now } from "../core/app_state.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page, State } from "../parts/ui.js";

const ClientDrawer = later(() => import("./client_drawer.js"), "ClientDrawer"), ClientForm = later(() => import("./client_form.js"), "ClientForm");
const ClientSecret = later(() => import("./client_secret.js"), "ClientSecret");

export default function Clients() {
  const { query } = place.value;
  const list = useList("/clients");
  // A secret is in no address and no storage: it is gone when this dialog is closed.
  const [secret, setSecret] = useState(/** @type {any} */ (null));
  useEffect(() => addCommands([{ id: "client-new", label: "Register a client", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new", open: "" })) }]), []);
  const register = html`<a class=${`btn ${query.open ? "" : "primary"}`} href=${hrefWith({ do: "new", open: "" })}><${Icon} name="plus" />Register a client</a>`;
  return html`<${Page} title="Clients" lead="Apps and programs that use the API with credentials of their own." actions=${register}>
      <${Table} caption="Clients, newest first" columns=${COLUMNS} list=${list} noun="client" empty=${NOTHING} />
    <//>
    ${query.open && html`<${ClientDrawer} key=${query.open} id=${query.open} list=${list} onSecret=${setSecret} />`}
    ${query.do === "new" && html`<${ClientForm} list=${list} onSecret=${setSecret} />`}
    ${secret && html`<${ClientSecret} secret=${secret} onClose=${() => setSecret(null)} />`}`;
}

const NOTHING = html`<${Empty} icon="lock" title="No clients yet"><p>A client gets an id and a secret, with which an app signs people in or a program calls the API.</p><//>`;

/** What a client is for, by its grants. @param {any} row */
export const kindOf = (row) => (row.grant_types.includes("client_credentials") ? "Program" : row.grant_types.some((/** @type {string} */ one) => one.endsWith("device_code")) ? "Device" : row.is_public ? "Browser or phone" : "Web app");

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Name", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id, do: "" })}>${row.name}</a>` },
  { head: "Kind", class: "c3 nowrap", cell: (row) => kindOf(row) },
  { head: "Scopes", class: "cut muted opt", cell: (row) => row.scopes.join(" ") || "–" },
  { head: "State", class: "c4 nowrap", cell: (row) => html`<${ClientState} client=${row} />` },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {{client: any}} props */
export function ClientState({ client }) {
  if (!client.is_active) return html`<${State} of="disabled" word="Disabled" />`;
  if (client.previous_secret_expires && Date.parse(client.previous_secret_expires) > now.value) return html`<${State} of="waiting" word="Two secrets" />`;
  return html`<span class="muted">Active</span>`;
}
