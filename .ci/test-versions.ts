// `npm run test:versions -- [--postgres 15,16,17,18] [--node 22,24] [test files or folders]`: the
// whole suite on each version of PostgreSQL and of Node, and a table of the results. A Node that
// does not run this script comes from the registry.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'

import { isPostgresVersion, postgresVersions } from '../test/support/embedded-postgres.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    postgres: { type: 'string', default: postgresVersions.join() },
    node: { type: 'string', default: '22,24' },
    timeout: { type: 'string', default: '180' }
  }
})

interface Run {
  readonly postgres: string
  readonly node: string
  readonly result: string
  readonly isPassing: boolean
}

/** Returns the path of a Node of the given major version. */
function nodeOf (major: string): string {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const print = ['node', '--print', 'process.execPath']
  return execFileSync('npx', ['--yes', `--package=node@${major}`, '--', ...print], { encoding: 'utf8' })
    .trim()
}

async function run (postgres: string, major: string): Promise<Run> {
  const child = spawn(nodeOf(major), ['.ci/test.ts', '--disable-coverage', `--timeout=${values.timeout}`,
    ...positionals], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // The runner starts a server of this version instead of using a running one.
    env: { ...process.env, TEST_POSTGRES: postgres, TEST_DATABASE_URL: '' }
  })
  let result = 'no test ran'
  for await (const line of createInterface({ input: child.stdout })) {
    if (/^\d+ passed, \d+ failed, \d+ skipped$/.test(line)) result = line
    // Lines of files that passed would hide the failures of eight runs.
    else if (!/^ok \d+/.test(line)) console.log(line)
  }
  const [code] = child.exitCode === null ? await once(child, 'close') as [number | null] : [child.exitCode]
  return { postgres, node: major, result, isPassing: code === 0 }
}

const versions = values.postgres.split(',')
const unknown = versions.find(version => !isPostgresVersion(Number(version)))
if (unknown !== undefined)
  throw new Error(`PostgreSQL ${unknown} is not installed: choose from ${postgresVersions.join(', ')}`)
const runs: Run[] = []
for (const node of values.node.split(',')) {
  for (const postgres of versions) {
    console.log(`# PostgreSQL ${postgres}, Node ${node}`)
    runs.push(await run(postgres, node))
  }
}
console.log('| PostgreSQL | Node | |\n| --- | --- | --- |')
for (const { postgres, node, result } of runs) console.log(`| ${postgres} | ${node} | ${result} |`)
process.exitCode = runs.every(({ isPassing }) => isPassing) ? 0 : 1
