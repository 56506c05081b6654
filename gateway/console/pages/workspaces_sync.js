// @ts-check
// When the machines were read from AWS, and a button to read them now.

import { get, post } from "../core/api.js";
import { isAdmin, say } from "../core/app_state.js";
import { useThing } from "../core/list.js";
import { html, useEffect, useState } from "../core/view.js";
import { faultIn, Ago, Icon } from "../parts/ui.js";

const LOOK_MS = 1_500, RUNNING = ["queued", "pending", "running"];

/** @param {{onDone: () => void}} props */
export function Sync({ onDone }) {
  const history = useThing("/sync/history?limit=1");
  const [running, setRunning] = useState(/** @type {any} */ (null));
  const last = history.data.value?.[0];
  useEffect(() => { if (last && RUNNING.includes(last.state)) setRunning(last); }, [last]);
  useEffect(() => {
    if (!running) return undefined;
    const timer = setTimeout(async () => {
      try {
        const { data } = await get(`/sync/${running.id}`);
        if (RUNNING.includes(data.state)) return setRunning({ ...data });
        say(data.state === "completed" ? "The sync is complete." : `The sync is ${data.state}. ${data.error ?? ""}`, { isFault: data.state === "failed" });
        history.load();
        onDone();
        return setRunning(null);
      } catch (refused) {
        return setRunning((/** @type {any} */ old) => old && { ...old });
      }
    }, LOOK_MS);
    return () => clearTimeout(timer);
  }, [running]);
  const begin = async () => {
    try {
      setRunning((await post("/sync/trigger", { kind: "workspaces" })).data);
    } catch (refused) {
      say(faultIn(refused), { isFault: true });
    }
  };
  return html`<span class="muted" role="status">${running ? `Syncing, ${running.progress ?? 0} of ${running.total ?? "some"} steps` : last?.finished ? html`Synced <${Ago} at=${last.finished} ago />` : null}</span>
    ${isAdmin.value && html`<button class="btn" type="button" aria-busy=${String(Boolean(running))} onClick=${() => running || begin()}><${Icon} name="refresh" />${running ? "Syncing" : "Sync now"}</button>`}`;
}
