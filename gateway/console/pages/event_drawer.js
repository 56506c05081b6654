// @ts-check
// One undelivered event: why it was not applied, and what it says.

import { useThing } from "../core/list.js";
import { html } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Ago, CopyId, Exact, Failure, Lines, State } from "../parts/ui.js";

/** @param {{id: string, service: string, list: import("../core/list.js").List, onAsk: (asked: {action: string, ids: string[]}) => void}} props */
export function EventDrawer({ id, service, list, onAsk }) {
  const thing = useThing(`/events/${service}/undelivered/${id}`);
  const event = thing.data.value;
  const footer = event?.state === "dead" && html`<button class="btn primary" type="button" onClick=${() => onAsk({ action: "replay", ids: [id] })}>Replay event</button>
    <span class="grow"></span><button class="btn danger" type="button" onClick=${() => onAsk({ action: "drop", ids: [id] })}>Drop event</button>`;
  return html`<${Drawer} title=${event?.topic ?? "Event"} noun="event" id=${id} rows=${list.rows.value} footer=${footer}>
    ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} unharmed=${thing.error.value.status === 404 ? "It was applied or dropped meanwhile." : ""} />`}
    ${event ? html`<${Content} event=${event} service=${service} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
  <//>`;
}

/** @param {{event: any, service: string}} props */
const Content = ({ event, service }) => html`<section><h3>Why it was not applied</h3><p class="said">${event.reason || "It has not been tried yet."}</p></section>
  <section><h3 class="vh">Facts</h3><${Facts} rows=${[
    ["State", event.state === "dead" ? html`<${State} of="unreachable" word="Dead" />` : html`<${State} of="waiting" word="Retried" />`],
    ["Attempts", event.attempts],
    ["Next attempt", event.due ? html`<${Exact} at=${event.due} />` : event.state === "parked" && "After an earlier event of its key"],
    ["Blocks", event.blocks && "Later events of its key wait for it"],
    ["From", event.source],
    ["To", service],
    ["Key", html`<code>${event.key}</code>`],
    ["Sent", html`<${Exact} at=${event.time} />`],
    ["Received", html`<${Ago} at=${event.received} ago />`],
    ["Id", html`<${CopyId} id=${event.id} what="the id of the event" />`],
    ["Request", event.request_id && html`<${CopyId} id=${event.request_id} what="the request id" />`],
  ]} /></section>
  <section><h3>Content, version ${event.version}</h3><pre class="box" tabindex="0" role="region" aria-label="Content">${JSON.stringify(event.data, null, 2)}</pre></section>`;
