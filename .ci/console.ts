import { readFileSync } from 'node:fs'

/** A command of a page, with what the page says that it prints. */
export interface Printed {
  readonly command: string
  readonly output: string
}

/** Commands of one section of a page, in order. Only those of `console` blocks have an output. */
export function commandsOf (page: string, section: string): Printed[] {
  const [, text = ''] = readFileSync(page, 'utf8').split(`\n## ${section}\n`)
  const blocks = (text.split('\n## ')[0] ?? '').matchAll(/^```(sh|console)\n([^]*?)^```$/gm)
  return [...blocks].flatMap(([, language, body = '']) =>
    language === 'sh'
      ? body.trim().split('\n').map(command => ({ command, output: '' }))
      : body.split(/^\$ /m).slice(1).map(part => {
        const [command = '', ...output] = part.trimEnd().split('\n')
        return { command, output: output.join('\n') }
      })
  )
}

/** Returns why a command did not print what its page says, or undefined. Ids and measurements may differ. */
export function difference ({ command, output }: Printed, actual: string): string | undefined {
  const isMeasured = / top /.test(command)
  const lines = (text: string): string[] =>
    text.trim().split('\n').map(line => {
      const same = line.replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
        .replaceAll(isMeasured ? /\d+(?:\.\d+)?(?: %)?/g : /\d+\.\d+/g, '<n>')
      return same.replaceAll(/\s+/g, ' ').trim()
    })
  const wanted = lines(output)
  const found = lines(actual)
  // A line with an ellipsis alone stands for any lines.
  const from = wanted[0] === '…' ? Math.max(0, found.length - wanted.length + 1) : 0
  const expected = wanted[0] === '…' ? wanted.slice(1) : wanted
  const compared = found.slice(from)
  return expected.join('\n') === compared.join('\n')
    ? undefined
    : `${command}\nprinted\n${compared.join('\n')}\ninstead of\n${expected.join('\n')}`
}
