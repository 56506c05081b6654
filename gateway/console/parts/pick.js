// @ts-check
// Choosing rows of a list, to do one thing with all of them. The address says whether rows are being chosen.

import { addCommands } from "../core/keys.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useRef, useState } from "../core/view.js";
import { Icon } from "./ui.js";

/** @typedef {{isOn: boolean, ids: Set<string>, set: (ids: Iterable<string>) => void, drop: (id: string) => void, into: (columns: import("./table.js").Column[]) => import("./table.js").Column[]}} Picks */

/** @param {import("../core/list.js").List} list @param {(row: any) => string} name @param {boolean} [isAllowed] @returns {Picks} */
export function usePicks(list, name, isAllowed = true) {
  const [ids, setIds] = useState(/** @type {Set<string>} */ (new Set())), isOn = isAllowed && place.value.query.pick === "yes";
  // The row that was chosen last, and the one with which choosing begins.
  const last = useRef(/** @type {string | null} */ (null)), first = useRef(/** @type {string | null} */ (null));
  useEffect(() => {
    const begun = first.current;
    [first.current, last.current] = [null, begun];
    setIds(new Set(begun ? [begun] : []));
    if (begun) document.getElementById(`pick-${begun}`)?.focus({ preventScroll: true });
  }, [list, isOn]);
  const set = (/** @type {Iterable<string>} */ chosen) => setIds(new Set(chosen));
  // From what is chosen by then, because a click may come between a request and its response.
  const drop = (/** @type {string} */ id) => setIds((/** @type {Set<string>} */ chosen) => new Set([...chosen].filter((one) => one !== id)));
  /** With Shift, all rows between the last one and this one become what this one becomes. @param {string} id @param {boolean} [isRange] */
  const toggle = (id, isRange) => {
    const rows = isRange ? (list.rows.value ?? []).map((row) => row.id) : [], from = rows.indexOf(last.current ?? ""), to = rows.indexOf(id);
    const changed = new Set(from < 0 || to < 0 ? [id] : rows.slice(Math.min(from, to), Math.max(from, to) + 1)), isChosen = !ids.has(id);
    setIds((/** @type {Set<string>} */ chosen) => new Set(isChosen ? [...chosen, ...changed] : [...chosen].filter((one) => !changed.has(one))));
    last.current = id;
  };
  const now = useRef({ isOn, toggle });
  now.current = { isOn, toggle };
  useEffect(() => {
    /** @param {boolean} isRange */
    const run = (isRange) => {
      const id = rowInFocus();
      if (now.current.isOn && id) return now.current.toggle(id, isRange);
      if (now.current.isOn) return undefined;
      first.current = id;
      return go(hrefWith({ pick: "yes", open: "" }), { replace: true });
    };
    return isAllowed ? addCommands([
      { id: "pick", label: "Choose this row", keys: "x", group: "Here", icon: "check", run: () => run(false) },
      { id: "pick-range", label: "Choose all rows up to this one", keys: "X", group: "Here", icon: "check", run: () => run(true) },
    ]) : undefined;
  }, [isAllowed]);
  const into = (/** @type {import("./table.js").Column[]} */ [column, ...others]) => [{
    ...column,
    cell: (/** @type {any} */ row) => html`<label class="pick"><input type="checkbox" id=${`pick-${row.id}`} aria-label=${`Choose ${name(row)}`} checked=${ids.has(row.id)}
      onClick=${(/** @type {MouseEvent} */ event) => toggle(row.id, event.shiftKey)} /></label>${column.cell(row)}`,
  }, ...others];
  return { isOn, ids, set, drop, into: isOn ? into : (columns) => columns };
}

/** The row with the focus, or else the one below the pointer. @returns {string | null} */
function rowInFocus() {
  const row = document.activeElement?.closest("tr[data-row]") ?? document.querySelector("tr[data-row]:hover");
  return row instanceof HTMLElement ? row.dataset.row ?? null : null;
}

/** @param {{picks: Picks}} props */
export const PickLink = ({ picks }) => html`<a class="chip add" href=${hrefWith({ pick: picks.isOn ? "" : "yes", open: "" })}><${Icon} name=${picks.isOn ? "x" : "check"} />${picks.isOn ? "Stop choosing" : "Choose rows"}</a>`;
