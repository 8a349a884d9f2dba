// Writes packages/telemetry/docs/channels.md from core's channels.ts. Run it after changing a channel or
// a payload.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { root, withDocsOnOneLine } from './sources.ts'

export const channelsPagePath: string = join(root, 'packages/telemetry/docs/channels.md')

interface Payload {
  readonly doc: string
  readonly fields: readonly { readonly name: string; readonly type: string; readonly doc: string }[]
}

const source = withDocsOnOneLine(readFileSync(join(root, 'packages/core/src/channels.ts'), 'utf8'))

/** Interfaces of the file, by name. */
function payloads (): ReadonlyMap<string, Payload> {
  const found = source.matchAll(/\/\*\* ([^\n]*) \*\/\nexport interface (\w+) \{\n([^]*?)\n\}/g)
  return new Map(
    Array.from(
      found,
      ([, doc = '', name = '', body = '']) => [name, { doc, fields: fieldsOf(body) }] as const
    )
  )
}

function fieldsOf (body: string): Payload['fields'] {
  return Array.from(
    body.matchAll(/(?: {2}\/\*\* ([^\n]*) \*\/\n)?^ {2}(?:readonly )?(\w+)(\??): ([^\n]+)$/gm),
    ([, doc = '', name = '', optional = '', type = '']) => ({ name: name + optional, type, doc })
  )
}

/** Each channel of the file with the name of its payload. */
export function channelList (): readonly { readonly channel: string; readonly event: string }[] {
  const keys = new Map(
    Array.from(
      source.matchAll(
        /^ {2}(\w+): (?:events\('([a-z-]+)'\)|tracingChannel\('fastify-tenancy:([a-z-]+)'\))/gm
      ),
      ([, key = '', plain, tracing]) => [key, plain ?? tracing ?? ''] as const
    )
  )
  return Array.from(
    source.slice(source.indexOf('export const channels')).matchAll(
      /^ {2}readonly (\w+): (?:EventChannel|TraceChannel)<(\w+)>$/gm
    ),
    ([, key = '', event = '']) => ({ channel: `fastify-tenancy:${keys.get(key) ?? ''}`, event })
  )
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

export function channelsPage (): string {
  const known = payloads()
  const sections = channelList().map(({ channel, event }) => {
    const { doc = '', fields = [] } = known.get(event) ?? {}
    const rows = fields.map(({ name, type, doc: meaning }) =>
      `| \`${name}\` | \`${cell(type)}\` | ${cell(meaning)} |`
    )
    return `## \`${channel}\`\n\n${doc}\n\n| field | type (\`${event}\`) | meaning |\n|---|---|---|\n${
      rows.join('\n')
    }`
  })
  return `# Channels

The suite publishes these events on \`node:diagnostics_channel\`.
\`channels\` of \`@fastify-tenancy/telemetry\` has them with the types of their payloads.
A publisher asks first whether anything listens, so an event without a listener costs nothing.
The channels are the process' own: with several applications in one process, a listener gets the
events of all. An \`EventTenant\` has \`id\`, \`slug\` and \`isolation\`, and is often the whole tenant.

This page is written by \`node .ci/channels-page.ts\` from the code.

${sections.join('\n\n')}
`
}

if (import.meta.main) {
  mkdirSync(dirname(channelsPagePath), { recursive: true })
  writeFileSync(channelsPagePath, channelsPage())
}
