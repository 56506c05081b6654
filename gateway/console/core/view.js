// @ts-check
// The one door to the vendored modules: everything else imports from here.

import * as modules from "../vendor/modules.js";

const { hooks, htm, preact, signals } = /** @type {Record<string, any>} */ (modules);

/** @template T @typedef {{value: T}} Signal */

export const { Fragment, render } = preact;
export const { useEffect, useLayoutEffect, useMemo, useRef, useState } = hooks;
export const { batch, computed, effect } = signals;

/** @type {<T>(value: T) => Signal<T>} */
export const signal = signals.signal;

/** @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(preact.h);
