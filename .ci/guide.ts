import { readFileSync } from 'node:fs'

/** One step of a guide, in the order of the page. */
export type Step =
  | { readonly kind: 'file'; readonly path: string; readonly text: string }
  | { readonly kind: 'change'; readonly path: string; readonly before: string; readonly after: string }
  | { readonly kind: 'command'; readonly command: string; readonly prints: readonly string[] }
  | { readonly kind: 'stop' }

/**
 * Reads what a guide tells its reader to do. A block whose first line names a file (`// src/a.ts`)
 * is that file, `diff` is a change of one, each line of `sh` a command, and each `$` of `console` a
 * command with the lines that it prints. The sentence "Stop the server" ends the server.
 */
export function readGuide (page: string): Step[] {
  const text = readFileSync(page, 'utf8')
  const parts = text.matchAll(/^```(\w+)\n([^]*?)^```$|^Stop the server\b/gm)
  return Array.from(
    parts,
    ([, language, block = '']) =>
      language === undefined ? [{ kind: 'stop' } as const] : stepsOf(language, block)
  ).flat()
}

function stepsOf (language: string, block: string): Step[] {
  const lines = block.trimEnd().split('\n')
  if (language === 'sh') return lines.map(command => ({ kind: 'command', command, prints: [] }))
  if (language === 'console') return consoleSteps(lines)
  if (language === 'diff') return [change(lines)]
  const [, path] = /^\/\/ (\S+\.\w+)$/.exec(lines[0] ?? '') ?? []
  if (path === undefined) throw new Error(`a block of the guide names no file: ${lines[0]}`)
  return [{ kind: 'file', path, text: block }]
}

function consoleSteps (lines: readonly string[]): Step[] {
  const steps: { kind: 'command'; command: string; prints: string[] }[] = []
  for (const line of lines) {
    if (line.startsWith('$ ')) steps.push({ kind: 'command', command: line.slice(2), prints: [] })
    else steps.at(-1)?.prints.push(line)
  }
  return steps
}

function change ([name = '', ...lines]: readonly string[]): Step {
  const side = (sign: string): string =>
    lines.filter(line => line[0] === ' ' || line[0] === sign).map(line => `${line.slice(1)}\n`).join('')
  return { kind: 'change', path: name.replace('--- ', ''), before: side('-'), after: side('+') }
}

/**
 * Returns the expected lines that the output lacks. `…` stands for any text, and an id or a time
 * for any other.
 */
export function missingLines (output: string, expected: readonly string[]): string[] {
  return expected.filter(line => {
    const pattern = line.split(/…|[\da-f]{8}-[\da-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z/)
      .map(text => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)).join('.+')
    return !new RegExp(pattern).test(output)
  })
}
