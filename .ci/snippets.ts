import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'

import { listeningPort } from './listening-port.ts'

export interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Code blocks of a page whose first line names a file (`// server.mjs`), by that name. */
export function namedSnippets (page: string): ReadonlyMap<string, string> {
  const blocks = readFileSync(page, 'utf8').matchAll(/^```\w+\n(\/\/ ([\w./-]+)\n[^]*?)^```$/gm)
  return new Map(Array.from(blocks, ([, code = '', name = '']) => [name, code]))
}

/** Packages that the first `npm install` of a page names. */
export function installLine (page: string): readonly string[] {
  const [, line = ''] = /^npm install (?!--save-dev)(.+)$/m.exec(readFileSync(page, 'utf8')) ?? []
  return line.split(' ')
}

/** Packages that a snippet imports, without Node's own. */
export function importsOf (code: string): readonly string[] {
  return Array.from(code.matchAll(/ from '([^.'][^']*)'/g), ([, name = '']) => name)
    .filter(name => !name.startsWith('node:'))
}

/** Starts a server as a reader does. Resolves to its port, or rejects with its output. */
export async function serve (
  args: readonly string[],
  cwd: string,
  environment: Readonly<Record<string, string | undefined>> = process.env
): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const env = { ...environment, PORT: '0' }
  const child = spawn(process.execPath, [...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  return { child, port: await listeningPort(child) }
}

/** Sends what the page's `curl -H 'Host: …'` sends: GET, or POST where there is a body. */
export async function ask (port: number, host: string, path: string, body?: object): Promise<Answer> {
  const headers = { host, ...(body !== undefined && { 'content-type': 'application/json' }) }
  const method = body === undefined ? 'GET' : 'POST'
  const sent = request({ port, host: '127.0.0.1', path, method, headers }).end(body && JSON.stringify(body))
  const [reply] = await once(sent, 'response') as [IncomingMessage]
  return { status: reply.statusCode ?? 0, body: await json(reply) }
}
