// @ts-check
// Events between services that have not arrived, for admins: how many wait, are retried and are dead, by service.

import { get } from "../core/api.js";
import { count, counted } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useThing } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html, signal, useEffect, useMemo } from "../core/view.js";
import { Failure, Icon, later, Lines, Page, State } from "../parts/ui.js";

const REFRESH_MS = 15_000, COUNTED_MAX = 100_000;
const EventList = later(() => import("./event_list.js"), "EventList");

/** Numbers are counted up to a limit. @param {number} number */
export const upTo = (number) => (number >= COUNTED_MAX ? `${count(COUNTED_MAX)}+` : count(number));

export default function Events() {
  const { service } = place.value.query;
  return service ? html`<${EventList} key=${service} service=${service} />` : html`<${Overview} />`;
}

/** What is known of each service: its numbers, and why they could not be read. @param {string[]} names */
function useSummaries(names) {
  const [all, abort] = useMemo(() => [signal(/** @type {Record<string, {data?: any, error?: any}>} */ ({})), new AbortController()], []);
  const load = () => Promise.all(names.map(async (name) => {
    let found;
    try {
      found = { data: (await get(`/events/${name}`, { signal: abort.signal })).data };
    } catch (error) {
      found = { data: all.value[name]?.data, error };
    }
    if (!abort.signal.aborted) all.value = { ...all.value, [name]: found };
  }));
  useEffect(() => {
    load();
    const timer = setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
    const remove = addCommands([{ id: "refresh", label: "Refresh", keys: "r", group: "Here", icon: "refresh", run: () => { load(); } }]);
    return () => {
      clearInterval(timer);
      remove();
    };
  }, [names.join()]);
  useEffect(() => () => abort.abort(), []);
  return { all: all.value, load };
}

function Overview() {
  const health = useThing("/health"), names = Object.keys(health.data.value?.services ?? {}).sort();
  const { all, load } = useSummaries(names);
  const silent = names.filter((name) => all[name]?.error?.isDown), refused = names.filter((name) => all[name]?.error && !all[name].error.isDown);
  return html`<${Page} title="Events" lead="What services tell each other: how much has not arrived, and what could not be applied.">
    ${health.error.value && html`<${Failure} error=${health.error.value} retry=${health.load} />`}
    ${silent.length > 0 && html`<section class="banner bad" role="alert"><${Icon} name="error" class="bad" /><div class="t"><b>${silent.join(", ")} ${silent.length === 1 ? "does" : "do"} not respond.</b>
      ${silent.length === names.length ? "" : "The numbers of the others are current. "}Events for a service that is down wait until it is back.</div>
      <div class="btns"><button class="btn sm" type="button" onClick=${load}>Try again</button></div></section>`}
    ${[...new Set(refused.map((name) => all[name].error.code))].map((code) => html`<${Refusal} key=${code} names=${refused.filter((name) => all[name].error.code === code)} all=${all} load=${load} />`)}
    ${names.length ? html`<section class="card"><div class="scroll"><table role="table" class="grid cards"><caption class="vh">Events that have not arrived, by service</caption>
      <thead role="rowgroup"><tr role="row"><th role="columnheader">Service</th><th role="columnheader">State</th><th role="columnheader" class="num">Wait to be sent</th>
        <th role="columnheader" class="num opt2">Are retried</th><th role="columnheader" class="num">Dead</th></tr></thead>
      <tbody role="rowgroup">${worstFirst(names, all).map((name) => html`<${Service} key=${name} name=${name} summary=${all[name]} />`)}</tbody></table></div></section>`
    : !health.error.value && html`<${Lines} rows=${6} />`}
  <//>`;
}

/** What was refused for the same reason, such as by a gateway with older routes. @param {{names: string[], all: Record<string, {data?: any, error?: any}>, load: () => void}} props */
function Refusal({ names, all, load }) {
  const { error } = all[names[0]], hint = error.status === 404 ? ` routes.yaml may lack the route for ${names.map((name) => `/events/${name}`).join(", ")}.` : "";
  return html`<${Failure} error=${error} retry=${load} unharmed=${`The events of ${names.join(", ")} cannot be read.${hint}`} />`;
}

/** What needs a person stands on top. @param {string[]} names @param {Record<string, {data?: any, error?: any}>} all */
const worstFirst = (names, all) => [...names].sort((a, b) => rank(all[b]) - rank(all[a]));
/** @param {{data?: any, error?: any}} [summary] */
const rank = (summary) => (summary?.data?.dead ? 3 : summary?.error ? 2 : summary?.data?.parked ? 1 : 0);

/** @param {{name: string, summary?: {data?: any, error?: any}}} props */
function Service({ name, summary }) {
  const found = summary?.data, waiting = found && found.waiting.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.number, 0);
  return html`<tr role="row"><td role="cell" class="c1"><a class="rowlink" href=${hrefWith({ service: name })}>${name}</a></td>
    <td role="cell" class="c3">${!summary ? "–" : summary.error ? html`<${State} of=${summary.error.isDown ? "unreachable" : "refused"} word=${summary.error.isDown ? "Does not respond" : "Refused"} />` : found.dead ? html`<${State} of="suspended" word="Needs a decision" />`
      : found.parked ? html`<${State} of="waiting" word="Is retrying" />` : html`<span class="muted">All arrives</span>`}</td>
    <td role="cell" class="num c4">${found ? html`${upTo(waiting)}<span class="unit"> waiting</span>` : "–"}</td>
    <td role="cell" class="num opt2">${found ? upTo(found.parked) : "–"}</td>
    <td role="cell" class="num c2">${!found ? "–" : found.dead ? html`<span class="badge bad">${upTo(found.dead)}<span class="unit">dead</span></span>` : html`<span class="muted">0<span class="unit"> dead</span></span>`}</td></tr>`;
}

/** How many, and how many of them were no longer dead. @param {number} changed @param {number} asked @param {string} what */
export const outcome = (changed, asked, what) => `${counted(changed, "event")} ${what}.${changed < asked ? ` ${counted(asked - changed, "event")} had been handled already.` : ""}`;
