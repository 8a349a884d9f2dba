// Mutants that no test can kill, because they change nothing that a caller or a server can see.
import type { Mutant } from './mutants.ts'

interface Equivalent {
  readonly file: string
  /** The source line, trimmed, so that an entry survives changes elsewhere in the file. */
  readonly text: string
  readonly replacement: string
  readonly reason: string
}

const equivalents: readonly Equivalent[] = []

export function equivalentReason ({ file, text, replacement }: Mutant): string | undefined {
  return equivalents.find(known =>
    known.file === file && known.text === text && known.replacement === replacement
  )?.reason
}
