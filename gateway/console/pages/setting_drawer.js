// @ts-check
// One setting: its value, which can be changed here, and who changed it last.

import { del, put, Refused } from "../core/api.js";
import { me, say } from "../core/app_state.js";
import { shortened, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { go, href, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { Ago, Failure, Lines, State } from "../parts/ui.js";

/** @param {{path: string, id: string, list: import("../core/list.js").List, onChange: () => Promise<any>}} props */
export function SettingDrawer({ path, id, list, onChange }) {
  const address = `${path}/${encodeURIComponent(id)}`, thing = useThing(address);
  const [isAsking, setAsking] = useState(false), [refused, setRefused] = useState(/** @type {any} */ (null));
  const setting = thing.data.value;
  /** @param {any} error */
  const stale = async (error) => {
    if (error.status === 412) {
      setRefused(error);
      await thing.load();
    }
    throw error;
  };
  /** @param {Record<string, string>} values */
  const send = async (values) => {
    // Nothing else can be sent: an empty value would replace the secret, and the stored one cannot be read.
    if (setting.is_sealed && !values.value) throw new Refused(address, 422, { errors: [{ field: "value", code: "missing", message: "is needed, because this form cannot read the stored one" }] });
    const body = { value: values.value ?? "", type: setting.type, is_sealed: setting.is_sealed, description: values.description?.trim() || null };
    const { data } = await put(address, body, { version: setting.version }).catch(stale);
    setRefused(null);
    thing.data.value = data;
    say(`${id} is changed.`);
    await onChange();
  };
  const remove = async () => {
    try {
      await del(address, { version: setting.version });
      say(`${id} is deleted.`);
      go(hrefWith({ open: "" }), { replace: true });
      await onChange();
    } catch (error) {
      setRefused(error);
      thing.load();
    }
    setAsking(false);
  };
  const footer = setting?.is_set && html`<span class="grow"></span><button class="btn danger" type="button" onClick=${() => setAsking(true)}>Delete</button>`;
  return html`<${Drawer} title=${id} noun="setting" id=${id} rows=${list.rows.value} footer=${footer}>
      ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
      ${refused && html`<${Failure} error=${refused} unharmed=${refused.status === 412 ? "It is shown as it is now." : "Nothing was changed."} />`}
      ${setting ? html`<section><h3 class="vh">Value</h3><${Form} key=${setting.version} name=${`setting-${path}-${id}`} fields=${fieldsOf(setting)} initial=${{ value: setting.value ?? "", description: setting.description ?? "" }}
          submit="Save" busy="Saving" send=${send} isSecret=${setting.is_sealed} /></section><${About} setting=${setting} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${isAsking && html`<${Confirm} title=${`Delete ${id}?`} text=${html`<p>A setting that the suite knows has its default again. Others are gone.</p>`} yes="Delete setting" no="Keep it" isDanger onYes=${remove} onNo=${() => setAsking(false)} />`}`;
}

/** @param {any} setting @returns {import("../parts/form.js").Field[]} */
function fieldsOf(setting) {
  const common = { name: "value", label: "Value", autocomplete: "off" };
  const value = setting.is_sealed ? { ...common, label: "New value", type: "password", help: "It is sealed: the stored value is never shown. Type it again to change the description." }
    : setting.type === "boolean" ? { ...common, options: /** @type {[string, string][]} */ ([["true", "Yes"], ["false", "No"]]) }
    : setting.type === "number" ? { ...common, inputmode: "decimal" } : { ...common, rows: setting.type === "json" ? 6 : 3, maxlength: 8192, spellcheck: setting.type === "string" };
  return [value, { name: "description", label: "Description", maxlength: 500, autocomplete: "off" }];
}

/** @param {{setting: any}} props */
const About = ({ setting }) => html`<section><h3>About it</h3><${Facts} rows=${[
  ["Type", words(setting.type)],
  ["Stored", !setting.is_set ? "Not yet: this is the default" : setting.is_sealed ? html`<${State} of="active" word="Sealed" />` : "Readable"],
  ["Changed", setting.updated && html`<${Ago} at=${setting.updated} ago />`],
  ["By", setting.changed_by && (setting.changed_by === me.value?.id ? "You" : html`<a href=${href("users", { open: setting.changed_by })}>${shortened(setting.changed_by)}</a>`)],
  ["Version", setting.version],
]} /></section>`;
