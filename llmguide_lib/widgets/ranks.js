// The arithmetic of low rank. A map is {rows, columns, values}: of its values, singular and falling, the first r make the
// best matrix of rank r, and what the others hold is missed (Eckart and Young). A list of maps is looked at as one.

// The energy, a sum of squares, of the values at each place from the first.
function energies(maps) {
  const found = Array(fullRank(maps)).fill(0);
  for (const { values } of maps) values.forEach((value, at) => (found[at] += value * value));
  return found;
}

function sum(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
}

// Which share of the energy the best matrices keep, for each rank from 1.
export function kept(maps) {
  let soFar = 0;
  const growing = energies(maps).map((one) => (soFar += one));
  return growing.map((one) => one / soFar);
}

// How long the missed part is, as a share of the whole update's length; from the missed values themselves, because
// 1 minus what is kept would be all rounding where little is missed.
export function missed(maps, rank) {
  const found = energies(maps);
  return Math.sqrt(sum(found.slice(rank)) / sum(found));
}

// The largest rank that one of the maps can have.
export function fullRank(maps) {
  return Math.max(...maps.map(({ values }) => values.length));
}

// The smallest rank that keeps this share.
export function rankFor(maps, share) {
  return kept(maps).findIndex((one) => one >= share) + 1;
}

// How many numbers two thin factors of this rank hold; a map of a lower full rank has no use for more than that.
export function thin(maps, rank) {
  return sum(maps.map(({ rows, columns, values }) => Math.min(rank, values.length) * (rows + columns)));
}

// How many numbers the whole matrices hold.
export function whole(maps) {
  return sum(maps.map(({ rows, columns }) => rows * columns));
}

// The largest rank at which the thin factors hold fewer numbers than the matrix.
export function worthwhile({ rows, columns }) {
  return Math.ceil((rows * columns) / (rows + columns)) - 1;
}

// The map with other values of the same energy; those given have the energy 1.
export function withValues(map, values) {
  const length = Math.sqrt(sum(energies([map])));
  return { ...map, values: values.map((value) => value * length) };
}
