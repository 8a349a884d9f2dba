import { readFileSync } from 'node:fs'
import t from 'tap'

import { channels } from '@fastify-tenancy/core'
import { channelList, channelsPage, channelsPagePath } from '../../.ci/channels-page.ts'

t.test('the page of channels is as the code defines them', async t => {
  t.equal(readFileSync(channelsPagePath, 'utf8'), channelsPage(), 'run node .ci/channels-page.ts')
})

t.test('every channel is on the page, with a payload that has a sentence and fields', async t => {
  t.equal(channelList().length, Object.keys(channels).length)
  const page = channelsPage()
  for (const { channel, event } of channelList()) {
    t.match(channel, /^fastify-tenancy:[a-z-]+$/)
    t.match(
      page,
      new RegExp(
        `## \`${channel}\`\n\n\\w.{15,}\n\n\\| field \\| type \\(\`${event}\`\\) ` +
          `[^]*?\n\\|---\\|---\\|---\\|\n\\| \``
      )
    )
  }
})
