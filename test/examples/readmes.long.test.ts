// The READMEs of the examples: the server starts as they say, and answers as they print it.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { ask, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'

interface Printed {
  readonly host: string
  readonly path: string
  readonly body: object | undefined
  readonly answer: string
}

/** Returns the `curl` lines of a README's console blocks, each with the line printed below it. */
function printed (page: string): Printed[] {
  const blocks = page.matchAll(/^```console\n([^]*?)^```$/gm)
  return Array.from(blocks, ([, block = '']) =>
    Array.from(
      block.matchAll(/^\$ curl (?:-H 'Host: (\S+)' )?http:\/\/127\.0\.0\.1:3000(\S+)(.*)\n(.+)$/gm),
      ([, host = '127.0.0.1', path = '', rest = '', answer = '']) => {
        const [, body] = / -d '(.+)'/.exec(rest) ?? []
        return { host, path, body: body === undefined ? undefined : JSON.parse(body) as object, answer }
      }
    )).flat()
}

const uuid = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/

/** Replaces what differs from run to run. */
function masked (text: string): string {
  return text.replaceAll(new RegExp(uuid, 'g'), '<uuid>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<date>').replaceAll(/"eyJ[^"]*"/g, '"<token>"')
}

// Most of the time is spent starting PGlite, which uses one core each.
t.jobs = 3

for (const example of ['quickstart', 'saas', 'jobs', 'mixed', 'drizzle', 'better-auth']) {
  t.test(`the README of ${example} prints what its server answers`, { timeout: 180_000 }, async t => {
    const folder = join(root, 'examples', example)
    const page = readFileSync(join(folder, 'README.md'), 'utf8')
    t.ok(page.split('\n').length < 150, 'it is short')
    const lines = printed(page)
    t.ok(lines.length >= 2, 'control')

    const { child, port } = await serve(['--conditions=@fastify-tenancy/source', 'src/server.ts'], folder)
    t.teardown(() => child.kill('SIGKILL'))
    const ids: Record<string, string> = {}
    for (const { host, path, body, answer } of lines) {
      const reply = await ask(port, host, path.replace(uuid, printed => ids[printed] ?? printed), body)
      t.equal(masked(JSON.stringify(reply.body)), masked(answer), `${host}${path}`)
      const [printedId, id] = [answer, JSON.stringify(reply.body)].map(text => text.match(uuid)?.[0])
      if (printedId !== undefined && id !== undefined) ids[printedId] = id
    }
  })
}
