// @ts-check
// Forms: label above, help below, the refusal in place of the help. What is typed survives a refusal, a reload and a new sign-in.

import { newKey } from "../core/api.js";
import { draft } from "../core/app_state.js";
import { html, useMemo, useRef, useState } from "../core/view.js";
import { Failure, Icon } from "./ui.js";

/** What is typed into a form for secrets is never stored in the browser. */
const NOT_KEPT = { read: () => ({}), write() {}, forget() {} };

/** @typedef {{name: string, label: string, help?: string, type?: string, required?: boolean, rows?: number, options?: [string, string][], [attribute: string]: any}} Field */

/**
 * `send` gets the typed values and a key that stays the same until they change, so that sending again creates nothing twice.
 * @param {{name: string, fields: Field[], initial?: Record<string, string>, submit: string, busy: string, away?: string,
 *   send: (values: Record<string, string>, key: string) => Promise<void>, onAway?: () => void, isSecret?: boolean, children?: any}} props
 */
export function Form({ name, fields, initial = {}, submit, busy, away = "", send, onAway = () => {}, isSecret = false, children }) {
  const kept = useMemo(() => (isSecret ? NOT_KEPT : draft(name)), [name]);
  const [values, setValues] = useState(() => ({ ...initial, ...kept.read() }));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [isBusy, setBusy] = useState(false);
  const key = useRef(newKey());
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  /** @param {string} field @param {string} value */
  const change = (field, value) => {
    const changed = { ...values, [field]: value };
    key.current = newKey();
    setValues(changed);
    // Only what was typed is kept: others may change the rest meanwhile.
    kept.write(Object.fromEntries(Object.entries(changed).filter(([name, value]) => value !== (initial[name] ?? ""))));
  };
  /** @param {SubmitEvent} event */
  const onSubmit = async (event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(null);
    try {
      await send(values, key.current);
      kept.forget();
      setValues({ ...initial });
      key.current = newKey();
    } catch (refused) {
      setError(refused);
      const wrong = /** @type {any} */ (refused).errors?.[0]?.field;
      const input = form.current?.elements.namedItem(wrong ?? "");
      if (input instanceof HTMLElement) input.focus();
    } finally {
      setBusy(false);
    }
  };
  const names = new Set(fields.map((field) => field.name));
  const faults = Object.fromEntries((error?.errors ?? []).map((/** @type {any} */ one) => [one.field, one.message]));
  const isElsewhere = error && !Object.keys(faults).some((field) => names.has(field));
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.current?.requestSubmit(); };
  return html`<form class="form wide" ref=${form} onSubmit=${onSubmit} onKeyDown=${onKeyDown} noValidate>
    <div class="in">
      ${isElsewhere && html`<${Failure} error=${error} unharmed="What you typed is kept." />`}
      ${fields.map((field) => field.fields ? html`<${Group} key=${field.name} field=${field} values=${values} faults=${faults} onChange=${change} />`
        : html`<${Entry} key=${field.name} field=${field} value=${values[field.name] ?? ""} fault=${faults[field.name]} onChange=${change} />`)}
      ${children}
    </div>
    <footer>${away && html`<button class="btn" type="button" onClick=${() => { kept.forget(); onAway(); }}>${away}</button>`}
      <button class="btn primary" type="submit" aria-busy=${String(isBusy)}>${isBusy ? busy : submit}</button></footer>
  </form>`;
}

/** The response to a form was lost: sent again with the same key, it creates nothing twice. @param {{what: string, way: string}} props */
export const Unsure = ({ what, way }) => html`<div class="in"><div class="banner warn" role="alert"><${Icon} name="warn" class="warn" />
  <div class="t"><b>The ${what} may have been created.</b> Send it again unchanged: it is created only once, and shown then. ${way}</div></div></div>`;

/** Fields that belong together, below a heading. A fault of all of them has the name of the group. @param {{field: any, values: Record<string, string>, faults: Record<string, string>, onChange: (field: string, value: string) => void}} props */
function Group({ field: { name, label, help, fields }, values, faults, onChange }) {
  const hint = `field-${name}-hint`, fault = faults[name];
  return html`<fieldset name=${name} tabindex="-1" aria-describedby=${fault || help ? hint : undefined}><legend>${label}</legend>
    <${Hint} id=${hint} label=${label} fault=${fault} help=${help} />
    ${fields.map((/** @type {Field} */ one) => html`<${Entry} key=${one.name} field=${one} value=${values[one.name] ?? ""} fault=${faults[one.name]} onChange=${onChange} />`)}
  </fieldset>`;
}

/** The refusal, or else the help. @param {{id: string, label: string, fault?: string, help?: string}} props */
const Hint = ({ id, label, fault, help }) => (fault ? html`<p class="err" id=${id}><${Icon} name="error" />${label} ${fault}.</p>` : help && html`<p class="help" id=${id}>${help}</p>`);

/** @param {{field: Field, value: string, fault?: string, onChange: (field: string, value: string) => void}} props */
function Entry({ field, value, fault, onChange }) {
  const { name, label, help, type = "text", options, rows, ...rest } = field;
  const id = `field-${name}`, hint = `${id}-hint`;
  const common = {
    ...rest, id, name, class: "input", value, "aria-invalid": fault ? "true" : undefined, "aria-describedby": help || fault ? hint : undefined,
    onInput: (/** @type {any} */ event) => onChange(name, event.currentTarget.value),
  };
  if (type === "checkbox") {
    return html`<label class="check"><input type="checkbox" id=${id} name=${name} checked=${value === "true"} onChange=${(/** @type {any} */ event) => onChange(name, String(event.currentTarget.checked))} />${label}</label>`;
  }
  return html`<div class="field"><label for=${id}>${label}</label>
    ${options ? html`<select ...${common}>${options.map(([code, word]) => html`<option value=${code} selected=${code === value}>${word}</option>`)}</select>`
    : rows ? html`<textarea ...${common} rows=${rows}></textarea>` : html`<input ...${common} type=${type} />`}
    <${Hint} id=${hint} label=${label} fault=${fault} help=${help} />
  </div>`;
}
