// Mutants that no test can kill, because they change nothing that a caller or a server can see.
import type { Mutant } from './mutants.ts'

interface Equivalent {
  readonly file: string
  /** The source line, trimmed, so that an entry survives changes elsewhere in the file. */
  readonly text: string
  readonly replacement: string
  readonly reason: string
}

const equivalents: readonly Equivalent[] = [
  {
    file: 'packages/resolver/src/routes.ts',
    text: String.raw`/^((?:[│ ] {3})*)[├└]── (.*?)( \(([A-Z][A-Z, -]*)\)(?: \{.*)?)?$/.exec(line) ?? []`,
    replacement: String.raw`/((?:[│ ] {3})*)[├└]── (.*?)( \(([A-Z][A-Z, -]*)\)(?: \{.*)?)?$/`,
    reason: 'a line of printRoutes() begins with its margin, so the first match begins there, too'
  },
  {
    file: 'packages/database/src/kysely/driver.ts',
    text: 'if (!channels.query.hasSubscribers) return this.#logged(text, work)',
    replacement: 'false',
    reason: 'without a subscriber traceQuery() publishes nothing; the check only saves its cost'
  },
  {
    file: 'packages/core/src/seal.ts',
    text: "if (!text.startsWith('.') || end === -1) return undefined",
    replacement: '+1',
    reason: 'without a line break the value is the whole text, which cannot hold its own signature'
  }
]

export function equivalentReason ({ file, text, replacement }: Mutant): string | undefined {
  return equivalents.find(known =>
    known.file === file && known.text === text && known.replacement === replacement
  )?.reason
}
