// Checks proofs as the audit screen does. Standard input: {records, lines, notes, consistency}, of which each
// may be missing; prints what was found.

import fs from "node:fs";
import { pathToFileURL } from "node:url";

const { commitment, checkpointBy, continues, hex, isKept, leafOf, rootOf, verdictOf } = await import(pathToFileURL(process.argv[2]).href);
const { records = [], lines = [], notes = [], consistency = [] } = JSON.parse(fs.readFileSync(0, "utf8"));
const seen = { leaves: [], roots: [], commitments: [], verdicts: [], checkpoints: [], continues: [] };
for (const { line, size } of records) {
  const leaf = await leafOf(line), root = await rootOf(leaf, line.seq, size, line.proof);
  seen.leaves.push(hex(leaf));
  seen.roots.push(root && hex(root));
  seen.commitments.push(await commitment(line.details_salt, line.metadata));
}
for (const line of lines) {
  const steps = [true, await isKept(line, "origin"), await isKept(line, "details")];
  seen.verdicts.push(verdictOf(steps.map((isGood) => ({ isGood }))));
}
for (const { note, keys, kept } of notes) seen.checkpoints.push(await checkpointBy(note, keys, kept));
for (const { before, after, proof } of consistency) seen.continues.push(await continues(before, after, proof));
console.log(JSON.stringify(seen));
