import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'

import { OptionInvalidError } from '@fastify-tenancy/core'
import { Limits, parseLimits, resolveRateLimitOptions } from '@fastify-tenancy/rate-limit'

import { temporaryFolder } from '../support/services.ts'
import { until } from '../support/until.ts'
import { get, startApp, statuses, tenant } from './app.ts'

function folderOf (t: Test): string {
  const folder = temporaryFolder()
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

function rpmOf (text: string, name = 'limits.yaml'): unknown {
  return new Limits(parseLimits(text, name)).of(tenant('acme')).rpm
}

function problem (text: string, name = 'limits.json'): string {
  try {
    parseLimits(text, name)
  } catch (error) {
    return error instanceof OptionInvalidError ? (error as Error).message : `unexpected ${String(error)}`
  }
  return 'accepted'
}

t.test('RL-06 a limit that is no positive integer is an error with file, line and key', async t => {
  for (const bad of ['"60"', '1.5', '0', '-1', 'null', '"abc"', '1e12', '[]', '{}', 'true', '"Unlimited"']) {
    t.match(
      problem(`{\n  "default": { "rpm": ${bad} }\n}`),
      new RegExp(
        String.raw`^limits\.json, line 2: limits\.default\.rpm must be a positive integer up to ` +
          "1000000000 or 'unlimited', got "
      ),
      bad
    )
    t.match(
      problem(`{\n"tenants": {\n"acme": {\n"rpm": ${bad} } } }`),
      /^limits\.json, line 4: limits\.tenants\.acme\.rpm must be /,
      bad
    )
  }
  t.match(problem('{ "default": { "rpm": NaN } }'), /^limits\.json: .*JSON/)
  t.match(
    problem('default:\n  rpm: .nan', 'limits.yaml'),
    /^limits\.yaml, line 2: limits\.default\.rpm must be .* got NaN$/
  )
  for (const field of ['burst', 'concurrency', 'perClient']) {
    for (const bad of ['"unlimited"', '0', '1.5', '-1', 'null', '"5"'])
      t.match(
        problem(`{ "plans": { "pro": { "${field}": ${bad} } } }`),
        new RegExp(`^limits\\.json, line 1: limits\\.plans\\.pro\\.${field} must be a positive integer`)
      )
  }
  t.equal(rpmOf('default: {}'), 100, 'missing means the documented default')
  t.equal(rpmOf('{}'), 100)
})

t.test('CFG-05 a key that would be ignored is an error', async t => {
  t.match(
    problem('{ "default": {},\n "defaults": {} }'),
    /^limits\.json, line 2: limits\.defaults is not a known option/
  )
  t.match(problem('{ "default": { "rps": 5 } }'), /limits\.default\.rps is not a known option/)
  t.match(
    problem('{ "anonymous": { "perClient": 5 } }'),
    /limits\.anonymous\.perClient is not a known option/
  )
  t.match(
    problem('{ "tenants": {\n "Acme": {} } }'),
    /^limits\.json, line 2: limits\.tenants\.Acme names no tenant: a slug must be/
  )
  t.match(problem('{ "tenants": { "id:a b": {} } }'), /names no tenant: a tenant id must be/)
  t.match(problem('{ "tenants": [] }'), /limits\.tenants must be an object/)
  t.match(problem('{ "default": [] }'), /limits\.default must be an object/)
  t.match(problem('[]'), /limits must be an object/)
  t.match(problem('5'), /limits must be an object/)
})

t.test('CFG-05 duplicate keys are an error in JSON and YAML, even with equal values', async t => {
  t.equal(
    problem('{ "tenants": { "acme": { "rpm": 1 },\n "acme": { "rpm": 1 } } }'),
    'limits.json, line 2: the key acme is given twice'
  )
  t.match(problem('{ "default": { "rpm": 5, "rpm": 6 } }'), /the key rpm is given twice/)
  // An alias is another spelling of a key.
  for (
    const text of [
      'tenants:\n  &x acme: { rpm: 1 }\n  *x : { rpm: 2 }\n',
      '&d default: { rpm: 1 }\n*d : { rpm: 2 }\n',
      'tenants:\n  acme: { &r rpm: 1, *r : 2 }\n',
      'plans:\n  ? &k pro\n  : { rpm: 1 }\n  ? *k\n  : { rpm: 2 }\n'
    ]
  ) t.match(problem(text, 'limits.yml'), /^limits\.yml, line \d: the key \w+ is given twice/)
  t.match(
    problem('default:\n  rpm: 5\ndefault:\n  rpm: 6\n', 'limits.yml'),
    /^limits\.yml, line 3: the key default is given twice/
  )
  t.equal(
    rpmOf('{ "plans": { "a\\": {": { "rpm": 1 }, "free": { "rpm": 7 } } }', 'l.json'),
    7,
    'braces and quotes in a name are no keys'
  )
})

t.test('CFG-05 BOM, CRLF, tabs and YAML comments are accepted, JSON comments refused', async t => {
  t.equal(rpmOf('\uFEFF{ "default": { "rpm": 7 } }', 'l.json'), 7)
  t.equal(rpmOf('{\r\n\t"default": {\r\n\t\t"rpm": 7\r\n\t}\r\n}\r\n', 'l.json'), 7)
  t.equal(rpmOf('\uFEFFdefault:\r\n  rpm: 7 # seven\r\n'), 7)
  t.match(problem('{ // none\n}'), /^limits\.json: /)
  for (const empty of ['', ' \n', '\uFEFF']) {
    t.match(problem(empty), /the file is empty/)
    t.match(problem(empty, 'l.yaml'), /the file is empty/)
  }
  const aliases = Array.from(
    { length: 5 },
    (_, at) => `k${at}: &k${at} [${Array(9).fill(at === 0 ? 'x' : `*k${at - 1}`).join(',')}]`
  ).join('\n')
  t.match(problem(aliases, 'l.yaml'), /^l\.yaml: .*alias/i, 'aliases of aliases')
  t.match(problem('# only this\n', 'l.yaml'), /limits must be an object/)
  t.match(problem('default: {}\n---\ndefault: {}\n', 'l.yaml'), /^l\.yaml, line \d: /)
  t.match(problem('default: [', 'l.yaml'), /^l\.yaml, line 1: [^\n]+$/, 'one line, for a log')
})

t.test('RES-12 names of object properties are ordinary names', async t => {
  const limits = new Limits(
    parseLimits(
      '{ "plans": { "__proto__": { "rpm": 3 }, "constructor": { "rpm": 4 } }, "tenants": ' +
        '{ "constructor": { "rpm": 5 } } }',
      'l.json'
    )
  )
  t.equal(limits.of(tenant('a', '__proto__')).rpm, 3)
  t.equal(limits.of(tenant('a', 'constructor')).rpm, 4)
  t.equal(limits.of(tenant('constructor')).rpm, 5)
  t.equal(limits.of(tenant('tostring', 'toString')).rpm, 100)
  t.equal(
    new Limits(parseLimits('plans:\n  __proto__: { rpm: 3 }\n', 'l.yaml')).of(tenant('a', '__proto__')).rpm,
    3
  )
})

t.test('a wrong option names itself', async t => {
  const says = (given: unknown): string => {
    try {
      resolveRateLimitOptions(given, 'options.rateLimit')
    } catch (error) {
      t.match(error, { code: 'FST_TENANCY_OPTION_INVALID' })
      return (error as Error).message
    }
    return 'accepted'
  }
  t.match(
    says({ limits: { default: { rpm: '60' } } }),
    /^options\.rateLimit\.limits\.default\.rpm must be a positive integer/
  )
  t.match(says({}), /options\.rateLimit must have either file or limits/)
  t.match(says({ file: 'a', limits: {} }), /either file or limits/)
  t.match(says({ limits: {}, mode: 'off' }), /options\.rateLimit\.mode must be one of/)
  t.match(says({ limits: {}, max: 5 }), /options\.rateLimit\.max is not a known option/)
  t.match(says(''), /options\.rateLimit\.file must be a non-empty string/)
  t.match(says(5), /options\.rateLimit must be/)
  const limits = { default: { rpm: 5 } }
  t.equal(says({ limits }), 'accepted')
  t.notOk(Object.isFrozen(limits.default), 'the caller keeps what it gave')
})

t.test('CFG-08 a file that is missing or broken at boot stops the boot', async t => {
  const folder = folderOf(t)
  await t.rejects(startApp(t, join(folder, 'none.json')), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /none\.json: the file cannot be read \(ENOENT\)/
  })
  writeFileSync(join(folder, 'broken.json'), '{ "default": ')
  await t.rejects(startApp(t, { file: join(folder, 'broken.json') }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /broken\.json: /
  })
})

t.test('a relative path is relative to the working directory', async t => {
  const file = join(folderOf(t), 'limits.yaml')
  writeFileSync(file, 'default: { rpm: 7 }')
  const app = await startApp(t, relative(process.cwd(), file))
  t.equal((await get(app, 'acme')).headers['x-ratelimit-limit'], '7')
})

t.test('a changed file applies at once and keeps the running count', async t => {
  const file = join(folderOf(t), 'limits.json')
  writeFileSync(file, '{ "default": { "rpm": 2 } }')
  const app = await startApp(t, file)
  t.same(await statuses(app, 'acme', 3), [200, 200, 429])
  writeFileSync(file, '{ "default": { "rpm": 4 } }')
  await until(() => app.tenantRateLimit.limitsFor(tenant('acme')).rpm === 4)
  t.same(await statuses(app, 'acme', 3), [200, 200, 429])
  for (let i = 5; i <= 14; i++) writeFileSync(file, `{ "default": { "rpm": ${i} } }`)
  await until(() => app.tenantRateLimit.limitsFor(tenant('acme')).rpm === 14)
})

t.test('CFG-01 CFG-02 CFG-04 a broken or deleted file changes no limit and is logged once', async t => {
  const file = join(folderOf(t), 'limits.json')
  const lines: { problem: string }[] = []
  writeFileSync(file, '{ "default": { "rpm": 7 } }')
  const app = await startApp(t, file, {
    logger: {
      level: 'error',
      stream: {
        write: (line: string) => {
          lines.push(JSON.parse(line) as { problem: string })
        }
      }
    }
  })
  const health = (): { status?: string; problem?: string | undefined } =>
    app.tenantRateLimit.health().file ?? {}
  const holds = (): void => {
    t.equal(app.tenantRateLimit.limitsFor(tenant('acme')).rpm, 7)
  }
  t.match(health(), { status: 'ok', problem: undefined })

  writeFileSync(file, '{ "default": { "rpm": ')
  await until(() => health().status === 'stale')
  holds()
  t.match(health().problem, /limits\.json: /)

  truncateSync(file)
  await until(() => /empty/.test(health().problem ?? ''))
  holds()

  writeFileSync(file, '{ "default": { "rpm": 7 } }')
  await until(() => health().status === 'ok')
  holds()

  unlinkSync(file)
  await until(() => /ENOENT/.test(health().problem ?? ''))
  holds()
  t.same(lines.map(({ problem }) => /empty|ENOENT/.exec(problem)?.[0] ?? 'broken'), ['broken', 'empty',
    'ENOENT'])

  writeFileSync(file, '{ "default": { "rpm": 8 } }')
  await until(() => app.tenantRateLimit.limitsFor(tenant('acme')).rpm === 8)
  t.match(health(), { status: 'ok', problem: undefined })
})

t.test('a file replaced by rename, or behind a symlink that is swapped, is seen', async t => {
  const folder = folderOf(t)
  const version = (name: string, rpm: number): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'limits.json'), `{ "default": { "rpm": ${rpm} } }`)
  }
  version('one', 1)
  version('two', 2)
  symlinkSync('one', join(folder, 'data'))
  symlinkSync(join('data', 'limits.json'), join(folder, 'limits.json'))
  const app = await startApp(t, join(folder, 'limits.json'))
  const rpm = (): unknown => app.tenantRateLimit.limitsFor(tenant('acme')).rpm
  t.equal(rpm(), 1)
  symlinkSync('two', join(folder, 'next'))
  renameSync(join(folder, 'next'), join(folder, 'data'))
  await until(() => rpm() === 2)
  writeFileSync(join(folder, 'new.json'), '{ "default": { "rpm": 3 } }')
  renameSync(join(folder, 'new.json'), join(folder, 'two', 'limits.json'))
  await until(() => rpm() === 3)
})

t.test('100,000 tenants are read beside the event loop, at boot and again, in short slices', async t => {
  const file = join(folderOf(t), 'limits.json')
  const write = (rpm: number): string => {
    const text = JSON.stringify({
      tenants: Object.fromEntries(
        Array.from({ length: 100_000 }, (_, i) => [`tenant-${i}`, { rpm, burst: 5 }])
      )
    })
    writeFileSync(file, text)
    return text
  }
  const text = write(1)
  // The first start of a plugin also loads its modules, so it is not measured.
  await startApp(t, { limits: {} })
  let started: Awaited<ReturnType<typeof startApp>> | undefined
  const starting = startApp(t, file).then(app => {
    started = app
    return app
  })
  const atBoot = await longestTurn(() => started !== undefined)
  const app = await starting
  const last = tenant('tenant-99999')
  t.equal(app.tenantRateLimit.limitsFor(last).rpm, 1)
  write(2)
  const apart = await longestTurn(() => app.tenantRateLimit.limitsFor(last).rpm === 2)

  writeFileSync(
    file,
    JSON.stringify({
      tenants: Object.fromEntries(
        Array.from({ length: 2_000 }, (_, i) => [`tenant-${i}`, { rpm: 1_999 - i, burst: 5 }])
      )
    })
  )
  await until(() =>
    /limits\.json, line 1: limits\.tenants\.tenant-1999\.rpm must be/.test(
      app.tenantRateLimit.health().file?.problem ?? ''
    )
  )
  t.equal(app.tenantRateLimit.limitsFor(last).rpm, 2)

  let isRead = false
  setImmediate(() => {
    isRead = parseLimits(text, 'limits.json').tenants.size > 0
  })
  const inLoop = await longestTurn(() => isRead)
  // 9 ms against 350 on an idle machine. The rest is garbage collection, which a busy machine
  // prolongs.
  t.ok(apart < inLoop / 3, `${apart} ms, and ${inLoop} ms in the event loop`)
  t.ok(atBoot < inLoop / 3, `${atBoot} ms at boot, and ${inLoop} ms in the event loop`)
})

/**
 * Returns the longest CPU time in ms that this thread spent before a 1 ms timer could run, while it
 * waited for `done`.
 */
async function longestTurn (done: () => boolean): Promise<number> {
  let longest = 0
  for (let before = process.threadCpuUsage(); !done(); before = process.threadCpuUsage()) {
    await setTimeout(1) // a sample of the clock, not a wait for a condition
    const { user, system } = process.threadCpuUsage(before)
    longest = Math.max(longest, (user + system) / 1_000)
  }
  return longest
}
