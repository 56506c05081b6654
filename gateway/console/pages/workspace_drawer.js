// @ts-check
// One machine: its state, what it costs, how long it is used, what could be saved, and what changed.

import { put } from "../core/api.js";
import { isAdmin, say } from "../core/app_state.js";
import { money, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { html, useState } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Ago, CopyId, Exact, Failure, Lines, State } from "../parts/ui.js";
import { MachineState, modeWord } from "./workspaces.js";
import { adviceWord, evidence, saving } from "./workspaces_advice.js";
import { Lying } from "./workspaces_chart.js";

const MONTHS = 6;

/** @param {{id: string, rows: any[] | null, adviceState?: string}} props */
export function WorkspaceDrawer({ id, rows, adviceState = "open" }) {
  const thing = useThing(`/workspaces/${id}`), cost = useThing(`/billing/summary?by=month&workspace_id=${id}`), usage = useThing(`/usage?workspace_id=${id}&limit=${MONTHS}`);
  const advice = useThing(`/advice?workspace_id=${id}&state=${adviceState}&limit=10`), changes = useThing(`/workspaces/${id}/changes?limit=10`);
  const machine = thing.data.value ?? rows?.find((row) => row.id === id);
  return html`<${Drawer} title=${machine?.user_name ?? id} noun="machine" id=${id} rows=${rows}>
    ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
    ${machine ? html`<${About} machine=${machine} id=${id} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
    <${Part} title="What could be saved" thing=${advice} none="Nothing: its mode and its size fit its use.">${() => advice.data.value.map((/** @type {any} */ one) => html`<${Advice} key=${one.id} first=${one} />`)}<//>
    <${Part} title="Cost" thing=${cost} list="sums" none="No bill names it.">${() => html`<${Lying} bars=${cost.data.value.sums.slice(0, MONTHS).map((/** @type {any} */ one) => ({ key: one.key, value: Number(one.amount), isPartial: one.estimated }))}
      text=${(/** @type {number} */ value) => money(value, cost.data.value.sums[0].currency)} />`}<//>
    <${Part} title="Hours used" thing=${usage} none="It has not been used.">${() => html`<${Lying} bars=${usage.data.value.map((/** @type {any} */ one) => ({ key: one.month, value: Number(one.hours) }))} text=${(/** @type {number} */ value) => `${value} h`} />`}<//>
    <${Part} title="What changed" thing=${changes} none="Nothing since it was first seen.">${() => html`<${Facts} rows=${changes.data.value.map((/** @type {any} */ one) => [words(one.field ?? one.kind ?? "change"), html`${one.old ?? one.before ?? "–"} to ${one.new ?? one.after ?? "–"}, <${Ago} at=${one.at ?? one.created ?? one.seen} ago />`])} />`}<//>
  <//>`;
}

/** @param {{title: string, thing: any, list?: string, none: string, children: () => any}} props */
function Part({ title, thing, list, none, children }) {
  const data = list ? thing.data.value?.[list] : thing.data.value;
  return html`<section><h3>${title}</h3>${thing.error.value ? html`<${Failure} error=${thing.error.value} retry=${thing.load} />` : !data ? html`<${Lines} rows=${2} />` : data.length ? children() : html`<p class="muted">${none}</p>`}</section>`;
}

/** @param {{machine: any, id: string}} props */
const About = ({ machine, id }) => html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
  ["State", html`<${MachineState} of=${machine.state} gone=${machine.gone} />`],
  ["Error", machine.error],
  ["Machine", html`<${CopyId} id=${id} what="the id of the machine" />`],
  ["Bundle", machine.bundle_name ?? machine.bundle_id],
  ["Mode", modeWord(machine.running_mode)],
  ["Last used", machine.last_connection ? html`<${Exact} at=${machine.last_connection} />` : "Never"],
  ["Connected", machine.connection_state && words(machine.connection_state)],
  ["Disks", machine.root_gib && `${machine.root_gib} GiB system, ${machine.user_gib ?? 0} GiB user`],
  ["Encrypted", machine.encrypted_root && machine.encrypted_user ? "Both disks" : machine.encrypted_root || machine.encrypted_user ? "One of two disks" : "No"],
  ["Address", machine.ip_address], ["Region", machine.region],
  ["Tags", Object.entries(machine.tags ?? {}).map(([name, value]) => `${name} ${value}`).join(", ")],
  ["First seen", html`<${Exact} at=${machine.first_seen} />`],
]} /></section>`;

/** @param {{first: any}} props */
function Advice({ first }) {
  // The list has only advice in one state, so a decision is shown here and not loaded again.
  const [advice, setAdvice] = useState(first), [error, setError] = useState(/** @type {any} */ (null)), [busy, setBusy] = useState("");
  /** @param {string} state */
  const decide = async (state) => {
    setBusy(state);
    setError(null);
    try {
      setAdvice((await put(`/advice/${advice.id}`, { state }, { version: advice.version })).data);
      say(`The advice is ${state === "open" ? "open again" : state}.`);
    } catch (refused) {
      setError(refused);
    } finally {
      setBusy("");
    }
  };
  const open = advice.state === "open";
  return html`<div class="stack tight"><p><b>${adviceWord(advice.kind)}</b>${advice.saving_low !== null && html`<span class="muted">, saves ${advice.currency} ${saving(advice)} a month</span>`}${!open && html` <${State} of=${advice.state === "dismissed" ? "cancelled" : "success"} word=${words(advice.state)} />`}</p>
    <p class="muted">${evidence(advice.basis)}</p>
    ${error && html`<${Failure} error=${error} unharmed="Nothing was changed." />`}
    ${isAdmin.value && html`<div class="btns">${open ? html`<button class="btn sm" type="button" aria-busy=${String(busy === "accepted")} onClick=${() => decide("accepted")}>Accept advice</button>
      <button class="btn sm" type="button" aria-busy=${String(busy === "dismissed")} onClick=${() => decide("dismissed")}>Dismiss advice</button>` : ["accepted", "dismissed"].includes(advice.state) && html`<button class="btn sm" type="button" onClick=${() => decide("open")}>Open again</button>`}</div>`}</div>`;
}
