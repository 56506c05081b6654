// @ts-check
// Sizes as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB"], STEP = 1_000;

/** 3.4 MB. @param {number} bytes */
export function size(bytes) {
  let value = bytes, unit = 0;
  while (value >= STEP && unit < UNITS.length - 1) {
    value /= STEP;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}
