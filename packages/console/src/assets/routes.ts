import type { FastifyInstance } from 'fastify'
import { createHash } from 'node:crypto'

import { icon } from './icon.ts'
import { script } from './script.ts'
import { style } from './style.ts'

const files = [['css', 'text/css', style], ['js', 'text/javascript', script], ['svg', 'image/svg+xml',
  icon]] as const

/** Changes with any of the files. */
export const assetsVersion: string = createHash('sha256').update(style + script + icon).digest('hex').slice(
  0,
  12
)

/**
 * Serves the files of the pages, behind `authorize` as everything else. Browsers keep them for a
 * year: their names change.
 */
export function serveAssets (app: FastifyInstance): void {
  for (const [extension, type, text] of files) {
    app.get(
      `/assets/${assetsVersion}.${extension}`,
      { config: { tenancy: 'off' } },
      async (_request, reply) =>
        reply.type(`${type}; charset=utf-8`).header('cache-control', 'private, max-age=31536000, immutable')
          .send(text)
    )
  }
}
