// @ts-check
// Replay or drop dead events, after asking.

import { post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { counted } from "../core/format.js";
import { html, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Failure } from "../parts/ui.js";
import { outcome } from "./events.js";

const IDS_MAX = 100; // in one request
const DECISIONS = /** @type {Record<string, {text: (service: string) => string, yes: string, no: string, done: string, isDanger?: boolean}>} */ ({
  replay: { text: (service) => `${service} tries to apply them again, those of each key in order of arrival.`, yes: "Replay", no: "Leave as it is", done: "will be applied again" },
  drop: { text: (service) => `They are deleted, and ${service} never applies them. This cannot be undone.`, yes: "Drop", no: "Keep", done: "dropped", isDanger: true },
});

/** @param {{service: string, action: string, ids: string[], onDone: () => void, onAway: () => void}} props */
export function EventDecision({ service, action, ids, onDone, onAway }) {
  const [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  const words = DECISIONS[action];
  const run = async () => {
    setBusy(true);
    setError(null);
    let changed = 0;
    try {
      for (let at = 0; at < ids.length; at += IDS_MAX) changed += (await post(`/events/${service}/${action}`, { ids: ids.slice(at, at + IDS_MAX) })).data.ids.length;
      say(outcome(changed, ids.length, words.done));
      onDone();
    } catch (refused) {
      setError(refused);
      setBusy(false);
    }
  };
  const text = html`<p>${words.text(service)}</p>${error && html`<${Failure} error=${error} />`}`;
  return html`<${Confirm} title=${`${words.yes} ${counted(ids.length, "event")}?`} text=${text} yes=${`${words.yes} event${ids.length === 1 ? "" : "s"}`} no=${words.no} isDanger=${words.isDanger} isBusy=${isBusy} onYes=${run} onNo=${onAway} />`;
}
