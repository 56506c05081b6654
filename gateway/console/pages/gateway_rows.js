// @ts-check
// A list that the gateway returns whole: refreshed in place, and filtered here.

import { useThing } from "../core/list.js";
import { computed, signal, useEffect, useMemo } from "../core/view.js";

const REFRESH_MS = 15_000;

/**
 * A list as the table expects it, from one response. `rowsOf` gives every row an id.
 * @param {string} path @param {(data: any) => any[]} rowsOf @param {any[]} [filters] what `rowsOf` depends on
 * @returns {any}
 */
export function useWhole(path, rowsOf, filters = []) {
  const thing = useThing(path);
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) thing.load(); }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [thing]);
  return useMemo(() => ({
    rows: computed(() => thing.data.value && rowsOf(thing.data.value)),
    error: thing.error, next: signal(null), fresh: signal([]), isLoading: signal(false),
    load: thing.load, more: () => undefined, showFresh: () => {}, data: thing.data,
  }), [thing, ...filters]);
}
