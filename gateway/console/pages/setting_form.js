// @ts-check
// The form for a new setting. Nothing of it is kept in the browser, because the value may be a secret.

import { post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { go, hrefWith } from "../core/router.js";
import { html } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";

/** @type {import("../parts/form.js").Field[]} */
const FIELDS = [
  { name: "key", label: "Key", maxlength: 255, autocomplete: "off", spellcheck: false, autofocus: true, help: "Letters, digits, _ . and -, such as shop.banner." },
  { name: "type", label: "Type", options: [["string", "Text"], ["number", "Number"], ["boolean", "Yes or no (true or false)"], ["json", "JSON"]] },
  { name: "value", label: "Value", rows: 3, maxlength: 8192, autocomplete: "off", spellcheck: false },
  { name: "is_sealed", label: "Seal it: the value is stored encrypted, and only services can read it", type: "checkbox" },
  { name: "description", label: "Description", maxlength: 500, autocomplete: "off", help: "It may be left empty." },
];

/** @param {{path: string, onChange: () => Promise<any>}} props */
export function SettingForm({ path, onChange }) {
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const body = { key: values.key?.trim() ?? "", type: values.type, value: values.value ?? "", is_sealed: values.is_sealed === "true", description: values.description?.trim() || null };
    const { data } = await post(path, body, { key });
    await onChange();
    say(`${data.key} is stored.`);
    go(hrefWith({ do: "", open: data.key }), { replace: true });
  };
  return html`<${Dialog} label="Add a setting" onClose=${close}><div class="in head"><h2>Add a setting</h2></div>
    <${Form} name="setting" fields=${FIELDS} initial=${{ type: "string" }} submit="Add setting" busy="Adding" away="Discard" send=${send} onAway=${close} isSecret />
  <//>`;
}
