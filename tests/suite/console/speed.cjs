// How long the first screens take on a slow CPU. For tests/bench/console.py: no test, because other work on the machine changes it.

async function asAdmin({ given, enter, speed }) {
  await enter("/console", given.admin);
  for (const [place, ready] of given.places) await speed(place, ready);
}

module.exports = { asAdmin };
