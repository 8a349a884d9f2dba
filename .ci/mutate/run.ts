// `npm run mutate -- --seed 1 --mutants 400 [--files 'packages/cache/src/*.ts'] [--jobs 2]
// [--tests 16] [--minutes 90] [--fresh]`: a seeded sample of mutants, each against the tests that
// execute the mutated code. Ends with an error if less than 90 % are killed.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

import { startPostgres, startRedis, type Service } from '../../test/support/services.ts'
import { bundleLibraries } from '../bundles.ts'
import { compiles } from './compiles.ts'
import { Coverage } from './coverage.ts'
import { equivalentReason } from './equivalent.ts'
import { hashOf, listMutants, mutated, sample, type Mutant } from './mutants.ts'
import { print, type Verdict } from './print.ts'
import { runTest } from './run-test.ts'
import { targets } from './targets.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    mutants: { type: 'string', default: '400' },
    files: { type: 'string', multiple: true, default: [...targets] },
    jobs: { type: 'string', default: '2' },
    tests: { type: 'string', default: '16' },
    minutes: { type: 'string', default: '90' },
    fresh: { type: 'boolean', default: false }
  }
})
const cache = 'node_modules/.cache/mutate'
const deadline = Date.now() + Number(values.minutes) * 60_000
const services: Service[] = []
const folder = mkdtempSync(join(tmpdir(), 'mutate-'))
mkdirSync(cache, { recursive: true })

try {
  process.env.TEST_DATABASE_URL ||= await start(startPostgres())
  process.env.TEST_REDIS_URL ||= await start(startRedis())
  process.env.TEST_BUNDLES = JSON.stringify(await bundleLibraries('node_modules/.cache/tests'))
  const chosen = sample(await listMutants(values.files), Number(values.seed), Number(values.mutants))
  const coverage = new Coverage(join(cache, 'coverage.json'))
  const failing = await coverage.complete(new Set(chosen.map(({ file }) => file)), inParallel)
  for (const file of failing) console.error(`left out, because it fails without a mutant: ${file}`)
  const verdicts = await judgeAll(chosen, coverage)
  process.exitCode = print(verdicts, chosen.length) >= 90 ? 0 : 1
} finally {
  await Promise.allSettled(services.map(service => service.stop()))
  rmSync(folder, { recursive: true, force: true })
}

async function start (service: Promise<Service>): Promise<string> {
  services.push(await service)
  return (await service).url
}

async function inParallel<T> (items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(Array.from({ length: Number(values.jobs) }, async () => {
    for (const item of rest) await work(item)
  }))
}

/** Judges the mutants until the time is over. Earlier verdicts are used while they are valid. */
async function judgeAll (chosen: readonly Mutant[], coverage: Coverage): Promise<Verdict[]> {
  const file = join(cache, 'verdicts.json')
  const known = existsSync(file) && !values.fresh
    ? JSON.parse(readFileSync(file, 'utf8')) as Record<string, Verdict>
    : {}
  const verdicts: Verdict[] = []
  await inParallel(chosen, async mutant => {
    const key = JSON.stringify([hashOf(mutant.file), mutant.file, mutant.start, mutant.end,
      mutant.replacement])
    const old = known[key]
    // A survivor is tried again, because a test may have been added.
    const isValid = old?.outcome === 'refused' ||
      (old?.test !== undefined && existsSync(old.test) && old.testHash === hashOf(old.test))
    if (!isValid && Date.now() > deadline) return
    const verdict = isValid ? old : await judge(mutant, coverage)
    verdicts.push(verdict)
    known[key] = verdict
    writeFileSync(file, JSON.stringify(known))
    process.stderr.write(
      `${verdicts.length}/${chosen.length} ${verdict.outcome} ${mutant.file}:${mutant.line}\n`
    )
  })
  return verdicts
}

async function judge (mutant: Mutant, coverage: Coverage): Promise<Verdict> {
  const reason = equivalentReason(mutant)
  if (reason !== undefined) return { mutant, outcome: 'equivalent', reason }
  const covering = coverage.of(mutant)
  const source = join(
    folder,
    `${mutant.file.replaceAll('/', '-')}-${mutant.start}-${mutant.end}-${hashOfText(mutant.replacement)}.ts`
  )
  writeFileSync(source, mutated(mutant))
  for (const test of covering.slice(0, Number(values.tests))) {
    const limitMs = test.ms * 3 + 10_000
    const { outcome, failure } = await runTest(test.file, limitMs, {
      MUTATED_URL: pathToFileURL(mutant.file).href,
      MUTATED_SOURCE: source
    })
    if (outcome !== 'passed')
      return {
        mutant,
        outcome: outcome === 'timeout' ? 'timed out' : 'killed',
        test: test.file,
        testHash: hashOf(test.file),
        ...(failure !== undefined && { failure })
      }
  }
  if (!compiles(mutant)) return { mutant, outcome: 'refused' }
  return {
    mutant,
    outcome: 'survived',
    tried: Math.min(covering.length, Number(values.tests)),
    covering: covering.length
  }
}

function hashOfText (text: string): string {
  return Buffer.from(text).toString('base64url').slice(0, 12)
}
