// Installs and builds: everything, or the projects named as arguments. Runs on whatever Node the machine has (20 is enough);
// every later script runs on the Node 24 that this puts in node_modules/.bin.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const { packageManager } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

function run (command, ...args) {
  const { status } = spawnSync(command, args, {
    stdio: ['ignore', 2, 2],
    cwd: new URL('..', import.meta.url)
  })
  if (status !== 0) process.exit(status ?? 1)
}

run('npx', '-y', packageManager, 'install', '--frozen-lockfile', '--prefer-offline', '--loglevel=error')
run('node_modules/.bin/tsc', '-b', ...process.argv.slice(2))
