/** The result of a run, and its report in few lines. */
export interface Summary {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** The reasons for skipped tests, with the number of tests for each. */
  readonly reasons: ReadonlyMap<string, number>
}

/**
 * Reads tap's whole report and writes the parts that people need: a line for each file, failures
 * in full with their surrounding tests, and tap's top-level output (the table of coverage).
 */
export async function terse (lines: AsyncIterable<string>, write: (line: string) => void): Promise<Summary> {
  let subtests: string[] = [] // not yet written, outermost first
  let deepestFailure = -1
  let isDiagnosing: string | undefined // indent of the diagnosis that is being read
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
      // A test that failed only because a test inside it failed adds nothing.
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
