// @ts-check
// The form for a new ticket.

import { post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { words } from "../core/format.js";
import { go, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Attachments } from "../parts/attachments.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";

/** @type {import("../parts/form.js").Field[]} */
const FIELDS = [
  { name: "subject", label: "Subject", maxlength: 255, autocomplete: "off", autofocus: true },
  { name: "description", label: "Description", rows: 6, help: "What you did, what happened, and what you expected." },
  { name: "priority", label: "Priority", options: ["low", "medium", "high", "urgent"].map((one) => /** @type {[string, string]} */ ([one, words(one)])) },
  { name: "category", label: "Category", maxlength: 50, autocomplete: "off", help: "It may be left empty." },
];

/** @param {{list: import("../core/list.js").List}} props */
export function NewTicket({ list }) {
  const [files, setFiles] = useState(/** @type {any[]} */ ([]));
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const body = { subject: values.subject ?? "", description: values.description ?? "", priority: values.priority, category: values.category?.trim() || null, attachments: files.map((/** @type {any} */ one) => one.id) };
    const { data } = await post("/tickets", body, { key });
    say(`Opened ticket ${data.number}.`);
    await list.load();
    go(hrefWith({ do: "", open: data.id }), { replace: true });
  };
  return html`<${Dialog} label="Open a ticket" onClose=${close}><div class="in head"><h2>Open a ticket</h2></div>
    <${Form} name="ticket" fields=${FIELDS} initial=${{ priority: "medium" }} submit="Open ticket" busy="Opening ticket" away="Discard" send=${send} onAway=${close}>
      <${Attachments} files=${files} onChange=${setFiles} /><//><//>`;
}
