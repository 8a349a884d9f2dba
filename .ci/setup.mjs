// Installs and builds everything, or the projects named as arguments. Runs on any Node from 20 on.
// Later scripts run on the Node 24 that this puts in node_modules/.bin.
// Each of the two steps is skipped if no file that it reads has changed since it last succeeded.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamps = join(root, 'node_modules/.setup')
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const projects = process.argv.slice(2)

function run (command, ...args) {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 2, 2], cwd: root })
  if (status !== 0) process.exit(status ?? 1)
}

/** Paths of all files below a folder, without those that a build or an install makes. */
function filesIn (folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (['node_modules', 'dist', '.git', '.tap', 'coverage'].includes(entry.name)) return []
    return entry.isDirectory() ? filesIn(path) : [path]
  })
}

/** Name, size and time of the last change of each file. A file that does not exist counts, too. */
function stateOf (paths) {
  const hash = createHash('sha256')
  for (const path of paths) {
    const { size, mtimeMs } = statSync(join(root, path), { throwIfNoEntry: false }) ?? {}
    hash.update(`${path} ${size} ${mtimeMs}\n`)
  }
  return hash.digest('hex')
}

function unlessDone (name, inputs, outputs, work) {
  const stamp = join(stamps, name)
  const before = stateOf(inputs)
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === before + stateOf(outputs)) return
  work()
  mkdirSync(stamps, { recursive: true })
  writeFileSync(stamp, before + stateOf(outputs))
}

const members = ['packages', 'examples'].flatMap(folder =>
  readdirSync(join(root, folder)).map(name => join(folder, name))
)
unlessDone(
  'install',
  ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml',
    ...members.map(member => join(member, 'package.json'))],
  ['node_modules/.modules.yaml', ...members.map(member => join(member, 'node_modules'))],
  () => {
    run('npx', '-y', packageManager, 'install', '--frozen-lockfile', '--prefer-offline', '--loglevel=error')
  }
)
unlessDone(
  `build-${createHash('sha256').update(projects.join()).digest('hex').slice(0, 8)}`,
  ['node_modules/.modules.yaml', ...filesIn('.').filter(path => /\.ts$|json$/.test(path))],
  // The compiler's own record of each build.
  members.map(member => join(member, 'dist/tsconfig.tsbuildinfo')),
  () => {
    run('node_modules/.bin/tsc', '-b', ...projects)
  }
)
