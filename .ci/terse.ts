/** What a run came to, and the way there in few lines. */
export interface Summary {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Why tests were skipped, and how many for each reason. */
  readonly reasons: ReadonlyMap<string, number>
}

/**
 * Reads tap's whole report and writes what a person wants of it: a line for each file, failures in full with the
 * tests that they are in, and what tap says at the top level (the table of coverage).
 */
export async function terse (lines: AsyncIterable<string>, write: (line: string) => void): Promise<Summary> {
  let subtests: string[] = [] // not yet written, outermost first
  let deepestFailure = -1
  let isDiagnosing: string | undefined // the indent of a diagnosis that is being read
  let isWriting = false
  let totals = ''
  const reasons = new Map<string, number>()

  for await (const line of lines) {
    const indent = /^ */.exec(line)?.[0] ?? ''
    const depth = indent.length / 4
    const text = line.slice(indent.length)
    const reason = isDiagnosing === undefined ? /^ok \d+ .*# SKIP (.+)$/.exec(text)?.[1] : undefined
    if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    if (isDiagnosing !== undefined) {
      if (isWriting) write(line)
      if (line === `${isDiagnosing}...`) isDiagnosing = undefined
    } else if (text === '---') {
      isDiagnosing = indent
      if (isWriting) write(line)
    } else if (text.startsWith('# Subtest: ')) {
      subtests = [...subtests.slice(0, depth), line]
    } else if (/^not ok \d+ (?!.*# (?:TODO|SKIP))/.test(text)) {
      subtests.slice(0, depth).filter(subtest => subtest !== '').forEach(subtest => {
        write(subtest)
      })
      subtests = subtests.map(() => '')
      write(line)
      // A test that failed because of one inside it has nothing to add.
      isWriting = depth >= deepestFailure
      deepestFailure = depth === 0 ? -1 : depth
    } else {
      isWriting = false
      if (text.startsWith('# {') && depth === 0) totals = text
      if (depth < 1 && !/^(?:TAP version|1\.\.\d|# (?:time|\{)|$)/.test(text)) write(line)
    }
  }
  const count = (word: string): number => Number(new RegExp(`\\b${word}: (\\d+)`).exec(totals)?.[1] ?? 0)
  return { passed: count('pass'), failed: count('fail'), skipped: count('skip'), reasons }
}
