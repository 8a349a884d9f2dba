/** The values of each choice. */
export type Values = Readonly<Record<string, readonly unknown[]>>

type Row = Record<string, unknown>

/**
 * Returns rows that contain every pair of values of two choices: a covering array of strength 2.
 * Each row takes, choice by choice, the value with the most pairs that no row has yet.
 */
export function allPairs (values: Values): Row[] {
  const names = Object.keys(values).toSorted((a, b) => size(values, b) - size(values, a))
  const missing = new Set(pairsOf(values))
  const rows: Row[] = []
  while (missing.size > 0) {
    // Begins with a missing pair, so that each row covers one at least.
    const [first = ''] = missing
    const row: Row = Object.fromEntries(JSON.parse(first) as [string, unknown][])
    for (const name of names.filter(each => !(each in row))) {
      const gain = (value: unknown): number =>
        Object.entries(row).filter(([other, taken]) => missing.has(pair([name, value], [other, taken])))
          .length
      row[name] = values[name]?.toSorted((a, b) => gain(b) - gain(a))[0]
    }
    for (const one of coveredBy(row)) missing.delete(one)
    rows.push(row)
  }
  return rows
}

/** Returns every pair of values of two choices, as text. */
export function pairsOf (values: Values): string[] {
  const names = Object.keys(values)
  return names.flatMap((a, at) =>
    names.slice(at + 1).flatMap(b =>
      (values[a] ?? []).flatMap(x => (values[b] ?? []).map(y => pair([a, x], [b, y])))
    )
  )
}

/** Returns the pairs in a row, as {@link pairsOf} writes them. */
export function coveredBy (row: Readonly<Row>): string[] {
  return pairsOf(Object.fromEntries(Object.entries(row).map(([name, value]) => [name, [value]])))
}

function pair (...two: [string, unknown][]): string {
  return JSON.stringify(two.toSorted(([a], [b]) => a < b ? -1 : 1))
}

function size (values: Values, name: string): number {
  return values[name]?.length ?? 0
}
