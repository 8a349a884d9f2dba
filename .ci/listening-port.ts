import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

/**
 * Returns the port on which a started server listens, by its log. Rejects with its output if it ends
 * before.
 */
export async function listeningPort ({ stdout, stderr }: ChildProcess): Promise<number> {
  if (stdout === null || stderr === null) throw new TypeError('the output of the server must be piped')
  let output = ''
  stderr.on('data', chunk => {
    output += chunk
  })
  for await (const line of createInterface(stdout)) {
    output += `${line}\n`
    const [, port] = /Server listening at http:\/\/[^"]*:(\d+)"/.exec(line) ?? []
    if (port === undefined) continue
    stdout.resume()
    return Number(port)
  }
  throw new Error(`the server ended before it listened:\n${output}`)
}
