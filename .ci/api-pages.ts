// Writes the pages of the API from the docstrings, into apidocs/ or another folder. A warning is an error.
// `npm run docs:api -- --out <folder>`
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

import { readManifest } from './pack.ts'
import { packageFolders, root } from './sources.ts'

const folders = packageFolders().filter(folder =>
  readManifest(join(root, 'packages', folder)).private !== true
)
const args = folders.flatMap(folder => ['--entryPoints', `packages/${folder}`])
const typedoc = join(root, 'node_modules/typedoc/bin/typedoc')
const { status } = spawnSync(process.execPath, [typedoc, ...args, ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit'
})
process.exitCode = status ?? 1
