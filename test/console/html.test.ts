// Escaping, and the parts of the console that need no server.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { root } from '../../.ci/sources.ts'
import { Confirmations, type Subject } from '../../packages/console/src/routes/confirmations.ts'
import { html } from '../../packages/console/src/html/html.ts'
import { tenantPlots } from '../../packages/console/src/plots/tenant-plots.ts'
import { UsageHistory } from '../../packages/console/src/plots/usage-history.ts'
import { Recent } from '../../packages/console/src/data/recent.ts'
import type { CountedUsage, CountedReport } from '../../packages/console/src/data/suite.ts'

t.test('html escapes every value that is not HTML itself', async t => {
  const name = `<img src=x onerror="a('b')">&\``
  t.equal(
    String(html`<p title="${name}">${[name, html`<b>${1}</b>`, undefined, null, false]}</p>`),
    '<p title="&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;&#96;">&lt;img src=x ' +
      'onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;&#96;<b>1</b></p>'
  )
  t.equal(String(html`${html`${html`<i>`}`}`), '<i>', 'HTML is not escaped twice')
  t.equal(String(html`${'a\u202eb\u200b\0\ud800'}`), 'a\\u{202e}b\\u{200b}\\u{0}\ufffd', 'controls are shown')
  const forged = { toString: () => '<script>', '#text': '<script>' }
  t.equal(String(html`${forged as never}`), '&lt;script&gt;', 'an object of another class is text')
})

t.test('no page has an inline style or script, and markup comes from html alone', async t => {
  const folder = join(root, 'packages/console/src')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name =>
    name.endsWith('.ts')
  )
  t.ok(files.length > 20)
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8')
    if (file !== 'assets/icon.ts') t.notMatch(text, /(?<!html)`\s*<\w/, `${file} has no HTML of its own`)
    t.notMatch(text, /\sstyle="|<style|<script(?! src=)|\son\w+="|javascript:/, file)
    if (file !== 'html/html.ts') t.notMatch(text, /new Html\(/, file)
  }
})

t.test('a confirmation holds once, for its session, operator, action, tenant, version and plan', async t => {
  let now = 1_000_000
  const confirmations = new Confirmations(() => now)
  const subject: Subject = { actor: 'alice', action: 'plan', tenant: 'a', version: 3, plan: 'pro' }
  const token = confirmations.issue('session', subject)
  for (
    const other of [{ actor: 'bob' }, { action: 'suspend' }, { tenant: 'b' }, { version: 4 }, {
      plan: 'free'
    }, {
      plan: undefined
    }]
  ) t.equal(confirmations.redeem('session', { ...subject, ...other }, token), 'forged', JSON.stringify(other))
  t.equal(confirmations.redeem('another', subject, token), 'forged')
  const [nonce, expires, signature] = token.split('.')
  for (
    const forged of ['', '..', 'x', `${nonce}x.${expires}.${signature}`,
      `${nonce}.${Number(expires) + 1}.${signature}`, `${nonce}.${expires}.`, `${token}.`,
      `${nonce}.${expires}.${signature?.slice(1)}`]
  ) t.equal(confirmations.redeem('session', subject, forged), 'forged', forged)
  t.equal(confirmations.redeem('session', subject, token), undefined)
  t.equal(confirmations.redeem('session', subject, token), 'used')
  const late = confirmations.issue('session', subject)
  now += 15 * 60_000
  t.equal(confirmations.redeem('session', subject, late), 'expired')
  // Another process has not seen the first one used. The tenant's version refuses it there: see
  // actions.test.ts.
  t.equal(new Confirmations(() => 1_000_000).redeem('session', subject, token), undefined)
})

const zero: CountedUsage = {
  id: '',
  slug: '',
  requests: 0,
  refusals: 0,
  failedStatements: 0,
  databaseTime: 0,
  databaseWait: 0,
  cacheHits: 0,
  cacheMisses: 0
}

t.test('totals become what each tenant used between two samples', async t => {
  let now = 0
  let report: CountedReport = { since: 1, tenants: [], other: zero }
  const history = new UsageHistory(() => report, () => now)
  const take = (
    tenants: readonly Partial<CountedUsage>[],
    other: Partial<CountedUsage> = {},
    since = 1
  ): void => {
    now += 15_000
    report = { since, tenants: tenants.map(usage => ({ ...zero, ...usage })), other: { ...zero, ...other } }
    history.sample()
  }
  take([{ id: 'a', slug: 'acme', requests: 100, databaseTime: 1_000 }])
  t.same(history.of('a'), [], 'what was before the first sample is of no interval')
  take([{ id: 'a', slug: 'acme', requests: 130, databaseTime: 1_300 }], { databaseTime: 100 })
  t.match(history.of('a'), [{ requests: 30, databaseTime: 300, allDatabaseTime: 400, seconds: 15 }])
  take([{ id: 'a', requests: 130, databaseTime: 1_300 }, { id: 'b', requests: 7 }], { databaseTime: 100 })
  t.match(history.of('a').map(({ requests }) => requests), [30, 0])
  t.match(history.of('b').map(({ requests }) => requests), [0, 7], 'a tenant that is new began at 0')
  take([{ id: 'a', requests: 5, databaseTime: 50 }], { databaseTime: 100 })
  t.equal(history.of('a').at(-1)?.requests, 5, 'a total that fell was begun anew')
  take([{ id: 'a', requests: 9, databaseTime: 90 }], {}, 2)
  t.equal(history.of('a').at(-1)?.requests, 9, 'and so was one of a new count')
  history.sample()
  t.equal(history.of('a').length, 4, 'no time, no sample')
  t.match(history.busiest(1), [{ id: 'a', requests: 44, share: 440 / 540 }])
  for (let more = 0; more < 100; more++) take([{ id: 'a', requests: 9 }], {}, 2)
  t.equal(history.of('a').length, 60)
  const shown = String(
    tenantPlots(history.of('a'), { rpm: 60, burst: undefined, concurrency: undefined, perClient: undefined })
  )
  t.match(shown, /0 in the last minute, of 60/)
  t.notMatch(shown, /NaN|Infinity|undefined/)
  t.match(String(tenantPlots([], undefined)), /The first sample comes/)
})

t.test('a slow read is made once, and a page waits no longer than its patience', async t => {
  let reads = 0
  let end: (() => void) | undefined
  const recent = new Recent(
    async () => {
      reads++
      await new Promise<void>(resolve => {
        end = resolve
      })
      return reads
    },
    60_000,
    1
  )
  const known = await Promise.all([recent.get(), recent.get()])
  t.match(known, [{ reading: undefined, isReading: true }, { isReading: true }])
  t.equal(reads, 1)
  end?.()
  await recent.get()
  t.match(await recent.get(), { reading: { value: 1 }, isReading: false, error: undefined })
  t.equal(reads, 1)
})
